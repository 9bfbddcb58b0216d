package plant

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
)

// exception is what the test client returns for an exception response.
type exception uint8

func (e exception) Error() string { return fmt.Sprintf("exception %#x", uint8(e)) }

// ask sends one PDU over a connection and returns the PDU of the answer.
func ask(t *testing.T, conn net.Conn, transaction uint16, unit uint8, pdu ...byte) []byte {
	t.Helper()
	if _, err := conn.Write(frame{transaction, unit, pdu}.encode()); err != nil {
		t.Fatal(err)
	}
	got, err := readFrame(conn)
	if err != nil {
		t.Fatalf("answer to % x: %v", pdu, err)
	}
	if got.transaction != transaction || got.unit != unit {
		t.Fatalf("answer is of transaction %d unit %d, want %d and %d", got.transaction, got.unit, transaction, unit)
	}
	return got.pdu
}

// fetch reads registers over a connection.
func fetch(t *testing.T, conn net.Conn, unit, function uint8, address, count uint16) ([]uint16, error) {
	t.Helper()
	pdu := ask(t, conn, address^count, unit, request(function, address, count)...)
	if pdu[0] == function|0x80 && len(pdu) == 2 {
		return nil, exception(pdu[1])
	}
	if pdu[0] != function || len(pdu) != 2+2*int(count) || int(pdu[1]) != 2*int(count) {
		t.Fatalf("unit %d function %d registers %d+%d: answer % x", unit, function, address, count, pdu)
	}
	words := make([]uint16, count)
	for i := range words {
		words[i] = binary.BigEndian.Uint16(pdu[2+2*i:])
	}
	return words, nil
}

func request(function uint8, address, count uint16) []byte {
	b := binary.BigEndian.AppendUint16([]byte{function}, address)
	return binary.BigEndian.AppendUint16(b, count)
}

// serve runs a server for the test and returns its address. When the test ends
// the server must end too, and without an error.
func serve(t *testing.T, units map[uint8]Unit) string {
	t.Helper()
	s, err := Listen("127.0.0.1:0", units)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v after its ctx ended, want nil", err)
		}
	})
	return s.Addr()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// registers is a unit with holding registers 10 to 19 that hold their address,
// and with input registers it fails to answer with as many words as asked for.
type registers struct{}

func (registers) Read(function uint8, address, count uint16) ([]uint16, uint8) {
	if function == readInput {
		return []uint16{1}, 0
	}
	image := make([]uint16, 10)
	for i := range image {
		image[i] = uint16(10 + i)
	}
	return cut(image, 10, address, count)
}

// silent is a unit that has nothing to say.
type silent struct{}

func (silent) Read(uint8, uint16, uint16) ([]uint16, uint8) { return nil, noResponse }

func TestServerAnswers(t *testing.T) {
	conn := dial(t, serve(t, map[uint8]Unit{1: registers{}, 2: silent{}}))
	for _, tt := range []struct {
		name string
		unit uint8
		pdu  []byte
		want []byte
	}{
		{"two registers", 1, request(3, 10, 2), []byte{3, 4, 0, 10, 0, 11}},
		{"last register", 1, request(3, 19, 1), []byte{3, 2, 0, 19}},
		{"before the first", 1, request(3, 9, 1), []byte{0x83, 2}},
		{"over the end", 1, request(3, 19, 2), []byte{0x83, 2}},
		{"over the address space", 1, request(3, 65535, 2), []byte{0x83, 2}},
		{"no registers", 1, request(3, 10, 0), []byte{0x83, 3}},
		{"too many", 1, request(3, 10, 126), []byte{0x83, 3}},
		{"short request", 1, []byte{3, 0, 10}, []byte{0x83, 3}},
		{"long request", 1, []byte{3, 0, 10, 0, 1, 9}, []byte{0x83, 3}},
		{"coils", 1, request(1, 10, 1), []byte{0x81, 1}},
		{"write", 1, []byte{6, 0, 10, 0, 1}, []byte{0x86, 1}},
		{"device identification", 1, []byte{43, 14, 1, 0}, []byte{43 | 0x80, 1}},
		{"device breaks down", 1, request(4, 0, 2), []byte{0x84, 4}},
		{"nothing to say", 2, request(3, 10, 1), []byte{0x83, 0x0B}},
		{"nobody there", 3, request(3, 10, 1), []byte{0x83, 0x0B}},
	} {
		if got := ask(t, conn, 7, tt.unit, tt.pdu...); !bytes.Equal(got, tt.want) {
			t.Errorf("%s: % x answered with % x, want % x", tt.name, tt.pdu, got, tt.want)
		}
	}
}

func TestServerTalksOverSeveralConnections(t *testing.T) {
	addr := serve(t, map[uint8]Unit{1: registers{}})
	a, b := dial(t, addr), dial(t, addr)
	half := frame{9, 1, request(3, 10, 1)}.encode()
	if _, err := a.Write(half[:5]); err != nil { // a peer that stops in mid-frame
		t.Fatal(err)
	}
	if got := ask(t, b, 1, 1, request(3, 11, 1)...); !bytes.Equal(got, []byte{3, 2, 0, 11}) {
		t.Errorf("beside a half frame: % x", got)
	}
	if _, err := a.Write(half[5:]); err != nil {
		t.Fatal(err)
	}
	if got, err := readFrame(a); err != nil || !bytes.Equal(got.pdu, []byte{3, 2, 0, 10}) {
		t.Errorf("frame in two parts: % x, %v", got.pdu, err)
	}
}

func TestServerHangsUp(t *testing.T) {
	addr := serve(t, map[uint8]Unit{1: registers{}})
	for name, bytes := range map[string][]byte{
		"protocol":    {0, 1, 0, 1, 0, 6, 1, 3, 0, 10, 0, 1},
		"no function": {0, 1, 0, 0, 0, 1, 1},
		"length 0":    {0, 1, 0, 0, 0, 0, 1},
		"length 255":  {0, 1, 0, 0, 0, 255, 1},
	} {
		conn := dial(t, addr)
		if _, err := conn.Write(bytes); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("%s: % x was answered", name, bytes)
		}
	}
}

func TestServerHasPlacesAgain(t *testing.T) {
	addr := serve(t, map[uint8]Unit{1: registers{}})
	conns := make([]net.Conn, maxConnections)
	for i := range conns {
		conns[i] = dial(t, addr)
		ask(t, conns[i], 1, 1, request(3, 10, 1)...) // so that it has its place
	}
	if _, err := dial(t, addr).Read(make([]byte, 1)); err == nil {
		t.Error("a connection beyond the limit was not closed")
	}
	if got := ask(t, conns[0], 2, 1, request(3, 10, 1)...); len(got) != 4 {
		t.Errorf("the connections before it: % x", got)
	}
	conns[0].Close()
	for { // until the server has seen the end of the first
		conn := dial(t, addr)
		conn.Write(frame{1, 1, request(3, 10, 1)}.encode()) // fails when hung up on
		if _, err := readFrame(conn); err == nil {
			return
		}
	}
}

func TestListenAddressInUse(t *testing.T) {
	s, err := Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := Listen(s.Addr(), nil); err == nil {
		t.Errorf("a second Listen on %s succeeded", s.Addr())
	}
}

func TestServeReportsFailure(t *testing.T) {
	s, err := Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := s.Serve(context.Background()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve on a closed listener = %v, want net.ErrClosed", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(frame{1, 1, request(3, 10, 2)}.encode())
	f.Add([]byte{0, 1, 0, 1, 0, 6, 1, 3, 0, 10, 0, 1})
	f.Add([]byte{0, 1, 0, 0, 0, 255, 1})
	f.Add(append(frame{1, 1, []byte{43, 14}}.encode(), 0, 2, 0, 0))
	units := map[uint8]Unit{1: registers{}, 2: &genericMeter{read: func() load { return load{} }}}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		for {
			start := len(b) - in.Len()
			req, err := readFrame(in)
			if err != nil {
				if start == len(b) && err != io.EOF {
					t.Errorf("end of input is %v, want io.EOF", err)
				}
				return
			}
			if again := req.encode(); !bytes.Equal(again, b[start:len(b)-in.Len()]) {
				t.Errorf("% x became % x", b[start:len(b)-in.Len()], again)
			}
			pdu := answer(units[req.unit], req)
			refused := len(pdu) == 2 && pdu[0] == req.pdu[0]|0x80 && pdu[1] != 0
			answered := len(pdu) >= 4 && pdu[0] == req.pdu[0] && int(pdu[1]) == len(pdu)-2
			if !refused && !answered {
				t.Errorf("% x answered with % x", req.pdu, pdu)
			}
		}
	})
}
