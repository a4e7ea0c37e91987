// What a page does beyond its links and forms: asks twice, keeps the focus, tells when the server cannot be reached,
// says times in the reader's own way. Everything works without it.
'use strict';

const status = (text) => { const region = document.getElementById('status'); if (region) region.textContent = text; };
const failed = (text) => { const bad = document.createElement('span'); bad.className = 'bad'; bad.textContent = text; document.getElementById('status')?.replaceChildren(bad); };
const confirming = (text) => { const region = document.getElementById('confirming'); if (region) region.textContent = text; };

// Asking twice: the first press of a button with data-confirm arms it, the second does it. Escape and losing the
// focus disarm. The clicks of a double-click beyond the first do nothing.
let armed = null;

function arm(button) {
  disarm();
  armed = button;
  const { width, height } = button.getBoundingClientRect();
  button.style.minWidth = `${width}px`; // nothing moves, and the second press meets the button where the first did
  button.style.minHeight = `${height}px`;
  const label = button.querySelector('span');
  label.dataset.label = label.textContent;
  label.textContent = 'Are you sure?';
  button.classList.add('armed');
  button.focus(); // Safari does not by itself, and the loss of focus is what disarms
  confirming(button.dataset.confirm);
}

function disarm() {
  if (!armed) return;
  const label = armed.querySelector('span');
  label.textContent = label.dataset.label;
  armed.classList.remove('armed');
  armed.style.minWidth = armed.style.minHeight = '';
  armed = null;
  confirming('');
}

// A plain form says that the question was asked, or the server would ask it once more.
function tellConfirmed(form) {
  if (form.elements.confirm) return;
  const input = document.createElement('input');
  Object.assign(input, { type: 'hidden', name: 'confirm', value: '1' });
  form.append(input);
}

document.addEventListener('click', (event) => {
  const button = event.target.closest?.('button[data-confirm]');
  if (!button) return;
  if (button === armed && event.detail <= 1 && !button.classList.contains('htmx-request')) {
    confirming('');
    if (!button.matches('[hx-post], [hx-delete]')) tellConfirmed(button.form);
    return; // on to htmx, or to the form
  }
  event.preventDefault();
  event.stopPropagation();
  if (button !== armed && event.detail <= 1) arm(button);
}, true);

document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') disarm();
  // A key that is held down presses again and again.
  if (event.repeat && event.target.closest?.('button[data-confirm]')) event.preventDefault();
});

document.addEventListener('focusout', (event) => {
  if (event.target === armed && !armed.classList.contains('htmx-request')) disarm();
});

// When the list is swapped: the focus goes to the button before the row that went, or to the heading; details that were
// open stay open.
let place = null;

document.addEventListener('htmx:before:swap', (event) => {
  const source = event.detail.ctx.sourceElement;
  const row = source.closest?.('.device');
  place = {
    open: [...document.querySelectorAll('#sessions details[open]')].map((details) => details.id),
    before: source.matches?.('button[data-confirm]') ? row?.previousElementSibling?.id ?? 'others' : null,
    details: row?.querySelector('details')?.id,
  };
});

document.addEventListener('htmx:after:swap', () => {
  if (!place) return;
  for (const id of place.open) document.getElementById(id)?.setAttribute('open', '');
  if (!armed || !armed.isConnected) {
    armed = null;
    if (place.before) {
      const before = document.getElementById(place.before);
      (before?.querySelector('button[data-confirm]') ?? document.getElementById('others'))?.focus();
    } else if (place.details && !document.activeElement?.closest('#sessions')) {
      document.getElementById(place.details)?.querySelector('summary')?.focus();
    }
  } else {
    disarm(); // the server refused: the button stands as it was
  }
  place = null;
  sayTimes();
});

// An answer may come after another one has swapped the list. It is meant for the list that stands there now.
document.addEventListener('htmx:after:request', (event) => {
  const { ctx } = event.detail;
  if (ctx.target && !ctx.target.isConnected) ctx.target = document.getElementById('sessions');
});

// The server tells what went wrong in the status region. Where it could not, we do.
document.addEventListener('htmx:before:request', () => status(''));
document.addEventListener('htmx:error', () => { disarm(); failed("Can't reach the server. Reload to see what changed."); });
document.addEventListener('htmx:response:error', (event) => {
  const { text, hx } = event.detail.ctx;
  if (!hx?.redirect && !text?.includes('id="status"')) {
    disarm();
    failed("Something went wrong. Please try again.");
  }
});

// A page that comes back out of the browser's memory may be long out of date, or belong to somebody who signed out.
window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });

// Behind a proxy that says nothing, the server cannot tell whether it was reached at its own address. The browser can.
for (const notice of document.querySelectorAll('[data-own]')) {
  notice.hidden = location.origin === new URL(notice.querySelector('a').href).origin;
}

// What stands behind the # is never sent; the way back to a page takes it along.
const next = document.querySelector('input[name=next]');
if (next && !next.value.includes('#')) next.value += location.hash;

// Passwords can be looked at; they are hidden again before they are sent.
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

// Times: the server writes UTC; here they become the reader's own.
const exact = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
const day = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium' });

function sayTimes() {
  for (const time of document.querySelectorAll('time')) {
    const at = new Date(time.dateTime);
    if (time.title) time.title = exact.format(at);
    if ('exact' in time.dataset) time.textContent = exact.format(at);
    if ('day' in time.dataset) time.textContent = day.format(at);
  }
}
sayTimes();
