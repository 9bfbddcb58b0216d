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

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/zap"
)

const (
	connectWithin = 10 * time.Second       // from connection to CONNECT
	writeWithin   = 5 * time.Second        // for one write; a client that does not read for so long is dropped
	acceptAgain   = 200 * time.Millisecond // after an error such as too many open files
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
		c := &conn{Conn: nc, closed: make(chan struct{}), wake: make(chan struct{}, 1)}
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
	c.writer.Wait()
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
// the library holds locks while it writes. PUBACKs have a goroutine of their own,
// so that whoever calls Done never waits for a client.
type conn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
	wake   chan struct{} // has room for one
	writer sync.WaitGroup

	mu      sync.Mutex // guards pending and writing
	pending []uint16   // packets to be acknowledged
	writing bool
}

// SetDeadline sets the deadline of reading only; Write has its own.
func (c *conn) SetDeadline(t time.Time) error { return c.Conn.SetReadDeadline(t) }

func (c *conn) Write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(b)
	if err != nil {
		c.Close()
	}
	return n, err
}

func (c *conn) Close() error {
	var err error
	c.once.Do(func() {
		close(c.closed)
		err = c.Conn.Close()
	})
	return err
}

// ackOnce returns a function that acknowledges a packet the first time it is called.
func (c *conn) ackOnce(cl *mqtt.Client, id uint16) func() {
	c.mu.Lock()
	if !c.writing { // called by the goroutine that reads, so remove comes later
		c.writing = true
		c.writer.Go(func() { c.writeAcks(cl) })
	}
	c.mu.Unlock()
	var called atomic.Bool
	return func() {
		if called.Swap(true) {
			return
		}
		c.mu.Lock()
		c.pending = append(c.pending, id)
		full := len(c.pending) > 1<<16 // more than there are ids: it does not read
		c.mu.Unlock()
		if full {
			c.Close()
		}
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// writeAcks writes PUBACKs in the order of Done until the connection closes.
func (c *conn) writeAcks(cl *mqtt.Client) {
	for {
		select {
		case <-c.closed:
			return
		case <-c.wake:
		}
		c.mu.Lock()
		ids := c.pending
		c.pending = nil
		c.mu.Unlock()
		for _, id := range ids {
			ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: id}
			if cl.WritePacket(ack) != nil {
				return // it is gone, and sends again when it comes back
			}
		}
	}
}
