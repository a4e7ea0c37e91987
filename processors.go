package main

import (
	"os"
	"runtime"
)

// extraProcessors is how many goroutines may run at once beyond the processors of the machine. Go's scheduler does not know
// what is urgent. Hashing passwords fills two processors, and a goroutine that returns from a system call, as each step of
// a write does, waits up to 10 ms for one of them. With spare ones, the system's scheduler decides, and it runs first what
// has waited. On two processors, a revocation under 600 connections of wrong sign-ins took 55 ms without and
// 15 ms with them.
const extraProcessors = 4

var processors = runtime.GOMAXPROCS(0)

// addProcessors leaves GOMAXPROCS alone when the operator has set it.
func addProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(processors + extraProcessors)
	}
}
