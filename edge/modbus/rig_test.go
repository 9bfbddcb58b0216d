package modbus_test

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kenshin/edge/modbus"
)

// transports are the three ways to a device, with the settings of their links.
var transports = []string{"tcp", "rtutcp", "rtu"}

// rig is an endpoint of one of the transports with scripted devices behind it.
type rig struct {
	transport string
	timeout   time.Duration // of the bus, for faults that are late by parts of it
	link      string        // rtu: the path that points to the pseudo terminal of the moment

	mu     sync.Mutex
	script func(*call)
	ln     net.Listener
	port   *pty
	conn   io.ReadWriteCloser // the newest connection
	number int                // of it, from 1
	nr     int                // of requests so far
	adus   [][]byte           // of all requests, as they came
	addr   string
	late   time.Duration // by how much at most something was said later than it should
	wg     sync.WaitGroup
}

// call is a request that reached the devices.
type call struct {
	rig            *rig
	conn           io.Writer
	connection, nr int // counted from 1
	unit, function uint8
	address, count uint16
	transaction    uint16 // TCP
}

// newRig starts one that does to each request what script says.
func newRig(t testing.TB, transport string, script func(*call)) *rig {
	t.Helper()
	r := &rig{transport: transport, script: script, addr: "127.0.0.1:0", link: filepath.Join(t.TempDir(), "tty")}
	r.start(t)
	t.Cleanup(r.stop)
	return r
}

// bus returns one to the rig, closed when the test ends. c need not name the
// endpoint.
func (r *rig) bus(t testing.TB, c modbus.Config) *modbus.Bus {
	t.Helper()
	c.Endpoint = r.transport + "://" + r.addr
	if r.transport == "rtu" {
		c.Endpoint = "rtu://" + r.link + "?baud=115200"
	}
	b, err := modbus.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func (r *rig) start(t testing.TB) {
	t.Helper()
	if r.transport == "rtu" {
		p := openPTY(t)
		os.Remove(r.link)
		if err := os.Symlink(p.path, r.link); err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		r.port = p
		r.mu.Unlock()
		r.accept(p.far)
		return
	}
	ln, err := net.Listen("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.ln, r.addr = ln, ln.Addr().String()
	r.mu.Unlock()
	r.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			r.accept(conn)
		}
	})
}

func (r *rig) accept(conn io.ReadWriteCloser) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.number++
	r.conn = conn
	number := r.number
	r.wg.Go(func() { r.serve(conn, number) })
}

// serve reads requests until the connection ends.
func (r *rig) serve(conn io.ReadWriteCloser, number int) {
	defer conn.Close()
	size := 8
	if r.transport == "tcp" {
		size = 12
	}
	for {
		adu := make([]byte, size)
		if _, err := io.ReadFull(conn, adu); err != nil {
			return
		}
		c := &call{rig: r, conn: conn, connection: number}
		pdu := adu[1:6]
		c.unit = adu[0]
		if r.transport == "tcp" {
			pdu, c.unit, c.transaction = adu[7:], adu[6], binary.BigEndian.Uint16(adu)
		}
		c.function, c.address, c.count = pdu[0], binary.BigEndian.Uint16(pdu[1:]), binary.BigEndian.Uint16(pdu[3:])
		r.mu.Lock()
		r.nr++
		c.nr = r.nr
		r.adus = append(r.adus, adu)
		script := r.script
		r.mu.Unlock()
		script(c)
	}
}

// stop ends everything as a power cut does, or the pull of a plug.
func (r *rig) stop() {
	r.mu.Lock()
	if r.ln != nil {
		r.ln.Close()
	}
	if r.port != nil {
		r.port.unplug()
	}
	if r.conn != nil {
		r.conn.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// requests returns how many there were, and connections.
func (r *rig) seen() (requests, connections int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nr, r.number
}

// value is what register n of a unit holds, but for the first of a block.
func value(unit uint8, n uint16) uint16 { return uint16(unit)<<12 | n&0xFFF }

// answer is the right one. The first register holds the number of the request,
// so that an answer to an earlier one is known even by the same block.
func (c *call) answer() []byte {
	pdu := []byte{c.function, byte(2 * c.count)}
	for i := range c.count {
		v := value(c.unit, c.address+i)
		if i == 0 {
			v = uint16(c.nr)
		}
		pdu = binary.BigEndian.AppendUint16(pdu, v)
	}
	return c.frame(c.unit, pdu)
}

func (c *call) exception(code byte) []byte { return c.frame(c.unit, []byte{c.function | 0x80, code}) }

// frame puts a PDU into a frame of the transport.
func (c *call) frame(unit uint8, pdu []byte) []byte {
	if c.rig.transport == "tcp" {
		b := binary.BigEndian.AppendUint16(nil, c.transaction)
		b = binary.BigEndian.AppendUint16(append(b, 0, 0), uint16(len(pdu)+1))
		return append(append(b, unit), pdu...)
	}
	return crc(append([]byte{unit}, pdu...))
}

// crc appends the checksum, bit by bit as the standard describes it.
// Source: MODBUS over Serial Line V1.02, 6.2.2.
func crc(b []byte) []byte {
	sum := uint16(0xFFFF)
	for _, c := range b {
		sum ^= uint16(c)
		for range 8 {
			low := sum & 1
			sum >>= 1
			if low == 1 {
				sum ^= 0xA001
			}
		}
	}
	return binary.LittleEndian.AppendUint16(slices.Clip(b), sum)
}

// say writes to the client that is connected now, since a serial line and the
// converter before it do not know which request an answer was for; with TCP to
// the one that asked.
func (c *call) say(b []byte) {
	conn := c.conn
	if c.rig.transport != "tcp" {
		c.rig.mu.Lock()
		conn = c.rig.conn
		c.rig.mu.Unlock()
	}
	conn.Write(b)
}

// later says b after a while.
func (c *call) later(d time.Duration, b []byte) {
	c.rig.wg.Add(1)
	due := time.Now().Add(d)
	time.AfterFunc(d, func() { defer c.rig.wg.Done(); c.say(b); c.rig.was(due) })
}

// was notes that something was said that should have been by due.
func (r *rig) was(due time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late = max(r.late, time.Since(due))
}

// stood reports whether the machine stood still for so long that what was to
// come late came later than the test says.
func (r *rig) stood(timeout time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.late > timeout/4
}

// hangUp ends the connection of the request; a serial line cannot.
func (c *call) hangUp() { c.conn.(io.Closer).Close() }

func plainly(c *call) { c.say(c.answer()) }

// check returns how many words are wrong: not those of the block, or not from a
// request made after the first before.
func check(words []uint16, unit uint8, address uint16, before int) (wrong int) {
	for i, w := range words {
		if i == 0 && int(w) <= before || i > 0 && w != value(unit, address+uint16(i)) {
			wrong++
		}
	}
	return wrong
}

func contains(err error, text string) bool { return strings.Contains(err.Error(), text) }
