package main

import (
	"context"
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

// slim keeps the process small until ctx ends.
func slim(ctx context.Context, sleep func(context.Context, time.Duration) error) {
	debug.SetGCPercent(collectAt)
	for wait := settled; sleep(ctx, wait) == nil; wait = tidied {
		debug.FreeOSMemory()
		unmapProgram()
	}
}
