package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"kenshin/calc"
	"kenshin/collector"
	"kenshin/configs"
	"kenshin/edge/wire"
)

type exportFlags struct {
	What    string `arg:"" enum:"samples,days,totals" help:"samples, days or totals."`
	Project string `required:"" help:"Reference of the project." placeholder:"REF"`
	Meter   string `help:"Only this meter." placeholder:"KEY"`
	Period  int    `help:"Monitoring period, counted from 1 in the order of the project's file." default:"1" placeholder:"N"`
}

// run writes CSV with a head line. Decimals have a point and all their digits.
func (f *exportFlags) run(ctx context.Context, col *collector.Collector, w io.Writer) error {
	p, _, err := col.Project(f.Project)
	if err != nil {
		return configs.Setup(err)
	}
	if f.Meter != "" && !slices.ContainsFunc(p.Meters, func(m calc.Meter) bool { return m.Key == f.Meter }) {
		return configs.Setup(fmt.Errorf("project %s has no meter %q", f.Project, f.Meter))
	}
	if f.Period < 1 || f.Period > len(p.Periods) {
		return configs.Setup(fmt.Errorf("project %s has no period %d; it has %d", f.Project, f.Period, len(p.Periods)))
	}
	r, err := col.Report(ctx, f.Project, f.Period-1)
	if err != nil {
		return configs.Setup(err)
	}
	out := csv.NewWriter(w)
	switch f.What {
	case "samples":
		err = f.samples(ctx, col, p, out)
	case "days":
		f.days(p, r, out)
	case "totals":
		f.totals(p, r, out)
	}
	out.Flush()
	if err != nil {
		return err
	}
	return out.Error()
}

func (f *exportFlags) samples(ctx context.Context, col *collector.Collector, p *calc.Project, out *csv.Writer) error {
	zone, err := p.Location()
	if err != nil {
		return err
	}
	period := p.Periods[f.Period-1]
	from, to := period.Start.Start(zone).UnixMilli(), period.End.Next().Start(zone).UnixMilli()+1
	out.Write([]string{"meter", "register", "time", "value", "unit", "quality", "reason", "imported"})
	for i := range p.Meters {
		m := &p.Meters[i]
		if f.Meter != "" && m.Key != f.Meter {
			continue
		}
		err := col.Samples(ctx, m.Register, from, to, func(x wire.Sample, imported bool) error {
			value := ""
			if x.Quality == wire.Good {
				value = x.Number.String()
			}
			return out.Write([]string{m.Key, m.Register, time.UnixMilli(x.At).In(zone).Format("2006-01-02T15:04:05.000Z07:00"), value, x.Unit, x.Quality.String(), x.Reason, strconv.FormatBool(imported)})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *exportFlags) days(p *calc.Project, r *calc.Report, out *csv.Writer) {
	out.Write([]string{"meter", "role", "day", "measured", "unit", "without_reading"})
	for i := range p.Meters {
		m := &p.Meters[i]
		days, unread := r.Of(m).Days, r.Of(m).Unread
		for _, d := range slices.Sorted(maps.Keys(days)) {
			if f.Meter == "" || m.Key == f.Meter {
				out.Write([]string{m.Key, m.Role, d, days[d].String(), m.Base(), strconv.FormatBool(slices.Contains(unread, d))})
			}
		}
	}
}

func (f *exportFlags) totals(p *calc.Project, r *calc.Report, out *csv.Writer) {
	out.Write([]string{"of", "name", "figure", "value"})
	if f.Meter == "" {
		out.Write([]string{"period", r.Period.String(), "measured_kWh", r.MeasuredKWh.String()})
		out.Write([]string{"period", r.Period.String(), "claimable_kWh", r.ClaimableKWh.String()})
		out.Write([]string{"period", r.Period.String(), "ER_tCO2", r.ER})
		for _, year := range slices.Sorted(maps.Keys(r.Vintages)) {
			for _, k := range slices.Sorted(maps.Keys(r.Vintages[year])) {
				out.Write([]string{"vintage", year, k, r.Vintages[year][k]})
			}
		}
		for _, month := range slices.Sorted(maps.Keys(r.Months)) {
			out.Write([]string{"month", month, "measured_kWh", r.Months[month].String()})
		}
	}
	for i := range p.Meters {
		if m := &p.Meters[i]; f.Meter == "" || m.Key == f.Meter {
			out.Write([]string{"meter", m.Key, "measured_" + m.Base(), r.Of(m).MeasuredKWh.String()})
			out.Write([]string{"meter", m.Key, "claimable_" + m.Base(), r.Of(m).ClaimableKWh.String()})
		}
	}
}
