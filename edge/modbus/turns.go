package modbus

import (
	"context"
	"net"
	"slices"
	"sync"
)

// lowAfter is how many other requests may pass a low one that waits.
const lowAfter = 8

type lowKey struct{}

// Low marks requests made with the context it returns as less urgent than others
// of their bus, such as those that ask whether a dead device is back. They wait
// while others do, but after eight that passed them one gets its turn.
func Low(ctx context.Context) context.Context { return context.WithValue(ctx, lowKey{}, true) }

func isLow(ctx context.Context) bool { return ctx.Value(lowKey{}) != nil }

// turns says whose turn it is to use a link. Of those that wait, the one comes
// next whose unit was served longest ago, and among equals who came first.
type turns struct {
	drop  func()        // closes the link; called by who has the turn
	ended chan struct{} // closed when the last turn after close is over

	mu      sync.Mutex // guards the rest
	taken   bool
	waiting []*waiter
	passed  int         // turns taken by others since a low one waits
	number  uint64      // of turns so far
	served  [256]uint64 // number of the last turn, by unit
	resting bool        // the link is to be closed when nobody wants it
	closed  bool
}

// waiter is a request in line.
type waiter struct {
	unit  uint8
	low   bool
	ready chan error // receives once: nil when its turn begins
}

func newTurns(drop func()) *turns { return &turns{drop: drop, ended: make(chan struct{})} }

// wait returns when the caller has the turn, or with an error and without it.
func (t *turns) wait(ctx context.Context, unit uint8) error {
	err := t.queue(ctx, unit)
	if err == nil && ctx.Err() != nil {
		t.leave()
		err = context.Cause(ctx)
	}
	return err
}

func (t *turns) queue(ctx context.Context, unit uint8) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return net.ErrClosed
	}
	if !t.taken { // so nobody waits
		t.give(unit)
		t.mu.Unlock()
		return nil
	}
	w := &waiter{unit, isLow(ctx), make(chan error, 1)}
	t.waiting = append(t.waiting, w)
	t.mu.Unlock()
	select {
	case err := <-w.ready:
		return err
	case <-ctx.Done():
		if t.withdraw(w) {
			return context.Cause(ctx)
		}
		return <-w.ready // its turn came at the same moment
	}
}

// give notes that unit has the turn; t.mu is held.
func (t *turns) give(unit uint8) {
	t.taken = true
	t.number++
	t.served[unit] = t.number
}

// withdraw takes w out of the line and reports whether it still stood there.
func (t *turns) withdraw(w *waiter) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting, w)
	if i < 0 {
		return false
	}
	t.waiting = slices.Delete(t.waiting, i, i+1)
	return true
}

// next gives the turn to whom it belongs, if anybody waits; t.mu is held.
func (t *turns) next() {
	if len(t.waiting) == 0 {
		t.taken, t.passed = false, 0
		return
	}
	best, anyLow := 0, false
	for i, w := range t.waiting {
		anyLow = anyLow || w.low
		if t.before(w, t.waiting[best]) {
			best = i
		}
	}
	w := t.waiting[best]
	t.waiting = slices.Delete(t.waiting, best, best+1)
	if t.passed++; w.low || !anyLow {
		t.passed = 0
	}
	t.give(w.unit)
	w.ready <- nil
}

// before reports whether a comes before b, which came earlier.
func (t *turns) before(a, b *waiter) bool {
	if a.low != b.low {
		return a.low == (t.passed >= lowAfter)
	}
	return t.served[a.unit] < t.served[b.unit]
}

// leave ends the caller's turn.
func (t *turns) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.resting && len(t.waiting) == 0 {
		t.resting = false
		t.mu.Unlock()
		t.drop()
		t.mu.Lock()
	}
	t.next()
	if t.closed {
		close(t.ended)
	}
}

// rest closes the link as soon as nobody wants it.
func (t *turns) rest() {
	t.mu.Lock()
	free := !t.taken && !t.closed
	t.taken = t.taken || free
	t.resting = true
	t.mu.Unlock()
	if free {
		t.leave()
	}
}

// close fails those that wait and returns when the turn under way is over and
// the link is closed. Nobody gets a turn after it.
func (t *turns) close() {
	t.mu.Lock()
	first := !t.closed
	free := first && !t.taken
	t.closed, t.taken = true, true
	for _, w := range t.waiting {
		w.ready <- net.ErrClosed
	}
	t.waiting = nil
	t.mu.Unlock()
	if free {
		t.leave()
	}
	<-t.ended
}
