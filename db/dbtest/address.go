package dbtest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// FreeAddress returns an address of this machine, "127.0.0.1:12345", on which nothing listens.
//
// The port is outside of the range from which Linux takes ports for outgoing connections (32768 to 60999). From inside that range, a
// browser's or a proxy's connection could take it before the caller listens there. It does not begin with a port of the samples either,
// such as 3000, because tests replace those.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		listener, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 10000+rand.IntN(20000)))
		if err == nil {
			listener.Close()
			return listener.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}
