// The keyboard: `?` shows what there is. Single keys mean something outside of fields only, and never with Ctrl, Alt or
// Meta; whoever speaks to their machine, or hits keys by chance, switches them off (WCAG 2.1.4).
'use strict';

const dialog = document.getElementById('keys');
const toggle = dialog.querySelector('input');
const opener = document.querySelector('[data-keys]');
const STORED = 'postback-keys';
const GO_WITHIN = 1500;
const FIELDS = 'input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]';

// A browser may keep nothing for us; then keys are on again with the next page.
const kept = (work) => { try { return work(window.localStorage); } catch { return null; } };
toggle.checked = kept((storage) => storage.getItem(STORED)) !== 'off';
toggle.addEventListener('change', () => kept((storage) => storage.setItem(STORED, toggle.checked ? 'on' : 'off')));
opener.hidden = false;
opener.addEventListener('click', () => dialog.showModal());
dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });

// Where `g` leads: to the entries of the menu, which name their letters.
const places = new Map([...document.querySelectorAll('[data-go]')].map((link) => [link.dataset.go, link]));
const list = dialog.querySelector('[data-places]');
for (const [letter, link] of places) {
  const term = document.createElement('dt');
  for (const key of ['g', letter]) {
    const kbd = document.createElement('kbd');
    kbd.textContent = key;
    term.append(kbd, ' ');
  }
  const meaning = document.createElement('dd');
  meaning.textContent = link.dataset.name ?? link.textContent.trim();
  list.append(term, meaning);
}

// What can be opened of a list: the first link of each row that is to be seen.
const rows = () => [...document.querySelectorAll('main :is(tbody tr, .mailbox li, .cards li)')]
  .map((row) => row.querySelector('a[href]')).filter((link) => link?.checkVisibility());

function move(step) {
  const links = rows();
  const row = (link) => link?.closest('tr, li');
  const own = row(document.activeElement);
  let at = links.findIndex((link) => own && row(link) === own);
  if (at < 0) at = links.findIndex((link) => link.hasAttribute('aria-current'));
  const next = at < 0 ? links[step > 0 ? 0 : links.length - 1] : links[at + step];
  next?.focus();
  row(next)?.scrollIntoView({ block: 'nearest' });
  return Boolean(next);
}

function turn(step) {
  const tabs = [...document.querySelectorAll('nav.tabs a')];
  const at = tabs.findIndex((tab) => tab.hasAttribute('aria-current'));
  tabs[at + step]?.click();
}

const isInList = () => rows().some((link) => link === document.activeElement);
const click = (selector) => () => [...document.querySelectorAll(selector)].at(-1)?.click();
const KEYS = {
  '?': () => dialog.showModal(),
  '/': () => {
    const field = document.querySelector('main [role=search] input:not([type=hidden])');
    if (field) { field.focus(); field.select(); } else places.get('m')?.click();
  },
  j: () => move(1),
  k: () => move(-1),
  ArrowDown: () => isInList() && move(1),
  ArrowUp: () => isInList() && move(-1),
  h: () => turn(-1),
  l: () => turn(1),
  u: click('.crumbs a'),
  n: click('.pages a'),
};

let isGoing = false;
document.addEventListener('keydown', (event) => {
  const isAlone = !event.ctrlKey && !event.altKey && !event.metaKey && !event.isComposing && !event.defaultPrevented;
  // Some keyboards have `/` and `?` with Shift only.
  const isShifted = event.shiftKey && /^([a-z]$|Arrow)/.test(event.key);
  if (!isAlone || isShifted || !toggle.checked || dialog.open) return;
  const field = event.target.closest(FIELDS);
  if (field) {
    // Out of a field, so that keys mean something again.
    if (event.key === 'Escape') field.blur();
    return;
  }
  const place = isGoing && places.get(event.key);
  isGoing = false;
  if (place) place.click();
  else if (event.key === 'g') {
    isGoing = !event.repeat;
    setTimeout(() => { isGoing = false; }, GO_WITHIN);
    return;
  } else if (!KEYS[event.key] || KEYS[event.key]() === false) return;
  event.preventDefault();
});
