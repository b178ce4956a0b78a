// The console as a person uses it, in a real browser: from the invitation to a webhook whose test arrives signed, to the
// mail that somebody asks for. Words: base URL, path of an invitation, API key, the browser's program, and a folder for
// pictures of each page, if they are wanted.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const [base, invitation, key, executablePath, pictures] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

// Keeps what arrives, answers 200.
const received = [];
const receiver = createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    received.push({ headers: request.headers, body: Buffer.concat(chunks) });
    response.end('ok');
  });
});
await new Promise((resolve) => receiver.listen(0, '127.0.0.1', resolve));
const hook = `http://127.0.0.1:${receiver.address().port}/hook`;

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
const context = await browser.newContext({ bypassCSP: false, viewport: { width: 1200, height: 850 } });
const page = await context.newPage();
page.setDefaultTimeout(15_000);

const foreign = [];
page.on('request', (request) => {
  if (!request.url().startsWith(base) && !request.url().startsWith('data:')) foreign.push(request);
});
let alerts = 0;
page.on('dialog', (dialog) => {
  if (dialog.type() === 'confirm') dialog.accept();
  else { alerts += 1; dialog.dismiss(); }
});

const faults = [];
async function look(name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa'] }));
  for (const { id, impact, nodes } of violations) {
    if (['serious', 'critical'].includes(impact)) faults.push(`${name}: ${id} at ${nodes.map((n) => n.target).join(' ')}`);
  }
  const html = await page.content();
  assert.ok(html.length < 150_000, `${name} has ${html.length} bytes`);
  if (pictures) await page.screenshot({ path: `${pictures}/${name}.png`, fullPage: true });
}

const send = async (mail) => {
  const answer = await fetch(`${base}/api/v1/emails`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ from: 'Shop <me@example.com>', to: 'reader@example.org', ...mail }),
  });
  assert.equal(answer.status, 201, await answer.clone().text());
  return (await answer.json()).id;
};

// Nobody gets in without a session.
await page.goto(`${base}/console/`);
await page.getByRole('button', { name: 'Sign in' }).waitFor();
await look('sign-in');
await page.getByLabel('Mail address').fill('ann@example.com');
await page.getByLabel('Password').fill('no password of hers');
await page.getByRole('button', { name: 'Sign in' }).click();
await page.getByText('The address or the password is wrong.').waitFor();

// The invitation works once.
await page.goto(base + invitation);
await look('join');
await page.getByLabel('Name').fill('Ann Owner');
await page.getByLabel('Mail address').fill('ann@example.com');
await page.getByLabel('Password').fill('correct horse battery');
await page.getByRole('button', { name: 'Join' }).click();
await page.getByRole('heading', { name: 'Overview' }).waitFor();
assert.equal((await context.request.get(base + invitation)).status(), 404);
await look('overview-new');

// Out, and in again by password.
await page.getByRole('button', { name: 'Sign out' }).click();
await page.getByLabel('Mail address').fill('ann@example.com');
await page.getByLabel('Password').fill('correct horse battery');
await page.getByRole('button', { name: 'Sign in' }).click();
await page.getByRole('heading', { name: 'Overview' }).waitFor();

// From the left panel, select Mail Agents and select a Mail Agent.
const toWebhooks = async () => {
  await page.getByRole('link', { name: 'Mail Agents' }).first().click();
  await page.getByRole('link', { name: 'default', exact: true }).last().click();
  // Navigate to Webhooks tab.
  await page.getByRole('link', { name: 'Webhooks', exact: true }).click();
};
await page.getByRole('link', { name: 'Mail Agents' }).click();
await look('agents');
await page.getByRole('link', { name: 'default', exact: true }).last().click();
await look('agent-setup');
await page.getByRole('link', { name: 'Webhooks', exact: true }).click();
await look('webhooks-empty');

// Click on Configure Webhook; enter Webhook URL, Description, and choose the notifications.
await page.getByRole('link', { name: 'Configure Webhook' }).click();
await look('webhook-new');
await page.getByLabel('Webhook URL').fill(hook);
await page.getByLabel('Description').fill('orders');
for (const name of ['Soft bounced', 'Hard bounced', 'Open', 'Click']) {
  assert.ok(await page.getByLabel(name, { exact: true }).isChecked(), name);
}
await page.getByRole('checkbox', { name: 'Delivered' }).check();
await page.getByRole('button', { name: 'Save' }).click();
await page.getByText('The webhook is configured.').waitFor();
const secret = await page.locator('#secret').textContent();
await look('webhook-secret');

// Choose the notification you want to test, click on Send Test, and check the reception.
for (const name of ['Soft bounced', 'Hard bounced', 'Open', 'Click']) {
  const before = received.length;
  await page.locator('select[name=event]').selectOption({ label: name });
  await page.getByRole('button', { name: 'Send Test' }).click();
  await page.getByText('Arrived: your receiver answered 200.').waitFor();
  assert.equal(received.length, before + 1, name);
  const { headers, body } = received.at(-1);
  const expected = createHmac('sha256', secret).update(body).digest('hex');
  assert.equal(headers['x-mailtura-signature'].replace(/^sha256=/, ''), expected, name);
}
await look('webhook-tested');

// Add Webhook on the right-hand side; a TransMail one signs with the authentication key.
await toWebhooks();
await page.locator('summary', { hasText: 'Authentication Key' }).click();
await page.getByLabel('Authentication Key').fill('open sesame');
await page.getByRole('button', { name: 'Set' }).click();
await page.getByText('The authentication key is set.').waitFor();
await page.getByRole('link', { name: 'Add Webhook' }).click();
await page.getByLabel('Webhook URL').fill(`${hook}/transmail`);
await page.locator('select[name=format]').selectOption('transmail');
await page.getByRole('button', { name: 'Save' }).click();
await page.getByText('The webhook is configured.').waitFor();
await page.locator('select[name=event]').selectOption({ label: 'Hard bounced' });
await page.getByRole('button', { name: 'Send Test' }).click();
await page.getByText('Arrived: your receiver answered 200.').waitFor();
{
  const { headers, body } = received.at(-1);
  const [, sign] = /(?:^|;)s=([^;]+)/.exec(headers['producer-signature']);
  const [[, told]] = new URLSearchParams(body.toString());
  const expected = createHmac('sha256', 'open sesame').update(told).digest('base64');
  assert.equal(decodeURIComponent(sign), expected);
}

// Hover over a webhook to edit it; what is wrong is said, and what was typed is kept.
await toWebhooks();
await look('webhooks');
const row = page.getByRole('row', { name: /orders/ });
await row.hover();
await row.getByRole('link', { name: /Edit webhook/ }).click();
await page.getByLabel('Webhook URL').fill(`${hook}/other`);
await page.getByLabel('Description').fill('orders and returns');
for (const box of await page.locator('input[name=events]').all()) await box.uncheck();
await page.getByRole('button', { name: 'Save' }).click();
await page.locator('.notice.bad').waitFor();
assert.equal(await page.getByLabel('Description').inputValue(), 'orders and returns');
await page.getByRole('checkbox', { name: 'Soft bounced' }).check();
await page.getByRole('button', { name: 'Save' }).click();
await page.getByText('Saved.').waitFor();

// Locate the webhook you want to delete, click on the delete icon, confirm.
const doomed = page.getByRole('row', { name: /orders and returns/ });
await doomed.hover();
await doomed.getByRole('button', { name: /Delete webhook/ }).click();
await doomed.waitFor({ state: 'detached' });
assert.equal(await page.getByRole('row').count(), 2);

// A key for somebody, shown once.
await page.getByRole('link', { name: 'Setup' }).click();
await page.getByLabel('Name').fill('web shop');
await page.getByRole('button', { name: 'Make' }).click();
assert.match(await page.locator('#fresh').textContent(), /^pb_/);
await page.reload();
await page.getByRole('link', { name: 'Domains' }).click();
await page.getByLabel('Domain').fill('Shop.Example.com');
await page.getByRole('button', { name: 'Add' }).click();
await page.getByText('Added shop.example.com.').waitFor();
await look('agent-domains');
await page.getByRole('link', { name: 'Settings' }).click();
await look('agent-settings');
await page.getByRole('link', { name: 'Domains' }).click();
await page.getByRole('button', { name: 'Remove' }).click();
await page.getByText('Removed shop.example.com.').waitFor();

// Where is that mail? A hostile one, too: nothing of it runs, nothing is loaded from elsewhere.
const hostile = [
  '<script>alert(1)</script>', '<img src=x onerror=alert(2)>', '<svg onload=alert(3)>',
  '<iframe srcdoc="<script>alert(4)</script>"></iframe>', '<a href="javascript:alert(5)">x</a>',
  '<meta http-equiv=refresh content="0;url=https://evil.example/">', '<img src="https://evil.example/p.png">',
  '<link rel=stylesheet href="https://evil.example/s.css">', '<style>@import "https://evil.example/i.css"</style>',
  '<body onload=alert(6)>', '<form action="https://evil.example/"><button id=go>x</button></form>',
  '<object data="https://evil.example/o"></object>', '<video src="https://evil.example/v" autoplay></video>',
  '<base href="https://evil.example/">', '<math><mtext><script>alert(7)</script>',
];
const id = await send({
  subject: 'Your order 1001 <script>alert(8)</script>',
  html: `<h1>Thank you</h1><p><a href="https://example.com/a?b=1&amp;c=2">Your order</a></p>${hostile.join('')}`,
  text: 'Thank you <script>alert(9)</script>',
});
await page.getByRole('link', { name: 'Messages' }).click();
await look('messages');
await page.getByLabel('Message, delivery or request id').fill(id);
await page.getByRole('button', { name: 'Find' }).click();
await page.getByRole('heading', { name: 'Your order 1001 <script>alert(8)</script>' }).waitFor();
await page.getByText('reader@example.org').first().waitFor();
const frame = page.frameLocator('iframe.mail');
await frame.getByRole('heading', { name: 'Thank you' }).waitFor();
await page.getByText('What tracking changes').click();
await page.getByRole('cell', { name: 'https://example.com/a?b=1&c=2', exact: true }).waitFor();
await look('message');

// The frame alone is as harmless, and of no origin.
const alone = await context.newPage();
await alone.goto(`${page.url()}/html`);
assert.equal(await alone.evaluate(() => self.origin), 'null');
assert.equal(await alone.evaluate(() => { try { return document.cookie; } catch { return 'denied'; } }), 'denied');
await alone.close();

// Another tenant's things, and what is nowhere, are not there.
for (const path of ['nobody/', 'default/agents/0000/setup', 'default/messages/msg_00000000000000000000000000000000',
  'default/agents/x/webhooks/wh_1', 'default/nothing', 'nothing/at/all']) {
  assert.equal((await context.request.get(`${base}/console/${path}`)).status(), 404, path);
}
// A change that does not come from our own page is refused.
const foreignPost = await context.request.post(`${base}/console/default/agents`, {
  form: { name: 'evil' }, headers: { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
});
assert.equal(foreignPost.status(), 403);

// People, and what they did.
await page.getByRole('link', { name: 'People' }).click();
await page.getByRole('cell', { name: 'deleted webhook' }).waitFor();
await look('people');

// On a telephone, too.
await page.setViewportSize({ width: 360, height: 740 });
await page.goto(`${base}/console/default/messages`);
const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
assert.ok(overflow <= 0, `the page is ${overflow} px too wide`);
await look('messages-phone');

// What a mail wanted from elsewhere was stopped by the policy, before it left the browser.
const left = foreign.filter((request) => request.failure()?.errorText !== 'csp');
assert.deepEqual(left.map((request) => `${request.url()} ${request.failure()?.errorText}`), []);
assert.equal(alerts, 0, 'nothing of a mail runs');
assert.deepEqual(faults, []);
await browser.close();
receiver.close();
console.log('the whole story');
