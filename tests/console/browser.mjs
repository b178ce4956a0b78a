// What the stories share: a browser, what is looked at on each page, and the words that they are started with: base URL,
// path of an invitation, API key, the browser's program, and a folder for pictures of each page, if they are wanted.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

export const [base, invitation, key, executablePath, pictures] = process.argv.slice(2);
export const person = { email: 'ann@example.com', name: 'Ann Owner', password: 'correct horse battery' };

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
export const context = await browser.newContext({ viewport: { width: 1200, height: 820 }, colorScheme: 'light' });
export const page = await context.newPage();
page.setDefaultTimeout(60_000);

// Whatever is asked for elsewhere; what a policy stopped, ours or the browser's own, never left the browser.
const foreign = [];
context.on('request', (request) => {
  if (!request.url().startsWith(base) && !request.url().startsWith('data:')) foreign.push(request);
});
let alerts = 0;
context.on('dialog', (dialog) => {
  if (dialog.type() === 'confirm') dialog.accept();
  else { alerts += 1; dialog.dismiss(); }
});

// Pictures are small: WebP, made by the browser itself.
const darkroom = pictures && (await browser.newPage());
async function develop(name) {
  // In a window as high as the page, so that frames below are drawn too.
  const window = page.viewportSize();
  const whole = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ ...window, height: Math.min(Math.max(whole, window.height), 1600) });
  const png = (await page.screenshot()).toString('base64');
  await page.setViewportSize(window);
  const webp = await darkroom.evaluate(async (source) => {
    const image = new Image();
    image.src = `data:image/png;base64,${source}`;
    await image.decode();
    const canvas = Object.assign(document.createElement('canvas'), { width: image.width, height: image.height });
    canvas.getContext('2d').drawImage(image, 0, 0);
    return canvas.toDataURL('image/webp', 0.72).split(',')[1];
  }, png);
  writeFileSync(`${pictures}/${name}.webp`, Buffer.from(webp, 'base64'));
}

const faults = [];
/** What holds for each page: no serious fault for assistive programs, no more than 150 KB. With a name, its picture. */
export async function look(name, { picture = true } = {}) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa'] }));
  for (const { id, impact, nodes } of violations) {
    if (['serious', 'critical'].includes(impact)) faults.push(`${name}: ${id} at ${nodes.map((n) => n.target).join(' ')}`);
  }
  const html = await page.content();
  assert.ok(html.length < 150_000, `${name} has ${html.length} bytes`);
  if (pictures && picture) await develop(name);
}

/** The same in the dark. */
export async function lookInTheDark(name) {
  await page.emulateMedia({ colorScheme: 'dark' });
  await look(name);
  await page.emulateMedia({ colorScheme: 'light' });
}

export async function post(path, body) {
  const answer = await fetch(`${base}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`);
  return answer.json();
}

export const send = async (mail) =>
  (await post('/api/v1/emails', { from: 'Shop <me@example.com>', to: 'reader@example.org', ...mail })).id;

/** Looks at a page again until it says what is awaited. */
export async function until(what) {
  while (!(await what())) {
    await page.waitForTimeout(100);
    await page.reload();
  }
}

export async function signIn() {
  await page.goto(`${base}/console/sign-in`);
  await page.getByLabel('Mail address').fill(person.email);
  await page.getByLabel('Password').fill(person.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

export const menu = (name) => page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name, exact: true }).click();

export async function toTab(tab) {
  await menu('Mail Agents');
  await page.locator('table').getByRole('link', { name: 'default', exact: true }).click();
  if (tab !== 'Setup') await page.getByRole('navigation', { name: 'Mail agent' }).getByRole('link', { name: tab, exact: true }).click();
}

export async function end(told) {
  const left = foreign.filter((request) => !['csp', 'origin'].includes(request.failure()?.errorText));
  assert.deepEqual(left.map((request) => `${request.url()} ${request.failure()?.errorText}`), []);
  assert.equal(alerts, 0, 'nothing of a mail runs');
  assert.deepEqual(faults, []);
  await browser.close();
  console.log(told);
}
