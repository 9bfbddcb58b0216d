package modbus

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestTwice: an answer said again a moment later, or said after a refusal, is
// not taken for that of the next blocks, which are of the same length.
func TestTwice(t *testing.T) {
	const think, again = 50 * time.Millisecond, 80 * time.Millisecond
	twice := func(s *slave, q question) {
		s.say(think, words(q))
		if q.address == 0 {
			s.say(again, words(q))
		}
	}
	quick := func(s *slave, q question) { // two answers before the copy
		s.say(thinking, words(q))
		if q.address == 0 {
			s.say(again, words(q))
		}
	}
	refusing := func(s *slave, q question) {
		if q.address == 0 {
			s.say(think, refusal(q, 6))
			s.say(again, words(q))
			return
		}
		s.say(think, words(q))
	}
	strict := func(s *slave, q question) { // refuses what is longer
		if q.address > 0 && q.count > 4 {
			s.say(thinking, refusal(q, 2))
			return
		}
		twice(s, q)
	}
	silentBeyond := func(s *slave, q question) { // says nothing to what is longer
		if q.count == 4 {
			twice(s, q)
		}
	}
	for _, tt := range []struct {
		name   string
		config Unit
		count  uint16
		answer func(*slave, question)
		most   uint16 // registers asked for
		lost   int
	}{
		{"twice", Unit{}, 4, twice, 8, 0},
		{"twice, later than the next answers", Unit{}, 4, quick, 8, 0},
		{"twice, exact", Unit{Exact: true}, 4, twice, 4, 0},
		{"twice, at the limit of the device", Unit{Most: 4}, 4, twice, 4, 0},
		{"twice, one below the limit", Unit{Most: 5}, 4, twice, 5, 0},
		{"twice, 125", Unit{}, 125, twice, 125, 0},
		{"twice, longer is refused", Unit{}, 4, strict, 12, 0},
		{"twice, longer is not answered", Unit{}, 4, silentBeyond, 12, 9},
		{"refused and answered", Unit{}, 4, refusing, 12, 4},
		{"refused and answered, exact", Unit{Exact: true}, 4, refusing, 4, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.config.Timeout = 300 * time.Millisecond
				s := &slave{answer: tt.answer}
				b := rtuBus(Config{Units: map[uint8]Unit{1: tt.config}}, s, schemeRTUTCP)
				defer b.Close()
				lost, last := 0, error(nil)
				for range 4 {
					for _, address := range []uint16{0, 200, 400, 600} {
						if last = ask(t, b, 1, address, tt.count); last != nil {
							lost++
						}
					}
					time.Sleep(5 * time.Second)
				}
				if lost > tt.lost || last != nil {
					t.Errorf("%d reads lost, want at most %d; the last: %v", lost, tt.lost, last)
				}
				for _, n := range s.counts() {
					if n > tt.most {
						t.Errorf("asked for %d registers of at most %d", n, tt.most)
					}
				}
			})
		})
	}
}

// TestTwiceIsPassedOver: a copy costs no request and no quiet line.
func TestTwiceIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slave{answer: func(s *slave, q question) {
			s.say(50*time.Millisecond, words(q))
			s.say(80*time.Millisecond, words(q))
		}}
		b := rtuBus(Config{}, s, schemeRTUTCP)
		defer b.Close()
		start := time.Now()
		for i := range uint16(4) {
			if err := ask(t, b, 1, 100*i, 4); err != nil {
				t.Error(err)
			}
		}
		if took, n := time.Since(start), b.Stats().Stale; took > 300*time.Millisecond || n != 3 {
			t.Errorf("took %v, %d answers were passed over", took, n)
		}
		if err := ask(t, b, 1, 100, 0); err == nil || errors.Is(err, ErrTimeout) {
			t.Error(err)
		}
	})
}

// TestTwiceLate: a copy that comes when a block of the same length is asked for
// which cannot be made longer is not taken for its answer, since the right one
// comes too; a line that says everything twice does not lose everything for that.
func TestTwiceLate(t *testing.T) {
	const think = 50 * time.Millisecond
	for _, tt := range []struct {
		name string
		copy func(s *slave, q question)
		lost int // of 40 reads
	}{
		{"a copy of each tenth", func(s *slave, q question) {
			if q.address == 0 {
				s.say(600*time.Millisecond, words(q))
			}
		}, 8},
		{"each at once again", func(s *slave, q question) { s.say(think+time.Millisecond, words(q)) }, 0},
		{"never", mute, 0},
	} {
		for name, u := range map[string]Unit{"exact": {Exact: true}, "at the limit": {Most: 4}} {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &slave{answer: func(s *slave, q question) {
						s.say(think, words(q))
						tt.copy(s, q)
					}}
					b := rtuBus(Config{Units: map[uint8]Unit{1: u}}, s, schemeRTUTCP)
					defer b.Close()
					lost := 0
					for i := range uint16(40) {
						switch err := ask(t, b, 1, 100*(i%10), 4); {
						case errors.Is(err, ErrTimeout): // it is not asked while the answer to another may come
							time.Sleep(time.Second)
							lost++
						case err != nil:
							lost++
						}
					}
					if lost > tt.lost {
						t.Errorf("%d reads lost, want at most %d", lost, tt.lost)
					}
				})
			})
		}
	}
}
