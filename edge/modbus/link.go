package modbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"time"
)

// dialer makes a connection.
type dialer[C io.Closer] func(ctx context.Context) (C, error)

// link is what all transports have: a connection that is made when it is needed
// and due, and the pauses between requests.
type link[C io.Closer] struct {
	cfg    Config
	dial   dialer[C]
	counts *counts

	up       bool // conn is a connection
	conn     C
	failures int       // attempts to connect that failed in a row
	retry    time.Time // before it no connection is tried
	last     error     // of the last attempt

	hold  time.Time // before it nothing is sent: connect delay, or a line left alone
	ended time.Time // the last exchange
	unit  uint8     // of the last exchange
}

// connect makes a connection unless there is one, or none is due yet, and
// reports whether it made one.
func (l *link[C]) connect(ctx context.Context) (bool, error) {
	if l.up {
		return false, nil
	}
	if wait := time.Until(l.retry); wait > 0 {
		return false, fmt.Errorf("%w: next attempt in %v: %w", ErrUnreachable, wait.Round(100*time.Millisecond), l.last)
	}
	dialing, done := context.WithTimeout(ctx, l.cfg.ConnectTimeout)
	defer done()
	conn, err := l.dial(dialing)
	if ctx.Err() != nil {
		if err == nil {
			conn.Close()
		}
		return false, context.Cause(ctx)
	}
	if err != nil {
		l.failures++
		l.retry, l.last = time.Now().Add(backoff(l.failures)), err
		return false, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	l.conn, l.up, l.failures, l.last = conn, true, 0, nil
	l.counts.connects.Add(1)
	l.keepOff(time.Now().Add(l.cfg.ConnectDelay))
	return true, nil
}

// keepOff lets nothing be sent before t.
func (l *link[C]) keepOff(t time.Time) {
	if t.After(l.hold) {
		l.hold = t
	}
}

// due returns from when on a request to unit may be sent.
func (l *link[C]) due(unit uint8) time.Time {
	t := l.hold
	if l.ended.IsZero() {
		return t
	}
	gap := l.cfg.gap(unit)
	if unit != l.unit {
		gap = max(gap, l.cfg.switchGap(unit))
	}
	if after := l.ended.Add(gap); after.After(t) {
		t = after
	}
	return t
}

// end notes that an exchange with unit is over, which began at sent.
func (l *link[C]) end(unit uint8, sent time.Time) {
	l.unit, l.ended = unit, time.Now()
	l.counts.busy.Add(int64(l.ended.Sub(sent)))
}

// drop closes the connection, if there is one.
func (l *link[C]) drop() {
	if l.up {
		l.conn.Close()
		var none C
		l.conn, l.up = none, false
	}
}

// errHungUp says that the peer closed before any byte of an answer.
var errHungUp = fmt.Errorf("%w: closed by the peer instead of an answer", ErrUnreachable)

// broken says what an error of the connection means after have bytes of an answer.
func broken(err error, have int) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return timedOut(have)
	case have == 0 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)):
		return errHungUp
	case have > 0 && errors.Is(err, io.EOF):
		return fmt.Errorf("%w: closed by the peer after %d bytes of an answer", ErrUnreachable, have)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

func timedOut(have int) error {
	if have > 0 {
		return fmt.Errorf("%w: %d bytes of one came", ErrTimeout, have)
	}
	return ErrTimeout
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

// dialNet returns the dialer of host:port. Keep-alive finds a peer that is gone
// while nothing is asked; while something is, the timeout does.
func dialNet(address string) dialer[net.Conn] {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
}
