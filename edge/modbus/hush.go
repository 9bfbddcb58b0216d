package modbus

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// hush waits until a request to unit may be sent: the pauses are over and the
// line is silent. What comes meanwhile answers an earlier request, or none, and
// is thrown away; when it is as long as a frame and comes out of turn, there may
// be more, and the line is left alone as after an error.
func (l *rtu) hush(ctx context.Context, unit uint8) error {
	began := time.Now()
	limit := later(began, l.due(unit)).Add(2 * l.cfg.timeout(unit))
	var late []byte
	for {
		for k, _ := l.conn.take(l.more[:]); k > 0; k, _ = l.conn.take(l.more[:]) {
			late = l.pay(append(late, l.more[:k]...))
		}
		n, at, gone := l.conn.clear()
		if gone != nil {
			return fmt.Errorf("%w: %w", errGone, gone)
		}
		if n >= rtuLeast && at.After(l.hold) {
			l.keepOff(at.Add(l.cfg.timeout(unit)))
		}
		free := later(l.due(unit), later(at, l.ended).Add(l.silence))
		if free.After(limit) {
			return fmt.Errorf("%w: the line is never silent; look for a second master, a missing termination or a wrong speed", ErrMalformed)
		}
		wait := time.Until(free)
		if wait <= 0 {
			return nil
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pay strikes the answers off the book that stand in b, and returns what of b
// may be the beginning of another.
func (l *rtu) pay(b []byte) []byte {
	for len(b) >= 3 {
		size := frameSize(b)
		count, late := l.debts.late(b[0], b[1], int(b[2]))
		if late && len(b) < size {
			break
		}
		if late {
			_, err := l.packager.Decode(b[:size])
			late = err == nil
		}
		if !late {
			b = b[1:]
			continue
		}
		l.counts.stale.Add(1)
		l.debts.paid(b[0], b[1], count)
		b = b[size:]
	}
	return b
}

// slowest returns how long a unit may be taken to need for an answer. One that was
// not heard yet may need all the time there is.
func (l *rtu) slowest(unit uint8) time.Duration {
	if usual := l.usual[unit]; usual > 0 {
		return 2*usual + slowestMore
	}
	return time.Hour
}

// slowestMore is how much later an answer may come than twice the time a unit
// usually takes.
const slowestMore = 100 * time.Millisecond

// confirm listens until limit, when an answer to another request may have been
// taken for that to q: then the right one comes behind it, and nobody can tell
// which is which. A copy of the answer does no harm, nor does one that is owed to
// a request of another shape. What came with the answer is rest.
func (l *rtu) confirm(ctx context.Context, q question, answer, rest []byte, limit time.Time) error {
	have := copy(l.more[:], rest)
	over := time.NewTimer(time.Until(limit))
	defer over.Stop()
	for ended := false; ; {
		n, gone := l.conn.take(l.more[have:])
		have += n
		for size := 1; size > 0; {
			var mine bool
			var err error
			size, mine, err = l.judge(q, l.more[:have])
			if err != nil || mine && size > 0 && !bytes.Equal(l.more[:size], answer) {
				l.came = true
				return errTwo
			}
			have = copy(l.more[:], l.more[size:have])
		}
		switch {
		case gone != nil:
			return broken(gone, have)
		case ended && have >= rtuLeast:
			return errTwo
		case ended:
			return nil
		}
		select {
		case <-l.conn.more:
		case <-over.C:
			ended = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

var errTwo = fmt.Errorf("%w: two answers came, and which is the right one cannot be told", ErrMalformed)

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
