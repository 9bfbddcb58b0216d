package cmd

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// wires is a network in memory whose connections can be slow, silent or cut. It
// knows no port and no kernel, so that it works in a bubble of testing/synctest;
// net.Pipe does not do: it has no buffer, and an MQTT client and a broker that
// both write while holding a lock then wait for each other for ever.
type wires struct {
	mu     sync.Mutex
	conns  map[string][]*wireConn // by who dialled
	accept chan net.Conn          // nil while nobody listens
	away   map[string]bool        // whose connections are refused
	silent map[string]bool        // whose bytes stand still: a half-open link
	delay  time.Duration          // of every byte
}

func newWires() *wires {
	return &wires{conns: make(map[string][]*wireConn), away: make(map[string]bool), silent: make(map[string]bool)}
}

var errNoRoute = errors.New("connection refused")

// listen returns a listener for the connections that are dialled from now on.
func (w *wires) listen() net.Listener {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := &wireListener{w: w, conns: make(chan net.Conn, 16), closed: make(chan struct{})}
	w.accept = l.conns
	return l
}

// dial connects to whoever listens.
func (w *wires) dial(who string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.accept == nil || w.away[who] {
		return nil, errNoRoute
	}
	there, back := &half{changed: make(chan struct{})}, &half{changed: make(chan struct{})}
	near := &wireConn{w: w, who: who, in: back, out: there}
	far := &wireConn{w: w, who: who, in: there, out: back}
	select {
	case w.accept <- far:
	default:
		return nil, errNoRoute
	}
	w.conns[who] = append(w.conns[who], near)
	return near, nil
}

// cut ends the connections of one, or refuses new ones too while away.
func (w *wires) cut(who string, away bool) {
	w.mu.Lock()
	w.away[who] = away
	conns := w.conns[who]
	w.conns[who] = nil
	w.mu.Unlock()
	for _, c := range conns {
		c.in.end(errReset)
		c.out.end(errReset)
	}
}

// hush makes the connections of one silent without an end, or lets them speak again.
func (w *wires) hush(who string, silent bool) {
	w.mu.Lock()
	w.silent[who] = silent
	conns := w.conns[who]
	w.mu.Unlock()
	for _, c := range conns {
		c.in.wake()
		c.out.wake()
	}
}

func (w *wires) slow(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = d
}

func (w *wires) state(who string) (silent bool, delay time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.silent[who], w.delay
}

type wireListener struct {
	w      *wires
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *wireListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *wireListener) Close() error {
	l.once.Do(func() {
		l.w.mu.Lock()
		if l.w.accept == l.conns {
			l.w.accept = nil
		}
		l.w.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.conns:
				c.Close()
				continue
			default:
			}
			return
		}
	})
	return nil
}

func (l *wireListener) Addr() net.Addr { return wireAddr{} }

type wireAddr struct{}

func (wireAddr) Network() string { return "wires" }
func (wireAddr) String() string  { return "wires" }

var errReset = errors.New("connection reset by peer")

// half is one direction of a connection: bytes with the time they arrive at.
type half struct {
	mu      sync.Mutex
	chunks  []chunk
	size    int
	err     error // what the reader gets behind the chunks
	changed chan struct{}
}

type chunk struct {
	bytes []byte
	at    time.Time
}

const halfRoom = 64 << 10 // bytes on their way

func (h *half) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changing()
}

// changing tells whoever waits; h.mu is held.
func (h *half) changing() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// end lets no more bytes in; a reset also loses those on their way.
func (h *half) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil || err == errReset {
		h.err = err
	}
	if err == errReset {
		h.chunks, h.size = nil, 0
	}
	h.changing()
}

// wireConn is one end of a connection.
type wireConn struct {
	w       *wires
	who     string
	in, out *half

	mu          sync.Mutex
	read, write time.Time // deadlines
	closed      bool
}

func (c *wireConn) deadline(write bool) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if write {
		return c.write, c.closed
	}
	return c.read, c.closed
}

// await waits for a change or until a time, zero for none.
func await(changed <-chan struct{}, until time.Time) {
	if until.IsZero() {
		<-changed
		return
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	}
}

func (c *wireConn) Read(b []byte) (int, error) {
	for {
		deadline, closed := c.deadline(false)
		silent, _ := c.w.state(c.who)
		c.in.mu.Lock()
		changed, until := c.in.changed, deadline
		switch {
		case closed:
			c.in.mu.Unlock()
			return 0, net.ErrClosed
		case !deadline.IsZero() && !time.Now().Before(deadline):
			c.in.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case c.in.err == errReset:
			c.in.mu.Unlock()
			return 0, errReset
		case silent:
		case len(c.in.chunks) > 0 && !time.Now().Before(c.in.chunks[0].at):
			n := copy(b, c.in.chunks[0].bytes)
			if c.in.chunks[0].bytes = c.in.chunks[0].bytes[n:]; len(c.in.chunks[0].bytes) == 0 {
				c.in.chunks = c.in.chunks[1:]
			}
			c.in.size -= n
			c.in.changing()
			c.in.mu.Unlock()
			return n, nil
		case len(c.in.chunks) > 0:
			if at := c.in.chunks[0].at; until.IsZero() || at.Before(until) {
				until = at
			}
		case c.in.err != nil:
			c.in.mu.Unlock()
			return 0, c.in.err
		}
		c.in.mu.Unlock()
		await(changed, until)
	}
}

func (c *wireConn) Write(b []byte) (int, error) {
	written := 0
	for {
		deadline, closed := c.deadline(true)
		_, delay := c.w.state(c.who)
		c.out.mu.Lock()
		changed := c.out.changed
		switch {
		case closed:
			c.out.mu.Unlock()
			return written, net.ErrClosed
		case !deadline.IsZero() && !time.Now().Before(deadline):
			c.out.mu.Unlock()
			return written, os.ErrDeadlineExceeded
		case c.out.err != nil:
			c.out.mu.Unlock()
			return written, errReset
		case c.out.size < halfRoom:
			n := min(len(b)-written, halfRoom-c.out.size)
			c.out.chunks = append(c.out.chunks, chunk{append([]byte(nil), b[written:written+n]...), time.Now().Add(delay)})
			c.out.size += n
			written += n
			c.out.changing()
			c.out.mu.Unlock()
			if written == len(b) {
				return written, nil
			}
			continue
		}
		c.out.mu.Unlock()
		await(changed, deadline)
	}
}

func (c *wireConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.out.end(io.EOF)
	c.in.end(io.EOF) // what the other side writes now is lost
	return nil
}

func (c *wireConn) LocalAddr() net.Addr  { return wireAddr{} }
func (c *wireConn) RemoteAddr() net.Addr { return wireAddr{} }

func (c *wireConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *wireConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.read = t
	c.mu.Unlock()
	c.in.wake()
	return nil
}

func (c *wireConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.write = t
	c.mu.Unlock()
	c.out.wake()
	return nil
}
