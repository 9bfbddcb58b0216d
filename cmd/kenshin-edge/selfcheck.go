package main

import (
	"context"
	"fmt"
	"time"

	"kenshin/edge"
	"kenshin/edge/device"
)

// selfCheck compares the energy counters with integrated power for a while. An
// end of ctx ends it early, with what was seen.
func (p *probeCmd) selfCheck(ctx context.Context, lines []*prober) error {
	out, tick := lines[0].out, lines[0].tick
	begun := time.Now()
	for end := begun.Add(p.For); time.Now().Before(end); {
		next := time.Now().Add(p.Every)
		for _, q := range lines {
			q.observe(ctx)
		}
		tick("self-check: %v of %v", time.Since(begun).Round(time.Second), p.For)
		if edge.RealClock().Sleep(ctx, time.Until(next)) != nil {
			break
		}
	}
	tick("")
	fmt.Fprintf(out, "self-check over %v:\n", time.Since(begun).Round(time.Second))
	bad := 0
	for _, q := range lines {
		for i := range q.finds {
			f := &q.finds[i]
			c := device.SelfCheck(f.device.Declaration, f.readings)
			fmt.Fprintf(out, "  %s: %s: %s\n", f.device.ID, c.Verdict, c.Text)
			if c.Verdict != device.Fits && c.Verdict != device.TooLittle {
				bad++
			}
		}
	}
	if bad > 0 {
		return fmt.Errorf("%s not to be believed as it is", count(bad, "device is", "devices are"))
	}
	return nil
}

// observe reads what was found once more.
func (q *prober) observe(ctx context.Context) {
	b := &edge.Bus{Reader: q.bus}
	for i := range q.finds {
		b.Devices = append(b.Devices, q.finds[i].device)
	}
	i := 0
	edge.Once(ctx, edge.RealClock(), b, func(a edge.Answer) {
		f := &q.finds[i]
		i++
		if a.Record.Reading != nil && a.Err == nil && a.Declaration.Hash() == f.device.Declaration.Hash() {
			f.readings = append(f.readings, device.Observation{At: time.UnixMilli(a.Record.Wall), Values: a.Declaration.Values(a.Record.Reading)})
		}
	})
}
