package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

// An agent lives for years on little: what starting it took is given back once it
// runs.
const (
	collectAt = 25 // percent the heap grows between collections; it is small, so they are cheap
	settled   = 20 * time.Second
	tidied    = 5 * time.Minute // a status that was asked for and a reload leave something too
)

// modest takes one processor, and little memory, unless the environment says
// otherwise. All the work of an agent is to wait for devices, disk and broker: on
// one processor nothing goes to sleep and wakes others to look for work, which
// was a seventh of the time it took. A call that blocks gives the processor up.
func modest(getenv func(string) string) {
	if getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	if getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
}

// slim keeps the process small until ctx ends.
func slim(ctx context.Context, sleep func(context.Context, time.Duration) error) {
	modest(os.Getenv)
	for wait := settled; sleep(ctx, wait) == nil; wait = tidied {
		debug.FreeOSMemory()
		unmapProgram()
	}
}
