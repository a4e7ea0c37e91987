package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// memoryLimit is soft: near it the garbage collector runs more often. Without a limit, garbage could grow as large as the
	// memory in use before it is collected, and each sign-in creates 19 MiB of it.
	memoryLimit = 100 << 20 // bytes

	// Memory in use cannot be collected: if open connections filled the limit, the collector would run all the time.
	memoryPerConnection = 32 << 10 // bytes: about 24 KB in use, most of it buffers, and room for garbage
	limitEvery          = time.Second

	// After a burst of sign-ins or connections, little is allocated, and the collector might not run for two minutes.
	returnEvery = 2 * time.Second
	returnAbove = 16 << 20 // bytes that are free or may be garbage
)

// limitMemory sets the soft limit, unless the operator has set GOMEMLIMIT.
func limitMemory(connections int) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit + int64(connections)*memoryPerConnection)
	}
}

// returnMemory collects garbage and returns free memory to the system, unless there is little of both. It counts all that was allocated
// since the last collection as garbage; what turns out to be in use does not count the next time.
func returnMemory(context.Context) error {
	heap := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/heap/live:bytes"}, // at the end of the last collection
	}
	metrics.Read(heap)
	if heap[0].Value.Uint64()+heap[1].Value.Uint64() > heap[2].Value.Uint64()+returnAbove {
		debug.FreeOSMemory()
	}
	return nil
}
