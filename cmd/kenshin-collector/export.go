package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
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
	Format  string `help:"csv or parquet. A running collector answers with the same at /api/v1/projects/REF/periods/N/export." enum:"csv,parquet" default:"csv"`
	Out     string `help:"File to write, whole or not at all; standard output when left out." type:"path" placeholder:"FILE"`
}

// run writes the table to a file, or to w.
func (f *exportFlags) run(ctx context.Context, col *collector.Collector, w, stderr io.Writer) error {
	return writeWhole(f.Out, w, func(w io.Writer) error { return f.write(ctx, col, w, rowCount(stderr)) })
}

// writeWhole writes a file, whole or not at all, or to w when it has no name. It
// replaces a file, and nothing that is no regular one.
func writeWhole(name string, w io.Writer, write func(io.Writer) error) error {
	if name == "" {
		return write(w)
	}
	for _, path := range []string{name, name + ".part"} {
		if err := replaceable(path); err != nil {
			return configs.Setup(err)
		}
	}
	file, err := os.Create(name + ".part")
	if err != nil {
		return configs.Setup(err)
	}
	defer os.Remove(file.Name()) // after Rename it does nothing
	if err = errors.Join(write(file), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}

// replaceable returns why what has a name must not be written over.
func replaceable(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	what := "a device, pipe or socket"
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode&os.ModeSymlink != 0:
		what = "a symbolic link"
	case mode.IsDir():
		what = "a directory"
	}
	return fmt.Errorf("%s is %s and would be replaced: want a new name or that of a file; for standard output leave --out away", path, what)
}

// rowCount says once in a while how many rows there are.
func rowCount(w io.Writer) func(int) {
	next := time.Now().Add(2 * time.Second)
	return func(n int) {
		if now := time.Now(); now.After(next) {
			fmt.Fprintf(w, "%d rows\n", n)
			next = now.Add(2 * time.Second)
		}
	}
}

// rows takes a table row by row, the head first; *csv.Writer is one.
type rows interface {
	Write(row []string) error
	Flush()
	Error() error
}

// write writes a table with a head line. Decimals have a point and all their digits.
// It holds one row group in memory at most, whatever the size of the table.
func (f *exportFlags) write(ctx context.Context, col *collector.Collector, w io.Writer, progress func(int)) error {
	p, _, err := col.Project(f.Project)
	if err != nil {
		return configs.Setup(err)
	}
	if f.Meter != "" && !slices.ContainsFunc(p.Meters, func(m calc.Meter) bool { return m.Key == f.Meter }) {
		return configs.Setup(fmt.Errorf("project %s has no meter %q: %w", f.Project, f.Meter, collector.ErrUnknown))
	}
	if f.Period < 1 || f.Period > len(p.Periods) {
		return configs.Setup(fmt.Errorf("project %s has no period %d; it has %d: %w", f.Project, f.Period, len(p.Periods), collector.ErrUnknown))
	}
	var out rows = csv.NewWriter(w)
	if f.Format == "parquet" {
		out = &parquetRows{w: w}
	}
	if f.What == "samples" {
		err = f.samples(ctx, col, p, &counted{rows: out, progress: progress})
	} else {
		var r *calc.Report
		if r, err = col.Report(ctx, f.Project, f.Period-1); err != nil {
			return configs.Setup(err)
		}
		if f.What == "days" {
			f.days(p, r, out)
		} else {
			f.totals(p, r, out)
		}
	}
	if err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

// counted tells how many rows went through.
type counted struct {
	rows
	n        int
	progress func(int)
}

func (c *counted) Write(row []string) error {
	if c.n++; c.n%1000 == 0 {
		c.progress(c.n)
	}
	return c.rows.Write(row)
}

func (f *exportFlags) samples(ctx context.Context, col *collector.Collector, p *calc.Project, out rows) error {
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

func (f *exportFlags) days(p *calc.Project, r *calc.Report, out rows) {
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

func (f *exportFlags) totals(p *calc.Project, r *calc.Report, out rows) {
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
