package edge

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"kenshin/edge/device"
	"kenshin/edge/modbus"
	"kenshin/edge/wire"
)

// poll reads a bus once per interval, at whole multiples of it, so that the
// readings of a fleet stand at the same times. One goroutine owns the bus.
func (a *Agent) poll(ctx context.Context, b *Bus) error {
	states := make([]deviceState, len(b.Devices))
	for i := range states {
		states[i] = deviceState{cfg: &b.Devices[i], declaration: b.Devices[i].Declaration}
	}
	for {
		a.cycle(ctx, b, states)
		now := a.cfg.Clock.Now()
		next := now.Truncate(a.cfg.Interval).Add(a.cfg.Interval)
		if err := a.cfg.Clock.Sleep(ctx, next.Sub(now)); err != nil {
			return nil // only ctx ends a sleep
		}
	}
}

// deviceState is what a cycle knows of a device.
type deviceState struct {
	cfg         *Device
	declaration *wire.Declaration // nil until a SunSpec device has answered
	hash        wire.Hash
	declared    bool // in the outbox since this start
	failing     bool // the last reading had a failed block, and was logged
}

// cycle polls every device of a bus and keeps the readings with one fsync.
func (a *Agent) cycle(ctx context.Context, b *Bus, states []deviceState) {
	var recs []wire.Record
	for i := range states {
		if ctx.Err() != nil {
			break // what was read so far is kept
		}
		recs = append(recs, a.read(ctx, b, &states[i])...)
	}
	if len(recs) > 0 {
		a.keep(recs, states)
	}
}

// keep appends records to the outbox. Readings that cannot be kept are counted,
// and the first record that can be says how many and why.
func (a *Agent) keep(recs []wire.Record, states []deviceState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lost.count > 0 {
		gap := a.record(a.cfg.Clock.Now())
		gap.Event = &wire.Event{Code: wire.EventGap, Detail: a.lost.cause, From: a.lost.from, To: a.lost.to, Count: a.lost.count}
		recs = append([]wire.Record{gap}, recs...)
	}
	_, err := a.cfg.Outbox.Append(recs...)
	if err == nil {
		if a.lost.count > 0 {
			a.cfg.Log.Warn("outbox works again", zap.Uint64("readings_lost", a.lost.count))
		}
		a.lost = loss{}
		return
	}
	a.cfg.Log.Error("records not kept", zap.Int("records", len(recs)), zap.Error(err))
	if a.lost.count == 0 {
		a.lost.from, a.lost.cause = recs[0].Wall, clip(err.Error())
	}
	a.lost.to = recs[len(recs)-1].Wall
	for _, r := range recs {
		if r.Reading != nil {
			a.lost.count++
		}
	}
	for i := range states {
		states[i].declared = false // the declaration may be among what was lost
	}
}

// clip cuts a text to what a record takes, at a character's edge.
func clip(s string) string {
	for i := range s {
		if i > wire.MaxText-4 {
			return s[:i]
		}
	}
	return s
}

// read polls one device: its declaration first, if the outbox does not have it yet.
func (a *Agent) read(ctx context.Context, b *Bus, s *deviceState) []wire.Record {
	var out []wire.Record
	if s.declaration == nil {
		d, failed := a.discover(ctx, b, s.cfg)
		if d == nil && ctx.Err() != nil {
			return nil // stopping, not a failure of the device
		}
		if d == nil {
			unknown := device.Undiscovered(s.cfg.ID, s.cfg.Unit, "sunspec")
			declare := a.record(a.cfg.Clock.Now())
			declare.Declaration = &unknown
			r := a.record(a.cfg.Clock.Now())
			r.Reading = &wire.Reading{Declaration: unknown.Hash(), Blocks: []wire.BlockResult{failed}}
			if !s.declared {
				out, s.declared = append(out, declare), true
			}
			a.report(b, s, failed)
			return append(out, r)
		}
		s.declaration, s.declared = d, false
	}
	if !s.declared {
		s.hash = s.declaration.Hash()
		a.mu.Lock()
		a.declarations[s.hash] = s.declaration
		a.mu.Unlock()
		r := a.record(a.cfg.Clock.Now())
		r.Declaration = s.declaration
		out, s.declared = append(out, r), true
	}
	r, ok := a.reading(ctx, b, s)
	if !ok {
		return out
	}
	return append(out, r)
}

// discover asks a SunSpec device what it is.
func (a *Agent) discover(ctx context.Context, b *Bus, d *Device) (*wire.Declaration, wire.BlockResult) {
	chain, err := device.Discover(ctx, b.Reader, d.Unit, d.Bases...)
	if err == nil {
		var decl wire.Declaration
		if decl, err = chain.Declare(d.ID, d.Unit); err == nil {
			if err = decl.Validate(); err == nil {
				a.cfg.Log.Info("device found", zap.String("bus", b.Name), zap.String("device", d.ID), zap.String("model", decl.Model),
					zap.String("serial", decl.Serial), zap.String("energy", decl.Energy))
				return &decl, wire.BlockResult{}
			}
		}
	}
	a.cfg.Log.Debug("device not found", zap.String("bus", b.Name), zap.String("device", d.ID), zap.Error(err))
	return nil, outcome(nil, err)
}

// reading reads the blocks of a device. Once a block got no answer the rest is
// not asked: each further timeout would be taken from the devices behind it.
func (a *Agent) reading(ctx context.Context, b *Bus, s *deviceState) (wire.Record, bool) {
	var rec wire.Record
	d := s.declaration
	reading := &wire.Reading{Declaration: s.hash, Blocks: make([]wire.BlockResult, len(d.Blocks))}
	gone := false
	for i := range d.Blocks {
		if gone {
			reading.Blocks[i] = wire.BlockResult{Status: wire.Skipped}
			continue
		}
		res, middle, ok := a.block(ctx, b, s, i)
		if !ok {
			return rec, false // stopping, not a failure of the device
		}
		if i == 0 {
			rec = a.record(middle)
		}
		res.Delta = int32(middle.Sub(a.start).Milliseconds() - rec.Mono)
		reading.Blocks[i] = res
		if res.Status != wire.OK {
			gone = res.Status != wire.Exception
			a.report(b, s, res)
		} else if s.failing && i == len(d.Blocks)-1 {
			s.failing = false
			a.cfg.Log.Info("device answers again", zap.String("bus", b.Name), zap.String("device", s.cfg.ID))
		}
	}
	rec.Reading = reading
	return rec, len(reading.Blocks) > 0
}

// block reads one block; it is not ok when ctx ended meanwhile. Words of a map
// that has moved mean something else: they are no answer to what was asked, and
// the device will be asked anew what it is.
func (a *Agent) block(ctx context.Context, b *Bus, s *deviceState, i int) (res wire.BlockResult, middle time.Time, ok bool) {
	k := s.declaration.Blocks[i]
	asked := a.cfg.Clock.Now()
	words, err := b.Reader.Read(ctx, s.cfg.Unit, k.Function, k.Address, k.Count)
	answered := a.cfg.Clock.Now()
	if err != nil && ctx.Err() != nil {
		return res, middle, false
	}
	if err == nil {
		if err = device.Verify(s.declaration, i, words); err != nil {
			s.declaration, s.declared = nil, false
			a.cfg.Log.Warn("registers have moved; the device is discovered again", zap.String("bus", b.Name), zap.String("device", s.cfg.ID), zap.Error(err))
		}
	}
	return outcome(words, err), asked.Add(answered.Sub(asked) / 2), true
}

// report logs the first failure of a device, not each.
func (a *Agent) report(b *Bus, s *deviceState, r wire.BlockResult) {
	if s.failing {
		return
	}
	s.failing = true
	a.cfg.Log.Warn("device does not answer; its values are recorded as not available", zap.String("bus", b.Name),
		zap.String("device", s.cfg.ID), zap.Uint8("unit", s.cfg.Unit), zap.String("why", r.Reason()))
}

// outcome says in the words of the contract what came of a request.
func outcome(words []uint16, err error) wire.BlockResult {
	var refused *modbus.ExceptionError
	switch {
	case err == nil:
		return wire.BlockResult{Status: wire.OK, Words: words}
	case errors.As(err, &refused):
		return wire.BlockResult{Status: wire.Exception, Code: refused.Code}
	case errors.Is(err, modbus.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return wire.BlockResult{Status: wire.Timeout}
	case errors.Is(err, modbus.ErrUnreachable):
		return wire.BlockResult{Status: wire.Unreachable}
	default:
		return wire.BlockResult{Status: wire.Malformed}
	}
}
