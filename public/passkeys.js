// Passkeys: signing in, confirming that it is you, and adding one. The button of a page describes its ceremony: data-passkey is the path,
// and data-method the method of navigator.credentials, get or create.
'use strict';

{
  const button = document.querySelector('[data-passkey]');
  const { passkey: path, method } = button.dataset;
  const secondStep = 'secondStep' in button.dataset;

  // Messages appear below the button, so that the button does not move.
  const status = document.createElement('p');
  status.className = 'passkey-status';
  status.setAttribute('role', 'status');
  button.after(status);

  function showStatus(text, bad) {
    status.textContent = text;
    status.classList.toggle('bad', bad);
  }

  const decode = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0));
  const encode = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

  // A Refusal is an error whose message is shown to the person.
  class Refusal extends Error {}

  // The promise never resolves, so the page stays as it is until the next one has loaded.
  function navigate(address) {
    location.assign(address);
    return new Promise(() => {});
  }

  async function post(path, body, signal) {
    let response;
    try {
      response = await fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal });
    } catch {
      throw new Refusal("Can't reach the server. Try again.");
    }
    const answer = await response.json().catch(() => ({}));
    if (answer.confirm) return navigate('/confirm?next=' + encodeURIComponent(here.pathname));
    if (!response.ok) throw new Refusal(answer.error ?? 'Something went wrong. Please try again.');
    return answer;
  }

  // JSON contains bytes as base64url. Safari can convert them by itself only since 18.4 (parseCreationOptionsFromJSON).
  async function requestChallenge(signal) {
    const { publicKey } = await post(path + '/begin', { secondStep }, signal);
    tabs.postMessage('begun');
    publicKey.challenge = decode(publicKey.challenge);
    if (publicKey.user) publicKey.user.id = decode(publicKey.user.id);
    for (const list of [publicKey.excludeCredentials, publicKey.allowCredentials]) {
      for (const credential of list ?? []) credential.id = decode(credential.id);
    }
    return publicKey;
  }

  function toJSON({ id, rawId, type, response }) {
    const signed = { transports: response.getTransports?.() };
    for (const name of ['clientDataJSON', 'attestationObject', 'authenticatorData', 'signature', 'userHandle']) {
      if (response[name]) signed[name] = encode(response[name]);
    }
    return { id, rawId: encode(rawId), type, response: signed };
  }

  // After a passkey, the form of the confirm page is accepted without the password.
  function submitConfirmForm() {
    button.form.reset();
    button.form.submit();
  }

  async function finish(credential) {
    const fields = button.form?.elements;
    const answer = await post(path, {
      credential: toJSON(credential), shared: fields?.shared?.checked, next: fields?.next?.value,
    });
    if (answer.location) return navigate(answer.location);
    if (!answer.html) return submitConfirmForm();
    document.getElementById('main').innerHTML = answer.html;
    const heading = document.querySelector('h1');
    document.title = heading.textContent + ' – Porchlight';
    heading.focus();
  }

  // For any other reason, browsers do not reveal whether the person cancelled, had no passkey, or was too slow.
  const reasons = {
    InvalidStateError: 'This device already has a passkey for your account.',
    SecurityError: "Passkeys can't be used at this address.",
  };

  function report(error) {
    if (error instanceof Refusal) showStatus(error.message, true);
    else if (error.name in reasons) showStatus(reasons[error.name], true);
    else showStatus('No passkey was used.', false);
  }

  button.addEventListener('click', async () => {
    if (isBusy(button)) return;
    setBusy(button);
    showStatus('', false);
    autofill?.abort();
    try {
      const publicKey = await requestChallenge();
      await finish(await navigator.credentials[method]({ publicKey }));
    } catch (error) {
      restore(button);
      report(error);
      offerAutofill();
    }
  });

  // The sign-in page offers passkeys in the username field, too. A challenge is valid for five minutes, and until another tab asks for one.
  // So the tab that has the focus renews it.
  const renewAfter = 4 * 60e3;
  let canAutofill = false;
  let autofill = null;
  let askedAt = 0;

  const tabs = new BroadcastChannel('passkeys');
  tabs.onmessage = () => { askedAt = 0; };

  async function offerAutofill() {
    if (!canAutofill || isBusy(button)) return;
    autofill?.abort();
    autofill = new AbortController();
    askedAt = Date.now();
    const { signal } = autofill;
    let credential;
    try {
      const publicKey = await requestChallenge(signal);
      credential = await navigator.credentials.get({ publicKey, signal, mediation: 'conditional' });
      signal.throwIfAborted(); // the button was pressed in the meantime
    } catch {
      return; // no message: the person has not pressed anything
    }
    setBusy(button);
    finish(credential).catch((error) => {
      restore(button);
      report(error);
    });
  }

  function renewAutofill() {
    if (document.hasFocus() && Date.now() - askedAt > renewAfter) offerAutofill();
  }

  if (!window.PublicKeyCredential) {
    const unsupported = document.querySelector('[data-unsupported]');
    if (unsupported) unsupported.hidden = false;
  } else {
    button.hidden = false;
    const available = document.querySelector('[autocomplete~=webauthn]') && PublicKeyCredential.isConditionalMediationAvailable?.();
    Promise.resolve(available).then((available) => {
      canAutofill = available;
      renewAutofill();
    });
    setInterval(renewAutofill, 30e3);
    window.addEventListener('focus', renewAutofill);
  }
}
