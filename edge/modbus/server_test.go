package modbus_test

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"kenshin/edge/modbus"
)

// request is what a client asked.
type request struct {
	adu            []byte
	connection, nr int // counted from 1: of the server, and of the request on all of them
}

func (r request) unit() uint8     { return r.adu[6] }
func (r request) function() uint8 { return r.adu[7] }
func (r request) address() uint16 { return binary.BigEndian.Uint16(r.adu[8:]) }
func (r request) count() uint16   { return binary.BigEndian.Uint16(r.adu[10:]) }

// answer is the right one: register n holds n.
func (r request) answer() []byte {
	pdu := []byte{r.function(), byte(2 * r.count())}
	for i := range r.count() {
		pdu = binary.BigEndian.AppendUint16(pdu, r.address()+i)
	}
	return r.frame(pdu)
}

func (r request) exception(code byte) []byte { return r.frame([]byte{r.function() | 0x80, code}) }

func (r request) frame(pdu []byte) []byte {
	b := append([]byte{}, r.adu[:7]...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(pdu)+1))
	return append(b, pdu...)
}

// server is a device on a loopback port that does to each request what the
// script says. It hangs up when the script returns false.
type server struct {
	addr   string
	script func(conn net.Conn, r request) bool

	mu          sync.Mutex
	listener    net.Listener
	conns       []net.Conn
	requests    []request
	connections int
	wg          sync.WaitGroup
}

func serve(t testing.TB, script func(conn net.Conn, r request) bool) *server {
	s := &server{addr: "127.0.0.1:0", script: script}
	s.start(t)
	t.Cleanup(s.stop)
	return s
}

// right answers every request rightly.
func right(conn net.Conn, r request) bool {
	_, err := conn.Write(r.answer())
	return err == nil
}

func (s *server) start(t testing.TB) {
	t.Helper()
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.listener, s.addr = ln, ln.Addr().String()
	s.mu.Unlock()
	s.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.connections++
			number := s.connections
			s.mu.Unlock()
			s.wg.Go(func() { s.converse(conn, number) })
		}
	})
}

func (s *server) converse(conn net.Conn, number int) {
	defer conn.Close()
	for {
		adu := make([]byte, 12)
		if _, err := io.ReadFull(conn, adu); err != nil {
			return
		}
		s.mu.Lock()
		r := request{adu, number, len(s.requests) + 1}
		s.requests = append(s.requests, r)
		s.mu.Unlock()
		if !s.script(conn, r) {
			return
		}
	}
}

// stop ends the server as a power cut does: everything is closed at once.
func (s *server) stop() {
	s.mu.Lock()
	s.listener.Close()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *server) seen() (requests []request, connections int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests), s.connections
}

// dial returns a bus to the server, closed when the test ends.
func dial(t testing.TB, s *server, timeout time.Duration) *modbus.Bus {
	t.Helper()
	b, err := modbus.New(modbus.Config{Endpoint: "tcp://" + s.addr, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// hurry is dial for tests of answers that never come, which unit hasty is asked for.
func hurry(t testing.TB, s *server) *modbus.Bus {
	t.Helper()
	b, err := modbus.New(modbus.Config{Endpoint: "tcp://" + s.addr, Timeout: long, Units: map[uint8]modbus.Unit{hasty: {Timeout: short}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// holds fails unless words are those of registers that hold their own number.
func holds(t *testing.T, words []uint16, address, count uint16) {
	t.Helper()
	want := make([]uint16, count)
	for i := range want {
		want[i] = address + uint16(i)
	}
	if !slices.Equal(words, want) {
		t.Errorf("registers %d+%d: %d, want %d", address, count, words, want)
	}
}
