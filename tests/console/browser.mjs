// What the stories share: a browser, what is looked at on each page, and the words that they are started with: base URL,
// path of an invitation, API key, the browser's program, the pages that there are under a tenant's path, and a folder for
// pictures of each page, if they are wanted.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

export const [base, invitation, key, executablePath, routes, pictures] = process.argv.slice(2);
export const person = { email: 'ann@example.com', name: 'Ann Owner', password: 'correct horse battery' };

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
// A name that leads here and yet is no name of this machine, as far as a browser can tell.
export const away = base.replace('127.0.0.1', 'console.example');
const args = ['--no-sandbox', '--host-resolver-rules=MAP console.example 127.0.0.1'];
export const browser = await chromium.launch({ executablePath, args });
export const context = await browser.newContext({ viewport: { width: 1200, height: 820 }, colorScheme: 'light' });
export const page = await context.newPage();
page.setDefaultTimeout(60_000);

// Whatever is asked for elsewhere; what a policy stopped, ours or the browser's own, never left the browser.
const foreign = [];
context.on('request', (request) => {
  if (![base, away, 'data:'].some((own) => request.url().startsWith(own))) foreign.push(request);
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
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
const PHONE = { width: 360, height: 740 };

/** No fault for assistive programs that is more than a matter of taste. */
async function examine(name) {
  const { violations } = await page.evaluate((rules) => window.axe.run(document, { runOnly: rules }), RULES);
  for (const { id, impact, nodes } of violations) {
    if (['serious', 'critical'].includes(impact)) faults.push(`${name}: ${id} at ${nodes.map((n) => n.target).join(' ')}`);
  }
}

/** Nothing is beyond the edge. */
async function fits(name) {
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${name} is ${overflow} px too wide`);
}

/**
 * What holds for each page: no serious fault for assistive programs, and no more than 150 KB; closely, in the dark and on a
 * telephone, too. With its picture.
 */
export async function look(name, { picture = true, closely = false } = {}) {
  const html = await page.content();
  assert.ok(html.length < 150_000, `${name} has ${html.length} bytes`);
  await page.evaluate(axe);
  await examine(name);
  await fits(name);
  if (closely) {
    await page.emulateMedia({ colorScheme: 'dark' });
    await examine(`${name} in the dark`);
    await page.emulateMedia({ colorScheme: 'light' });
    const window = page.viewportSize();
    await page.setViewportSize(PHONE);
    await examine(`${name} on a telephone`);
    await fits(`${name} on a telephone`);
    await page.setViewportSize(window);
  }
  if (pictures && picture) await develop(name);
}

/** A picture of it on a telephone. */
export async function lookOnATelephone(name) {
  const window = page.viewportSize();
  await page.setViewportSize(PHONE);
  if (pictures) await develop(name);
  await page.setViewportSize(window);
}

/** A picture of it in the dark. */
export async function lookInTheDark(name) {
  await page.emulateMedia({ colorScheme: 'dark' });
  if (pictures) await develop(name);
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

export async function signIn(at = base) {
  await page.goto(`${at}/console/sign-in`);
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
