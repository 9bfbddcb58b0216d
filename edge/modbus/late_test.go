package modbus

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestVeryLate: an answer that comes more than two timeouts late finds the next
// request for another block of the same length. One register more was asked, so
// it is passed over and the right one waited for.
func TestVeryLate(t *testing.T) {
	const timeout = 300 * time.Millisecond
	fall := nine600.wire(rtuRequest+rtuAnswer(4)) + timeout // when the first is given up
	for _, tt := range []struct {
		name   string
		second func(s *slave, q question) // what the device does with the longer request
		asked  []uint16                   // counts, of all requests
		err    error                      // of the second read
	}{
		{"only the right one; the late one may still come", after(5 * time.Millisecond), []uint16{4, 5, 6}, nil},
		{"the late one, then the right one", func(s *slave, q question) {
			s.say(5*time.Millisecond, words(question{1, 3, 100, 4}))
			s.say(15*time.Millisecond, words(q))
		}, []uint16{4, 5, 4}, nil},
		{"both at once", func(s *slave, q question) {
			s.say(5*time.Millisecond, append(words(question{1, 3, 100, 4}), words(q)...))
		}, []uint16{4, 5, 4}, nil},
		{"a late refusal, then the right one", func(s *slave, q question) {
			s.say(5*time.Millisecond, refusal(q, 11))
			s.say(15*time.Millisecond, words(q))
		}, []uint16{4, 5, 6}, &ExceptionError{Function: 3, Code: 11}},
		{"the late one alone", func(s *slave, q question) {
			s.say(5*time.Millisecond, words(question{1, 3, 100, 4}))
		}, []uint16{4, 5, 4}, ErrTimeout},
		{"the late one, damaged", func(s *slave, q question) {
			b := words(question{1, 3, 100, 4})
			b[5]++
			s.say(5*time.Millisecond, b)
		}, []uint16{4, 5, 6}, ErrMalformed},
		{"the device refuses the longer one", func(s *slave, q question) {
			if q.count == 5 {
				s.say(5*time.Millisecond, refusal(q, 2))
				return
			}
			after(thinking)(s, q)
		}, []uint16{4, 5, 6}, ErrTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &slave{answer: mute}
				b := rtuBus(Config{Timeout: timeout}, s, schemeRTU)
				defer b.Close()
				start := time.Now()
				if err := ask(t, b, 1, 100, 4); !errors.Is(err, ErrTimeout) || time.Since(start) != fall {
					t.Fatalf("%v after %v", err, time.Since(start))
				}
				s.set(tt.second)
				if err := ask(t, b, 1, 500, 4); !errors.Is(err, tt.err) && fmt.Sprint(errors.Unwrap(err)) != fmt.Sprint(tt.err) {
					t.Errorf("%v, want %v", err, tt.err)
				}
				s.set(after(thinking))
				if err := ask(t, b, 1, 100, 4); err != nil {
					t.Error(err)
				}
				counts := s.counts()
				time.Sleep(debtTimeouts * timeout)
				for range 2 {
					if err := ask(t, b, 1, 100, 4); err != nil {
						t.Error(err)
					}
				}
				if err := ask(t, b, 1, 100, 4); err != nil || len(b.link.(*rtu).debts.owed[1]) != 0 {
					t.Errorf("%v; ten timeouts later %v is still reckoned with", err, b.link.(*rtu).debts.owed[1])
				}
				if !slices.Equal(counts, tt.asked) {
					t.Errorf("asked for %d registers, want %d", counts, tt.asked)
				}
			})
		})
	}
}

// TestLongest: how many registers a device gives from the first of a block on is
// learnt, and only for that block. What could not be told from an answer that is
// owed is not asked for until ten timeouts are over.
func TestLongest(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for _, tt := range []struct {
		last  uint16  // register there is below 500
		reads []error // of 4 registers, from 100, 500 and 100 on
		asked []uint16
	}{
		{103, []error{ErrTimeout, nil, ErrTimeout}, []uint16{4, 5, 6, 4, 4}},
		{104, []error{nil, nil, nil}, []uint16{4, 5, 6, 7, 5, 5, 4}},
		{110, []error{nil, nil, nil}, []uint16{4, 5, 6, 7, 5, 4}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &slave{answer: mute}
			b := rtuBus(Config{Timeout: timeout}, s, schemeRTU)
			defer b.Close()
			if err := ask(t, b, 1, 100, 4); !errors.Is(err, ErrTimeout) {
				t.Fatal(err)
			}
			s.set(func(s *slave, q question) {
				if q.address < 500 && q.address+q.count > tt.last+1 {
					s.say(thinking, refusal(q, 2))
					return
				}
				s.say(thinking, words(q))
			})
			for i, address := range []uint16{100, 500, 100} {
				if err := ask(t, b, 1, address, 4); !errors.Is(err, tt.reads[i]) {
					t.Errorf("up to %d: read %d: %v, want %v", tt.last, i, err, tt.reads[i])
				}
			}
			time.Sleep(debtTimeouts * timeout)
			for range 2 {
				if err := ask(t, b, 1, 100, 4); err != nil {
					t.Error(err)
				}
			}
			if counts := s.counts(); !slices.Equal(counts, tt.asked) {
				t.Errorf("up to %d: asked for %d registers, want %d", tt.last, counts, tt.asked)
			}
			// What refuses the right length too is refused to the caller.
			time.Sleep(timeout)
			s.set(func(s *slave, q question) { s.say(thinking, refusal(q, 2)) })
			var refused *ExceptionError
			if err := ask(t, b, 1, 700, 4); !errors.As(err, &refused) || refused.Code != 2 {
				t.Error(err)
			}
		})
	}
}

// TestBusy: a device that is busy says so as often as it is asked, though nothing
// longer may be asked of it.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slave{answer: func(s *slave, q question) { s.say(thinking, refusal(q, 6)) }}
		b := rtuBus(Config{Units: map[uint8]Unit{1: {Exact: true}}}, s, schemeRTU)
		defer b.Close()
		for range 8 {
			var refused *ExceptionError
			if err := ask(t, b, 1, 100, 4); !errors.As(err, &refused) || refused.Code != 6 {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
	})
}

// TestExactUnit: a unit marked so, from the start or later, is never asked for
// more than is wanted.
func TestExactUnit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slave{answer: mute}
		b := rtuBus(Config{Units: map[uint8]Unit{1: {Exact: true}}}, s, schemeRTU)
		defer b.Close()
		if err := b.Adapt(t.Context(), 2, Unit{Exact: true}); err != nil {
			t.Fatal(err)
		}
		for unit := range uint8(3) {
			ask(t, b, unit, 100, 4)
			ask(t, b, unit, 100, 4)
		}
		if counts, want := s.counts(), []uint16{4, 5, 4, 4}; !slices.Equal(counts, want) {
			t.Errorf("asked for %d registers, want %d: nothing of the last two that would look the same", counts, want)
		}
	})
}

// TestLateNeighbour: the late answer of one unit in the time of another costs
// the other nothing.
func TestLateNeighbour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 300 * time.Millisecond
		s := &slave{answer: mute}
		b := rtuBus(Config{Timeout: timeout}, s, schemeRTU)
		defer b.Close()
		if err := ask(t, b, 1, 100, 4); !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
		s.set(func(s *slave, q question) {
			s.say(5*time.Millisecond, words(question{1, 3, 100, 4}))
			s.say(15*time.Millisecond, words(q))
		})
		if err := ask(t, b, 2, 500, 4); err != nil {
			t.Error(err)
		}
		s.set(after(thinking))
		if err := ask(t, b, 1, 100, 4); err != nil {
			t.Error(err)
		}
		if q, _ := s.last(); q.count != 4 || b.Stats().Stale != 1 {
			t.Errorf("asked for %d registers, %d late answers; the debt was paid", q.count, b.Stats().Stale)
		}
	})
}

// TestAskedBefore: the answer to what a program asked that was killed is not that
// to the first request of the next one, which asks for another block of its length.
func TestAskedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout, patient = 300 * time.Millisecond, 500 * time.Millisecond
		s := &slave{answer: after(thinking)}
		b := rtuBus(Config{Timeout: timeout, Units: map[uint8]Unit{7: {Timeout: patient}}}, s, schemeRTU)
		defer b.Close()
		b.link.(*rtu).listened = false
		// It comes while the first answer would be waited for.
		go func() { time.Sleep(thinking / 2); s.say(0, words(question{1, 3, 500, 4})) }()
		start := time.Now()
		for range 2 {
			if err := ask(t, b, 1, 100, 4); err != nil {
				t.Error(err)
			}
		}
		if at := s.at[0].Sub(start); at != patient {
			t.Errorf("the first request was sent after %v, want %v", at, patient)
		}
		if took := time.Since(start); took > patient+timeout {
			t.Errorf("two reads took %v; only the first waits", took)
		}
	})
}
