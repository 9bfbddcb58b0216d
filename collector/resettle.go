package collector

import (
	"context"
	"errors"
	"fmt"
	"math"

	"kenshin/calc"
	"kenshin/collector/series"
	"kenshin/collector/store"
)

// resettle settles registers again from the day of their earliest late sample,
// all of whose samples are in the series store by now, or from their first sample
// when something else is known of them than before.
func (s *settle) resettle(ctx context.Context) error {
	if len(s.state.Again) == 0 {
		return nil
	}
	specs := make(map[string]calc.Register) // they are found out for a whole project at once
	for _, p := range s.rules.projects {
		for _, spec := range s.rules.registers(p) {
			specs[p.Reference+"/"+spec.Key] = spec
		}
	}
	for key, late := range s.state.Again {
		r := s.registers[key]
		if r == nil {
			continue
		}
		s.touch(r)
		if (late.From == calc.Date{}) {
			spec, ok := specs[r.project+"/"+key]
			if !ok {
				continue // its project was taken out of force
			}
			curve := calc.NewCurve(spec, r.zone)
			curve.Rewind(calc.Date{Year: 1}) // all that is kept of it goes
			r.spec, r.curve = spec, curve
		}
		if err := s.replay(ctx, r, late); err != nil {
			return err
		}
		s.metrics.late.Inc()
	}
	clear(s.state.Again)
	return s.commit(ctx, series.Update{Cursor: s.cursor}, 0)
}

// replay takes a register back to a day and gives it its stored samples from
// there on, until it stands where it stood before.
func (s *settle) replay(ctx context.Context, r *register, late lateDays) error {
	from := int64(math.MinInt64)
	var tail calc.Tail
	var day calc.Date
	if late.From != (calc.Date{}) {
		day, tail = r.curve.Rewind(late.From)
		from = day.Start(r.zone).UnixMilli() + 1 // a reading at midnight closes the day before
	}
	end := int64(math.MinInt64)
	err := scanRegister(ctx, s.db, &r.spec, from, math.MaxInt64, func(x calc.Sample) error {
		if x.At < -maxTime || x.At > maxTime {
			return nil
		}
		if x.At > end {
			if tail != nil && end != math.MinInt64 && r.curve.Rejoin(tail, late.Last) {
				return errStop
			}
			end = calc.ClosingDay(x.At, r.zone).Next().Start(r.zone).UnixMilli()
		}
		err := r.curve.Add(x)
		if err != nil && !errors.Is(err, calc.ErrConflict) {
			return fmt.Errorf("register %s: %w", r.spec.Key, err)
		}
		return nil
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// decide puts a decision in force.
func (s *settle) decide(rec *store.Record) error {
	p, err := s.rules.take(rec)
	if err != nil || p == nil {
		return err
	}
	return s.specify(p)
}

// respecify looks at all registers again after a device told another serial number.
func (s *settle) respecify() error {
	for _, p := range s.rules.projects {
		if err := s.specify(p); err != nil {
			return err
		}
	}
	return nil
}

// specify has those registers of a project settled from their first sample of
// which something else is known than before.
func (s *settle) specify(p *calc.Project) error {
	zone, err := p.Location()
	if err != nil {
		return err
	}
	for _, spec := range s.rules.registers(p) {
		r := s.registers[spec.Key]
		if r != nil && r.project == p.Reference && r.zone.String() == zone.String() && r.spec.Equal(&spec) {
			continue
		}
		s.registers[spec.Key] = &register{project: p.Reference, spec: spec, zone: zone, curve: calc.NewCurve(spec, zone)}
		clear(s.routes)
		s.state.Again[spec.Key] = lateDays{}
	}
	return nil
}
