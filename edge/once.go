package edge

import (
	"context"

	"go.uber.org/zap"

	"kenshin/edge/wire"
)

// Answer is what one device said once.
type Answer struct {
	Device      *Device
	Declaration *wire.Declaration // of the reading: of an unknown device when it did not say what it is
	Record      wire.Record       // its Reading is nil when ctx ended before
	Err         error             // of the first request that failed, in more words than the reading has
}

// Once reads each device of a bus once, as an agent would, and keeps nothing. A
// block that has to be split is split. See is given each answer as it comes.
func Once(ctx context.Context, c Clock, b *Bus, see func(Answer)) {
	a := New(Config{Clock: c, Log: zap.NewNop()})
	if r, ok := b.Reader.(rester); ok {
		defer r.Rest()
	}
	for i := range b.Devices {
		s := deviceState{cfg: &b.Devices[i], declaration: b.Devices[i].Declaration}
		recs := a.read(ctx, b, &s)
		if s.declaration != nil && !s.declared {
			recs = a.read(ctx, b, &s) // its blocks were split
		}
		out := Answer{Device: s.cfg, Declaration: s.current(), Err: s.err}
		for _, r := range recs {
			if r.Reading != nil {
				out.Record, out.Declaration = r, a.declarations[r.Reading.Declaration]
			}
		}
		see(out)
	}
}
