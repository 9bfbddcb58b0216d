package collector

import (
	"fmt"
	"sync/atomic"
	"time"
)

// stall is what others are told while figures stand still.
type stall struct{ why atomic.Pointer[error] }

// begin notes since when they do, unless that was noted before.
func (s *stall) begin(now time.Time, notify func()) {
	why := fmt.Errorf("figures stand still since %s: they cannot be settled, the collector's log says why; messages are taken meanwhile", now.UTC().Format(time.RFC3339))
	if s.why.CompareAndSwap(nil, &why) {
		notify()
	}
}

// end notes that they move again.
func (s *stall) end(notify func()) {
	if s.why.Swap(nil) != nil {
		notify()
	}
}

// lag returns how many records of the book are not settled. Size is read last:
// it only grows, so the difference is never below zero.
func (s *settle) lag() float64 {
	position := s.position()
	return float64(s.store.Size() - position)
}

// Stalled returns since when figures stand still because settling fails and is
// tried again and again, nil while it does not.
func (c *Collector) Stalled() error {
	if why := c.settle.stalled.why.Load(); why != nil {
		return *why
	}
	return nil
}
