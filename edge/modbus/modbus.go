// Package modbus reads registers of field devices over Modbus.
//
// It promises that the words Read returns answer the very request they are
// returned for: transaction, protocol, unit, function and byte count are
// matched, and a connection on which anything went wrong is never used again,
// so that a late answer finds no later request to answer. It promises too that
// nothing can be written to a device: functions 3 and 4 are the only ones that
// reach the wire. One Bus owns one connection to its endpoint; requests of any
// number of goroutines go over it one at a time, in the order they came.
//
// A dead endpoint costs one attempt to connect; after it Read fails at once
// until the next attempt is due. What registers mean, which are read together
// and how often are left to others.
//
// Source: MODBUS Application Protocol V1.1b3; MODBUS Messaging on TCP/IP
// Implementation Guide V1.0b.
package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/goburrow/modbus"
)

// maxCount is the most registers one request may read.
// Source: MODBUS Application Protocol V1.1b3, 6.3 and 6.4.
const maxCount = 125

// Config names an endpoint and how patient to be with it.
type Config struct {
	// Endpoint is tcp://host:port, Modbus TCP.
	Endpoint string
	// Timeout is how long an answer may take; 2 s when zero.
	Timeout time.Duration
	// ConnectTimeout is how long a connection may take to be made; 5 s when zero.
	ConnectTimeout time.Duration
	// ConnectDelay is waited after every connect before the first request; some
	// communication dongles ignore what comes sooner than 1 s.
	ConnectDelay time.Duration
	// Gap is the least time from an answer, or from giving up on one, to the
	// next request.
	Gap time.Duration
}

const (
	defaultTimeout        = 2 * time.Second
	defaultConnectTimeout = 5 * time.Second
)

// Bus is an endpoint and the devices behind it. It may be used by many
// goroutines.
type Bus struct {
	link  *link
	turn  chan struct{} // holds one token while a request is under way; senders queue first come first served
	ended chan struct{} // closed by Close

	mu     sync.Mutex
	closed bool                    // guarded by mu
	cancel context.CancelCauseFunc // guarded by mu; ends the request under way
}

// New returns a Bus. It does not connect; the first Read does.
func New(c Config) (*Bus, error) {
	address, err := parseEndpoint(c.Endpoint)
	if err != nil {
		return nil, err
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"timeout", c.Timeout}, {"connect timeout", c.ConnectTimeout}, {"connect delay", c.ConnectDelay}, {"gap", c.Gap}} {
		if d.value < 0 {
			return nil, fmt.Errorf("bus %s: %s %v is negative; a time to wait is 0 or more", c.Endpoint, d.name, d.value)
		}
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = defaultConnectTimeout
	}
	return newBus(c, dialTCP(address)), nil
}

func newBus(c Config, dial dialer) *Bus {
	return &Bus{link: &link{cfg: c, dial: dial, framing: tcpFraming()}, turn: make(chan struct{}, 1), ended: make(chan struct{})}
}

// reads is what this package uses of the library's client: it has no way to write.
type reads interface {
	ReadHoldingRegisters(address, count uint16) ([]byte, error)
	ReadInputRegisters(address, count uint16) ([]byte, error)
}

// Read returns count registers of a unit from address on, counted from 0, by
// function 3 (holding registers) or 4 (input registers); count is 1 to 125.
//
// A refusal by the device is an *ExceptionError and leaves the connection as it
// is. Every other error after the request was sent closes it: ErrTimeout when no
// answer came in time, ErrUnreachable when there is no connection, ErrMalformed
// when what came is not an answer to this request, the cause of ctx when ctx
// ended, net.ErrClosed when the bus was closed. No request is repeated, except
// one on a connection used before that turns out to be closed before any byte of
// an answer: it is sent once more, on a new one.
func (b *Bus) Read(ctx context.Context, unit, function uint8, address, count uint16) ([]uint16, error) {
	words, err := b.read(ctx, unit, function, address, count)
	if err != nil {
		return nil, fmt.Errorf("%s unit %d function %d registers %d+%d: %w", b.link.cfg.Endpoint, unit, function, address, count, err)
	}
	return words, nil
}

func (b *Bus) read(ctx context.Context, unit, function uint8, address, count uint16) ([]uint16, error) {
	switch {
	case function != modbus.FuncCodeReadHoldingRegisters && function != modbus.FuncCodeReadInputRegisters:
		return nil, errors.New("only functions 3 and 4 are sent, since nothing here may write")
	case count < 1 || count > maxCount:
		return nil, fmt.Errorf("one request reads 1 to %d registers", maxCount)
	case int(address)+int(count) > 1<<16:
		return nil, errors.New("register 65535 is the last there is")
	}
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	raw, err := b.request(ctx, unit, function, address, count)
	if err != nil {
		return nil, err
	}
	words := make([]uint16, count)
	for i := range words {
		words[i] = binary.BigEndian.Uint16(raw[2*i:])
	}
	return words, nil
}

// enter waits for the caller's turn. The context it returns ends with ctx or
// with Close; leave gives the turn to the next in line.
func (b *Bus) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	case <-b.ended:
		return nil, nil, net.ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		cancel(nil)
		<-b.turn
		return nil, nil, net.ErrClosed
	}
	b.cancel = cancel
	return ctx, func() { cancel(nil); <-b.turn }, nil
}

// request sends one request and checks the answer. The bytes it returns are
// valid until the next.
func (b *Bus) request(ctx context.Context, unit, function uint8, address, count uint16) ([]byte, error) {
	var failed error // of the link, as opposed to an answer that does not fit
	send := sender(func(adu []byte) (answer []byte, err error) {
		answer, failed = b.link.exchange(ctx, adu)
		return answer, failed
	})
	b.link.framing.setUnit(unit)
	var client reads = modbus.NewClient2(b.link.framing.packager, send)
	read := client.ReadHoldingRegisters
	if function == modbus.FuncCodeReadInputRegisters {
		read = client.ReadInputRegisters
	}
	raw, err := read(address, count)
	var refused *modbus.ModbusError
	switch {
	case failed != nil:
		return nil, failed // the link has closed the connection
	case errors.As(err, &refused) && refused.FunctionCode == function|0x80 && refused.ExceptionCode != 0:
		return nil, &ExceptionError{Function: function, Code: refused.ExceptionCode}
	case err == nil && len(raw) != 2*int(count):
		err = fmt.Errorf("%d bytes of registers instead of %d", len(raw), 2*int(count))
	}
	if err != nil {
		b.link.drop()
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return raw, nil
}

// sender is a function as the library's Transporter.
type sender func(adu []byte) ([]byte, error)

func (s sender) Send(adu []byte) ([]byte, error) { return s(adu) }

// Close ends a request that is under way, fails those that wait, and closes the
// connection. It returns when all of that is done; Read then fails for good.
func (b *Bus) Close() error {
	b.mu.Lock()
	first := !b.closed
	b.closed = true
	if b.cancel != nil {
		b.cancel(net.ErrClosed)
	}
	b.mu.Unlock()
	if first {
		close(b.ended)
	}
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	b.link.drop()
	return nil
}
