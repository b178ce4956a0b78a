// Small comforts; every page works without them.
'use strict';

// A page that came from a form is to be found again where it belongs, so that it can be loaded anew.
const here = document.getElementById('main')?.dataset.here;
if (here) history.replaceState(null, '', here);

document.addEventListener('submit', (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

// By plain HTTP from another machine browsers have no clipboard but the one of old.
async function copy(text, button) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = Object.assign(document.createElement('textarea'), { value: text });
  button.after(field);
  field.select();
  document.execCommand('copy');
  field.remove();
  button.focus();
}

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent.trim();
  await copy('origin' in button.dataset ? location.origin + text : text, button);
  const label = button.textContent;
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = label; }, 1500);
});

// Parts marked `data-live` follow what happens: the page is asked for again, and what has changed of them is exchanged.
// Not while nobody looks, or while somebody is at work in one; who stands on a link goes on standing there.
const EVERY = 4000;
const isOpen = (part) => [...part.querySelectorAll('details')].map((details) => details.open);

async function refresh() {
  const parts = [...document.querySelectorAll('[data-live]')];
  if (document.hidden || parts.length === 0) return;
  const answer = await fetch(location.href, { headers: { 'X-Live': '1' }, redirect: 'manual' });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  for (const part of parts) {
    const fresh = page.getElementById(part.id);
    const own = part.contains(document.activeElement) ? document.activeElement : null;
    if (!fresh || fresh.innerHTML === part.dataset.seen || (own && !own.matches('a[href]'))) continue;
    const wasSeen = 'seen' in part.dataset || fresh.innerHTML !== part.innerHTML;
    part.dataset.seen = fresh.innerHTML;
    if (!wasSeen) continue;
    const open = isOpen(part);
    part.innerHTML = fresh.innerHTML;
    part.querySelectorAll('details').forEach((details, place) => { details.open = open[place] || false; });
    if (own) [...part.querySelectorAll('a[href]')].find((link) => link.href === own.href)?.focus({ preventScroll: true });
  }
}

if (document.querySelector('[data-live]')) {
  setInterval(() => refresh().catch(() => {}), EVERY);
}
