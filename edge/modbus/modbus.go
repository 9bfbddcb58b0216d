// Package modbus reads registers of field devices over Modbus TCP, RTU on a
// serial line, and RTU over TCP.
//
// It promises that the words Read returns answer the very request they are
// returned for. On Modbus TCP transaction, protocol, unit, function and byte
// count are matched, and a connection on which anything went wrong is never used
// again, so that a late answer finds no later request to answer. RTU has no
// transaction number; there the CRC, unit, function and byte count are matched,
// and four rules keep a late answer from being taken for the next one:
//
//   - What has come before a request is sent is thrown away, and nothing is sent
//     until the line has been silent for 3.5 characters.
//   - After no answer, a wrong checksum, a short, long or foreign frame the line
//     is left alone for a further whole timeout, and what comes is thrown away. So
//     it is for a timeout before the first request of a Bus: a program that was
//     killed may have asked something.
//   - What comes before the request can have been on the wire is thrown away.
//   - Where an answer of the length wanted may still come from a unit, up to seven
//     registers more are asked of it than are wanted, so that the byte count tells
//     the two apart; the other is passed over. Such an answer is one that is owed,
//     until it has come, or until the first other answer after ten timeouts; and
//     for a timeout a copy of one that came.
//
// There is no other length for a block at the limit of what the device gives in
// one answer, one that ends at register 65535, one the device does not give more
// registers of, and a unit marked Exact. Such a block is not asked for while an
// answer of its length is owed since less than ten timeouts: it would have to come
// later than that to be taken for another. Where only a copy of the answer to
// another block may come, 250 ms of quiet stand between that and the request, and
// the answer counts when no second one comes within twice the time the unit
// usually takes, and 100 ms: the right one would come behind a copy. A copy could
// be taken for the answer if the device is slower just then.
//
// It promises too that nothing can be written to a device: functions 3 and 4 are
// the only ones that reach the wire.
//
// One Bus owns one endpoint. Requests of any number of goroutines go over it one
// at a time: of those that wait the unit that was served longest ago comes first,
// and requests marked by Low come behind the others, but not for ever. A dead
// endpoint costs one attempt to connect; after it Read fails at once until the
// next attempt is due. A peer that keeps a connection open and never answers is
// found by the first request it leaves unanswered.
//
// What registers mean, which are read together and how often are left to others.
//
// Source: MODBUS Application Protocol V1.1b3; MODBUS Messaging on TCP/IP
// Implementation Guide V1.0b; MODBUS over Serial Line V1.02.
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

// Bus is an endpoint and the devices behind it. It may be used by many
// goroutines.
type Bus struct {
	endpoint string
	framing  framing
	link     transport // used by whose turn it is
	turns    *turns
	counts   *counts
	rests    bool
	units    map[uint8]Unit // of the Config, for whose turn it is

	mu     sync.Mutex
	closed bool                    // guarded by mu
	cancel context.CancelCauseFunc // guarded by mu; ends the request under way
}

// question is what one request asks.
type question struct {
	unit, function uint8
	address, count uint16
}

// framing is how a PDU travels on a kind of link: the library builds and checks
// frames.
type framing struct {
	packager modbus.Packager
	setUnit  func(unit uint8) // of the next request
	pdu      int              // where in a frame the function stands
	request  int              // length of a request to read registers
}

// transport carries requests to an endpoint and owns the connection. It is used
// by one goroutine at a time.
type transport interface {
	// ask returns how many registers to ask for where q wants q.count of them: as
	// many, or a few more. It is called before each request, and fails when q
	// must not be asked for now.
	ask(ctx context.Context, q question) (uint16, error)
	// exchange sends the request for q and returns the frame that came, valid
	// until the next call.
	exchange(ctx context.Context, q question, adu []byte) ([]byte, Timing, error)
	// settle says what that frame was found to be: the answer when err is nil, a
	// refusal for an *ExceptionError, else nothing that answers q.
	settle(q question, err error)
	// drop closes the connection, if there is one.
	drop()
}

// Timing is when a request was on its way.
type Timing struct {
	Sent     time.Time // when writing it began
	Answered time.Time // when its answer was complete
}

// New returns a Bus. It does not connect; the first Read does.
func New(c Config) (*Bus, error) {
	c, e, err := c.parse()
	if err != nil {
		return nil, err
	}
	if e.scheme == schemeTCP {
		return newTCP(c, dialNet(e.address)), nil
	}
	return newRTU(c, e, e.dialRTU()), nil
}

func newBus(c Config, f framing, l transport, n *counts) *Bus {
	return &Bus{endpoint: c.Endpoint, framing: f, link: l, turns: newTurns(l.drop), counts: n, rests: c.CloseAfterPoll, units: c.Units}
}

// Read returns count registers of a unit from address on, counted from 0, by
// function 3 (holding registers) or 4 (input registers); count is 1 to 125.
//
// A refusal by the device is an *ExceptionError. Other errors are ErrTimeout when
// no answer came in time, ErrUnreachable when there is no connection, ErrMalformed
// when what came is not an answer to this request, the cause of ctx when ctx
// ended, net.ErrClosed when the bus was closed; after one that followed a request
// the next waits for a new connection (TCP) or a quiet line (RTU). No request is
// repeated, except one on a connection used before that turns out to be closed
// before any byte of an answer (TCP), or of the request (RTU over TCP): it is
// sent once more, on a new one.
func (b *Bus) Read(ctx context.Context, unit, function uint8, address, count uint16) ([]uint16, error) {
	words, _, err := b.ReadTimed(ctx, unit, function, address, count)
	return words, err
}

// ReadTimed is Read that also says when. Waiting for the bus, for a connection
// and for pauses lies before Sent, so that the middle of the two times is the
// time of the values. They are zero with an error.
func (b *Bus) ReadTimed(ctx context.Context, unit, function uint8, address, count uint16) ([]uint16, Timing, error) {
	words, t, err := b.read(ctx, question{unit, function, address, count})
	if err != nil {
		b.counts.failed(err)
		return nil, Timing{}, fmt.Errorf("%s unit %d function %d registers %d+%d: %w", b.endpoint, unit, function, address, count, err)
	}
	b.counts.answers.Add(1)
	return words, t, nil
}

// Adapt makes u what differs for a unit from the next request on: what a device
// needs may be known only when it has said what it is.
func (b *Bus) Adapt(ctx context.Context, unit uint8, u Unit) error {
	_, leave, err := b.enter(ctx, unit)
	if err != nil {
		return err
	}
	defer leave()
	b.units[unit] = u
	return nil
}

func (b *Bus) read(ctx context.Context, q question) ([]uint16, Timing, error) {
	switch {
	case q.function != modbus.FuncCodeReadHoldingRegisters && q.function != modbus.FuncCodeReadInputRegisters:
		return nil, Timing{}, errors.New("only functions 3 and 4 are sent, since nothing here may write")
	case q.count < 1 || q.count > maxCount:
		return nil, Timing{}, fmt.Errorf("one request reads 1 to %d registers", maxCount)
	case int(q.address)+int(q.count) > 1<<16:
		return nil, Timing{}, errors.New("register 65535 is the last there is")
	}
	ctx, leave, err := b.enter(ctx, q.unit)
	if err != nil {
		return nil, Timing{}, err
	}
	defer leave()
	raw, t, asked, err := b.attempt(ctx, q)
	if asked != q.count && tooLong(err) {
		raw, t, _, err = b.attempt(ctx, q)
	}
	if err != nil {
		return nil, Timing{}, err
	}
	words := make([]uint16, q.count)
	for i := range words {
		words[i] = binary.BigEndian.Uint16(raw[2*i:])
	}
	return words, t, nil
}

// attempt sends one request for q and returns for how many registers it was.
func (b *Bus) attempt(ctx context.Context, q question) (raw []byte, t Timing, asked uint16, err error) {
	if asked, err = b.link.ask(ctx, q); err != nil {
		return nil, t, asked, err
	}
	q.count = asked
	raw, t, err = b.request(ctx, q)
	return raw, t, asked, err
}

// tooLong reports whether a device refuses a request for the registers it names.
func tooLong(err error) bool {
	var refused *ExceptionError
	return errors.As(err, &refused) &&
		(refused.Code == modbus.ExceptionCodeIllegalDataAddress || refused.Code == modbus.ExceptionCodeIllegalDataValue)
}

// enter waits for the caller's turn. The context it returns ends with ctx or
// with Close; leave gives the turn to the next in line.
func (b *Bus) enter(ctx context.Context, unit uint8) (_ context.Context, leave func(), err error) {
	if err := b.turns.wait(ctx, unit); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	leave = func() { cancel(nil); b.turns.leave() }
	b.mu.Lock()
	b.cancel = cancel
	closed := b.closed
	b.mu.Unlock()
	if closed {
		leave()
		return nil, nil, net.ErrClosed
	}
	return ctx, leave, nil
}

// reads is what this package uses of the library's client: it has no way to write.
type reads interface {
	ReadHoldingRegisters(address, count uint16) ([]byte, error)
	ReadInputRegisters(address, count uint16) ([]byte, error)
}

// request sends one request and checks the answer. The bytes it returns are
// valid until the next.
func (b *Bus) request(ctx context.Context, q question) (raw []byte, t Timing, err error) {
	var failed error // of the link, as opposed to an answer that does not fit
	send := sender(func(adu []byte) (answer []byte, err error) {
		if failed = b.guard(adu); failed == nil {
			answer, t, failed = b.link.exchange(ctx, q, adu)
		}
		return answer, failed
	})
	b.framing.setUnit(q.unit)
	var client reads = modbus.NewClient2(b.framing.packager, send)
	read := client.ReadHoldingRegisters
	if q.function == modbus.FuncCodeReadInputRegisters {
		read = client.ReadInputRegisters
	}
	raw, err = read(q.address, q.count)
	if failed != nil {
		return nil, t, failed // the link knows
	}
	var refused *modbus.ModbusError
	switch {
	case errors.As(err, &refused) && refused.FunctionCode == q.function|0x80 && refused.ExceptionCode != 0:
		err = &ExceptionError{Function: q.function, Code: refused.ExceptionCode}
	case err == nil && len(raw) != 2*int(q.count):
		err = fmt.Errorf("%w: %d bytes of registers instead of %d", ErrMalformed, len(raw), 2*int(q.count))
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	b.link.settle(q, err)
	return raw, t, err
}

// guard lets a frame pass that asks for registers, and nothing else. It stands
// before every transport, whatever was called to build the frame.
func (b *Bus) guard(adu []byte) error {
	if len(adu) == b.framing.request {
		switch adu[b.framing.pdu] {
		case modbus.FuncCodeReadHoldingRegisters, modbus.FuncCodeReadInputRegisters:
			return nil
		}
	}
	return fmt.Errorf("frame % x does not ask for registers and is not sent", adu)
}

// sender is a function as the library's Transporter.
type sender func(adu []byte) ([]byte, error)

func (s sender) Send(adu []byte) ([]byte, error) { return s(adu) }

// Rest closes the connection of a Bus with CloseAfterPoll, at once or when the
// requests under way and in line are done. The next Read connects again. It does
// not wait; call it after each cycle, so that others can reach a device that
// serves one client at a time.
func (b *Bus) Rest() {
	if b.rests {
		b.turns.rest()
	}
}

// Close ends a request that is under way, fails those that wait, and closes the
// connection. It returns when all of that is done; Read then fails for good.
func (b *Bus) Close() error {
	b.mu.Lock()
	b.closed = true
	if b.cancel != nil {
		b.cancel(net.ErrClosed)
	}
	b.mu.Unlock()
	b.turns.close()
	return nil
}
