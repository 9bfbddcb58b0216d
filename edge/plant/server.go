package plant

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxConnections bounds the connections of one endpoint. Real devices take
	// fewer; a client beyond the limit is hung up on, as they do.
	maxConnections = 64
	// idleLimit ends a connection over which no request came for so long: a
	// half-open peer must not use up the places of living ones.
	idleLimit = 5 * time.Minute
	// writeLimit ends a connection whose peer does not take its answers.
	writeLimit = 10 * time.Second
)

// Server answers Modbus requests for the units behind one endpoint.
type Server struct {
	units    map[uint8]Unit
	framing  framing
	scheme   string               // of the endpoint
	listener net.Listener         // nil when it is a serial line
	master   *pty                 // of the serial line, else nil
	line     Serial               // its speed; zero when it is none
	newest   atomic.Pointer[talk] // the connection that was made last, of RTU
}

// Listen binds a TCP address such as "127.0.0.1:5020" for the units given by
// their unit ids, as Open does with tcp://. An address in use, or not of this
// machine, is an error here.
func Listen(addr string, units map[uint8]Unit) (*Server, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for Modbus TCP on %s: %w", addr, err)
	}
	return &Server{listener: ln, scheme: "tcp", units: units}, nil
}

// Addr returns the address bound, with the port the system chose for port 0, or
// the terminal of a serial line.
func (s *Server) Addr() string {
	if s.listener == nil {
		return s.master.slave
	}
	return s.listener.Addr().String()
}

// Close gives the address back. Serve does so too when it returns.
func (s *Server) Close() error {
	if s.listener == nil {
		return s.master.Close()
	}
	return s.listener.Close()
}

// Serve answers until ctx ends, which is no error, or the endpoint fails. It
// returns when all its connections are closed and their goroutines have ended.
func (s *Server) Serve(ctx context.Context) error {
	if s.listener == nil {
		return s.serveLine(ctx)
	}
	talk := func(ctx context.Context, conn net.Conn) { s.converse(ctx, conn, true) }
	if err := serveConns(ctx, s.listener, maxConnections, talk); err != nil {
		return fmt.Errorf("serve Modbus on %s: %w", s.Addr(), err)
	}
	return nil
}

// serveConns accepts connections until ctx ends and talks over each in its own
// goroutine; every connection is closed when ctx ends or talk returns. A
// connection beyond limit is closed at once. It returns after the last talk.
func serveConns(ctx context.Context, ln net.Listener, limit int, talk func(context.Context, net.Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	var talks sync.WaitGroup
	defer talks.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	defer ln.Close()
	places := make(chan struct{}, limit)
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case places <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		talks.Go(func() {
			defer func() { <-places }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			talk(ctx, conn)
		})
	}
}

// frame is one Modbus TCP ADU: the MBAP header's transaction and unit, and the
// PDU (function and data, 1 to 253 bytes).
// Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3.
type frame struct {
	transaction uint16
	unit        uint8
	pdu         []byte
}

const (
	headerLength = 7 // transaction 2, protocol 2, length 2, unit 1
	maxPDU       = 253
)

var errNotFrame = errors.New("not a Modbus TCP frame")

// readFrame reads one frame. A protocol other than 0, or a length that leaves
// no function or more than a PDU may have, is errNotFrame; the end of input
// inside a frame is io.ErrUnexpectedEOF, before one io.EOF.
func readFrame(r io.Reader) (frame, error) {
	var h [headerLength]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return frame{}, err
	}
	if protocol := binary.BigEndian.Uint16(h[2:]); protocol != 0 {
		return frame{}, fmt.Errorf("protocol %d, want 0: %w", protocol, errNotFrame)
	}
	length := int(binary.BigEndian.Uint16(h[4:])) - 1 // it counts the unit id too
	if length < 1 || length > maxPDU {
		return frame{}, fmt.Errorf("PDU of %d bytes, want 1 to %d: %w", length, maxPDU, errNotFrame)
	}
	f := frame{binary.BigEndian.Uint16(h[:]), h[6], make([]byte, length)}
	if _, err := io.ReadFull(r, f.pdu); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	return f, nil
}

func (f frame) encode() []byte {
	b := make([]byte, headerLength, headerLength+len(f.pdu))
	binary.BigEndian.PutUint16(b, f.transaction)
	binary.BigEndian.PutUint16(b[4:], uint16(len(f.pdu)+1))
	b[6] = f.unit
	return append(b, f.pdu...)
}

// answer returns the PDU that answers a request to a unit. For one that is nil it
// is what a gateway answers for a device that is silent; then function,
// length and count, and range are judged in the order of the specification's
// state diagrams.
func answer(unit Unit, req frame) []byte {
	function := req.pdu[0]
	refuse := func(exception uint8) []byte { return []byte{function | 0x80, exception} }
	if unit == nil {
		return refuse(noResponse)
	}
	if function != readHolding && function != readInput {
		return refuse(illegalFunction)
	}
	if len(req.pdu) != 5 {
		return refuse(illegalValue)
	}
	address, count := binary.BigEndian.Uint16(req.pdu[1:]), binary.BigEndian.Uint16(req.pdu[3:])
	if count < 1 || count > maxCount {
		return refuse(illegalValue)
	}
	if int(address)+int(count) > 1<<16 {
		return refuse(illegalAddress)
	}
	words, exception := unit.Read(function, address, count)
	if exception != 0 {
		return refuse(exception)
	}
	if len(words) != int(count) {
		return refuse(deviceFailure)
	}
	pdu := []byte{function, byte(2 * count)}
	for _, w := range words {
		pdu = binary.BigEndian.AppendUint16(pdu, w)
	}
	return pdu
}
