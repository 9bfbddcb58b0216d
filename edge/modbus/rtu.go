package modbus

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goburrow/modbus"
)

const (
	rtuRequest = 8   // unit 1, function 1, address 2, count 2, CRC 2
	rtuLeast   = 4   // unit 1, function 1, CRC 2
	rtuMost    = 256 // unit 1, a PDU of 253, CRC 2
	rtuRefusal = 5   // unit 1, function 1, code 1, CRC 2
)

// rtuAnswer returns the length of an answer with count registers.
func rtuAnswer(count uint16) int { return 5 + 2*int(count) }

// rtuFraming is that of RTU, on a serial line and over TCP.
func rtuFraming() framing {
	h := modbus.NewRTUClientHandler("") // only its packager is used; it never opens a port
	return framing{packager: h, setUnit: func(unit uint8) { h.SlaveId = unit }, pdu: 1, request: rtuRequest}
}

// rtu is RTU on a serial line, or over TCP to a serial converter. An error leaves
// the connection as it is, and the line alone for a timeout; only a connection
// that is gone, or that may be half open, is dropped.
type rtu struct {
	link[*ear]
	packager modbus.Packager
	line     serialLine
	silence  time.Duration // between two frames
	network  bool          // TCP: the peer may be gone without a sign
	debts    debts
	wanted   question // what the request under way is to give
	listened bool     // the line was left alone once, since before New it may have been asked something

	heard  map[uint8]bool // units that answered on this connection
	silent int            // requests in a row after which nothing came at all
	buf    [rtuMost]byte
}

// silentMost is how many requests in a row, of units not heard on a network
// connection, may stay without a byte in return before it is given up.
const silentMost = 3

func newRTU(c Config, e endpoint, dial dialer[*ear]) *Bus {
	n, f := new(counts), rtuFraming()
	return newBus(c, f, &rtu{link: link[*ear]{cfg: c, dial: dial, counts: n}, packager: f.packager, line: e.line,
		silence: e.line.silence(), network: e.scheme == schemeRTUTCP, debts: newDebts()}, n)
}

func (l *rtu) ask(q question) uint16 {
	u := l.cfg.Units[q.unit]
	most := cmp.Or(u.Most, maxCount)
	if u.Exact {
		most = 0
	}
	count, free := l.debts.ask(q, most, l.cfg.timeout(q.unit), time.Now())
	l.wanted = q
	l.keepOff(free)
	return count
}

// settle keeps the book of answers that may still come. A frame that is no answer
// to q leaves the line alone for a while, like one that never came.
func (l *rtu) settle(q question, err error) {
	var refused *ExceptionError
	now := time.Now()
	switch {
	case err == nil:
		l.note(q, true)
		l.debts.answered(q, now, now.Add(-debtTimeouts*l.cfg.timeout(q.unit)))
	case errors.As(err, &refused):
		if tooLong(err) && q != l.wanted {
			l.debts.beyond[l.wanted] = true
		}
		l.note(q, false)
		l.debts.refused(q, refused.Code, now)
	default:
		l.spoilt(q)
	}
}

// note says what became of q when it was for more than wanted.
func (l *rtu) note(q question, answered bool) {
	if q != l.wanted && (answered || len(l.debts.owed[q.unit]) == 0) {
		l.debts.longer(l.wanted, answered)
	}
}

// spoilt notes that q was sent and its answer may still come.
func (l *rtu) spoilt(q question) {
	now := time.Now()
	l.note(q, false)
	l.debts.owe(q, now)
	l.keepOff(now.Add(l.cfg.timeout(q.unit)))
}

// exchange sends the request for q and returns the answer of its unit, with the
// checksum checked.
func (l *rtu) exchange(ctx context.Context, q question, adu []byte) (answer []byte, t Timing, err error) {
	t, err = l.send(ctx, q, adu)
	if err == nil {
		limit := t.Sent.Add(l.line.wire(rtuRequest+rtuAnswer(q.count)) + l.cfg.timeout(q.unit))
		answer, err = l.await(ctx, q, limit)
	}
	if t.Sent.IsZero() {
		return nil, t, err // nothing was sent
	}
	l.end(q.unit, t.Sent)
	t.Answered = l.ended
	if err == nil {
		l.heard[q.unit] = true
		return answer, t, nil
	}
	l.spoilt(q)
	halfOpen := l.network && l.silent > 0 && (l.heard[q.unit] || l.silent >= silentMost)
	if halfOpen || errors.Is(err, ErrUnreachable) {
		l.drop()
	}
	return nil, t, err
}

// send waits until a request may be sent, and sends it. A connection used before
// that turns out to be gone before a byte was sent is made anew, once. The time
// is set when anything was sent.
func (l *rtu) send(ctx context.Context, q question, adu []byte) (t Timing, err error) {
	for {
		made, err := l.connect(ctx)
		if err != nil {
			return t, err
		}
		if made {
			l.heard, l.silent = make(map[uint8]bool), 0
			if !l.listened {
				l.listened = true
				l.keepOff(time.Now().Add(l.cfg.patience()))
			}
		}
		n, err := l.write(ctx, q, adu, &t)
		if errors.Is(err, errGone) && n == 0 {
			l.drop()
			if !made {
				continue
			}
		}
		return t, err
	}
}

// errGone says that a connection is gone which nothing was asked of.
var errGone = fmt.Errorf("%w: the connection is gone", ErrUnreachable)

// write sends a request when the line is free and returns how many of its bytes
// are under way.
func (l *rtu) write(ctx context.Context, q question, adu []byte, t *Timing) (int, error) {
	if err := l.hush(ctx, q.unit); err != nil {
		return 0, err
	}
	now := time.Now()
	from := now
	if l.conn.paced {
		from = now.Add(l.line.wire(rtuRequest) * 9 / 10) // the clocks of a line differ by a few per cent
	}
	n, err := l.conn.send(adu, from, now.Add(l.cfg.timeout(q.unit)))
	if n == 0 && err != nil {
		return 0, fmt.Errorf("%w: %w", errGone, err)
	}
	t.Sent = now
	l.counts.requests.Add(1)
	if err != nil {
		err = fmt.Errorf("%w: %d of %d bytes were sent: %w", ErrUnreachable, n, len(adu), err)
	}
	return n, err
}

// hush waits until a request to unit may be sent: the pauses are over and the
// line is silent. What comes meanwhile answers an earlier request, or none, and
// is thrown away; when it is as long as a frame and comes out of turn, there may
// be more, and the line is left alone as after an error.
func (l *rtu) hush(ctx context.Context, unit uint8) error {
	began := time.Now()
	limit := later(began, l.due(unit)).Add(2 * l.cfg.timeout(unit))
	for {
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

// await reads until the answer to q is whole. Late answers to what was asked
// before are passed over.
func (l *rtu) await(ctx context.Context, q question, limit time.Time) ([]byte, error) {
	over := time.NewTimer(time.Until(limit))
	defer over.Stop()
	l.silent++
	for have, used := 0, 0; ; {
		n, gone := l.conn.take(l.buf[have:])
		have += n
		if n > 0 {
			l.silent = 0
		}
		for {
			size, mine, err := l.judge(q, l.buf[:have])
			if err != nil {
				return nil, err
			}
			if size == 0 {
				break
			}
			used += size
			if mine {
				if came, at, _ := l.conn.clear(); came-used >= rtuLeast { // more than this frame, out of turn
					l.keepOff(at.Add(l.cfg.timeout(q.unit)))
				}
				return l.buf[:size], nil
			}
			have = copy(l.buf[:], l.buf[size:have])
		}
		if gone != nil {
			return nil, broken(gone, have)
		}
		select {
		case <-l.conn.more:
		case <-over.C:
			return nil, timedOut(have)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// judge says how long the frame is that b begins with, 0 while it is not whole,
// and whether it is of the unit, function and length that q waits for. A whole
// frame that is not is one that was owed, or came before. What can be none of
// these is an error.
func (l *rtu) judge(q question, b []byte) (size int, mine bool, err error) {
	if len(b) < 3 {
		return 0, false, nil
	}
	unit, function, n := b[0], b[1], int(b[2])
	refusal := function&0x80 != 0
	size = rtuRefusal
	if !refusal {
		size = rtuLeast + 1 + n
	}
	mine = unit == q.unit && (function == q.function|0x80 || function == q.function && n == 2*int(q.count))
	owed, late := uint16(0), false
	if !mine {
		owed, late = l.debts.late(unit, function, n)
	}
	if !mine && !late {
		return 0, false, stranger(q, b)
	}
	if len(b) < size {
		return 0, false, nil
	}
	if _, err := l.packager.Decode(b[:size]); err != nil {
		return 0, false, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if late {
		l.counts.stale.Add(1)
		l.debts.paid(unit, function, owed)
	}
	return size, mine, nil
}

// stranger says what is wrong with the beginning of a frame.
func stranger(q question, b []byte) error {
	request := []byte{q.unit, q.function, byte(q.address >> 8), byte(q.address), byte(q.count >> 8), byte(q.count)}
	switch {
	case len(b) >= len(request) && bytes.Equal(b[:len(request)], request):
		return fmt.Errorf("%w: the request itself came back; switch off the echo of the serial adapter", ErrMalformed)
	case b[0] != q.unit:
		return fmt.Errorf("%w: a frame of unit %d", ErrMalformed, b[0])
	case b[1] != q.function:
		return fmt.Errorf("%w: a frame of function %d", ErrMalformed, b[1])
	}
	return fmt.Errorf("%w: %d bytes of registers instead of %d", ErrMalformed, b[2], 2*int(q.count))
}
