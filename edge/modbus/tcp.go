package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/goburrow/modbus"
)

const (
	tcpHeader  = 7             // transaction 2, protocol 2, length 2, unit 1
	tcpRequest = tcpHeader + 5 // function 1, address 2, count 2
	tcpMost    = 260           // header and a PDU of 253
)

// tcpFraming is that of Modbus TCP. Its transaction number goes on over
// reconnects, so that no answer to an old connection fits a new one.
func tcpFraming() framing {
	h := modbus.NewTCPClientHandler("") // only its packager is used; it never connects
	return framing{packager: h, setUnit: func(unit uint8) { h.SlaveId = unit }, pdu: tcpHeader, request: tcpRequest}
}

// tcpSize reads the MBAP header: how many bytes the frame that starts with head
// has, 0 while head is too short to tell. Bytes that can start no frame are an
// error.
// Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3.
func tcpSize(head []byte) (int, error) {
	if len(head) < tcpHeader {
		return 0, nil
	}
	if p := binary.BigEndian.Uint16(head[2:]); p != 0 {
		return 0, fmt.Errorf("%w: protocol %d in the header, Modbus is 0", ErrMalformed, p)
	}
	// The length counts the unit id too; the shortest PDU is an exception's two bytes.
	n := tcpHeader - 1 + int(binary.BigEndian.Uint16(head[4:]))
	if n < tcpHeader+2 || n > tcpMost {
		return 0, fmt.Errorf("%w: a frame of %d bytes, want %d to %d", ErrMalformed, n, tcpHeader+2, tcpMost)
	}
	return n, nil
}

// tcp is Modbus TCP. Every error closes the connection.
type tcp struct {
	link[net.Conn]
	buf [tcpMost]byte
}

func newTCP(c Config, dial dialer[net.Conn]) *Bus {
	n := new(counts)
	return newBus(c, tcpFraming(), &tcp{link: link[net.Conn]{cfg: c, dial: dial, counts: n}}, n)
}

// ask asks for what is wanted: the transaction number tells answers apart.
func (l *tcp) ask(_ context.Context, q question) (uint16, error) { return q.count, nil }

func (l *tcp) settle(_ question, err error) {
	var refused *ExceptionError
	if err != nil && !errors.As(err, &refused) {
		l.drop()
	}
}

// exchange sends a request and returns the frame that came next. Any error
// leaves the link without a connection, but for one before anything was sent.
func (l *tcp) exchange(ctx context.Context, q question, adu []byte) ([]byte, Timing, error) {
	reused := l.up
	answer, t, err := l.attempt(ctx, q.unit, adu)
	if reused && errors.Is(err, errHungUp) {
		// The peer had closed while nothing was asked; it has not seen the request.
		answer, t, err = l.attempt(ctx, q.unit, adu)
	}
	return answer, t, err
}

func (l *tcp) attempt(ctx context.Context, unit uint8, adu []byte) (answer []byte, t Timing, err error) {
	if _, err := l.connect(ctx); err != nil {
		return nil, t, err
	}
	if err := pause(ctx, time.Until(l.due(unit))); err != nil {
		return nil, t, err // nothing was sent, so the connection is as good as before
	}
	t.Sent = time.Now()
	answer, err = l.converse(ctx, t.Sent.Add(l.cfg.timeout(unit)), adu)
	l.end(unit, t.Sent)
	t.Answered = l.ended
	if err != nil {
		l.drop()
		return nil, t, err
	}
	return answer, t, nil
}

// converse writes the request and reads one frame until the deadline.
func (l *tcp) converse(ctx context.Context, deadline time.Time, adu []byte) ([]byte, error) {
	conn := l.conn
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) // wakes the read
	answer, err := l.frame(conn, adu)
	if !stop() { // ctx ended; even with an answer the deadline of this connection is spoilt
		return nil, context.Cause(ctx)
	}
	if err == nil && time.Now().After(deadline) {
		return nil, timedOut(len(answer)) // or this program was not there when it came, and nobody knows when that was
	}
	return answer, err
}

func (l *tcp) frame(conn net.Conn, adu []byte) ([]byte, error) {
	l.counts.requests.Add(1)
	if _, err := conn.Write(adu); err != nil {
		return nil, broken(err, 0)
	}
	for have := 0; ; {
		n, err := conn.Read(l.buf[have:])
		have += n
		size, bad := tcpSize(l.buf[:have])
		switch {
		case bad != nil:
			return nil, bad
		case size > 0 && have > size:
			return nil, fmt.Errorf("%w: %d bytes behind the frame of %d", ErrMalformed, have-size, size)
		case size > 0 && have == size:
			return l.buf[:size], nil
		case err != nil:
			return nil, broken(err, have)
		}
	}
}
