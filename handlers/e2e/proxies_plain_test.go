package e2e

import (
	"net"
	"net/url"
	"testing"

	"porchlight/db"
	"porchlight/db/dbtest"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file starts servers without TLS, for tests with a browser. Every browser finds their names on its own machine.

// openPlainSite is Porchlight at auth.porch.localhost, with the apps notes and photos, behind Caddy or nginx.
func openPlainSite(t testing.TB, proxyName string, changeStore func(*db.Options)) *site {
	t.Helper()
	proxy{name: proxyName, mustBe: true}.skipIfMissing(t)
	listener := dbtest.FreeAddress(t)
	_, port, _ := net.SplitHostPort(listener)
	s := newSite(t, changeStore, func(o *handlers.Options) {
		handlerstest.GuardsExample(o)
		o.URL = &url.URL{Scheme: "http", Host: "auth.porch.localhost:" + port}
		o.CookieDomain = "porch.localhost"
	})
	s.address, s.serverName = listener, "$server_name:"+port
	if proxyName == "nginx" {
		s.proxy = s.runNginx(t, "listen 443 ssl", "listen "+listener, "example.com;", "porch.localhost;",
			"    ssl_certificate     /etc/ssl/example.com.pem;\n    ssl_certificate_key /etc/ssl/example.com.key;\n", "")
	} else {
		s.proxy = s.runCaddy(t, "",
			"auth.example.com {", "http://auth.porch.localhost:"+port+" {",
			"notes.example.com {", "http://notes.porch.localhost:"+port+" {",
			"photos.example.com {", "http://photos.porch.localhost:"+port+" {")
	}
	s.proxy.await(t, func() error {
		conn, err := net.Dial("tcp", listener)
		if err == nil {
			conn.Close()
		}
		return err
	})
	s.URL = "http://auth.porch.localhost:" + port // the address of its pages
	return s
}
