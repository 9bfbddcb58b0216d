package edge

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"kenshin/edge/device"
	"kenshin/edge/modbus"
	"kenshin/edge/wire"
)

// garbledMost is how many readings in a row may be garbled before the device is
// left alone like one that gives no answer: one is a disturbed line.
const garbledMost = 2

// judge draws from a reading what it means for the next ones. An exception is an
// answer: the device is there, and asking it cost nothing. One by which a gateway
// says that the device is silent is none: it cost the gateway's own timeout. A
// block without an answer beside others that have one is left alone by itself.
func (a *Agent) judge(b *Bus, s *deviceState, r *wire.Record) {
	now := a.cfg.Clock.Now()
	answered, silent, away, garbled := false, false, false, false
	for _, k := range r.Reading.Blocks {
		switch {
		case k.Status == wire.OK, k.Status == wire.Exception && !Absent(k.Code):
			answered = true
		case k.Status == wire.Timeout, k.Status == wire.Exception:
			silent = true
		case k.Status == wire.Unreachable:
			silent, away = true, true
		case k.Status == wire.Malformed:
			garbled = true
		}
	}
	if garbled && !answered {
		s.garbled++
	} else if answered {
		s.garbled = 0
	}
	switch {
	case answered:
		s.dead, s.away, s.hurried, s.answered = backoff{}, false, false, now
		s.judgeBlocks(r.Reading.Blocks, now)
	case silent, s.garbled >= garbledMost:
		s.dead.fail(now)
		s.away, s.failed = away, now
	}
	a.noteDevice(s, r)
	a.report(b, s, r)
}

// Absent tells whether an exception is a gateway's, which got no answer from the
// device: path unavailable, and target failed to respond.
// Source: MODBUS Application Protocol V1.1b3, 7.
func Absent(exception uint8) bool { return exception == 10 || exception == 11 }

// judgeBlocks does so for the blocks of a device that answered. What is read
// before it is discovered has no blocks to remember.
func (s *deviceState) judgeBlocks(results []wire.BlockResult, now time.Time) {
	if len(s.blocks) != len(results) {
		return
	}
	for i, k := range results {
		switch {
		case k.Status == wire.OK:
			s.blocks[i] = blockState{answered: true}
		case k.Status == wire.Timeout, k.Status == wire.Exception && Absent(k.Code):
			s.blocks[i].dead.fail(now)
		case k.Status == wire.Exception:
			s.blocks[i].dead = backoff{}
		}
	}
}

// report logs the first failure of a device, not each, and its end.
func (a *Agent) report(b *Bus, s *deviceState, r *wire.Record) {
	failed := firstFailure(r.Reading)
	switch who := []zap.Field{zap.String("bus", b.Name), zap.String("device", s.cfg.ID), zap.Uint8("unit", s.cfg.Unit)}; {
	case failed != nil && !s.failing:
		s.failing = true
		a.cfg.Log.Warn("device does not answer; its values are recorded as not available", append(who, zap.String("why", failed.Reason()), zap.Error(s.err))...)
	case failed == nil && s.failing:
		s.failing = false
		a.cfg.Log.Info("device answers again", who...)
	}
}

// firstFailure returns the first block without words that was asked for, or else
// one that was not; nil when all are there.
func firstFailure(r *wire.Reading) *wire.BlockResult {
	var skipped *wire.BlockResult
	for i := range r.Blocks {
		switch k := &r.Blocks[i]; k.Status {
		case wire.OK:
		case wire.Skipped:
			skipped = k
		default:
			return k
		}
	}
	return skipped
}

// illegalAddress is the exception of a device that lacks a register asked for.
// Source: MODBUS Application Protocol V1.1b3, 7.
const illegalAddress = 2

// splitAgain is how long a block is read as it is after splitting it did not help.
const splitAgain = 10 * time.Minute

// split looks for a block that the device refused because it lacks one of its
// registers, and has never answered, and polls smaller ones from now on, for the
// rest of the run, if the device answers one of those: a device may also refuse
// everything for a while, which splitting would only make worse.
func (a *Agent) split(ctx context.Context, b *Bus, s *deviceState, r *wire.Reading) {
	now := a.cfg.Clock.Now()
	for i, k := range r.Blocks {
		if k.Status != wire.Exception || k.Code != illegalAddress || len(s.blocks) != len(r.Blocks) || s.blocks[i].answered || now.Before(s.blocks[i].whole) {
			continue
		}
		d, blocks, err := a.smaller(modbus.Low(ctx), b, s, i)
		switch {
		case ctx.Err() != nil:
		case err != nil || d == nil:
			s.blocks[i].whole = now.Add(splitAgain)
		default:
			a.cfg.Log.Info("device lacks registers of a block; it is read in smaller ones", zap.String("bus", b.Name), zap.String("device", s.cfg.ID),
				zap.Uint16("register", s.declaration.Blocks[i].Address), zap.Int("blocks", len(d.Blocks)))
			s.adopt(d)
			s.blocks = blocks
		}
		return // the next one in the next cycle
	}
}

// smaller splits block i, which the device refused, and whatever it refuses of
// the parts. It returns nil when the device answers none of them.
func (a *Agent) smaller(ctx context.Context, b *Bus, s *deviceState, i int) (*wire.Declaration, []blockState, error) {
	d, blocks := *s.declaration, slices.Clone(s.blocks)
	refused, helped := true, false
	for at, end := i, i+1; at < end; {
		if refused {
			parts, ok := device.Split(&d, at)
			if !ok {
				blocks[at].whole = a.cfg.Clock.Now().Add(splitAgain)
				at, refused = at+1, false
				continue
			}
			more := len(parts.Blocks) - len(d.Blocks)
			d, end, blocks = parts, end+more, slices.Insert(blocks, at, make([]blockState, more)...)
		}
		k := d.Blocks[at]
		a.expect(b, 0)
		_, err := b.Reader.Read(ctx, s.cfg.Unit, k.Function, k.Address, k.Count)
		res := outcome(nil, err)
		refused = res.Status == wire.Exception && res.Code == illegalAddress
		switch {
		case err == nil:
			blocks[at].answered, helped = true, true
		case !refused:
			return nil, nil, err
		}
		if !refused {
			at++
		}
	}
	if !helped {
		return nil, nil, nil
	}
	return &d, blocks, nil
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
