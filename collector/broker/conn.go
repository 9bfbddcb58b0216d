package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/zap"
)

const (
	connectWithin = 10 * time.Second       // from connection to CONNECT
	writeWithin   = 5 * time.Second        // for one write; a client that does not read for so long is dropped
	acceptAgain   = 200 * time.Millisecond // after an error such as too many open files

	pubackWithin  = 250 * time.Millisecond // of Done, when nothing else is written to the client meanwhile
	pubacksAtOnce = 64                     // so many are not kept waiting
)

// listener gives the library its connections and knows all of them. The
// library's own loses those that are just connecting when it closes, and waits
// for them for ever.
type listener struct {
	net.Listener
	tls    *tls.Config // nil: none
	log    *zap.Logger
	closed chan struct{}

	mu    sync.Mutex // guards conns and shuts
	conns map[*conn]bool
	shuts bool
	wg    sync.WaitGroup // of the goroutines of the connections
}

func newListener(l net.Listener, c *tls.Config, log *zap.Logger) *listener {
	return &listener{Listener: l, tls: c, log: log, closed: make(chan struct{}), conns: make(map[*conn]bool)}
}

func (l *listener) Init(*slog.Logger) error { return nil }
func (l *listener) ID() string              { return "tcp" }
func (l *listener) Protocol() string        { return "tcp" }
func (l *listener) Address() string         { return l.Addr().String() }

// Serve accepts connections until Close.
func (l *listener) Serve(establish listeners.EstablishFn) {
	for {
		nc, err := l.Accept()
		if err != nil {
			select {
			case <-l.closed:
				return
			case <-time.After(acceptAgain):
				l.log.Warn("accept a connection", zap.Error(err))
				continue
			}
		}
		if l.tls != nil {
			nc = tls.Server(nc, l.tls)
		}
		c := &conn{Conn: nc}
		if !l.add(c) {
			c.Close()
			return
		}
		go func() {
			defer l.remove(c)
			if !l.handshake(nc) {
				return
			}
			if err := establish(l.ID(), c); err != nil {
				l.log.Debug("connection ended", zap.Error(err), zap.Stringer("remote", nc.RemoteAddr()))
			}
		}()
	}
}

// handshake makes the TLS handshake of a connection, if there is to be one. It
// tells whether to go on.
func (l *listener) handshake(nc net.Conn) bool {
	c, ok := nc.(*tls.Conn)
	if !ok {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectWithin) // closing the connection ends it too
	defer cancel()
	err := c.HandshakeContext(ctx)
	if err == nil {
		return true
	}
	why := "TLS handshake"
	if plain := (tls.RecordHeaderError{}); errors.As(err, &plain) {
		why = "it does not speak TLS, and this port speaks nothing else; its broker address must begin with tls://"
	}
	l.log.Warn("connection refused", zap.String("reason", why), zap.Error(err), zap.Stringer("remote", nc.RemoteAddr()))
	return false
}

func (l *listener) add(c *conn) bool {
	_ = c.Conn.SetReadDeadline(time.Now().Add(connectWithin)) // the library sets its own after CONNECT
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shuts {
		return false
	}
	l.conns[c] = true
	l.wg.Add(1)
	return true
}

func (l *listener) remove(c *conn) {
	c.Close()
	c.late.Wait()
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
	l.wg.Done()
}

// Close ends every connection and returns when their goroutines have ended.
func (l *listener) Close(listeners.CloseFn) {
	_ = l.shut() // the second time there is nothing to say
	l.wg.Wait()
}

// shut closes the listener and its connections, once.
func (l *listener) shut() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shuts {
		return nil
	}
	l.shuts = true
	close(l.closed)
	err := l.Listener.Close()
	for c := range l.conns {
		c.Close()
	}
	return err
}

// conn is a client's connection. A write that cannot be made in time closes it:
// the library holds locks while it writes.
//
// PUBACKs go out with whatever is written to the client next, which mostly is the
// signed ack of the same message: a write of their own costs as much as taking a
// message apart. A client that is written nothing gets them a little later. Whoever
// calls Done never waits for a client.
type conn struct {
	net.Conn
	writing sync.Mutex // held from taking pending to its end, so that PUBACKs keep the order of Done
	late    sync.WaitGroup

	mu      sync.Mutex // guards what follows
	pending []byte     // PUBACKs, encoded
	timer   *time.Timer
	armed   bool // flush will be called
	shut    bool
}

// SetDeadline sets the deadline of reading only; Write has its own.
func (c *conn) SetDeadline(t time.Time) error { return c.Conn.SetReadDeadline(t) }

func (c *conn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	out := c.pending
	c.pending = nil
	c.mu.Unlock()
	before := len(out)
	if out = append(out, b...); len(out) == 0 {
		return 0, nil
	}
	if err := c.Conn.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(out)
	if err != nil {
		c.Close()
	}
	return max(0, n-before), err
}

func (c *conn) Close() error {
	if !c.close() {
		return nil
	}
	return c.Conn.Close() // of TLS it may write, so without the lock
}

// close lets no PUBACK come any more. It tells whether this is the first call.
func (c *conn) close() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut {
		return false
	}
	c.shut = true
	if c.armed && c.timer.Stop() {
		c.late.Done()
	}
	return true
}

// ackOnce returns a function that acknowledges a packet the first time it is called.
func (c *conn) ackOnce(id uint16) func() {
	var called atomic.Bool
	return func() {
		if !called.Swap(true) {
			c.puback(id)
		}
	}
}

// puback has a packet acknowledged.
func (c *conn) puback(id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut {
		return // it is gone, and sends again when it comes back
	}
	c.pending = append(c.pending, packets.Puback<<4, 2, byte(id>>8), byte(id))
	switch {
	case !c.armed:
		c.armed = true
		c.late.Add(1)
		c.timer = time.AfterFunc(pubackWithin, c.flush)
	case len(c.pending) == 4*pubacksAtOnce && c.timer.Stop():
		c.timer.Reset(0)
	}
}

// flush writes the PUBACKs that nothing else took along. A client that does not read
// is closed by it before many of them wait.
func (c *conn) flush() {
	defer c.late.Done()
	c.mu.Lock()
	c.armed = false
	c.mu.Unlock()
	_, _ = c.Write(nil) // an error has closed the connection
}
