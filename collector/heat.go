package collector

import (
	"context"
	"errors"
	"slices"

	"kenshin/calc"
	"kenshin/collector/series"
	"kenshin/edge/wire"
)

// heatPoints are the two temperatures beside the flow of a register that counts heat.
type heatPoints struct {
	heat       *calc.Heat // nil of any other register
	warm, cold int        // among the points of a declaration; -1 when it has none of the name
}

func findHeat(h *calc.Heat, d *wire.Declaration) heatPoints {
	if h == nil {
		return heatPoints{}
	}
	find := func(name string) int {
		return slices.IndexFunc(d.Points, func(p wire.Point) bool { return p.Name == name })
	}
	return heatPoints{h, find(h.Warm), find(h.Cold)}
}

// of returns the power that the flow of a reading carries; of a register that counts no
// heat its sample as it is.
func (x *heatPoints) of(flow calc.Sample, d *wire.Declaration, r *wire.Reading) calc.Sample {
	if x.heat == nil {
		return flow
	}
	value := func(i int) calc.Sample {
		if i < 0 {
			return calc.Sample{Reason: "the device does not have this point"}
		}
		v := d.Value(i, r)
		return calc.Sample{Value: v.Number, Unit: d.Points[i].Unit, Good: v.Quality == wire.Good, Reason: v.Reason}
	}
	return x.heat.Power(flow, value(x.warm), value(x.cold))
}

const (
	heatRows   = 20_000 // flows that are joined with their temperatures at once
	heatSpread = 60_000 // ms that the blocks of one reading can lie apart
)

// origin is where a stored sample comes from.
type origin struct {
	epoch wire.Epoch
	seq   uint64
}

// scanRegister calls fn for the samples of a register from an instant to before another,
// as curves take them: in order of time, and heat made of its parts.
func scanRegister(ctx context.Context, db *series.DB, spec *calc.Register, from, to int64, fn func(calc.Sample) error) error {
	if spec.Heat == nil {
		return db.Scan(ctx, spec.Key, from, to, func(x wire.Sample) error { return fn(reading(&x)) })
	}
	for {
		var flows []wire.Sample
		err := db.Scan(ctx, spec.Key, from, to, func(x wire.Sample) error {
			if n := len(flows); n >= heatRows && flows[n-1].At != x.At {
				return errStop
			}
			flows = append(flows, x)
			return nil
		})
		more := errors.Is(err, errStop)
		if err != nil && !more || len(flows) == 0 {
			return err
		}
		first, last := flows[0].At, flows[len(flows)-1].At
		temperatures := func(point string) (map[origin]calc.Sample, error) {
			out := make(map[origin]calc.Sample, len(flows))
			err := db.Scan(ctx, deviceOf(spec.Key)+"/"+point, first-heatSpread, last+heatSpread, func(x wire.Sample) error {
				out[origin{x.Epoch, x.Seq}] = reading(&x)
				return nil
			})
			return out, err
		}
		warm, err := temperatures(spec.Heat.Warm)
		if err != nil {
			return err
		}
		cold, err := temperatures(spec.Heat.Cold)
		if err != nil {
			return err
		}
		for i := range flows {
			at := origin{flows[i].Epoch, flows[i].Seq}
			if err := fn(spec.Heat.Power(reading(&flows[i]), warm[at], cold[at])); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		from = last + 1
	}
}
