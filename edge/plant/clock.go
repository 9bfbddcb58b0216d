package plant

import (
	"context"
	"math"
	"time"
)

// Scaled is a clock that runs a fixed number of times as fast as the world's.
type Scaled struct {
	origin time.Time // of the world
	start  time.Time // of the plant, at origin
	speed  float64
}

// NewScaled returns a clock that shows start now and gains speed seconds in
// every second. A start that carries Go's monotonic reading passes it on to
// every Now. A speed that is not above zero would stop or turn back time, which
// no counter survives: it panics.
func NewScaled(start time.Time, speed float64) *Scaled {
	if !(speed > 0) || math.IsInf(speed, 0) {
		panic("plant: the speed of a clock must be above zero")
	}
	return &Scaled{origin: time.Now(), start: start, speed: speed}
}

// Now returns the plant's time.
func (s *Scaled) Now() time.Time {
	return s.start.Add(time.Duration(float64(time.Since(s.origin)) * s.speed))
}

// Sleep returns nil once d has gone by on this clock, or the error of ctx when
// that ends first.
func (s *Scaled) Sleep(ctx context.Context, d time.Duration) error {
	until := s.Now().Add(d)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		left := until.Sub(s.Now())
		if left <= 0 {
			return nil
		}
		// Rounded up, and looked at again: Now must have reached the hour when
		// Sleep returns, or a poller would take one reading twice.
		t := time.NewTimer(time.Duration(math.Ceil(float64(left) / s.speed)))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}
