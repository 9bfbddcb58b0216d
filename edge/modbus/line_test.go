package modbus

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLineTimes: when requests are sent, and given up, on a serial line.
func TestLineTimes(t *testing.T) {
	const timeout, gap, change, long, slow = 300 * time.Millisecond, 30 * time.Millisecond, 120 * time.Millisecond, 250 * time.Millisecond, time.Second
	silence := nine600.silence()
	config := Config{Timeout: timeout, Gap: gap, SwitchGap: change, Units: map[uint8]Unit{7: {Gap: long}, 8: {Timeout: slow}}}
	patience := func(timeout time.Duration, count uint16) time.Duration {
		return nine600.wire(rtuRequest+rtuAnswer(count)) + timeout
	}
	for _, tt := range []struct {
		name   string
		config Config
		first  uint8
		answer func(*slave, question) // of the first request
		second uint8
		ended  time.Duration // the first request, after it was sent
		wait   time.Duration // from then to the second
	}{
		{"3.5 characters at least", Config{Timeout: timeout}, 1, after(thinking), 1, thinking, silence},
		{"gap", config, 1, after(thinking), 1, thinking, gap},
		{"gap shorter than 3.5 characters", Config{Timeout: timeout, Gap: time.Millisecond}, 1, after(thinking), 1, thinking, silence},
		{"another unit", config, 1, after(thinking), 2, thinking, change},
		{"gap of a unit", config, 1, after(thinking), 7, thinking, long},
		{"gap of a unit that goes before", config, 7, after(thinking), 7, thinking, long},
		{"after a unit with a gap", config, 7, after(thinking), 1, thinking, change},
		{"silence", Config{Timeout: timeout}, 1, mute, 2, patience(timeout, 4), timeout},
		{"silence of a patient unit", config, 8, mute, 1, patience(slow, 4), slow},
		{"refused", Config{Timeout: timeout}, 1, func(s *slave, q question) { s.say(thinking, refusal(q, 2)) }, 1, thinking, silence},
		{"checksum", Config{Timeout: timeout}, 1, func(s *slave, q question) { b := words(q); b[4]++; s.say(thinking, b) }, 1, thinking, timeout},
		{"short", Config{Timeout: timeout}, 1, func(s *slave, q question) { s.say(thinking, words(q)[:9]) }, 1, patience(timeout, 4), timeout},
		{"another unit answers", Config{Timeout: timeout}, 1, func(s *slave, q question) { q.unit++; s.say(thinking, words(q)) }, 1, thinking, timeout},
		{"fewer registers", Config{Timeout: timeout}, 1, func(s *slave, q question) { q.count--; s.say(thinking, words(q)) }, 1, thinking, timeout},
		{"exception 0", Config{Timeout: timeout}, 1, func(s *slave, q question) { s.say(thinking, refusal(q, 0)) }, 1, thinking, timeout},
		{"a byte of noise behind the answer", Config{Timeout: timeout}, 1, func(s *slave, q question) { s.say(thinking, append(words(q), 0)) }, 1, thinking, silence},
		{"two answers", Config{Timeout: timeout}, 1, func(s *slave, q question) { s.say(thinking, append(words(q), words(q)...)) }, 1, thinking, timeout},
		{"two answers, one a moment later", Config{Timeout: timeout}, 1, func(s *slave, q question) {
			s.say(thinking, words(q))
			s.say(thinking+time.Millisecond, words(q))
		}, 1, thinking, time.Millisecond + timeout},
		{"noise a moment after the answer", Config{Timeout: timeout}, 1, func(s *slave, q question) {
			s.say(thinking, words(q))
			s.say(thinking+time.Millisecond, []byte{0})
		}, 1, thinking, time.Millisecond + silence},
		{"an answer in pieces", Config{Timeout: timeout}, 1, func(s *slave, q question) {
			for i, b := range words(q) {
				s.say(thinking+time.Duration(i)*time.Millisecond, []byte{b})
			}
		}, 1, thinking + 12*time.Millisecond, silence},
		{"a refusal in two pieces", Config{Timeout: timeout}, 1, func(s *slave, q question) {
			s.say(thinking, refusal(q, 11)[:2])
			s.say(2*thinking, refusal(q, 11)[2:])
		}, 1, 2 * thinking, silence},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &slave{answer: tt.answer}
				b := rtuBus(tt.config, s, schemeRTU)
				defer b.Close()
				start := time.Now()
				ask(t, b, tt.first, 100, 4)
				_, sent := s.last()
				ended := time.Since(sent)
				if sent != start || ended != tt.ended {
					t.Errorf("sent after %v, ended %v later, want at once and %v", sent.Sub(start), ended, tt.ended)
				}
				s.set(after(thinking))
				over := time.Now()
				if err := ask(t, b, tt.second, 100, 4); err != nil {
					t.Error(err)
				}
				if _, sent = s.last(); sent.Sub(over) != tt.wait {
					t.Errorf("the next was sent %v after it, want %v", sent.Sub(over), tt.wait)
				}
				if _, n := s.seen(); n != 1 {
					t.Errorf("the port was opened %d times, want once", n)
				}
			})
		})
	}
}

// TestPaced: on a real line an answer cannot come before the request was on the
// wire, 8.3 ms at 9600 baud; what does is a late one.
func TestPaced(t *testing.T) {
	for _, paced := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := &slave{paced: paced, answer: func(s *slave, q question) {
				old := q
				old.address = 5000
				s.say(5*time.Millisecond, words(old))
				s.say(20*time.Millisecond, words(q))
			}}
			b := rtuBus(Config{}, s, schemeRTU)
			defer b.Close()
			got, at, err := b.ReadTimed(t.Context(), 1, 3, 100, 4)
			want := []uint16{100, 101, 102, 103}
			if !paced {
				want = []uint16{5000, 5001, 5002, 5003} // nothing tells it from the right one
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("paced %v: %d, %v", paced, got, err)
			}
			if took := at.Answered.Sub(at.Sent); paced && took != 20*time.Millisecond {
				t.Errorf("the answer took %v", took)
			}
		})
	}
}

// TestUnasked: what lies on the line before a request is no answer to it, and
// when it may be a frame the line is left alone for a timeout.
func TestUnasked(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for n, wait := range map[int]time.Duration{1: 0, 3: 0, 4: timeout, 13: timeout, 600: timeout} {
		synctest.Test(t, func(t *testing.T) {
			s := &slave{answer: after(thinking)}
			b := rtuBus(Config{Timeout: timeout}, s, schemeRTU)
			defer b.Close()
			if err := ask(t, b, 1, 100, 4); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			said := words(question{1, 3, 5000, 4})
			for len(said) < n {
				said = append(said, said...)
			}
			s.say(0, said[:n])
			time.Sleep(50 * time.Millisecond)
			start := time.Now()
			if err := ask(t, b, 1, 100, 4); err != nil {
				t.Fatal(err)
			}
			if wait > 0 {
				wait -= 50 * time.Millisecond // it counts from when they came
			}
			if _, sent := s.last(); sent.Sub(start) != wait {
				t.Errorf("%d bytes unasked: sent after %v, want %v", n, sent.Sub(start), wait)
			}
		})
	}
}

// TestBabble: a line that is never silent costs two timeouts, and is fine again
// when it is.
func TestBabble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 300 * time.Millisecond
		s := &slave{answer: after(thinking)}
		b := rtuBus(Config{Timeout: timeout}, s, schemeRTU)
		defer b.Close()
		if err := ask(t, b, 1, 100, 4); err != nil {
			t.Fatal(err)
		}
		for i := range 2000 {
			s.say(time.Duration(i)*time.Millisecond, []byte{byte(i)})
		}
		time.Sleep(time.Millisecond)
		start := time.Now()
		err := ask(t, b, 1, 100, 4)
		if took := time.Since(start); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "never silent") || took > 2*timeout {
			t.Errorf("%v after %v", err, took)
		}
		if len(s.counts()) != 1 {
			t.Error("a request was sent into the noise")
		}
		time.Sleep(2 * time.Second)
		if err := ask(t, b, 1, 100, 4); err != nil {
			t.Error(err)
		}
	})
}

// TestEcho: an adapter that hands back what is sent is named.
func TestEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slave{answer: func(s *slave, q question) {
			s.say(time.Millisecond, append(sum([]byte{q.unit, q.function, 0, 100, 0, 4}), words(q)...))
		}}
		b := rtuBus(Config{}, s, schemeRTU)
		defer b.Close()
		if err := ask(t, b, 1, 100, 4); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "echo") {
			t.Error(err)
		}
	})
}

// TestHalfOpenLine: over TCP a request that stays without a byte costs the
// connection when its unit was heard on it, and so do three in a row of any. A
// dead unit among others costs one connection, not one each time it is asked.
func TestHalfOpenLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		live := make(map[uint8]bool)
		s := &slave{}
		alive := func(unit uint8, is bool) { // from now on
			live[unit] = is
			now := maps.Clone(live)
			s.set(func(s *slave, q question) {
				if now[q.unit] {
					s.say(thinking, words(q))
				}
			})
		}
		alive(1, true)
		alive(2, true)
		b := rtuBus(Config{Timeout: 300 * time.Millisecond}, s, schemeRTUTCP)
		defer b.Close()
		poll := func(unit uint8, dials int) {
			t.Helper()
			if err := ask(t, b, unit, 100, 4); (err == nil) != live[unit] {
				t.Errorf("unit %d: %v", unit, err)
			}
			if _, n := s.seen(); n != dials {
				t.Errorf("unit %d: %d connections, want %d", unit, n, dials)
			}
		}
		poll(1, 1)
		poll(2, 1)
		alive(1, false)
		poll(1, 1) // was heard: dropped after this
		poll(2, 2)
		for range 5 {
			poll(1, 2)
			poll(2, 2)
		}
		alive(2, false)
		poll(2, 2) // dropped
		poll(1, 3)
		poll(2, 3)
		poll(1, 3) // the third in a row: dropped
		alive(1, true)
		alive(2, true)
		poll(1, 4)
		poll(2, 4)
	})
}

// TestLineGone: a connection lost while nothing is asked costs no request; one
// lost instead of an answer does, and the line is left alone all the same.
func TestLineGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 300 * time.Millisecond
		s := &slave{answer: after(thinking)}
		b := rtuBus(Config{Timeout: timeout}, s, schemeRTUTCP)
		defer b.Close()
		for range 3 {
			if err := ask(t, b, 1, 100, 4); err != nil {
				t.Error(err)
			}
			s.hangUp()
		}
		s.set(func(s *slave, q question) { s.hangUp() })
		if err := ask(t, b, 1, 100, 4); !errors.Is(err, ErrUnreachable) {
			t.Error(err)
		}
		if len(s.counts()) != 4 {
			t.Errorf("%d requests; one that may be on the line must not be sent again", len(s.counts()))
		}
		start := time.Now()
		s.set(after(thinking))
		if err := ask(t, b, 1, 100, 4); err != nil {
			t.Error(err)
		}
		if q, at := s.last(); at.Sub(start) != timeout || q.count != 8 {
			t.Errorf("asked for %d registers after %v, want 8, unlike the four before, after %v", q.count, at.Sub(start), timeout)
		}
	})
}

// TestRest closes the connection when nobody wants it.
func TestRest(t *testing.T) {
	for _, closes := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := &slave{answer: after(thinking)}
			b := rtuBus(Config{CloseAfterPoll: closes}, s, schemeRTUTCP)
			defer b.Close()
			b.Rest() // nothing to close
			for cycle := range 3 {
				done := make(chan error)
				for unit := range uint8(2) {
					go func() { done <- ask(t, b, unit, 100, 4) }()
				}
				synctest.Wait()
				b.Rest() // in the middle: when both are done
				for range 2 {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
				synctest.Wait()
				_, n := s.seen()
				if want := map[bool]int{true: cycle + 1, false: 1}[closes]; n != want || b.link.(*rtu).up == closes {
					t.Errorf("close %v: %d connections, want %d", closes, n, want)
				}
			}
			b.Close()
			b.Rest()
		})
	}
}

// TestCancelLine: a caller that gives up leaves an answer owed.
func TestCancelLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slave{answer: mute}
		b := rtuBus(Config{}, s, schemeRTU)
		defer b.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := b.Read(ctx, 1, 3, 100, 4); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		start := time.Now()
		s.set(after(thinking))
		if err := ask(t, b, 1, 100, 4); err != nil {
			t.Error(err)
		}
		if q, at := s.last(); at.Sub(start) != defaultTimeout || q.count != 5 {
			t.Errorf("asked for %d registers after %v", q.count, at.Sub(start))
		}
	})
}

// TestGuard: a frame that writes does not pass, whoever built it.
func TestGuard(t *testing.T) {
	s := &slave{answer: after(thinking)}
	d := &device{answer: zeros}
	for name, b := range map[string]*Bus{
		"rtu":    rtuBus(Config{}, s, schemeRTU),
		"rtutcp": rtuBus(Config{}, s, schemeRTUTCP),
		"tcp":    newTCP(Config{Timeout: time.Second, ConnectTimeout: time.Second}, d.dial),
	} {
		for function := range 256 {
			adu := make([]byte, b.framing.request)
			adu[b.framing.pdu] = byte(function)
			if err := b.guard(adu); (err == nil) != (function == 3 || function == 4) {
				t.Errorf("%s function %d: %v", name, function, err)
			}
			if err := b.guard(append(adu, 0, 0)); err == nil {
				t.Errorf("%s function %d: a longer frame passes", name, function)
			}
		}
	}
}

// TestStats counts one of each.
func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 300 * time.Millisecond
		s := &slave{}
		b := rtuBus(Config{Timeout: timeout}, s, schemeRTU)
		defer b.Close()
		for _, answer := range []func(*slave, question){
			after(thinking), after(thinking), func(s *slave, q question) { s.say(thinking, refusal(q, 6)) },
			func(s *slave, q question) { s.say(thinking, []byte("what?")) }, mute, func(s *slave, q question) { s.hangUp() },
		} {
			s.set(answer)
			ask(t, b, 1, 100, 4)
		}
		got, want := b.Stats(), Stats{Requests: 6, Answers: 2, Exceptions: 1, Malformed: 1, Timeouts: 1, Unreachable: 1, Connects: 1,
			Busy: 4*thinking + nine600.wire(rtuRequest+rtuAnswer(4)) + timeout}
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}
