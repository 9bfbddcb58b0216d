package edge

import (
	"math/rand/v2"
	"time"
)

const (
	backoffStep = 2 * time.Second
	backoffMost = 5 * time.Minute
)

// backoff is for how long something that gave no answer is left alone: 2 s after
// the first failure, 2 s longer after each further one, at most 5 minutes, less
// up to an eighth by chance, so that the devices of a line that was off do not
// all come due at once.
type backoff struct {
	failures int // in a row
	until    time.Time
}

// fail notes a failure that ended now.
func (b *backoff) fail(now time.Time) {
	b.failures++
	wait := min(time.Duration(b.failures)*backoffStep, backoffMost)
	b.until = now.Add(wait - rand.N(wait/8))
}

// waiting tells whether the next attempt is not due yet.
func (b *backoff) waiting(now time.Time) bool { return b.failures > 0 && now.Before(b.until) }
