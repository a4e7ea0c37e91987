// Progressive enhancement: confirms with a second press, keeps the focus, reports when the server cannot be reached, and shows times in
// the reader's time zone. Everything works without this script.
'use strict';

const status = (text) => { const region = document.getElementById('status'); if (region) region.textContent = text; };
const failed = (text) => {
  const bad = document.createElement('span');
  bad.className = 'bad';
  bad.textContent = text;
  document.getElementById('status')?.replaceChildren(bad);
};
const confirming = (text) => { const region = document.getElementById('confirming'); if (region) region.textContent = text; };

// Double check: the first press of a button with data-confirm arms it, the second submits it. Escape and losing the focus disarm it.
// The second click of a double-click does nothing.
let armed = null;

function arm(button) {
  disarm();
  armed = button;
  const { width, height } = button.getBoundingClientRect();
  button.style.minWidth = `${width}px`; // keep the button in place for the second press
  button.style.minHeight = `${height}px`;
  const label = button.querySelector('span');
  label.dataset.label = label.textContent;
  label.textContent = 'Are you sure?';
  button.classList.add('armed');
  button.focus(); // Safari does not focus a pressed button, and losing the focus is what disarms it
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
  if (button === armed && event.detail <= 1 && !button.classList.contains('htmx-request')) {
    confirming('');
    if (!button.matches('[hx-post], [hx-delete]')) markConfirmed(button.form);
    return; // continue with htmx or the form
  }
  event.preventDefault();
  event.stopPropagation();
  if (button !== armed && event.detail <= 1) arm(button);
}, true);

document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') disarm();
  // A key that is held down repeats the press.
  if (event.repeat && event.target.closest?.('button[data-confirm]')) event.preventDefault();
});

document.addEventListener('focusout', (event) => {
  if (event.target === armed && !armed.classList.contains('htmx-request')) disarm();
});

// After a swap of the list, focus the button before the removed row, or the heading, and open the details that were open.
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
    disarm(); // the server refused, and the button is still there
  }
  place = null;
  localizeTimes();
});

// Another response may have replaced the list in the meantime. Swap the current list instead.
document.addEventListener('htmx:after:request', (event) => {
  const { ctx } = event.detail;
  if (ctx.target && !ctx.target.isConnected) ctx.target = document.getElementById('sessions');
});

// The server reports errors in the status region. If it could not, the script does.
document.addEventListener('htmx:before:request', () => status(''));
document.addEventListener('htmx:error', () => { disarm(); failed("Can't reach the server. Reload to see what changed."); });
document.addEventListener('htmx:response:error', (event) => {
  const { text, hx } = event.detail.ctx;
  if (!hx?.redirect && !text?.includes('id="status"')) {
    disarm();
    failed("Something went wrong. Please try again.");
  }
});

// A page from the back-forward cache may be out of date, or its user may have signed out.
window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });

// If a proxy does not say which address was requested, the server cannot know whether it was its own. The browser can.
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

// The server writes times in UTC. Show them in the reader's time zone.
const exact = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
const day = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium' });

function localizeTimes() {
  for (const time of document.querySelectorAll('time')) {
    const at = new Date(time.dateTime);
    if (time.title) time.title = exact.format(at);
    if ('exact' in time.dataset) time.textContent = exact.format(at);
    if ('day' in time.dataset) time.textContent = day.format(at);
  }
}
localizeTimes();
