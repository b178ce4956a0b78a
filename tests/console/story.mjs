// The console as a person begins with it: from the invitation to webhooks whose tests arrive signed. Each sentence of the
// webhook story is a step.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { away, base, context, end, invitation, look, lookInTheDark, menu, page, person, post, send, signIn, toTab, until } from './browser.mjs';

// Keeps what arrives; answers 200, or what it is told to.
const received = [];
let status = 200;
const receiver = createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    received.push({ headers: request.headers, body: Buffer.concat(chunks) });
    response.writeHead(status, { 'x-receiver': 'story' });
    response.end('thank you');
  });
});
await new Promise((resolve) => receiver.listen(0, '127.0.0.1', resolve));
const hook = `http://127.0.0.1:${receiver.address().port}/hook`;

// Nobody gets in without a session.
await page.goto(`${base}/console/`);
await page.getByRole('button', { name: 'Sign in' }).waitFor();
await look('sign-in', { closely: true });
await page.getByLabel('Mail address').fill(person.email);
await page.getByLabel('Password').fill('no password of hers');
await page.getByRole('button', { name: 'Sign in' }).click();
await page.getByText('The address or the password is wrong.').waitFor();

// The invitation works once.
await page.goto(base + invitation);
await look('join', { closely: true });
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

// By plain HTTP under a name that is not this machine's: it works, and each page says that others can read along.
await page.goto(`${away}/console/`);
await page.getByText('Others can read this.').waitFor();
await signIn(away);
await page.getByRole('heading', { name: 'Overview' }).waitFor();
await page.getByText('Others can read this.').waitFor();
await page.locator('.exposed summary').click();
await look('exposed', { closely: true });
const cookies = await context.cookies(away);
assert.deepEqual(cookies.map(({ name, secure, httpOnly, sameSite }) => [name, secure, httpOnly, sameSite]), [['postback', false, true, 'Lax']]);
await toTab('Setup');
await page.getByRole('button', { name: 'Copy' }).first().click();
await page.getByRole('button', { name: 'Copied' }).waitFor();
await menu('Messages');
await page.getByRole('searchbox').focus();
await page.keyboard.press('Control+V');
assert.match(await page.getByRole('searchbox').inputValue(), /^curl http/);
await page.getByRole('button', { name: 'Sign out' }).click();
await page.getByRole('button', { name: 'Sign in' }).waitFor();
assert.deepEqual(await context.cookies(away), []);
await page.goto(`${base}/console/`);
assert.equal(await page.getByText('Others can read this.').count(), 0);

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

const hmac = (key, body) => createHmac('sha256', key).update(body).digest('hex');
const signature = ({ headers }) => headers['x-mailtura-signature'].replace(/^sha256=/, '');
const told = page.locator('#tested .notice');
const sendsTest = async (name, words = 'Arrived: your receiver answered 200.') => {
  const before = received.length;
  await page.getByLabel('Notification to test').selectOption({ label: name });
  await Promise.all([page.waitForNavigation(), page.getByRole('button', { name: 'Send Test' }).click()]);
  assert.match(await told.textContent(), new RegExp(words.replaceAll('.', '\\.')), name);
  assert.equal(received.length, before + 1, name);
  return received.at(-1);
};

// While it is being made: choose the notification to test, preview its data, click on Send Test, check the reception. It
// is signed with what will be the webhook's secret, and what was typed stays.
await page.getByLabel('Notification to test').selectOption({ label: 'Hard bounced' });
await page.getByRole('button', { name: 'Preview' }).click();
await page.getByRole('heading', { name: 'What would be posted' }).waitFor();
assert.match(await page.locator('#tested pre').textContent(), /"type":"email\.bounced"/);
assert.equal(received.length, 0, 'a look sends nothing');
const shown = (await page.locator('#tested pre').textContent()).split('\n\n').at(-1);
assert.equal((await sendsTest('Hard bounced')).body.toString(), shown, 'what was shown is what is sent');
const draft = await sendsTest('Soft bounced');
const offered = await page.locator('#signed-with').textContent();
assert.equal(signature(draft), hmac(offered, draft.body));
assert.ok((await page.locator('#tested pre').first().textContent()).includes(draft.body.toString()), 'what was posted is shown');
assert.match(await page.locator('#tested pre').last().textContent(), /x-receiver: story[^]*thank you/);
assert.equal(await page.getByLabel('Description').inputValue(), 'orders');
await look('webhook-draft');
await page.reload();
await page.getByRole('heading', { name: 'Add webhook' }).waitFor();
await page.getByLabel('Webhook URL').fill(hook);
await page.getByLabel('Description').fill('orders');
await page.getByRole('checkbox', { name: 'Delivered' }).check();
await page.getByRole('button', { name: 'Save' }).click();
await page.getByText('The webhook is configured.').waitFor();
let secret = await page.locator('#secret').textContent();
await look('webhook-secret', { picture: false });

// When it is there: a test of each notification arrives, signed.
for (const name of ['Soft bounced', 'Hard bounced', 'Open', 'Click', 'Complaint', 'Open taken back']) {
  const test = await sendsTest(name);
  assert.equal(signature(test), hmac(secret, test.body), name);
}
await look('webhook-tested');
await lookInTheDark('webhook-tested-dark');
// A test goes to what is saved, and what is not saved is not lost.
await page.getByLabel('Webhook URL').fill(`${hook}/elsewhere`);
await page.getByRole('button', { name: 'Send Test' }).click();
await page.getByText('Save first').waitFor();
assert.equal(await page.getByLabel('Webhook URL').inputValue(), `${hook}/elsewhere`);

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
{
  const { headers, body } = await sendsTest('Hard bounced');
  const [, sign] = /(?:^|;)s=([^;]+)/.exec(headers['producer-signature']);
  const [[, json]] = new URLSearchParams(body.toString());
  const expected = createHmac('sha256', 'open sesame').update(json).digest('base64');
  assert.equal(decodeURIComponent(sign), expected);
}

// Real events: the log says what was posted and answered; one is told again, and looked at while that happens.
const toLog = async () => {
  await toTab('Webhooks');
  const row = page.getByRole('row', { name: /orders/ });
  await row.hover();
  await row.getByRole('link', { name: /Log of webhook/ }).click();
};
const many = Array.from({ length: 60 }, (_, number) => `reader${number}@example.org`);
const arrivals = () => received.filter(({ body }) => body.toString().includes('"email.delivered"')).length;
const arrived = async (count) => { while (arrivals() < count) await page.waitForTimeout(50); };
await send({ to: many, subject: 'To many', text: 'x' });
await arrived(60);
await toLog();
await until(async () => (await page.locator('#log tbody tr').count()) === 50);
await look('webhook-log');
await page.getByRole('link', { name: 'Older' }).click();
await page.locator('#log tbody tr').first().waitFor();
await toLog();
await page.locator('#log table').last().getByRole('link').first().click();
await page.getByRole('heading', { name: 'Request' }).first().waitFor();
assert.match(await page.locator('article pre').first().textContent(), /^POST http[^]*x-mailtura-signature[^]*email\.delivered/i);
assert.match(await page.locator('article pre').last().textContent(), /^200[^]*x-receiver: story[^]*thank you/);
await look('webhook-dispatch');
await page.evaluate(() => { window.stays = true; });
const before = received.length;
await Promise.all([page.waitForNavigation(), page.getByRole('button', { name: 'Send again' }).click()]);
await page.getByText('It is told again, now.').waitFor();
await page.getByRole('heading', { name: /Attempt 2/ }).waitFor();
assert.equal(received.length, before + 1);

// Many are told again: how far that is can be seen while it runs, and it can be ended.
await page.getByRole('link', { name: 'Log', exact: true }).click();
const tellsAgain = async () => {
  await page.locator('summary', { hasText: 'Tell again' }).click();
  await page.getByLabel('arrived').check();
  await page.getByRole('button', { name: 'Replay' }).click();
  await page.getByText('Events of the last 24 h are told again.').waitFor();
};
const replays = page.locator('table.replays tbody tr');
await tellsAgain();
await page.evaluate(() => { window.stays = true; });
await replays.first().getByText('done', { exact: true }).waitFor();
assert.ok(await page.evaluate(() => window.stays), 'the page was not loaded anew');
assert.ok(Number(await replays.first().locator('td').nth(3).textContent()) >= 60);
await arrived(120);
const webhook = /webhooks\/(wh_[0-9a-f]+)/.exec(page.url())[1];
await post(`/api/v1/webhooks/${webhook}/replays`, { from: new Date(Date.now() - 3_600_000).toISOString(), fates: ['arrived'], perSecond: 1 });
await page.reload();
await replays.first().getByText('running').waitFor();
assert.ok(Number(await replays.first().locator('progress').getAttribute('value')) <= 100);
await look('webhook-replay');
await replays.first().getByRole('button', { name: /End the replay/ }).click();
await page.getByText('The replay has ended').waitFor();
await replays.first().getByText('cancelled').waitFor();

// Its health: it fails, and is well again.
const health = async (word) => until(async () => {
  await toTab('Webhooks');
  return page.getByRole('row', { name: /orders/ }).locator('.chip', { hasText: word }).isVisible();
});
status = 503;
await send({ to: 'nobody@example.org', subject: 'To nobody', text: 'x' });
await health('failing');
await look('webhook-failing');
await menu('Overview');
await page.getByText(/failing for/).waitFor();
status = 200;
await toLog();
await page.getByRole('link', { name: 'Failed' }).click();
await page.locator('#log table').last().getByRole('link').first().click();
await page.getByText('503').first().waitFor();
await page.getByRole('button', { name: 'Send again' }).click();
await page.locator('#attempts .chip', { hasText: 'arrived' }).waitFor();
await health('well');

// The signing secret in rotation: the old one signs until the new one is said to be known, or the old one is revoked.
const does = async (name, words) => {
  await Promise.all([page.waitForNavigation(), page.getByRole('button', { name }).click()]);
  await page.getByText(words).waitFor();
};
await page.getByRole('row', { name: /orders/ }).getByRole('link').first().click();
await does('Rotate secret', 'There is a new secret.');
const fresh = await page.locator('#secret').textContent();
assert.notEqual(fresh, secret);
await look('webhook-rotating', { picture: false });
let test = await sendsTest('Click');
assert.equal(signature(test), hmac(secret, test.body), 'the old one still signs');
await does('Sign with the new one alone', 'From now on the new secret signs alone.');
test = await sendsTest('Click');
assert.equal(signature(test), hmac(fresh, test.body), 'the new one signs');
secret = fresh;
await does('Revoke the old one', 'The old secret counts for nothing any more.');
assert.equal(await page.getByRole('button', { name: 'Revoke the old one' }).count(), 0);

// Hover over a webhook to edit it; what is wrong is said, and what was typed is kept.
await toTab('Webhooks');
await look('webhooks');
await page.reload();
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
