// The console as a person begins with it: from the invitation to webhooks whose tests arrive signed. Each sentence of the
// webhook story is a step.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { base, context, end, invitation, look, menu, page, person, signIn, toTab } from './browser.mjs';

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

// Nobody gets in without a session.
await page.goto(`${base}/console/`);
await page.getByRole('button', { name: 'Sign in' }).waitFor();
await look('sign-in');
await page.getByLabel('Mail address').fill(person.email);
await page.getByLabel('Password').fill('no password of hers');
await page.getByRole('button', { name: 'Sign in' }).click();
await page.getByText('The address or the password is wrong.').waitFor();

// The invitation works once.
await page.goto(base + invitation);
await look('join');
await page.getByLabel('Name').fill(person.name);
await page.getByLabel('Mail address').fill(person.email);
await page.getByLabel('Password').fill(person.password);
await page.getByRole('button', { name: 'Join' }).click();
await page.getByRole('heading', { name: 'Overview' }).waitFor();
assert.equal((await context.request.get(base + invitation)).status(), 404);
await look('overview-new');

// Out, and in again by password.
await page.getByRole('button', { name: 'Sign out' }).click();
await signIn();
await page.getByRole('heading', { name: 'Overview' }).waitFor();

// From the left panel, select Mail Agents and select a Mail Agent.
await menu('Mail Agents');
await look('agents');
await page.locator('table').getByRole('link', { name: 'default', exact: true }).click();
await look('agent-setup');
// Navigate to Webhooks tab.
await page.getByRole('navigation', { name: 'Mail agent' }).getByRole('link', { name: 'Webhooks', exact: true }).click();
await look('webhooks-empty', { picture: false });

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
await look('webhook-secret', { picture: false });

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
await toTab('Webhooks');
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
await toTab('Webhooks');
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
await toTab('Setup');
await page.getByLabel('Name').fill('web shop');
await page.getByRole('button', { name: 'Make' }).click();
assert.match(await page.locator('#fresh').textContent(), /^pb_/);

// Another tenant's things, and what is nowhere, are not there; a change that does not come from our own page is refused.
for (const path of ['nobody/', 'default/agents/0000/setup', 'default/messages/msg_00000000000000000000000000000000',
  'default/agents/x/webhooks/wh_1', 'default/nothing', 'nothing/at/all']) {
  assert.equal((await context.request.get(`${base}/console/${path}`)).status(), 404, path);
}
const foreignPost = await context.request.post(`${base}/console/default/agents`, {
  form: { name: 'evil' }, headers: { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
});
assert.equal(foreignPost.status(), 403);

receiver.close();
await end('the whole story');
