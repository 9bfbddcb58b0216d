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
)

// slim makes the process small, and again once it has started.
func slim(ctx context.Context, sleep func(context.Context, time.Duration) error) {
	debug.SetGCPercent(collectAt)
	if sleep(ctx, settled) != nil {
		return
	}
	debug.FreeOSMemory()
	unmapProgram()
}
