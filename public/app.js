// Progressive enhancement: confirms with a second press, ignores impatient presses, keeps the focus, filters the list, reports when the
// server cannot be reached, and shows times in the reader's language and time zone. Everything works without this script.
'use strict';

document.documentElement.classList.add('scripted');

// Temporary labels of buttons: button → {original, text, state}. A swap of the list can restore an original label.
const labels = new Map();
const labelOf = (button) => button.querySelector('span:not(.hidden)') ?? button;

function relabel(button, state, text) {
  restore(button);
  const label = labelOf(button);
  labels.set(button, { original: label.textContent, text, state });
  label.textContent = text;
  button.classList.add(state);
}

function restore(button) {
  if (!labels.has(button)) return;
  const { original, state } = labels.get(button);
  labels.delete(button);
  labelOf(button).textContent = original;
  button.classList.remove(state);
}

const isBusy = (button) => labels.get(button)?.state === 'busy';
const setBusy = (button) => relabel(button, 'busy', button.dataset.busy ?? 'Sending…');

// Double check: the first press of a button with data-confirm arms it, the second submits it. Escape and losing the focus disarm it.
let armed = null;
let armedAt = 0;

const confirming = (text) => { document.getElementById('confirming').textContent = text; };

function arm(button, at) {
  disarm();
  armed = button;
  armedAt = at;
  relabel(button, 'armed', 'Are you sure? Press again');
  button.focus(); // Safari does not focus a pressed button, and losing the focus is what disarms it
  confirming(button.dataset.confirm);
}

function disarm() {
  if (!armed) return;
  restore(armed);
  armed = null;
  confirming('');
}

// Without this field, the server would answer a plain form with its confirmation page.
function markConfirmed(form) {
  if (form.elements.confirm) return;
  const input = document.createElement('input');
  Object.assign(input, { type: 'hidden', name: 'confirm', value: '1' });
  form.append(input);
}

document.addEventListener('click', (event) => {
  const button = event.target.closest?.('button[data-confirm]');
  if (!button) return;
  const doubleClick = event.detail > 1 && event.timeStamp - armedAt < 500;
  if (button === armed && !doubleClick) {
    disarm();
    if (button.matches('[hx-post], [hx-delete]')) setBusy(button);
    else markConfirmed(button.form);
    return; // continue with htmx or the form
  }
  event.preventDefault();
  event.stopPropagation();
  if (button !== armed && !isBusy(button)) arm(button, event.timeStamp);
}, true);

document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') disarm();
  // A key that is held down repeats the press.
  if (event.repeat && event.target.closest?.('button[data-confirm]')) event.preventDefault();
});

document.addEventListener('focusout', (event) => {
  if (event.target === armed && !swapping) disarm();
});

// A form is sent once. Its button has the label for "busy" until the page changes.
document.addEventListener('submit', (event) => {
  const button = event.submitter ?? event.target.querySelector('button:not([type=button])');
  if (!isBusy(button)) return setBusy(button);
  event.preventDefault();
  event.stopPropagation();
}, true);

document.addEventListener('htmx:finally:request', ({ detail: { ctx } }) => {
  restore(ctx.sourceElement);
  restore(ctx.request.submitter);
});

// The list is morphed, so elements that did not change keep their focus and their text. If the focused row is gone, the next one gets the
// focus.
let swapping = null;

document.addEventListener('htmx:before:swap', () => {
  const focused = document.activeElement.closest('#sessions :focus, #invitations :focus');
  const next = [];
  for (let row = focused?.closest('.device, .rules li'); row; row = row.nextElementSibling) next.push(row);
  swapping = { focused, list: focused?.closest('section').id, next, places: rowPlaces() };
});

document.addEventListener('htmx:after:swap', () => {
  const { focused, list, next, places } = swapping;
  for (const [button, { text, state }] of labels) {
    const label = labelOf(button);
    if (!button.isConnected) {
      labels.delete(button);
    } else if (label.textContent !== text) {
      labels.delete(button);
      relabel(button, state, text);
    }
  }
  if (armed?.isConnected) confirming(armed.dataset.confirm);
  else disarm();
  localizeTimes();
  filterRows();
  if (focused && !focused.isConnected) {
    const row = next.find((row) => row.isConnected && !row.hidden);
    (row?.querySelector('h3') ?? document.querySelector(`#${list} h2[tabindex]`)).focus();
  } else if (focused && focused !== document.activeElement) {
    focused.focus({ preventScroll: true }); // a browser without moveBefore takes the focus from a row that moves
  }
  swapping = null;
  animateRows(places);
});

// Unless the reader prefers reduced motion, an added row slides in and a removed one fades out. The removed row is no longer part of the
// list by then: it lies on top of the page, and can be neither read by a screen reader nor focused.
const motion = matchMedia('(prefers-reduced-motion: no-preference)');

function rowPlaces() {
  const rows = document.querySelectorAll('#other-devices > .device:not([hidden])');
  return new Map([...rows].map((row) => [row, row.getBoundingClientRect()]));
}

function animateRows(before) {
  if (!motion.matches) return;
  for (const row of rowPlaces().keys()) {
    if (!before.has(row)) row.animate({ opacity: [0, 1], translate: ['0 -0.75rem', '0'] }, { duration: 200, easing: 'ease-out' });
  }
  for (const [row, place] of before) {
    if (row.isConnected) continue;
    row.inert = true;
    row.classList.add('removed');
    Object.assign(row.style, { left: `${place.left + scrollX}px`, top: `${place.top + scrollY}px`, width: `${place.width}px` });
    document.body.append(row);
    row.animate({ opacity: [1, 0] }, 200).onfinish = () => row.remove();
  }
}

// A field above a long list shows only the rows that contain its text.
function filterRows() {
  const wanted = document.getElementById('filter')?.value.trim().toLowerCase() ?? '';
  const rows = [...document.querySelectorAll('#other-devices > .device')];
  for (const row of rows) {
    const texts = [...row.querySelectorAll('.name, .facts, .note, .apps, dd')].map((part) => part.textContent.toLowerCase());
    row.hidden = !texts.some((text) => text.includes(wanted));
  }
  const found = document.getElementById('found');
  if (found) found.textContent = wanted && `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
}

document.addEventListener('input', (event) => { if (event.target.id === 'filter') filterRows(); });

// The server reports errors in the status region. Where it cannot, the script does.
function showError(text) {
  const line = document.createElement('p');
  line.className = 'bad';
  line.textContent = text;
  document.getElementById('status')?.replaceChildren(line);
}

document.addEventListener('htmx:before:request', ({ detail: { ctx } }) => {
  if (ctx.request.method !== 'GET') document.getElementById('status')?.replaceChildren();
});
document.addEventListener('htmx:error', () => showError("Can't reach the server. Reload to see what changed."));
document.addEventListener('htmx:response:error', ({ detail: { ctx } }) => {
  if (!ctx.hx?.redirect && !ctx.text?.includes('id="status"')) showError('Something went wrong. Please try again.');
});

// The message about a completed action is shown once, not again after a reload.
const here = new URL(location);
if (here.searchParams.has('done')) {
  here.searchParams.delete('done');
  history.replaceState(history.state, '', here);
}

// A page from the back-forward cache may be out of date, or its user may have signed out.
window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });

// If a proxy does not pass on the requested address, the server cannot know whether it was its own. The browser can.
for (const notice of document.querySelectorAll('[data-own]')) {
  notice.hidden = location.origin === new URL(notice.querySelector('a').href).origin;
}

// Browsers do not send the fragment, so add it to the address to return to.
const next = document.querySelector('input[name=next]');
if (next && !next.value.includes('#')) next.value += location.hash;

// Passwords can be shown. They are hidden again when the form is submitted.
for (const input of document.querySelectorAll('input[type=password]')) {
  const button = document.createElement('button');
  const name = document.createElement('span');
  const label = document.createElement('span');
  button.type = 'button';
  button.className = 'show';
  name.className = 'hidden';
  name.textContent = ' ' + (input.labels[0]?.textContent ?? '');
  button.append(label, name);
  const show = (shown) => {
    input.type = shown ? 'text' : 'password';
    label.textContent = shown ? 'Hide' : 'Show';
  };
  show(false);
  button.addEventListener('click', () => show(input.type === 'password'));
  input.form?.addEventListener('submit', () => show(false));
  const box = document.createElement('div');
  box.className = 'password';
  input.replaceWith(box);
  box.append(input, button);
  if (input.autofocus) input.focus();
}

// The server writes times in UTC and in English. Show them in the reader's time zone and language, and update "3 minutes ago".
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
const second = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const ago = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });
const language = exact.resolvedOptions().locale;
let serverAhead = 0; // ms; relative times are calculated with the server's clock

const dayNumber = (at) => Date.UTC(at.getFullYear(), at.getMonth(), at.getDate()) / 864e5;

function relative(at, now) {
  const minutes = Math.floor((now - at) / 60e3);
  const days = dayNumber(now) - dayNumber(at);
  if (minutes < 1) return ago.format(0, 'second');
  if (minutes < 60) return ago.format(-minutes, 'minute');
  if (days < 1) return ago.format(-Math.floor(minutes / 60), 'hour');
  if (days < 30) return ago.format(-days, 'day');
  return date.format(at);
}

function writeTime(time, text) {
  if (time.textContent === text) return;
  time.textContent = text;
  if (!language.startsWith('en')) time.lang = language;
}

function localizeTimes() {
  const now = document.querySelector('[data-now]')?.dataset.now;
  if (now) serverAhead = new Date(now) - Date.now();
  for (const time of document.querySelectorAll('time')) {
    const at = new Date(time.dateTime);
    if (time.title) time.title = exact.format(at);
    if ('date' in time.dataset) writeTime(time, date.format(at));
    if ('exact' in time.dataset) writeTime(time, exact.format(at));
    if ('second' in time.dataset) writeTime(time, second.format(at));
    if ('day' in time.dataset) writeTime(time, day.format(at));
  }
  for (const app of document.querySelectorAll('[data-used]')) app.title = exact.format(new Date(app.dataset.used));
  updateRelativeTimes();
}

// A device counts as active now for as long as in the server's list.
function updateRelativeTimes() {
  const now = new Date(Date.now() + serverAhead);
  for (const time of document.querySelectorAll('time[data-ago]')) {
    const at = new Date(time.dateTime);
    const active = time.dataset.ago === 'active' && now - at < 3 * 60e3;
    time.classList.toggle('now', active);
    if (active) time.textContent = 'Active now';
    else writeTime(time, relative(at, now));
  }
}

// The server groups activity by days in UTC. Group it by the reader's days.
function groupByDay() {
  const days = document.querySelectorAll('.day');
  let shown;
  let group;
  for (const entry of document.querySelectorAll('.day li')) {
    const at = entry.querySelector('time').dateTime;
    if (dayNumber(new Date(at)) !== shown) {
      shown = dayNumber(new Date(at));
      group = days[0].cloneNode(true);
      group.querySelector('time').dateTime = at;
      group.querySelector('ol').replaceChildren();
      days[0].before(group);
    }
    group.querySelector('ol').append(entry);
  }
  for (const day of days) day.remove();
}

groupByDay();
localizeTimes();
setInterval(updateRelativeTimes, 60e3);
document.addEventListener('visibilitychange', () => { if (!document.hidden) updateRelativeTimes(); });

// Recovery codes can be printed.
for (const button of document.querySelectorAll('[data-print]')) {
  button.hidden = false;
  button.addEventListener('click', () => print());
}

// Reloading a page that shows a secret once must not submit the form again, because that would create another secret.
const onward = document.querySelector('[data-onward]');
if (onward) history.replaceState(history.state, '', onward.href);

// Copies a secret that is shown only once.
for (const button of document.querySelectorAll('[data-copy]')) {
  if (!navigator.clipboard) continue; // needs https
  button.hidden = false;
  button.addEventListener('click', async () => {
    const secret = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(secret.value);
      button.textContent = 'Copied';
      document.getElementById('status').replaceChildren();
    } catch { // the browser or the user refused
      secret.select();
      button.textContent = 'Copy';
      showError('Copy failed. Select the text and copy it.');
    }
  });
}
