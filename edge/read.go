package edge

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"kenshin/edge/device"
	"kenshin/edge/modbus"
	"kenshin/edge/wire"
)

// read polls one device: its declaration first, if the outbox does not have it yet.
func (a *Agent) read(ctx context.Context, b *Bus, s *deviceState) []wire.Record {
	s.err = nil
	if s.declaration == nil {
		d, failed := a.discover(ctx, b, s)
		if d == nil && ctx.Err() != nil {
			return nil // stopping, not a failure of the device
		}
		if d == nil {
			return a.unread(b, s, failed)
		}
		s.adopt(d)
	}
	out := a.declare(s, s.declaration)
	r, ok := a.reading(ctx, b, s)
	if !ok {
		return out
	}
	a.judge(b, s, &r)
	if s.declaration != nil {
		a.split(ctx, b, s, r.Reading)
	}
	return append(out, r)
}

// adopt makes d what the device is polled by.
func (s *deviceState) adopt(d *wire.Declaration) { s.declaration, s.declared, s.blocks = d, false, nil }

// declare returns the record of a declaration that the outbox does not have yet.
func (a *Agent) declare(s *deviceState, d *wire.Declaration) []wire.Record {
	if s.declared {
		return nil
	}
	s.hash, s.declared = d.Hash(), true
	a.mu.Lock()
	a.declarations[s.hash] = d
	a.mu.Unlock()
	r := a.record(a.cfg.Clock.Now())
	r.Declaration = d
	return []wire.Record{r}
}

// current returns the declaration readings are recorded under: that of an
// unknown device as long as a SunSpec device has not said what it is.
func (s *deviceState) current() *wire.Declaration {
	if s.declaration != nil {
		return s.declaration
	}
	d := device.Undiscovered(s.cfg.ID, s.cfg.Unit, "sunspec")
	return &d
}

// skip records that a device was not asked.
func (a *Agent) skip(b *Bus, s *deviceState) []wire.Record {
	d := s.current()
	out := a.declare(s, d)
	r := a.record(a.cfg.Clock.Now())
	r.Reading = &wire.Reading{Declaration: s.hash, Blocks: make([]wire.BlockResult, len(d.Blocks))}
	for i := range r.Reading.Blocks {
		r.Reading.Blocks[i] = wire.BlockResult{Status: wire.Skipped}
	}
	a.noteDevice(s, &r)
	return append(out, r)
}

// unread records why a device could not be discovered.
func (a *Agent) unread(b *Bus, s *deviceState, failed wire.BlockResult) []wire.Record {
	out := a.declare(s, s.current())
	r := a.record(a.cfg.Clock.Now())
	r.Reading = &wire.Reading{Declaration: s.hash, Blocks: []wire.BlockResult{failed}}
	a.judge(b, s, &r)
	return append(out, r)
}

// discover asks a SunSpec device what it is.
func (a *Agent) discover(ctx context.Context, b *Bus, s *deviceState) (*wire.Declaration, wire.BlockResult) {
	a.expect(b, 0)
	d, err := Discover(ctx, b.Reader, s.cfg)
	s.err = err
	if err == nil {
		a.cfg.Log.Info("device found", zap.String("bus", b.Name), zap.String("device", d.Device), zap.String("model", d.Model),
			zap.String("serial", d.Serial), zap.String("energy", d.Energy))
		return d, wire.BlockResult{}
	}
	return nil, outcome(nil, err)
}

// Discover asks a SunSpec device what it is, and returns what is polled of it.
func Discover(ctx context.Context, r device.Reader, d *Device) (*wire.Declaration, error) {
	chain, err := chainOf(ctx, r, d)
	if err != nil {
		return nil, err
	}
	decl, err := chain.Declare(d.ID, d.Unit)
	if err == nil {
		err = decl.Validate()
	}
	if err != nil {
		return nil, err
	}
	return &decl, nil
}

func chainOf(ctx context.Context, r device.Reader, d *Device) (*device.Chain, error) {
	if d.Sub == 0 {
		return device.Discover(ctx, r, d.Unit, d.Bases...)
	}
	all, err := device.DiscoverAll(ctx, r, d.Unit, d.Bases...)
	if err != nil {
		return nil, err
	}
	if d.Sub >= len(all) {
		return nil, fmt.Errorf("unit %d: there is no device %d behind it; it has %d, counted from 0", d.Unit, d.Sub, len(all))
	}
	return all[d.Sub], nil
}

// reading reads the blocks of a device. Once a block got no answer the rest is
// not asked: each further timeout would be taken from the devices behind it. A
// device that gave none is asked for another block first the next time, so that
// one block it never answers does not hide the others. Parts of a SunSpec model
// are asked for behind its head, and not at all when that failed.
func (a *Agent) reading(ctx context.Context, b *Bus, s *deviceState) (wire.Record, bool) {
	d := s.declaration
	n := len(d.Blocks)
	if len(s.blocks) != n {
		s.blocks = make([]blockState, n)
	}
	var rec wire.Record
	reading := &wire.Reading{Declaration: s.hash, Blocks: make([]wire.BlockResult, n)}
	asked, gone, first := 0, false, 0
	if n > 0 {
		first = device.Head(d, s.dead.failures%n)
	}
	for k := range n {
		i := (first + k) % n
		head := device.Head(d, i)
		if gone || head != i && reading.Blocks[head].Status != wire.OK || s.blocks[i].dead.waiting(a.cfg.Clock.Now()) {
			reading.Blocks[i] = wire.BlockResult{Status: wire.Skipped}
			continue
		}
		res, middle, ok := a.block(ctx, b, s, i)
		if !ok {
			return rec, false // stopping, not a failure of the device
		}
		if asked++; asked == 1 {
			rec = a.record(middle)
		}
		res.Delta = int32(middle.Sub(a.start).Milliseconds() - rec.Mono)
		reading.Blocks[i] = res
		gone = res.Status != wire.OK && (res.Status != wire.Exception || Absent(res.Code))
	}
	if asked == 0 {
		rec = a.record(a.cfg.Clock.Now())
	}
	rec.Reading = reading
	return rec, n > 0
}

// block reads one block; it is not ok when ctx ended meanwhile. Words of a map
// that has moved mean something else: they are no answer to what was asked, and
// the device will be asked anew what it is.
func (a *Agent) block(ctx context.Context, b *Bus, s *deviceState, i int) (res wire.BlockResult, middle time.Time, ok bool) {
	a.expect(b, 0)
	words, asked, answered, err := a.ask(ctx, b, s.cfg.Unit, s.declaration.Blocks[i])
	if err != nil && ctx.Err() != nil {
		return res, middle, false
	}
	if err == nil {
		if err = device.Verify(s.declaration, i, words); err != nil {
			s.adopt(nil)
			a.cfg.Log.Warn("registers have moved; the device is discovered again", zap.String("bus", b.Name), zap.String("device", s.cfg.ID), zap.Error(err))
		}
	}
	if s.err == nil {
		s.err = err
	}
	return outcome(words, err), asked.Add(answered.Sub(asked) / 2), true
}

// timed is a bus that knows when a request went out and its answer was there,
// without the pauses before it.
type timed interface {
	ReadTimed(ctx context.Context, unit, function uint8, address, count uint16) ([]uint16, modbus.Timing, error)
}

// ask reads a block and says when it was asked for and answered.
func (a *Agent) ask(ctx context.Context, b *Bus, unit uint8, k wire.Block) (words []uint16, asked, answered time.Time, err error) {
	asked = a.cfg.Clock.Now()
	if bus, ok := b.Reader.(timed); ok && a.realTime() {
		var t modbus.Timing
		words, t, err = bus.ReadTimed(ctx, unit, k.Function, k.Address, k.Count)
		if err == nil {
			return words, t.Sent, t.Answered, nil
		}
	} else {
		words, err = b.Reader.Read(ctx, unit, k.Function, k.Address, k.Count)
	}
	return words, asked, a.cfg.Clock.Now(), err
}

// realTime tells whether the agent's clock is the machine's.
func (a *Agent) realTime() bool {
	_, ok := a.cfg.Clock.(realClock)
	return ok
}
