package plant

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Lockstep is a clock that stands still while anybody works. When as many
// goroutines sleep on it as it was told of, it jumps to the next time of its
// list, and wakes those whose hour has come: a plant's month goes by as fast as
// the chain behind it follows, and no reading is missed or taken twice.
type Lockstep struct {
	times   []time.Time // ascending
	needed  int
	gate    func(context.Context) error
	done    chan struct{} // closed when the list is used up and all sleep
	lead    chan struct{} // holds a token while leading is set and nobody took it
	mu      sync.Mutex    // guards all below
	at      int           // index in times of the present time
	asleep  map[*sleeper]struct{}
	moves   uint64 // counts goings to sleep and leavings
	leading bool   // somebody is about to jump
	ended   bool   // done is closed
}

// sleeper is one call of Sleep. woken is closed after it was taken out of asleep.
type sleeper struct {
	until time.Time
	woken chan struct{}
}

// NewLockstep returns a clock that shows the first of times (at least one, in
// any order) and jumps when sleepers goroutines (at least one) sleep.
//
// gate, when not nil, is called before every jump, in the goroutine and with
// the ctx of one of the sleepers; the clock stands until it returns. Its error
// becomes that of this sleeper, and the clock does not jump.
func NewLockstep(times []time.Time, sleepers int, gate func(context.Context) error) *Lockstep {
	if len(times) == 0 || sleepers < 1 {
		panic("plant: a lockstep clock needs a time to show and a sleeper to wait for")
	}
	times = slices.Clone(times)
	slices.SortFunc(times, time.Time.Compare)
	return &Lockstep{
		times:  slices.CompactFunc(times, time.Time.Equal),
		needed: sleepers,
		gate:   gate,
		done:   make(chan struct{}),
		lead:   make(chan struct{}, 1),
		asleep: make(map[*sleeper]struct{}),
	}
}

// Now returns the time at which the clock stands.
func (l *Lockstep) Now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.times[l.at]
}

// Done is closed when the clock has shown its last time and all sleep again:
// everything there was to read has been read.
func (l *Lockstep) Done() <-chan struct{} { return l.done }

// Resume moves the clock forward to the first listed time at or after at, or to
// the last of all; never back. No gate is asked: it is for a plant that was
// started again and finds those who follow it ahead, before they sleep.
func (l *Lockstep) Resume(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to := l.at
	for to < len(l.times)-1 && l.times[to].Before(at) {
		to++
	}
	l.show(to)
}

// Sleep returns nil when the clock has come d further than now, or the error of
// ctx when that ends first, or of the gate. On a used up list only ctx ends it.
func (l *Lockstep) Sleep(ctx context.Context, d time.Duration) error {
	return l.sleepUntil(ctx, l.Now().Add(d))
}

func (l *Lockstep) sleepUntil(ctx context.Context, until time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	if !until.After(l.times[l.at]) {
		l.mu.Unlock()
		return nil
	}
	s := &sleeper{until: until, woken: make(chan struct{})}
	l.asleep[s] = struct{}{}
	l.moves++
	l.appoint()
	l.mu.Unlock()
	for {
		select {
		case <-s.woken:
			return nil
		case <-ctx.Done():
			l.withdraw(s)
			return ctx.Err()
		case <-l.lead:
			if err := l.jump(ctx); err != nil {
				l.withdraw(s)
				return fmt.Errorf("before the clock's jump: %w", err)
			}
		}
	}
}

// appoint leaves a token for one of the sleepers to jump when all sleep, or
// ends the clock when there is nowhere left to jump to. It wants mu held.
func (l *Lockstep) appoint() {
	switch {
	case len(l.asleep) < l.needed || l.leading:
	case l.at < len(l.times)-1:
		l.leading = true
		l.lead <- struct{}{} // has room: only the leader's end lets us come here again
	case !l.ended:
		l.ended = true
		close(l.done)
	}
}

// jump is what the one who took the token does: it asks the gate and moves the
// clock by one time, unless somebody woke or left meanwhile.
func (l *Lockstep) jump(ctx context.Context) error {
	l.mu.Lock()
	before, full := l.moves, len(l.asleep) >= l.needed
	l.mu.Unlock()
	var err error
	if full && l.gate != nil {
		err = l.gate(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leading = false
	if err != nil {
		return err // withdraw appoints another
	}
	// Who went to sleep while the gate was asked may have left work behind
	// that the gate did not see: then it is asked again.
	if full && l.moves == before {
		l.show(min(l.at+1, len(l.times)-1))
	}
	l.appoint()
	return nil
}

// show moves the clock to times[to] and wakes who is due. It wants mu held.
func (l *Lockstep) show(to int) {
	if to == l.at {
		return
	}
	l.at = to
	for s := range l.asleep {
		if !s.until.After(l.times[to]) {
			delete(l.asleep, s)
			l.moves++
			close(s.woken)
		}
	}
}

// withdraw takes back a sleep that ended before its hour.
func (l *Lockstep) withdraw(s *sleeper) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.asleep[s]; ok {
		delete(l.asleep, s)
		l.moves++
	}
	l.appoint()
}
