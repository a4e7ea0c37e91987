package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// memoryLimit is soft: near it the garbage collector runs more often. Without it, garbage may grow as large as the
	// memory in use before it is collected, and each sign-in makes 19 MiB of it.
	memoryLimit = 100 << 20 // bytes

	// What is in use cannot be collected: if open connections alone filled the limit, the collector would run all the time.
	memoryPerConnection = 16 << 10 // bytes, some 10 KB in use and room for garbage
	limitEvery          = time.Second

	// After a flood of connections nothing makes garbage, so nothing would collect what they left for two minutes.
	returnEvery = 15 * time.Second
	returnAbove = 40 << 20 // bytes; a quiet server holds half of it
)

// limitMemory leaves GOMEMLIMIT alone when the operator has set it.
func limitMemory(connections int) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit + int64(connections)*memoryPerConnection)
	}
}

// returnMemory collects garbage and gives free memory back to the system, unless the process holds little anyway.
func returnMemory(context.Context) error {
	held := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(held)
	if held[0].Value.Uint64()-held[1].Value.Uint64() > returnAbove {
		debug.FreeOSMemory()
	}
	return nil
}
