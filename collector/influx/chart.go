package influx

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/calc"
	"kenshin/collector"
	"kenshin/edge/wire"
)

// Charts draws long charts: from a server that has everything, else from the series
// store. They are for display; no total or figure is made of them.
type Charts struct {
	Collector *collector.Collector
	Copies    []*Projection // those that keep what they are given to the last digit are asked in turn
}

// SeriesStore is the source of a chart that no server has drawn.
const SeriesStore = "series store"

const (
	chartWithin = 5 * time.Second  // a server that does not answer by then is not waited for
	currentFor  = time.Minute      // a server may be behind by that
	chartHour   = int64(3_600_000) // the newest part of a chart is the series store's, ms
)

// missing says why a server may not draw samples of an edge from an instant to before
// another, ms UTC; "" when it may. The edge of figures is "".
func (p *Projection) missing(edge string, from, to int64) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := p.cfg.Server.Name + ": "
	switch {
	case p.cfg.Server.Rounding:
		return name + "it rounds numbers"
	case p.health != up:
		return name + p.health
	case time.Since(p.current) > currentFor:
		return fmt.Sprintf("%s%d records behind", name, p.cfg.Collector.SettledRecords()-min(p.state.Next, p.cfg.Collector.SettledRecords()))
	}
	for _, r := range p.state.Differ[edge] {
		if r[0]*dayMs < to && (r[1]+1)*dayMs > from {
			return name + "it has not all of " + time.UnixMilli(max(from, r[0]*dayMs)).UTC().Format(time.DateOnly)
		}
	}
	return ""
}

// Readings returns the last good number in each window of every ms, counted from
// 1970, in which a register has one, from an instant to before another, ms UTC. At is
// the beginning of the window. source is the server that was asked, or SeriesStore,
// and why then says what each server lacks.
func (c *Charts) Readings(ctx context.Context, register string, from, to, every int64) (source, why string, list []wire.Sample, err error) {
	from -= mod(from, every)
	cut := time.Now().UnixMilli() - chartHour // what comes now is in the series store first
	cut = min(to, cut-mod(cut, every))
	var whys []string
	for _, p := range c.Copies {
		if cut <= from {
			break
		}
		list, err := p.readings(ctx, register, from, cut, every)
		if err == nil {
			tail, err := c.stored(ctx, register, max(from, cut), to, every)
			return p.cfg.Server.Name, "", append(list, tail...), err
		}
		if ctx.Err() != nil {
			return "", "", nil, ctx.Err()
		}
		whys = append(whys, err.Error())
	}
	list, err = c.stored(ctx, register, from, to, every)
	return SeriesStore, strings.Join(whys, "; "), list, err
}

func mod(x, n int64) int64 { return (x%n + n) % n }

// stored is Readings from the series store.
func (c *Charts) stored(ctx context.Context, register string, from, to, every int64) (list []wire.Sample, err error) {
	err = c.Collector.Samples(ctx, register, from, to, func(x wire.Sample, _ bool) error {
		if x.Quality != wire.Good || x.Kind == wire.Label {
			return ctx.Err()
		}
		x.At -= mod(x.At, every)
		if n := len(list); n > 0 && list[n-1].At == x.At {
			list[n-1] = x
		} else {
			list = append(list, x)
		}
		return ctx.Err()
	})
	return list, err
}

// readings is Readings from the server. Its first and last window must be as the
// series store has them, and the store must have none before or after them.
func (p *Projection) readings(ctx context.Context, register string, from, to, every int64) ([]wire.Sample, error) {
	part := strings.SplitN(register, "/", 3)
	if len(part) != 3 {
		return nil, fmt.Errorf("register %q: want edge/device/point", register)
	}
	if why := p.missing(name(part[0]), from, to); why != "" {
		return nil, errors.New(why)
	}
	ctx, cancel := context.WithTimeout(ctx, chartWithin)
	defer cancel()
	ask := p.askFlux
	if strings.Contains(p.cfg.Server.Bucket, "/") {
		ask = p.askInfluxQL
	}
	list, err := ask(ctx, part[0], part[1], part[2], from, to, every)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", p.cfg.Server.Name, wordsOf(err))
	}
	first, last := to, from
	store := Charts{Collector: p.cfg.Collector}
	if n := len(list); n > 0 {
		first, last = list[0].At, list[n-1].At
		for _, x := range []wire.Sample{list[0], list[n-1]} {
			ours, err := store.stored(ctx, register, x.At, min(to, x.At+every), every)
			if err != nil {
				return nil, err
			}
			if len(ours) > 0 && !near(ours[0].Number, x.Number) {
				return nil, fmt.Errorf("%s: it has %v of %s where the series store has %v", p.cfg.Server.Name, x.Number, stamp(x.At), ours[0].Number)
			}
		}
		last += every
	}
	for _, gap := range [][2]int64{{from, first}, {last, to}} {
		err := p.cfg.Collector.Samples(ctx, register, gap[0], gap[1], func(x wire.Sample, _ bool) error {
			if x.Quality == wire.Good && x.Kind != wire.Label {
				return fmt.Errorf("%s: it has nothing of %s", p.cfg.Server.Name, stamp(x.At))
			}
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	for i := range list {
		list[i].Edge, list[i].Device, list[i].Point = part[0], part[1], part[2]
	}
	return list, nil
}

// near reports whether a number is one that a float64 was made of.
func near(exact, shown decimal.Decimal) bool {
	f, _ := float(exact)
	g, _ := float(shown)
	return f == g
}

// askFlux asks in the shape that a server of version 2 carries out where the data lies.
func (p *Projection) askFlux(ctx context.Context, edge, device, point string, from, to, every int64) ([]wire.Sample, error) {
	res, err := p.link.query.Query(ctx, fmt.Sprintf(`from(bucket: %s) |> range(start: %s, stop: %s) |> filter(fn: (r) => r._measurement == "%s" or r._measurement == "%s") |> filter(fn: (r) => r.edge == %s and r.device == %s and r._field == %s) |> window(every: %dms) |> last() |> keep(columns: ["_time", "_value", "_measurement"])`,
		strconv.Quote(p.cfg.Server.Bucket), stamp(from), stamp(to), wholeNumber, number, strconv.Quote(name(edge)), strconv.Quote(name(device)), strconv.Quote(nameOfField(point)), every))
	if err != nil {
		return nil, err
	}
	defer res.Close()
	var w windows
	for res.Next() {
		r := res.Record()
		if at := r.Time().UnixMilli(); at < to { // 1.8 takes the end of a range for a part of it
			w.add(at-mod(at, every), at, fmt.Sprint(r.Value()))
		}
	}
	return w.list(), res.Err()
}

// askInfluxQL asks a server of version 1, whose Flux reads every value. The answer
// has the beginning of each window; of two types of number the server must have one.
func (p *Projection) askInfluxQL(ctx context.Context, edge, device, point string, from, to, every int64) ([]wire.Sample, error) {
	database, policy, _ := strings.Cut(p.cfg.Server.Bucket, "/")
	form := url.Values{"db": {database}, "rp": {policy}, "epoch": {"ms"}, "q": {fmt.Sprintf(`SELECT last("%s") FROM "%s","%s" WHERE "edge" = '%s' AND "device" = '%s' AND time >= %dms AND time < %dms GROUP BY time(%dms) fill(none)`,
		inQuery.Replace(nameOfField(point)), wholeNumber, number, inQuery.Replace(name(edge)), inQuery.Replace(name(device)), from, to, every)}}
	var answer struct {
		Results []struct {
			Error  string
			Series []struct{ Values [][]json.Number }
		}
	}
	service := p.link.client.HTTPService()
	// Not the client's own way to an error: it makes one of the type that is not nil.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.Server.URL+"query", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	resp, err := service.DoHTTPRequestWithResponse(req, func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") })
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxWords))
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	var w windows
	for _, r := range answer.Results {
		if r.Error != "" {
			return nil, errors.New(r.Error)
		}
		if len(r.Series) > 1 {
			return nil, errors.New("the register was declared anew with another type")
		}
		for _, s := range r.Series {
			for _, v := range s.Values {
				at, err := v[0].Int64()
				if err != nil {
					return nil, err
				}
				w.add(at, at, v[1].String())
			}
		}
	}
	return w.list(), nil
}

var inQuery = strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`)

// windows keeps the newest value of each window.
type windows map[int64]windowed

type windowed struct {
	at    int64
	value decimal.Decimal
}

func (w *windows) add(start, at int64, text string) {
	d, err := decimal.NewFromString(text)
	if old, ok := (*w)[start]; err != nil || ok && old.at > at {
		return
	}
	if *w == nil {
		*w = make(windows)
	}
	(*w)[start] = windowed{at, d}
}

func (w windows) list() (out []wire.Sample) {
	for start, x := range w {
		out = append(out, wire.Sample{At: start, Number: x.value})
	}
	slices.SortFunc(out, func(a, b wire.Sample) int { return cmp.Compare(a.At, b.At) })
	return out
}

// Days returns the energy in kWh of each local day of a period, counted from 0, on
// which the meters that count were read, and where it comes from, as Readings does.
// What a server says must add up to the months of the report, so it shows what the
// report says; the newest two days are the report's.
func (c *Charts) Days(ctx context.Context, project string, period int) (source, why string, days map[string]decimal.Decimal, err error) {
	of, _, err := c.Collector.Project(project)
	if err != nil {
		return "", "", nil, err
	}
	zone, err := of.Location()
	if err != nil {
		return "", "", nil, err
	}
	if period < 0 || period >= len(of.Periods) {
		return "", "", nil, fmt.Errorf("project %q has no period %d: %w", project, period+1, collector.ErrUnknown)
	}
	span := of.Periods[period]
	cut := calc.CalendarDay(time.Now().UnixMilli(), zone).Prev()
	if span.End.Before(cut) {
		cut = span.End
	}
	var whys []string
	for _, p := range c.Copies {
		if !span.Start.Before(cut) {
			break
		}
		days, err := p.days(ctx, of, period, cut, zone)
		if err == nil {
			return p.cfg.Server.Name, "", days, nil
		}
		if ctx.Err() != nil {
			return "", "", nil, ctx.Err()
		}
		whys = append(whys, err.Error())
	}
	r, err := c.Collector.Report(ctx, project, period)
	if err != nil {
		return "", "", nil, err
	}
	return SeriesStore, strings.Join(whys, "; "), counted(of, r), nil
}

// counted adds up what the meters that count have measured on each day they were read.
func counted(of *calc.Project, r *calc.Report) map[string]decimal.Decimal {
	days := make(map[string]decimal.Decimal)
	for i := range of.Meters {
		if of.Meters[i].Role != calc.RoleCounts {
			continue
		}
		m := r.Meters[of.Meters[i].Key]
		for day, kWh := range m.Days {
			if !slices.Contains(m.Unread, day) {
				days[day] = days[day].Add(kWh)
			}
		}
	}
	return days
}

// days is Days from the server, up to before cut, and from the report after it.
func (p *Projection) days(ctx context.Context, of *calc.Project, period int, cut calc.Date, zone *time.Location) (map[string]decimal.Decimal, error) {
	from, to := of.Periods[period].Start.Start(zone).UnixMilli(), cut.Start(zone).UnixMilli()
	if why := p.missing("", from, to); why != "" {
		return nil, errors.New(why)
	}
	r, err := p.cfg.Collector.Recent(ctx, of.Reference, period, cut)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, chartWithin)
	defer cancel()
	res, err := p.link.query.Query(ctx, fmt.Sprintf(`from(bucket: %s) |> range(start: %s, stop: %s) |> filter(fn: (r) => r._measurement == "%s") |> filter(fn: (r) => r.project == %s and r._field == "measured_kWh") |> keep(columns: ["_time", "_value", "meter"])`,
		strconv.Quote(p.cfg.Server.Bucket), stamp(from), stamp(to), dayFigures, strconv.Quote(name(of.Reference))))
	if err != nil {
		return nil, fmt.Errorf("%s: %s", p.cfg.Server.Name, wordsOf(err))
	}
	defer res.Close()
	counts := make(map[string]bool)
	for i := range of.Meters {
		counts[name(of.Meters[i].Key)] = of.Meters[i].Role == calc.RoleCounts
	}
	days := counted(of, r)
	for res.Next() {
		x := res.Record()
		meter, _ := x.ValueByKey("meter").(string)
		v, ok := x.Value().(float64)
		if at := x.Time().UnixMilli(); ok && counts[meter] && at < to {
			day := calc.CalendarDay(at, zone).String()
			days[day] = days[day].Add(decimal.NewFromFloat(v))
		}
	}
	if res.Err() != nil {
		return nil, fmt.Errorf("%s: %s", p.cfg.Server.Name, wordsOf(res.Err()))
	}
	months := make(map[string]decimal.Decimal)
	for day, kWh := range days {
		months[day[:7]] = months[day[:7]].Add(kWh)
	}
	for month, kWh := range r.Months {
		if months[month].Sub(kWh).Abs().GreaterThan(displayed) {
			return nil, fmt.Errorf("%s: its days of %s are %v kWh, the report says %v", p.cfg.Server.Name, month, months[month], kWh)
		}
	}
	return days, nil
}

// displayed is the difference in kWh that float64 may make of a month: 1 mWh.
var displayed = decimal.New(1, -6)
