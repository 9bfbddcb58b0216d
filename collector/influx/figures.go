package influx

import (
	"context"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"
	"go.uber.org/zap"

	"kenshin/calc"
)

// Measurements of figures. They are for watching: float64, except whole tonnes. The
// figures of record are those of API, report and page.
const (
	dayFigures     = "kenshin_day"     // of a meter on a local day on which it was read, at its start
	meterFigures   = "kenshin_meter"   // of a meter in a period, as they stood at a time
	periodFigures  = "kenshin_period"  // of a period
	vintageFigures = "kenshin_vintage" // of a year of a period: RE, PE, ER
)

const figuresEvery = time.Minute

// keepFigures writes the figures of all projects once a minute while they change. It
// takes at most a twentieth of the time of a processor.
func (p *Projection) keepFigures(ctx context.Context) error {
	written := ^uint64(0) // settled records that are in the figures
	for {
		start := time.Now()
		if settled := p.cfg.Collector.SettledRecords(); settled != written {
			if err := p.figures(ctx); err != nil {
				return err
			}
			written = settled
		}
		if err := sleep(ctx, max(figuresEvery, 20*time.Since(start))); err != nil {
			return err
		}
	}
}

// figures writes the figures that are not what was written last.
func (p *Projection) figures(ctx context.Context) error {
	projects, err := p.cfg.Collector.Projects(ctx)
	if err != nil {
		return err
	}
	for _, project := range projects {
		for i := range project.Periods {
			r, err := p.cfg.Collector.Report(ctx, project.Reference, i)
			if err != nil {
				p.log.Warn("no figures for the time series server", zap.String("project", project.Reference), zap.Int("period", i+1), zap.Error(err))
				continue
			}
			zone, err := project.Location()
			if err != nil {
				return err
			}
			if err := p.report(ctx, project, r, zone, time.Now().Truncate(figuresEvery).UnixMilli()); err != nil {
				return err
			}
		}
	}
	return nil
}

// report writes the figures of one period.
func (p *Projection) report(ctx context.Context, of *calc.Project, r *calc.Report, zone *time.Location, now int64) error {
	var f figures
	project := ",project=" + tagValue(r.Project)
	period := project + ",period=" + tagValue(r.Period.String())
	for i := range of.Meters {
		m, x := &of.Meters[i], r.Of(&of.Meters[i])
		if len(x.Days) == 0 {
			continue // nothing was read, which is not 0
		}
		measured, claimable := "measured_"+m.Base(), "claimable_"+m.Base()
		for _, day := range slices.Sorted(maps.Keys(x.Days)) {
			if slices.Contains(x.Unread, day) {
				continue
			}
			at, err := time.ParseInLocation(time.DateOnly, day, zone)
			if err != nil {
				return err
			}
			f.add(dayFigures+project+",meter="+tagValue(m.Key), at.UnixMilli(), true, measured, x.Days[day])
		}
		f.add(meterFigures+period+",meter="+tagValue(m.Key), now, false, measured, x.MeasuredKWh, claimable, x.ClaimableKWh)
	}
	if len(f.list) == 0 {
		return nil
	}
	f.add(periodFigures+period, now, false, "measured_kWh", r.MeasuredKWh, "claimable_kWh", r.ClaimableKWh)
	f.whole("ER_tCO2", r.ER)
	for _, year := range slices.Sorted(maps.Keys(r.Vintages)) {
		f.add(vintageFigures+period+",vintage="+tagValue(year), now, false)
		for _, name := range slices.Sorted(maps.Keys(r.Vintages[year])) {
			if name == "ER_tCO2" {
				f.whole(name, r.Vintages[year][name])
			} else if d, err := decimal.NewFromString(r.Vintages[year][name]); err == nil {
				f.field(fieldKey(name), d)
			}
		}
	}
	lines, sums := f.changed(p.derived)
	if err := p.deliver(ctx, lines); err != nil {
		return err
	}
	maps.Copy(p.derived, sums)
	return nil
}

// figures are lines in the making.
type figures struct {
	list []figure
}

type figure struct {
	series string // measurement and tags
	fields []string
	at     int64
	dated  bool // at is part of what it is: the figure of a day
}

func (f *figures) add(series string, at int64, dated bool, fields ...any) {
	f.list = append(f.list, figure{series: series, at: at, dated: dated})
	for i := 0; i+1 < len(fields); i += 2 {
		f.field(fields[i].(string), fields[i+1].(decimal.Decimal))
	}
}

// field adds a number to the last line.
func (f *figures) field(key string, d decimal.Decimal) {
	v, _ := float(d)
	l := &f.list[len(f.list)-1]
	l.fields = append(l.fields, key+"="+floatText(v))
}

// whole adds whole tonnes to the last line.
func (f *figures) whole(key, text string) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		l := &f.list[len(f.list)-1]
		l.fields = append(l.fields, key+"="+strconv.FormatInt(n, 10)+"i")
	}
}

var seed = maphash.MakeSeed()

// changed returns the lines that differ from what was written under the same name,
// by the hashes of both.
func (f *figures) changed(written map[uint64]uint64) (lines []line, sums map[uint64]uint64) {
	sums = make(map[uint64]uint64)
	for _, x := range f.list {
		if len(x.fields) == 0 {
			continue
		}
		name, value := x.series, strings.Join(x.fields, ",")
		at := strconv.FormatInt(x.at, 10)
		if x.dated {
			name += " " + at
		}
		k, v := maphash.String(seed, name), maphash.String(seed, value)
		if was, ok := written[k]; ok && was == v {
			continue
		}
		sums[k] = v
		lines = append(lines, line{x.series + " " + value + " " + at, len(x.fields)})
	}
	return lines, sums
}
