package e2e

import (
	"context"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// This file has the authenticator of the browser tests.

// authenticator is a virtual authenticator in the browser of a tab. It verifies its user and is touched at once, unless a test says
// otherwise. A request that has begun without a touch stays without one.
type authenticator struct {
	*tab
	id webauthn.AuthenticatorID
}

func (b *tab) addAuthenticator() *authenticator {
	b.t.Helper()
	a := &authenticator{tab: b}
	b.run(webauthn.Enable(), chromedp.ActionFunc(func(ctx context.Context) (err error) {
		a.id, err = webauthn.AddVirtualAuthenticator(&webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		}).Do(ctx)
		return err
	}), chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := page.AddScriptToEvaluateOnNewDocument(`((get) => {
			CredentialsContainer.prototype.get = function (options) { window.asked = options.mediation; return get.call(this, options); };
		})(CredentialsContainer.prototype.get)`).Do(ctx)
		return err
	}))
	return a
}

func (a *authenticator) verifiesUser(verifies bool) {
	a.t.Helper()
	a.run(webauthn.SetUserVerified(a.id, verifies))
}

func (a *authenticator) isTouched(touched bool) {
	a.t.Helper()
	a.run(webauthn.SetAutomaticPresenceSimulation(a.id, touched))
}

func (a *authenticator) credentials() (all []*webauthn.Credential) {
	a.t.Helper()
	a.run(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		all, err = webauthn.GetCredentials(a.id).Do(ctx)
		return err
	}))
	return all
}

func (a *authenticator) removeCredentials() {
	a.t.Helper()
	a.run(webauthn.ClearCredentials(a.id))
}

func (a *authenticator) addCredential(credential *webauthn.Credential) {
	a.t.Helper()
	a.run(webauthn.AddCredential(a.id, credential))
}
