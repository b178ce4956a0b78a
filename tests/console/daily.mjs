// The console day by day: where is that mail, what would be sent, templates, suppressions, queues, second factor; and
// mail that wants to run. Begins where `story.mjs` ended.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { base, browser, context, end, look, lookInTheDark, lookOnATelephone, menu, page, person, post, routes, send, signIn, toTab, until } from './browser.mjs';
import { hostile } from './hostile.mjs';

// Whoever looks after the installation chooses the tenant.
const enter = async () => {
  await page.getByRole('heading', { name: 'Tenants' }).waitFor();
  await page.locator('.cards').getByRole('link', { name: /default/ }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
};
await signIn();
await page.getByRole('heading', { name: 'Tenants' }).waitFor();
await look('tenants', { closely: true });
await enter();

// Where is that mail? By recipient, by words of its subject, by tag, by id, by Message-ID, by status and date.
const id = await send({
  to: ['reader@example.org', 'second@example.org'],
  subject: 'Your order 1001 <script>alert(8)</script>',
  tags: ['orders'],
  html: '<h1>Thank you</h1><p><a href="https://example.com/a?b=1&amp;c=2">Your order</a></p>',
  text: 'Thank you <script>alert(9)</script>',
});
for (const [number, name] of ['Ann', 'Bob', 'Carol', 'Dan', 'Eve', 'Frank'].entries()) {
  await send({ to: `${name.toLowerCase()}@example.net`, subject: `Welcome, ${name}`, tags: ['welcome'], html: `<p>Hello ${name}, <a href="https://example.com/${number}">look</a></p>` });
}
const today = new Date().toISOString().slice(0, 10);
const looksFor = async (fields) => {
  await menu('Messages');
  for (const [label, value] of Object.entries(fields)) {
    const field = page.getByRole('search').getByLabel(label);
    if (label === 'Status') await field.selectOption(value); else await field.fill(value);
  }
  await page.getByRole('button', { name: 'Find' }).click();
};
const subjects = () => page.locator('table.messages tbody tr td:nth-child(2)').allTextContents();
const words = 'Recipient, subject or id';
for (const [fields, expected] of [
  [{ [words]: 'reader@example.org' }, 1], [{ [words]: 'second@' }, 1], [{ [words]: 'order 1001' }, 1], [{ [words]: 'WELCOME bob' }, 1],
  [{ [words]: '@example.net' }, 6], [{ Tag: 'orders' }, 1], [{ [words]: 'tag:welcome' }, 6], [{ [words]: 'order', Status: 'bounced' }, 0],
  [{ From: today, Until: today }, 10], [{ Until: '2020-01-01' }, 0], [{ [words]: 'nothing like it' }, 0],
]) {
  await looksFor(fields);
  assert.equal((await subjects()).length, expected, JSON.stringify(fields));
}
await looksFor({ [words]: 'welcome' });
await look('messages');
await looksFor({ [words]: id });
await page.getByRole('heading', { name: 'Your order 1001 <script>alert(8)</script>' }).waitFor();
await until(() => page.locator('.state.delivered').first().isVisible());
const messageId = await page.locator('dt:has-text("Message-ID") + dd').textContent();
await looksFor({ [words]: messageId });
await page.getByRole('heading', { name: /Your order 1001/ }).waitFor();

// The mail itself, in each way.
await page.frameLocator('iframe.mail').getByRole('heading', { name: 'Thank you' }).waitFor();
await look('message');
await lookInTheDark('message-dark');
for (const view of ['Text', 'Source', 'Header', 'Tracking']) {
  await page.getByRole('link', { name: view, exact: true }).click();
  await page.locator(`nav.tabs a[aria-current]:has-text("${view}")`).waitFor();
  await look(`message-${view.toLowerCase()}`);
}
await page.getByRole('cell', { name: 'https://example.com/a?b=1&c=2', exact: true }).waitFor();
await page.locator('.diff .is').first().waitFor();

// Sent again, it is a new message; one for later can be cancelled, and is told of while it is looked at.
await page.getByRole('button', { name: 'Send again' }).click();
await page.getByText('Sent again; this is the new message.').waitFor();
assert.ok(!page.url().includes(`messages/${id}`));
const later = await send({ subject: 'For tomorrow', text: 'later', scheduledAt: new Date(Date.now() + 86_400_000).toISOString() });
await page.goto(`${base}/console/default/messages/${later}`);
await page.getByRole('button', { name: 'Cancel' }).click();
await page.getByText('One delivery is cancelled.').waitFor();
const soon = await send({ subject: 'For tonight', text: 'later', scheduledAt: new Date(Date.now() + 86_400_000).toISOString() });
await page.goto(`${base}/console/default/messages/${soon}`);
await page.evaluate(() => { window.stays = true; });
await context.request.post(`${base}/console/default/messages/${soon}/retry`, { headers: { 'sec-fetch-site': 'same-origin' } });
await page.locator('.state.delivered').waitFor();
assert.ok(await page.evaluate(() => window.stays), 'the page was not loaded anew');

// The inbox: what would have been sent, whose pixel loads and whose links lead through us.
await menu('Inbox');
await look('inbox-list', { picture: false });
await page.locator('.mailbox li', { hasText: 'Welcome, Eve' }).getByRole('link').click();
const mail = page.frameLocator('iframe.mail');
await mail.getByText('Hello Eve').waitFor();
await look('inbox');
assert.ok(await mail.locator('img').evaluate((pixel) => pixel.complete && pixel.naturalWidth > 0), 'the pixel loads');
// A reader elsewhere, with a program of their own.
const thunderbird = { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.5.0', 'accept-language': 'en' };
await fetch(await mail.locator('img').getAttribute('src'), { headers: thunderbird });
const link = await mail.getByRole('link', { name: 'look' }).getAttribute('href');
assert.ok(link.startsWith(`${base}/c/`), link);
const followed = await context.request.get(link, { maxRedirects: 0 });
assert.equal(followed.headers().location, 'https://example.com/4');
await page.getByRole('link', { name: 'What happened to it' }).click();
await until(async () => (await page.getByText('Pixel loaded').count()) > 0 && (await page.getByText('Link followed').count()) > 0);
await look('message-opened', { picture: false });

// By keyboard alone. Keys are for what is outside of fields, without Ctrl, Alt and Meta.
const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
const focused = () => page.evaluate(() => document.activeElement.closest('tr, li, [data-keys]')?.innerText ?? document.activeElement.name ?? '');
const keys = page.getByRole('dialog', { name: 'Keys' });
await press('?');
await keys.waitFor();
await look('keys', { closely: true });
await press('g', 'm', 'Escape');
await keys.waitFor({ state: 'hidden' });
await page.getByRole('button', { name: 'Keys' }).focus();
await press('Enter', 'Escape');
await keys.waitFor({ state: 'hidden' });
assert.match(await focused(), /^Keys/, 'the focus is where it was');
await press('g', 'm');
await page.getByRole('heading', { name: 'Messages' }).waitFor();
const search = page.getByRole('searchbox');
await search.focus();
await page.keyboard.type('g?o/jk');
assert.equal(await search.inputValue(), 'g?o/jk');
await press('Escape', 'g', 'o');
await page.getByRole('heading', { name: 'Overview' }).waitFor();
await press('/');
await page.getByRole('heading', { name: 'Messages' }).waitFor();
await press('Escape', '/');
await page.keyboard.type('welcome');
await press('Enter');
await page.waitForURL(/q=welcome/);
await press('j');
const [first, second] = await page.locator('table.messages tbody tr').allInnerTexts();
assert.equal(await focused(), first);
assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), 'none', 'where one is can be seen');
await press('j');
assert.equal(await focused(), second);
for (const held of ['Control', 'Alt', 'Meta', 'Shift']) await press(`${held}+k`);
assert.equal(await focused(), second, 'keys that are held with others are the browser\'s');
await press('k', 'ArrowDown', 'ArrowUp');
assert.equal(await focused(), first);
await press('Enter');
await page.locator('nav.tabs a[aria-current]:has-text("HTML")').waitFor();
await press('l');
await page.locator('nav.tabs a[aria-current]:has-text("Text")').waitFor();
await press('h');
await page.locator('nav.tabs a[aria-current]:has-text("HTML")').waitFor();
await press('u');
await page.getByRole('heading', { name: 'Messages' }).waitFor();
await press('Escape', 'g', 'i');
await page.getByRole('heading', { name: 'Inbox' }).waitFor();
for (const number of [0, 1]) {
  await press('j', 'Enter');
  await page.locator('.mailbox li').nth(number).locator('a[aria-current]').waitFor();
}
// Who wants none of it switches it off, and it stays off.
await page.getByRole('button', { name: 'Keys' }).click();
await keys.getByLabel('Single keys do this').uncheck();
await press('Escape');
await page.reload();
await press('g', 'm', '?', 'j');
await page.getByRole('heading', { name: 'Inbox' }).waitFor();
assert.ok(!(await keys.isVisible()));
await page.getByRole('button', { name: 'Keys' }).click();
await keys.getByLabel('Single keys do this').check();
await keys.getByRole('button', { name: 'Close' }).click();

// And without any script: found, opened, sent again.
const plain = await (await browser.newContext({ javaScriptEnabled: false, storageState: await context.storageState() })).newPage();
await plain.goto(`${base}/console/default/messages`);
assert.ok(!(await plain.getByRole('button', { name: 'Keys' }).isVisible()));
await plain.getByRole('searchbox').fill('order 1001');
await plain.getByRole('searchbox').press('Enter');
await plain.locator('table.messages a').first().click();
await plain.getByRole('button', { name: 'Send again' }).click();
await plain.getByText('Sent again; this is the new message.').waitFor();
await plain.context().close();

// Figures of the last hour, day, week and month.
await menu('Overview');
for (const span of ['Hour', 'Week', 'Month', 'Day']) {
  await page.getByRole('navigation', { name: 'Span of time' }).getByRole('link', { name: span }).click();
  await page.locator(`.switch a[aria-current]:has-text("${span}")`).waitFor();
  const accepted = page.locator('.figures div', { hasText: 'Accepted' }).locator('dd').first();
  assert.ok(Number((await accepted.textContent()).replace(',', '')) >= 10, span);
}
await look('overview');
await lookInTheDark('overview-dark');
await menu('Activity');
await page.getByRole('heading', { name: 'Opens and clicks' }).waitFor();
await look('activity');

// A report that nobody but a person understands: looked at, and closed.
await page.getByRole('link', { name: /^\d{4}-/ }).first().click();
await page.getByText('Back soon.').waitFor();
const report = page.url().split('/').at(-1);
await look('report');
await page.getByRole('button', { name: 'Close' }).click();
await page.getByText('None. Reports that are understood').waitFor();

// A template: written, looked at with data, sent to somebody, changed, and looked back at.
await toTab('Templates');
await look('templates-empty', { picture: false });
await page.getByRole('link', { name: 'Add Template' }).click();
await look('template-new');
await page.getByLabel('Name, as mails call it').fill('welcome');
await page.getByLabel('Subject').fill('Welcome, {{name}}');
await page.getByLabel('HTML').fill('<p>Hello {{name}} of {{city}}</p><script>alert(41)</script>');
await page.getByRole('button', { name: 'Preview' }).click();
const preview = page.frameLocator('iframe[name=preview]');
await preview.getByText('Welcome, Ann').waitFor();
await preview.getByText('The data lacks: city').waitFor();
await page.getByRole('button', { name: 'Save' }).click();
await page.getByText('Saved as version 1.').waitFor();
await page.getByLabel('Data').fill('{"name": "Zoë", "city": "Ghent"}');
await page.getByRole('button', { name: 'Preview' }).click();
await preview.getByText('Hello Zoë of Ghent').waitFor();
await look('template');
await page.getByLabel('Send to').fill('zoe@example.org');
await page.getByLabel('From').fill('me@example.com');
await page.getByRole('button', { name: 'Send Test' }).click();
await page.getByText(/Sent to zoe@example.org as msg_/).waitFor();
await page.getByLabel('Subject').fill('Hi, {{name}}');
await page.getByRole('button', { name: 'Save' }).click();
await page.getByText('Saved as version 2.').waitFor();
await page.getByRole('link', { name: 'Version 1' }).click();
assert.equal(await page.getByLabel('Subject').inputValue(), 'Welcome, {{name}}');
await page.getByLabel('Subject').fill('{{#if}');
await page.getByRole('button', { name: 'Save' }).click();
await page.locator('.notice.bad').waitFor();
await toTab('Templates');
await look('templates');

// Suppressions: added, refused, found, taken out, in and out as CSV.
await toTab('Suppressions');
await page.getByLabel('Addresses or domains, one a line').fill('gone@example.org\nold.example');
await page.getByLabel('Note').fill('asked by telephone');
await page.locator('section', { hasText: 'What is done' }).getByRole('button', { name: 'Add' }).click();
await page.getByText('Added 2.').waitFor();
await page.getByLabel('File').setInputFiles({ name: 'a.csv', mimeType: 'text/csv', buffer: Buffer.from('email,reason\nx@example.org,manual\nno address,manual\n') });
await page.getByRole('button', { name: 'Import' }).click();
await page.getByText(/Read 1\. One line makes no sense/).waitFor();
await look('suppressions');
await page.getByRole('search').getByLabel('Address or domain').fill('gone');
await page.getByRole('button', { name: 'Find' }).click();
assert.equal(await page.locator('tbody tr').count(), 1);
const refused = await send({ to: 'gone@example.org', subject: 'Not for you', text: 'x' });
await page.getByRole('button', { name: 'Remove gone@example.org' }).click();
await page.getByText('Mail to gone@example.org goes out again.').waitFor();
const csv = await context.request.get(await page.getByRole('link', { name: 'Export CSV' }).evaluate((a) => a.href));
assert.match(await csv.text(), /^target,action[^]*\nold\.example,[^]*\nx@example\.org,/);
await page.goto(`${base}/console/default/messages/${refused}`);
await page.locator('.state.suppressed').waitFor();

// Domains and their records.
await toTab('Domains');
await page.getByLabel('Domain', { exact: true }).fill('Shop.Example.com');
await page.getByRole('button', { name: 'Add' }).click();
await page.getByText('Added shop.example.com.').waitFor();
await look('domains');
await page.getByRole('link', { name: 'shop.example.com' }).click();
await page.getByRole('heading', { name: 'shop.example.com', exact: true }).waitFor();
await page.getByText('._domainkey.shop.example.com').first().waitFor();
await look('domain');
await toTab('Domains');
await page.getByRole('button', { name: 'Remove shop.example.com' }).click();
await page.getByText('Removed shop.example.com.').waitFor();
await toTab('Settings');
await page.getByLabel('Recipients a day').fill('100000');
await page.getByLabel('Hosts whose links').fill('apps.example.com\n*.example.net');
await page.getByRole('button', { name: 'Save' }).click();
await page.getByText('Saved.').waitFor();
assert.equal(await page.getByLabel('Hosts whose links').inputValue(), 'apps.example.com\n*.example.net');
await look('agent-settings');

// What tracking would change of a mail that is not sent yet, what it would leave alone, and why.
await toTab('Tracking');
const tracked = page.locator('#tracked');
const looksAt = async (kind, content, link) => {
  await page.getByRole('radio', { name: kind }).check();
  await page.getByLabel('HTML or mail').fill(content);
  await page.getByRole('button', { name: 'Look' }).click();
  await tracked.getByRole('cell', { name: link, exact: true }).first().waitFor();
};
const both = '<p><a href="https://shop.example.org/order">Order</a> <a href="https://apps.example.com/get">App</a></p>';
await looksAt('HTML', both, 'https://shop.example.org/order');
const left = page.locator('table', { has: page.getByRole('columnheader', { name: 'Why' }) });
await left.getByRole('cell', { name: 'https://apps.example.com/get', exact: true }).waitFor();
assert.match(await page.locator('.diff .is').last().textContent(), /App<\/a><\/p>.*<img /);
assert.equal(await page.getByLabel('HTML or mail').inputValue(), both);
await look('tracking', { closely: true });
await looksAt('A whole mail', `Subject: x\nContent-Type: text/html\n\n${both}`, 'https://shop.example.org/order');
await page.getByRole('radio', { name: 'A template' }).check();
await page.getByLabel('Data').fill('{"name": "Ann", "city": "Ghent"}');
await page.getByRole('button', { name: 'Look' }).click();
await page.locator('.diff .is', { hasText: 'Hello Ann of Ghent' }).waitFor();
await page.getByRole('radio', { name: 'HTML' }).check();
await page.getByLabel('HTML or mail').fill('');
await page.getByRole('button', { name: 'Look' }).click();
await page.getByText('There is nothing to look at.').waitFor();

// Operations: what waits, stopped and let go.
await menu('Operations');
await page.getByLabel('Destination').fill('slow.example');
await page.locator('form.line').getByRole('button', { name: 'Pause' }).click();
await page.getByText('Paused: slow.example.').waitFor();
// Workers hear of it within seconds; what they had before still goes out.
let stopped;
for (let waits = false; !waits;) {
  stopped = await send({ to: 'a@slow.example', subject: 'Waits', text: 'x' });
  await page.waitForTimeout(200);
  await page.goto(`${base}/console/default/operations`);
  waits = await page.locator('#queue').getByRole('cell', { name: /^slow\.example/ }).isVisible();
}
await page.getByText('Settings in force').click();
await look('operations');
await page.getByRole('link', { name: 'slow.example' }).click();
for (const [verb, told] of [['Hold', 'held'], ['Release', 'released']]) {
  await page.getByRole('button', { name: verb, exact: true }).click();
  await page.getByText(new RegExp(`^${told}: \\d+ of domain slow\\.example\\.$`)).waitFor();
  if (verb === 'Hold') await page.getByRole('cell', { name: /^held since/ }).first().waitFor();
}
await look('queue');
await page.goto(`${base}/console/default/operations`);
await page.getByRole('row', { name: /slow.example/ }).first().getByRole('button', { name: 'Resume' }).click();
await page.getByText('Resumed: slow.example.').waitFor();
await page.goto(`${base}/console/default/messages/${stopped}`);
await until(() => page.locator('.state.delivered').isVisible());

// Sixty mails that want to run, to load or to break out: on their page, in the inbox, and alone.
const alone = await context.newPage();
for (const [number, html] of hostile.entries()) {
  const sent = await send({ subject: `${number} ${html.slice(0, 150)}`.replace(/[\u0000-\u001f]/g, ' '), html, text: html, tags: ['hostile'] });
  await page.goto(`${base}/console/default/messages/${sent}`);
  await page.locator('iframe.mail').waitFor();
  assert.equal(page.url(), `${base}/console/default/messages/${sent}`, html);
  await alone.goto(`${base}/console/default/messages/${sent}/html`);
  assert.equal(await alone.evaluate(() => self.origin), 'null', html);
  assert.ok(alone.url().startsWith(base), html);
  await page.goto(`${base}/console/default/inbox?open=${sent}`);
  await page.locator('.mailbox .reader').waitFor();
  assert.ok(page.url().startsWith(`${base}/console/default/inbox`), html);
}
assert.equal(hostile.length, 60);
assert.equal(context.pages().length, 2, 'nothing opened a window');
assert.equal(await alone.evaluate(() => { try { return document.cookie; } catch { return 'denied'; } }), 'denied');
await alone.close();
await menu('Messages');
await look('messages-hostile', { picture: false });

// A second factor: a code at each sign-in, each good once; recovery codes for when the telephone is gone.
const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const codeAt = (secret, seconds) => {
  const bits = [...secret].map((letter) => letters.indexOf(letter).toString(2).padStart(5, '0')).join('');
  const bytes = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(seconds / 30)));
  const mac = createHmac('sha1', bytes).update(step).digest();
  return String((mac.readUInt32BE(mac[19] & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0');
};
await page.getByRole('navigation', { name: 'Own' }).getByRole('link', { name: person.name }).click();
await look('account');
await page.getByRole('button', { name: 'Set up' }).click();
const secret = (await page.locator('#secret').textContent()).trim();
await look('second-factor', { closely: true });
await page.getByLabel('Code').fill('000000');
await page.getByRole('button', { name: 'Switch on' }).click();
await page.getByText('This is not the code of that secret.').waitFor();
assert.equal((await page.locator('#secret').textContent()).trim(), secret);
const now = Date.now() / 1000;
await page.getByLabel('Code').fill(codeAt(secret, now));
await page.getByRole('button', { name: 'Switch on' }).click();
await page.getByRole('heading', { name: 'Recovery codes' }).waitFor();
const [recovery] = (await page.locator('#codes').textContent()).trim().split('\n');
await page.getByRole('button', { name: 'Sign out' }).click();
await signIn();
await page.getByLabel('Code').waitFor();
await look('sign-in-code', { closely: true });
assert.equal((await context.request.get(`${base}/console/default/messages`, { maxRedirects: 0 })).headers().location, '/console/sign-in/code');
await page.getByLabel('Code').fill(codeAt(secret, now));
await page.getByRole('button', { name: 'Go on' }).click();
await page.getByText('This is not the code, or it was used before.').waitFor();
await page.getByLabel('Code').fill(recovery.toUpperCase());
await page.getByRole('button', { name: 'Go on' }).click();
await enter();

// People, and what they did.
await page.getByRole('link', { name: 'People' }).click();
await page.getByRole('link', { name: 'All of it' }).click();
await page.getByRole('cell', { name: 'deleted webhook' }).waitFor();
await page.locator('.crumbs').getByRole('link', { name: 'People' }).click();
await page.getByRole('button', { name: 'Make a link' }).click();
await page.getByText('Pass this link on; it works once.').waitFor();
await look('people');
await page.getByRole('button', { name: /Revoke the link until/ }).last().click();
await page.getByText('The link leads nowhere any more.').waitFor();

// Each page there is.
await page.goto(`${base}/console/default/`);
await toTab('Domains');
await page.getByLabel('Domain', { exact: true }).fill('shop.example.com');
await page.getByRole('button', { name: 'Add' }).click();
await page.getByText('Added shop.example.com.').waitFor();
await page.goto(`${base}/console/default/agents`);
const agent = /agents\/(2d6f\.[0-9a-f]{16})/.exec(await page.content())[1];
await page.goto(`${base}/console/default/agents/${agent}/webhooks`);
const webhook = /wh_[0-9a-f]+/.exec(await page.content())[0];
await page.goto(`${base}/console/default/agents/${agent}/webhooks/${webhook}/log`);
const event = /log\/(evt_[0-9a-f]+)/.exec(await page.content())[1];
const things = { agent, webhook, event, report, message: id, template: 'welcome', domain: 'shop.example.com' };
const shot = { '': 'overview', messages: 'messages', 'messages/{message}': 'message', 'agents/{agent}/webhooks/{webhook}': 'webhook' };
for (const route of JSON.parse(routes)) {
  const answer = await page.goto(`${base}/console/default/${route.replace(/\{(\w+)\}/g, (_, name) => things[name])}`);
  assert.equal(answer.status(), 200, route);
  await look(route, { picture: false, closely: true });
  if (route in shot) await lookOnATelephone(`phone-${shot[route]}`);
}
for (const path of ['sign-in', 'people', 'people/audit', 'account', '']) {
  await page.goto(`${base}/console/${path}`);
  await look(path, { picture: false, closely: true });
}
await page.goto(`${base}/console/default/nowhere`);
await look('not-found', { closely: true });

// On a telephone there is a menu, and by keyboard alone one gets to the content.
await page.setViewportSize({ width: 360, height: 740 });
await page.goto(`${base}/console/default/`);
await page.getByRole('button', { name: 'Menu' }).click();
await menu('Messages');
await page.getByRole('heading', { name: 'Messages' }).waitFor();
await page.goto(`${base}/console/default/activity`);
await page.keyboard.press('Tab');
await page.keyboard.press('Enter');
assert.ok(page.url().endsWith('#main'));

await end('day by day');
