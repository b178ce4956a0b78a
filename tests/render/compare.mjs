// Whether pages look the same before and after: `node compare.mjs LIST.json`, where the list holds
// {"name", "before", "after"} with paths of HTML files. For each page, at 600 and 320 pixels, light and dark, one line of
// JSON: {"name", "width", "scheme", "same", "why"}. One pixel of height more at the end is the same.
//
// Speaks the DevTools protocol over a pipe to a headless Chromium, which reaches nothing: a request for a tracked pixel
// gets the pixel, every other one fails, before and after alike.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const WIDTHS = [600, 320];
const SCHEMES = ['light', 'dark'];
const HEIGHT_MAX = 12000;
const PIXEL = 'R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==';

const flags = ['--headless=new', '--remote-debugging-pipe', '--no-sandbox', '--disable-gpu', '--disable-extensions',
  '--hide-scrollbars', '--disable-background-networking', '--no-first-run', '--force-device-scale-factor=1',
  // Painted in one go by one thread: else the seams of its tiles differ by a shade from one time to the next.
  '--run-all-compositor-stages-before-draw', '--num-raster-threads=1', '--disable-partial-raster'];
const browser = spawn('chromium', flags, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
const waiting = new Map();
const heard = new Map();
let last = 0;
let rest = '';

browser.stdio[4].on('data', (piece) => {
  const texts = (rest + piece).split('\0');
  rest = texts.pop();
  for (const text of texts) {
    const message = JSON.parse(text);
    if (message.id) {
      waiting.get(message.id)(message);
      waiting.delete(message.id);
    } else {
      heard.get(message.method)?.(message);
    }
  }
});

function ask(method, params = {}, sessionId) {
  const id = ++last;
  browser.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + '\0');
  return new Promise((resolve, reject) => waiting.set(id, (message) =>
    message.error ? reject(new Error(`${method}: ${message.error.message}`)) : resolve(message.result)));
}

const { targetId } = await ask('Target.createTarget', { url: 'about:blank' });
const { sessionId } = await ask('Target.attachToTarget', { targetId, flatten: true });
const page = (method, params) => ask(method, params, sessionId);

heard.set('Fetch.requestPaused', ({ params: { requestId, request } }) => {
  if (request.url.startsWith('file:')) return page('Fetch.continueRequest', { requestId });
  if (!/^https?:\/\/[^/]+\/o\//.test(request.url)) {
    return page('Fetch.failRequest', { requestId, errorReason: 'ConnectionRefused' });
  }
  const responseHeaders = [{ name: 'Content-Type', value: 'image/gif' }];
  return page('Fetch.fulfillRequest', { requestId, responseCode: 200, responseHeaders, body: PIXEL });
});
await page('Page.enable');
await page('Fetch.enable', { patterns: [{ urlPattern: '*' }] });
await page('Emulation.setScriptExecutionDisabled', { value: true });

async function shown(file, width, scheme) {
  await page('Emulation.setDeviceMetricsOverride', { width, height: 16, deviceScaleFactor: 1, mobile: false });
  await page('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  const loaded = new Promise((resolve) => heard.set('Page.loadEventFired', resolve));
  await page('Page.navigate', { url: pathToFileURL(file).href });
  await loaded;
  const { cssContentSize: size } = await page('Page.getLayoutMetrics');
  return { width: size.width, height: Math.min(size.height, HEIGHT_MAX) };
}

async function shot(size) {
  const clip = { x: 0, y: 0, width: size.width, height: size.height, scale: 1 };
  return (await page('Page.captureScreenshot', { clip, captureBeyondViewport: true })).data;
}

async function compared({ before, after }, width, scheme) {
  const old = await shown(before, width, scheme);
  const oldShot = await shot(old);
  const fresh = await shown(after, width, scheme);
  if (fresh.width !== old.width) return `${old.width} pixels wide before, ${fresh.width} after`;
  const more = fresh.height - old.height;
  if (more < 0 || more > 1) return `${old.height} pixels high before, ${fresh.height} after`;
  return (await shot(old)) === oldShot ? '' : 'other pixels';
}

for (const entry of JSON.parse(readFileSync(process.argv[2], 'utf8'))) {
  for (const width of WIDTHS) {
    for (const scheme of SCHEMES) {
      const why = await compared(entry, width, scheme);
      console.log(JSON.stringify({ name: entry.name, width, scheme, same: why === '', why }));
    }
  }
}
await ask('Browser.close').catch(() => {});
browser.kill();
