package plant

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"sync"
	"time"
)

// port is one connection, or a serial line.
type port interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// framing is how requests and answers stand in a stream of bytes.
type framing uint8

const (
	framingTCP framing = iota // MBAP header
	framingRTU                // unit and CRC
)

// maxLate bounds the answers of one connection that are on their way at once; a
// client that asks on and on while all is late gets no more.
const maxLate = 64

// talk is the conversation over one port.
type talk struct {
	s      *Server
	port   port
	online bool // the port is a connection that can be ended, not a line
	began  time.Time

	dead  bool // a half-open fault hit it: it never answers again
	late  sync.WaitGroup
	place chan struct{} // a token for each late answer

	mu sync.Mutex // held while an answer is being written
}

// converse answers the requests of one port in order, until ctx ends, the peer
// leaves, is silent for too long or sends what is not a frame. All it started
// has ended when it returns.
func (s *Server) converse(ctx context.Context, p port, online bool) {
	t := &talk{s: s, port: p, online: online, began: time.Now(), place: make(chan struct{}, maxLate)}
	defer t.late.Wait()
	if s.framing == framingRTU {
		// Late answers of a line come to whoever is there then.
		s.newest.Store(t)
		defer p.Close()
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
	}
	next := t.requests()
	for {
		req, err := next()
		if err != nil {
			// Behind a broken frame nothing can be found again, and a peer that
			// left cannot be told: hanging up is the answer to both.
			return
		}
		if !t.reply(ctx, req) {
			return
		}
	}
}

// requests returns what reads the port's requests one by one.
func (t *talk) requests() func() (frame, error) {
	if t.s.framing == framingRTU {
		r := &rtuReader{port: t.port, gap: t.s.line.silence(), idle: idleLimit}
		if !t.online {
			r.idle = 0 // a line has no peer that could be gone
		}
		return r.read
	}
	in := bufio.NewReader(t.port)
	return func() (frame, error) {
		if err := t.port.SetReadDeadline(time.Now().Add(idleLimit)); err != nil {
			return frame{}, err
		}
		return readFrame(in)
	}
}

// reply answers one request, with the faults its unit has. It returns false when
// the connection has to end.
func (t *talk) reply(ctx context.Context, req frame) bool {
	unit, known := t.s.units[req.unit]
	if t.dead || !known && t.s.framing == framingRTU {
		return true // nobody there says so, on a line
	}
	var way *blow
	if f, ok := unit.(*Faulty); ok {
		var inside []*injected
		inside, way = f.strike()
		unit = with{f, inside}
	}
	f := frame{req.transaction, req.unit, answer(unit, req)}
	wire := t.s.line.time(len(req.pdu)+3, len(f.pdu)+3) // unit and CRC
	if way == nil {
		return pause(ctx, wire) && t.send(t.encode(f))
	}
	return t.strike(ctx, way, f, wire)
}

// strike answers with f as the fault leaves it.
func (t *talk) strike(ctx context.Context, b *blow, f frame, wire time.Duration) bool {
	switch b.Name {
	case "silence":
		return true
	case "half-open":
		t.dead = t.online && t.began.Before(b.since)
		if t.dead || !t.online {
			return true
		}
	case "drop":
		return !t.online
	case "restart":
		switch {
		case t.online && t.began.Before(b.since):
			return false
		case !t.online && b.first:
			return true
		}
	case "late":
		t.delay(ctx, b.Delay, f)
		return true
	case "slow":
		wire = max(wire, b.Delay)
	case "fewer":
		if n := len(f.pdu); f.pdu[0]&0x80 == 0 && n >= 4 {
			f.pdu = f.pdu[:n-2]
			f.pdu[1] -= 2
		}
	case "wrong-transaction":
		f.transaction++
	case "wrong-unit":
		f.unit++
	case "exception", "busy":
		f.pdu = []byte{f.pdu[0] | 0x80, b.Code}
	}
	return pause(ctx, wire) && t.sendBroken(ctx, b, f)
}

// sendBroken sends the frame with the faults that are in its bytes.
func (t *talk) sendBroken(ctx context.Context, b *blow, f frame) bool {
	adu := t.encode(f)
	switch b.Name {
	case "short":
		adu = adu[:len(adu)/2]
	case "garbage":
		adu = make([]byte, 1+b.rng.IntN(2*len(adu)))
		for i := range adu {
			adu[i] = byte(b.rng.Uint32())
		}
	case "crc":
		if t.s.framing == framingTCP {
			binary.BigEndian.PutUint16(adu[2:], 1)
		} else {
			adu[len(adu)-1] ^= 0x55
		}
	case "split":
		cut := []int{0, 1, 1 + len(adu)/2, len(adu)}
		for i := range 3 {
			if i > 0 && !pause(ctx, b.Delay) || !t.send(adu[cut[i]:cut[i+1]]) {
				return false
			}
		}
		return true
	}
	return t.send(adu)
}

// delay sends f later, whatever is said on the port meanwhile. A line, and the
// converter before it, does not know which request an answer is for: there it
// goes to the connection that is the newest then.
func (t *talk) delay(ctx context.Context, d time.Duration, f frame) {
	select {
	case t.place <- struct{}{}:
	default:
		return
	}
	t.late.Go(func() {
		defer func() { <-t.place }()
		if !pause(ctx, d) {
			return
		}
		to := t
		if t.s.framing == framingRTU {
			to = t.s.newest.Load()
		}
		to.send(t.encode(f)) // a port that cannot be written to ends its reader too
	})
}

func (t *talk) encode(f frame) []byte {
	if t.s.framing == framingRTU {
		return f.encodeRTU()
	}
	return f.encode()
}

// send writes bytes and tells whether the port took them. A serial line that
// nobody listens to fills up: what it does not take is lost, as on a wire.
func (t *talk) send(b []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	limit := writeLimit
	if !t.online {
		limit = lineLimit
	}
	if err := t.port.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return false
	}
	_, err := t.port.Write(b)
	return err == nil || !t.online
}

// pause returns true after d, false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
