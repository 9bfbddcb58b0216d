package modbus

import (
	"bytes"
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
	doubt    bool     // and an answer to another may be taken for that to it
	came     bool     // something that may have been it came, and cannot be used
	listened bool     // the line was left alone once, since before New it may have been asked something

	usual    map[uint8]time.Duration // how long units take to answer, at most; none for those not heard on this connection
	silent   int                     // requests in a row after which nothing came at all
	answered time.Time               // the last answer was whole
	buf      [rtuMost]byte
	more     [rtuMost]byte // what comes besides an answer
}

// silentMost is how many requests in a row, of units not heard on a network
// connection, may stay without a byte in return before it is given up.
const silentMost = 3

func newRTU(c Config, e endpoint, dial dialer[*ear]) *Bus {
	n, f := new(counts), rtuFraming()
	return newBus(c, f, &rtu{link: link[*ear]{cfg: c, dial: dial, counts: n}, packager: f.packager, line: e.line,
		silence: e.line.silence(), network: e.scheme == schemeRTUTCP, debts: newDebts()}, n)
}

func (l *rtu) ask(ctx context.Context, q question) (uint16, error) {
	if l.up {
		// What is owed may come while the line is left alone.
		if err := l.hush(ctx, q.unit); err != nil && !errors.Is(err, errGone) {
			return 0, err
		}
	}
	p, ok := l.debts.ask(q, l.cfg.most(q.unit), l.cfg.timeout(q.unit), time.Now())
	if !ok {
		return 0, fmt.Errorf("%w: not asked, since the answer to an earlier request may still come and would look the same", ErrTimeout)
	}
	l.wanted, l.doubt, l.came = q, p.doubt, false
	l.keepOff(p.free)
	return p.count, nil
}

// settle keeps the book of answers that may still come. A frame that is no answer
// to q leaves the line alone for a while, like one that never came.
func (l *rtu) settle(q question, err error) {
	var refused *ExceptionError
	now := time.Now()
	before := now.Add(-debtTimeouts * l.cfg.timeout(q.unit))
	switch {
	case err == nil:
		l.note(q, true)
		l.debts.answered(q, now, before)
	case errors.As(err, &refused):
		if tooLong(err) && q != l.wanted {
			l.debts.short(l.wanted, q.count)
		}
		l.debts.refused(q, refused.Code, now, before)
	default:
		l.spoilt(q)
	}
}

// note says whether q was answered when it was for more than wanted. A device
// that does not answer what is wanted either is not silent for the length.
func (l *rtu) note(q question, answered bool) {
	switch {
	case q == l.wanted:
		if !answered {
			delete(l.debts.silent, q)
		}
	case answered || len(l.debts.owed[q.unit]) == 0:
		l.debts.longer(l.wanted, q.count, answered)
	}
}

// spoilt notes that q was sent and its answer may still come.
func (l *rtu) spoilt(q question) {
	now := time.Now()
	l.note(q, false)
	l.debts.owe(q, now, l.came)
	l.keepOff(now.Add(l.cfg.timeout(q.unit)))
}

// exchange sends the request for q and returns the answer of its unit, with the
// checksum checked.
func (l *rtu) exchange(ctx context.Context, q question, adu []byte) (answer []byte, t Timing, err error) {
	t, err = l.send(ctx, q, adu)
	if err == nil {
		limit := t.Sent.Add(l.line.wire(rtuRequest+rtuAnswer(q.count)) + l.cfg.timeout(q.unit))
		answer, err = l.await(ctx, q, t.Sent, limit)
	}
	if t.Sent.IsZero() {
		return nil, t, err // nothing was sent
	}
	l.end(q.unit, t.Sent)
	t.Answered = l.ended
	if err == nil {
		l.usual[q.unit] = max(l.answered.Sub(t.Sent), l.usual[q.unit]*7/8)
		t.Answered = l.answered
		return answer, t, nil
	}
	l.spoilt(q)
	halfOpen := l.network && l.silent > 0 && (l.usual[q.unit] > 0 || l.silent >= silentMost)
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
			l.usual, l.silent = make(map[uint8]time.Duration), 0
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

// await reads until the answer to q is whole. Late answers to what was asked
// before are passed over.
func (l *rtu) await(ctx context.Context, q question, sent, limit time.Time) ([]byte, error) {
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
				l.came = true
				return nil, err
			}
			if size == 0 {
				break
			}
			used += size
			if mine {
				if l.answered = time.Now(); l.answered.After(limit) {
					l.came = true
					return nil, timedOut(have) // or this program was not there when it came, and nobody knows when that was
				}
				if l.doubt {
					if err := l.confirm(ctx, q, l.buf[:size], l.buf[size:have], earlier(limit, sent.Add(l.slowest(q.unit)))); err != nil {
						return nil, err
					}
				}
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

// frameSize returns how long the answer is that b begins with, of which at least
// three bytes are there.
func frameSize(b []byte) int {
	if b[1]&0x80 != 0 {
		return rtuRefusal
	}
	return rtuLeast + 1 + int(b[2])
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
	size = frameSize(b)
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
