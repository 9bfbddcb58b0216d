package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// While the collector serves, its heap grows between collections by heapGrowth, but
// by leastGrow percent at least and mostGrow at most. By one percent for all, the
// more connections there are the more memory nobody uses, and a small heap is
// collected all the time.
const (
	heapGrowth = 48 << 20 // bytes
	leastGrow  = 20
	mostGrow   = 100
	paceEvery  = 5 * time.Second
)

// pace keeps it so until ctx ends, unless the environment says otherwise.
func pace(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	held := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	for now := 100; ; {
		metrics.Read(held)
		n := uint64(1)
		for i := range held {
			n += held[i].Value.Uint64()
		}
		percent := int(min(max(heapGrowth*100/n, leastGrow), mostGrow))
		if percent < now-now/10 || percent > now+now/10 { // it stops the world for a moment
			debug.SetGCPercent(percent)
			now = percent
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
