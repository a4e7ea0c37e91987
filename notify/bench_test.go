package notify

import (
	"runtime"
	"strconv"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/notify/notifytest"
)

// BenchmarkSignInWithDeadServer signs in from new devices, each of which causes an alert. It reports how long that takes while the mail
// server hangs, relative to the time without a sender, and by how many MB the heap has grown.
func BenchmarkSignInWithDeadServer(b *testing.B) {
	h := openHouse(b, db.Ways{Mail: true})
	devices := 0
	signIn := func() {
		devices++
		h.signIn("Browser " + strconv.Itoa(devices))
	}
	for range 200 { // more than the alerts that may wait
		signIn()
	}
	measure := func() time.Duration {
		begin := time.Now()
		for range max(b.N, 200) {
			signIn()
		}
		return time.Since(begin)
	}
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / 1e6
	}
	before := heap()
	idle := measure()
	address, connected := hang(b)
	h.run(Options{Mail: mailer(b, "smtp", "", address, nil)})
	for range sentAtOnce {
		notifytest.Next(b, connected)
	}
	dead := measure()
	b.ReportMetric(float64(dead)/float64(idle), "ratio")
	b.ReportMetric(heap()-before, "MB-more")
}
