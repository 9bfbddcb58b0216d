package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/calc"
	"kenshin/collector"
	"kenshin/configs"
)

type importFlags struct {
	File    string `arg:"" type:"existingfile" help:"CSV file, gzip or not."`
	Project string `required:"" help:"Reference of the project." placeholder:"REF"`
	Meter   string `required:"" help:"Key of the meter whose register it is." placeholder:"KEY"`
	Unit    string `required:"" help:"Unit of the values: Wh, kWh, MWh or GWh; W, kW or MW of a power; of a meter that counts something else such as MJ, m3, L or kNm3, or one of them per hour: m3/h." placeholder:"UNIT"`
	Who     string `help:"Name of the person who brings it in." placeholder:"NAME"`
	Why     string `help:"Where the file is from." placeholder:"TEXT"`
	DryRun  bool   `help:"Only say what the file holds and what is odd about it. Nothing is written."`
	Odd     bool   `help:"Bring it in although lines cannot be used or the energy is more than the meter can have measured."`
	table   `embed:""`
}

func (f *importFlags) run(ctx context.Context, col *collector.Collector, stdout, stderr io.Writer) error {
	p, _, err := col.Project(f.Project)
	if err != nil {
		return configs.Setup(err)
	}
	i := slices.IndexFunc(p.Meters, func(m calc.Meter) bool { return m.Key == f.Meter })
	if i < 0 {
		return configs.Setup(fmt.Errorf("project %s has no meter %q", f.Project, f.Meter))
	}
	zone, err := p.Location()
	if err == nil && f.Zone != "" {
		zone, err = time.LoadLocation(f.Zone)
	}
	if err != nil {
		return configs.Setup(err)
	}
	text, err := os.ReadFile(f.File)
	if err != nil {
		return configs.Setup(err)
	}
	sum := sha256.Sum256(text)
	in, err := f.read(text, zone)
	if err != nil {
		return configs.Setup(fmt.Errorf("%s: %w", f.File, err))
	}
	if err := col.CheckImport(in.rows); err != nil {
		return configs.Setup(fmt.Errorf("%s: %w", f.File, err))
	}
	problems, err := f.describe(stdout, in, p, p.Registers()[i])
	if err != nil {
		return err
	}
	switch {
	case len(in.rows) == 0:
		return configs.Setup(fmt.Errorf("%s: no line can be used", f.File))
	case f.DryRun:
		_, err := fmt.Fprintln(stdout, "dry run: nothing is written")
		return errors.Join(problems, err)
	case problems != nil && !f.Odd:
		return fmt.Errorf("%w; nothing is written: mend the flags or the file, or say --odd", problems)
	}
	info := collector.ImportInfo{Project: f.Project, Meter: f.Meter, Unit: f.Unit, Zone: zone.String(), Who: f.Who, Why: f.Why, File: filepath.Base(f.File), SHA256: hex.EncodeToString(sum[:])}
	if calc.Blank(f.Who) || calc.Blank(f.Why) {
		return configs.Setup(errors.New("--who and --why: say who brings the readings in and where they are from"))
	}
	bar := progress(stderr, len(in.rows))
	if err := col.Import(ctx, info, in.rows, bar); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%d readings are in the book, marked as brought in by %s; the figures follow them\n", len(in.rows), f.Who)
	return err
}

// progress returns a bar that is drawn on a terminal only.
func progress(w io.Writer, all int) func(int) {
	file, ok := w.(*os.File)
	if ok {
		info, err := file.Stat()
		ok = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return func(n int) {
		if ok {
			fmt.Fprintf(w, "\r%3d %% %d of %d readings settled", n*100/all, n, all)
			if n == all {
				fmt.Fprintln(w)
			}
		}
	}
}

// describe writes what a file holds and what is odd about it: settled alone, by
// the rules that will apply. The error says what should keep it out.
func (f *importFlags) describe(w io.Writer, in *readings, p *calc.Project, spec calc.Register) (problems, err error) {
	fmt.Fprintf(w, "file       %s\n", f.File)
	fmt.Fprintf(w, "readings   %d, of them without a value %d; lines passed over by --where %d\n", len(in.rows), in.missing, in.skipped)
	if in.badCount > 0 {
		problems = fmt.Errorf("%s: %d lines cannot be used, the first: %s", f.File, in.badCount, in.bad[0])
		fmt.Fprintf(w, "unusable   %d lines\n", in.badCount)
		for _, b := range in.bad {
			fmt.Fprintf(w, "             %s\n", b)
		}
	}
	if len(in.rows) == 0 {
		return problems, nil
	}
	zone, err := p.Location()
	if err != nil {
		return nil, err
	}
	rows := slices.Clone(in.rows)
	slices.SortStableFunc(rows, func(a, b collector.ImportRow) int { return cmp.Compare(a.At, b.At) })
	c, same, conflicts, err := f.settleAlone(rows, spec, zone)
	if err != nil {
		return nil, err
	}
	gap := int64(0)
	for k := range rows[1:] {
		gap = max(gap, rows[k+1].At-rows[k].At)
	}
	from, to := rows[0].At, rows[len(rows)-1].At
	local := func(ms int64) string { return time.UnixMilli(ms).In(zone).Format(time.RFC3339) }
	fmt.Fprintf(w, "span       %s to %s, longest time between readings %v\n", local(from), local(to), time.Duration(gap)*time.Millisecond)
	fmt.Fprintf(w, "order      earlier than the line before %d; same time and value again %d; same time, other value %d, the first counts; local times that occur twice %d\n", in.unordered, same, conflicts, in.twice)
	all := calc.Span{Start: calc.ClosingDay(from, zone), End: calc.ClosingDay(to, zone)}
	base := cmp.Or(spec.Base, "kWh")
	energy := c.Energy(all.Start, all.End.Next())
	fmt.Fprintf(w, "settled alone, by version %d of the counter rules: %s %s\n", calc.RulesVersion, energy, base)
	events, held := make(map[string]int), decimal.Zero
	c.Events(all, func(_ calc.Date, e *calc.Event) {
		events[e.Cause] += e.Count
		held = held.Add(e.Held)
	})
	for _, cause := range slices.Sorted(maps.Keys(events)) {
		fmt.Fprintf(w, "             %s: %d\n", cause, events[cause])
	}
	if held.IsPositive() {
		fmt.Fprintf(w, "             held back %s %s, more than rated power makes\n", held, base)
	}
	if c.Pending(all.End) != nil {
		fmt.Fprintf(w, "             at its end the register is below its value in force: undecided\n")
	}
	hours := decimal.New(to-from, 0).Div(decimal.New(3_600_000, 0))
	if events[calc.CauseUnit] > 0 {
		problems = errors.Join(problems, fmt.Errorf("--unit %q is none that is known", f.Unit))
	}
	if odd := calc.TooLittle(energy, spec.RatedKW, hours, base); odd != "" {
		problems = errors.Join(problems, fmt.Errorf("%s is --unit %s right?", odd, f.Unit))
	}
	if most := spec.RatedKW.Mul(hours); spec.RatedKW.IsPositive() && energy.GreaterThan(most) {
		problems = errors.Join(problems, fmt.Errorf("%s %s in %s h are more than rated power of %s %s makes (%s %s): is --unit %s right?", energy, base, hours.StringFixed(1), spec.RatedKW, strings.Replace(base+"/h", "kWh/h", "kW", 1), most.StringFixed(0), base, f.Unit))
	}
	return problems, nil
}

// settleAlone settles rows, in the order of their time, without anything that the
// book holds. It counts those that say the same again and those that contradict.
func (f *importFlags) settleAlone(rows []collector.ImportRow, spec calc.Register, zone *time.Location) (c *calc.Curve, same, conflicts int, err error) {
	spec.Changes, spec.Excluded, spec.Installed = nil, nil, true
	c = calc.NewCurve(spec, zone)
	for k, r := range rows {
		s := calc.Sample{At: r.At, Unit: f.Unit, Good: r.Value != nil, Imported: true}
		if r.Value != nil {
			s.Value = *r.Value
		}
		switch err := c.Add(s); {
		case errors.Is(err, calc.ErrConflict):
			conflicts++
		case err != nil:
			return nil, 0, 0, err
		case k > 0 && r.At == rows[k-1].At:
			same++
		}
	}
	return c, same, conflicts, nil
}
