// Keeps open pages up to date with the event stream: the list is loaded again when it has changed, and the browser goes to the sign-in
// page when the session has ended.
'use strict';

{
  const stream = document.getElementById('events');
  const goToSignIn = () => location.replace('/login?next=' + encodeURIComponent(location.pathname + location.search));

  // Signing out and deleting the account end the session, too, and their responses redirect to another page.
  let sentAt = -Infinity;
  document.addEventListener('submit', (event) => { sentAt = event.timeStamp; });

  // The extension closes the stream while the page is hidden, and connects again by itself. This script opens the first connection: a page
  // that was opened in the background waits until it is shown, and a first attempt that failed is repeated.
  let connecting = false;
  let failures = 0;

  function connect() {
    if (document.hidden || connecting) return;
    connecting = true;
    htmx.ajax('GET', stream.getAttribute('hx-sse:connect'), { source: stream, swap: 'none' });
  }

  function failed(event) {
    if (event.detail.ctx?.sourceElement !== stream) return;
    event.stopImmediatePropagation(); // no error message: the person did not send this request
    if (event.detail.ctx.hx?.redirect) return;
    setTimeout(() => { connecting = false; connect(); }, Math.min(60_000, 1000 * 2 ** failures++));
  }

  // The server ended the stream, because the user has opened too many others since. The page does not take the place of another one
  // right away: it waits for a minute, or until it is shown again.
  stream.addEventListener('replaced', () => {
    connecting = false;
    setTimeout(connect, 60_000);
  });

  stream.addEventListener('ended', (event) => setTimeout(goToSignIn, event.timeStamp - sentAt < 5000 ? 5000 : 0));
  stream.addEventListener('htmx:sse:error', (event) => { if (event.detail.status === 401) goToSignIn(); });
  document.addEventListener('htmx:error', failed, true);
  document.addEventListener('htmx:response:error', failed, true);
  document.addEventListener('visibilitychange', connect);
  connect();
}
