package modbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"
)

// dialer makes a connection.
type dialer func(ctx context.Context) (net.Conn, error)

// parseEndpoint returns the host:port of an endpoint.
func parseEndpoint(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err == nil {
		_, err = strconv.ParseUint(u.Port(), 10, 16)
	}
	if err != nil || u.Hostname() == "" || endpoint != "tcp://"+u.Host {
		return "", fmt.Errorf("endpoint %q: want tcp://host:port, such as tcp://192.168.1.20:502 (Modbus TCP)", endpoint)
	}
	return u.Host, nil
}

// dialTCP returns the dialer of an address. Keep-alive finds a peer that is gone
// while nothing is asked; while something is, the timeout does.
func dialTCP(address string) dialer {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
}

// link owns the connection to an endpoint. It is used by one goroutine at a time.
type link struct {
	cfg     Config
	dial    dialer
	framing framing

	conn     net.Conn  // nil when there is none
	quiet    time.Time // before it nothing is sent: connect delay or gap
	failures int       // attempts to connect that failed in a row
	retry    time.Time // before it no connection is tried
	last     error     // of the last attempt
	buf      [tcpMost]byte
}

// exchange sends a request and returns the frame that came next, valid until the
// next call. Any error leaves the link without a connection.
func (l *link) exchange(ctx context.Context, adu []byte) ([]byte, error) {
	reused := l.conn != nil
	answer, err := l.attempt(ctx, adu)
	if reused && errors.Is(err, errHungUp) {
		// The peer had closed while nothing was asked; it has not seen the request.
		answer, err = l.attempt(ctx, adu)
	}
	return answer, err
}

// errHungUp says that the peer closed before any byte of an answer.
var errHungUp = fmt.Errorf("%w: closed by the peer instead of an answer", ErrUnreachable)

func (l *link) attempt(ctx context.Context, adu []byte) ([]byte, error) {
	if err := l.connect(ctx); err != nil {
		return nil, err
	}
	if err := pause(ctx, time.Until(l.quiet)); err != nil {
		return nil, err // nothing was sent, so the connection is as good as before
	}
	answer, err := l.converse(ctx, adu)
	l.quiet = time.Now().Add(l.cfg.Gap)
	if err != nil {
		l.drop()
		return nil, err
	}
	return answer, nil
}

// converse writes the request and reads one frame within the timeout.
func (l *link) converse(ctx context.Context, adu []byte) ([]byte, error) {
	conn := l.conn
	if err := conn.SetDeadline(time.Now().Add(l.cfg.Timeout)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) // wakes the read
	answer, err := l.frame(conn, adu)
	if !stop() { // ctx ended; even with an answer the deadline of this connection is spoilt
		return nil, context.Cause(ctx)
	}
	return answer, err
}

func (l *link) frame(conn net.Conn, adu []byte) ([]byte, error) {
	if _, err := conn.Write(adu); err != nil {
		return nil, broken(err, 0)
	}
	for have := 0; ; {
		n, err := conn.Read(l.buf[have:])
		have += n
		size, bad := l.framing.size(l.buf[:have])
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

// broken says what an error of the connection means after have bytes of an answer.
func broken(err error, have int) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		if have > 0 {
			return fmt.Errorf("%w: %d bytes of one came", ErrTimeout, have)
		}
		return ErrTimeout
	case have == 0 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)):
		return errHungUp
	case have > 0 && errors.Is(err, io.EOF):
		return fmt.Errorf("%w: closed by the peer after %d bytes of an answer", ErrUnreachable, have)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// connect makes a connection unless there is one, or none is due yet.
func (l *link) connect(ctx context.Context) error {
	if l.conn != nil {
		return nil
	}
	if wait := time.Until(l.retry); wait > 0 {
		return fmt.Errorf("%w: next attempt in %v: %w", ErrUnreachable, wait.Round(100*time.Millisecond), l.last)
	}
	dialing, done := context.WithTimeout(ctx, l.cfg.ConnectTimeout)
	defer done()
	conn, err := l.dial(dialing)
	if ctx.Err() != nil {
		if err == nil {
			conn.Close()
		}
		return context.Cause(ctx)
	}
	if err != nil {
		l.failures++
		l.retry, l.last = time.Now().Add(backoff(l.failures)), err
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	l.conn, l.failures, l.last = conn, 0, nil
	l.quiet = time.Now().Add(l.cfg.ConnectDelay)
	return nil
}

// drop closes the connection, if there is one.
func (l *link) drop() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// backoff returns how long no connection is tried after so many failures in a
// row: 1 s, 2 s, 4 s ... 60 s, less up to a quarter by chance, so that the boxes
// of a site do not all knock at once when its switch comes back. The first retry
// comes within a second: most endpoints that refuse are only restarting.
func backoff(failures int) time.Duration {
	d := lastRetry
	if shift := failures - 1; shift < 6 {
		d = firstRetry << shift
	}
	return d - rand.N(d/4)
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
