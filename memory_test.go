package main

import (
	"net"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

// Not parallel, because the memory limit belongs to the whole process.
func TestMemoryLimit(t *testing.T) {
	const other = 1 << 40
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(other))
	for _, test := range []struct {
		variable string
		want     int64
	}{{"1TiB", other}, {"", 100 << 20}} {
		t.Setenv("GOMEMLIMIT", test.variable)
		s := start(t, t.TempDir())
		if got := debug.SetMemoryLimit(-1); got != test.want {
			t.Errorf("with GOMEMLIMIT=%s the limit is %d", test.variable, got)
		}
		s.stop()
	}

	s := start(t, t.TempDir())
	conn, err := net.Dial("tcp", s.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	eventually(t, "the limit has grown with the connection", func() bool {
		return debug.SetMemoryLimit(-1) == 100<<20+memoryPerConnection
	})
}

// A single hash leaves 19 MiB of garbage on an idle server, which must return it. Not parallel, because it measures the whole process.
func TestReturnMemory(t *testing.T) {
	const size = 19 << 20
	held := func() uint64 {
		samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		metrics.Read(samples)
		return samples[0].Value.Uint64() - samples[1].Value.Uint64()
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // otherwise the collector may return it first
	s := start(t, t.TempDir())
	defer s.stop()
	runtime.GC() // what is allocated during a collection counts as live, so no collection may be running
	garbage = make([]byte, size)
	garbage = nil
	before := held()
	eventually(t, "the memory is returned", func() bool { return held()+size/2 < before })
}

var garbage []byte
