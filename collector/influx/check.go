package influx

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"kenshin/collector"
	"kenshin/edge/wire"
)

// tally is what a comparison knows of the values of a series on a day. sum is the
// sum of their hashes, so their order does not matter.
type tally struct {
	count uint64
	sum   uint64
}

// add adds a value. It is the same for an integer field and a float64 field, so a
// point that was declared anew compares equal.
func (t *tally) add(measurement, key string, at int64, text string) {
	if measurement == wholeNumber {
		measurement = number
	}
	h := fnv.New64a()
	h.Write([]byte(measurement + "\x00" + key + "\x00" + strconv.FormatInt(at, 10) + "\x00" + text))
	t.count++
	t.sum += h.Sum64()
}

// Difference is what a comparison found of one day of an edge, values counted.
type Difference struct {
	Edge    string
	Day     string // UTC
	Stored  uint64 // in the series store
	Server  uint64 // in the server
	Devices []string
}

// tallies are those of a day of an edge.
type tallies map[devicePoint]tally

// devicePoint names a series as the server does.
type devicePoint struct{ device, point string }

func (t tallies) count() (n uint64) {
	for _, x := range t {
		n += x.count
	}
	return n
}

// differing returns the series that the server has not as they are in the series
// store. What the store has nothing of that day of is none: it may have been there
// for as long as it keeps it.
func (t tallies) differing(server tallies) (out []devicePoint) {
	for s, x := range t {
		if x != server[s] {
			out = append(out, s)
		}
	}
	return out
}

// compare compares a UTC day of an edge, and with repair writes the devices that
// differ again. It returns nil when there is nothing to say.
func (p *Projection) compare(ctx context.Context, e edgeDay, keys []string, repair bool) (*Difference, error) {
	ours, err := p.ours(ctx, e, keys)
	if err != nil {
		return nil, err
	}
	theirs, err := p.theirs(ctx, e)
	if err != nil {
		return nil, err
	}
	p.metrics.compared.Inc()
	d := &Difference{Edge: e.edge, Day: time.UnixMilli(e.day * dayMs).UTC().Format(time.DateOnly), Stored: ours.count(), Server: theirs.count()}
	wrong := ours.differing(theirs)
	p.found(e, len(wrong) > 0)
	if len(wrong) == 0 {
		return nil, nil
	}
	devices := make(map[string]bool)
	for _, s := range wrong {
		devices[s.device] = true
		p.metrics.missing.Add(max(1, float64(ours[s].count)-float64(theirs[s].count)))
	}
	d.Devices = slices.Sorted(maps.Keys(devices))
	p.log.Warn("a day in the time series server is not what it should be", zap.String("edge", d.Edge), zap.String("day", d.Day), zap.Uint64("stored", d.Stored), zap.Uint64("server", d.Server), zap.Strings("devices", d.Devices), zap.Bool("repair", repair))
	if !repair {
		return d, nil
	}
	if err := p.repair(ctx, e, keys, d.Devices); err != nil {
		return nil, err
	}
	if theirs, err = p.theirs(ctx, e); err != nil {
		return nil, err
	}
	still := len(ours.differing(theirs)) > 0
	p.found(e, still)
	if still {
		p.metrics.differing.Inc()
		p.log.Error("a day in the time series server still differs after it was written again: somebody else writes there, it refuses lines, or it keeps less than all time",
			zap.String("edge", d.Edge), zap.String("day", d.Day), zap.Uint64("stored", ours.count()), zap.Uint64("server", theirs.count()))
	}
	return d, nil
}

// found notes what a comparison of a day has found.
func (p *Projection) found(e edgeDay, differs bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if differs {
		p.lacks(e)
	} else {
		withoutDay(p.state.Differ, e.edge, e.day)
	}
}

// scan calls fn for each sample that the series store has of a day of an edge.
func (p *Projection) scan(ctx context.Context, e edgeDay, keys []string, fn func(*collector.Followed)) error {
	for _, key := range keys {
		part := strings.SplitN(key, "/", 3)
		if part[0] != e.edge || len(part) != 3 {
			continue
		}
		whole := p.follower.Whole(part[0], part[1], part[2])
		err := p.cfg.Collector.Samples(ctx, key, e.day*dayMs, (e.day+1)*dayMs, func(x wire.Sample, _ bool) error {
			fn(&collector.Followed{Sample: x, Integer: whole})
			return ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Projection) ours(ctx context.Context, e edgeDay, keys []string) (tallies, error) {
	out := make(tallies)
	err := p.scan(ctx, e, keys, func(x *collector.Followed) {
		s := devicePoint{name(x.Device), nameOfField(x.Point)}
		t := out[s]
		for _, v := range values(x) {
			t.add(v.measurement, s.point, x.At, plain(v))
		}
		out[s] = t
	})
	return out, err
}

// plain is the text of a value as theirs makes it of what the server answers.
func plain(v value) string {
	switch v.measurement {
	case wholeNumber:
		n, _ := strconv.ParseInt(strings.TrimSuffix(v.text, "i"), 10, 64)
		return floatText(float64(n))
	case number:
		f, _ := strconv.ParseFloat(v.text, 64)
		return floatText(f + 0) // -0 is 0
	}
	return v.text
}

// nameOfField is fieldKey as the server gives it back.
func nameOfField(s string) string {
	if strings.HasPrefix(fieldKey(s), "%") && !strings.HasPrefix(name(s), "%") {
		return "%" + name(s)
	}
	return name(s)
}

// maxTries is how often a day is asked for: whoever compares comes again.
const maxTries = 5

func (p *Projection) theirs(ctx context.Context, e edgeDay) (tallies, error) {
	query := fmt.Sprintf(`from(bucket: %s) |> range(start: %s, stop: %s) |> filter(fn: (r) => r.edge == %s) |> filter(fn: (r) => r._measurement =~ /^kenshin_(int|float|exact|text|quality)$/) |> keep(columns: ["_time", "_value", "_field", "_measurement", "device"])`,
		strconv.Quote(p.cfg.Server.Bucket), stamp(e.day*dayMs), stamp((e.day+1)*dayMs), strconv.Quote(name(e.edge)))
	for wait, tries := firstWait, 1; ; wait, tries = min(2*wait, p.cfg.maxWait()), tries+1 {
		out, err := p.read(ctx, query, e)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil {
			return out, nil
		}
		if v, _ := judge(err); v != again || tries == maxTries {
			return nil, fmt.Errorf("read a day of the time series server: %s", wordsOf(err))
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// read adds up what a query gives of a day. InfluxDB 1.8 takes the end of a range for
// a part of it.
func (p *Projection) read(ctx context.Context, query string, e edgeDay) (tallies, error) {
	out := make(tallies)
	res, err := p.link.query.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	defer res.Close()
	for res.Next() {
		r := res.Record()
		if utcDay(r.Time().UnixMilli()) != e.day {
			continue
		}
		device, _ := r.ValueByKey("device").(string)
		s := devicePoint{device, r.Field()}
		t := out[s]
		var text string
		switch v := r.Value().(type) {
		case int64:
			text = floatText(float64(v))
		case float64:
			text = floatText(v + 0)
		case string:
			text = stringValue(v)
		case nil: // an empty string, as the client reads it
			text = stringValue("")
		default:
			return nil, fmt.Errorf("a value of type %T in %s", v, r.Measurement())
		}
		t.add(r.Measurement(), r.Field(), r.Time().UnixMilli(), text)
		out[s] = t
	}
	return out, res.Err()
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// repair writes a day of some devices again.
func (p *Projection) repair(ctx context.Context, e edgeDay, keys, devices []string) error {
	enc := newEncoder(false)
	var failed error
	flush := func() {
		if failed == nil {
			failed = p.deliver(ctx, enc.lines)
		}
		enc.lines = enc.lines[:0]
	}
	err := p.scan(ctx, e, keys, func(x *collector.Followed) {
		if slices.Contains(devices, name(x.Device)) {
			if enc.add([]collector.Followed{*x}); len(enc.lines) >= batchLines {
				flush()
			}
		}
	})
	flush()
	return errors.Join(err, failed)
}

// keys returns all series, and those of each edge.
func (p *Projection) keys(ctx context.Context) (byEdge map[string][]string, err error) {
	latest, err := p.cfg.Collector.Latest(ctx)
	byEdge = make(map[string][]string)
	for i := range latest {
		byEdge[latest[i].Edge] = append(byEdge[latest[i].Edge], latest[i].Key())
	}
	return byEdge, err
}

// compareDaily compares the days that are over and were written since they were
// last compared, every hour.
func (p *Projection) compareDaily(ctx context.Context) error {
	for {
		if err := sleep(ctx, time.Hour); err != nil {
			return err
		}
		if err := p.compareDue(ctx, utcDay(time.Now().UnixMilli())); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			p.log.Error("days in the time series server are not compared; in an hour again", zap.Error(err))
		}
	}
}

// compareDue compares the days before today that are to be.
func (p *Projection) compareDue(ctx context.Context, today int64) error {
	keys, err := p.keys(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	var due []edgeDay
	for edge, list := range p.state.Days {
		for _, r := range list {
			for day := r[0]; day <= min(r[1], today-1); day++ {
				due = append(due, edgeDay{edge, day})
			}
		}
	}
	p.mu.Unlock()
	for _, e := range due {
		p.mu.Lock()
		p.comparing, p.dirtied = e, false
		p.mu.Unlock()
		if _, err := p.compare(ctx, e, keys[e.edge], true); err != nil {
			return err
		}
		p.mu.Lock()
		if !p.dirtied {
			p.state.compared(e.edge, e.day)
		}
		p.comparing = edgeDay{}
		p.mu.Unlock()
	}
	if len(due) > 0 {
		p.log.Info("days in the time series server compared with the series store", zap.Int("days", len(due)))
	}
	return p.save(true)
}

// Check compares the UTC days from first to last, all edges, and with repair writes
// again what differs. Without first it begins where the series begin. It calls each
// for every day of an edge that differed.
func (p *Projection) Check(ctx context.Context, first, last time.Time, repair bool, each func(Difference)) (compared int, err error) {
	if p.cfg.Server.Rounding {
		return 0, fmt.Errorf("server %s rounds numbers, so there is nothing to compare; it is for dashboards only", p.cfg.Server.Name)
	}
	if err := p.authorize(); err != nil {
		return 0, err
	}
	keys, err := p.keys(ctx)
	if err != nil {
		return 0, err
	}
	for _, edge := range slices.Sorted(maps.Keys(keys)) {
		from := utcDay(first.UnixMilli())
		if first.IsZero() {
			if from, err = p.firstDay(ctx, keys[edge]); err != nil {
				return compared, err
			}
		}
		for day := from; day <= utcDay(last.UnixMilli()); day++ {
			d, err := p.compare(ctx, edgeDay{edge, day}, keys[edge], repair)
			if err != nil {
				return compared, err
			}
			compared++
			if d != nil {
				each(*d)
			}
		}
	}
	return compared, p.save(true)
}

var errFirst = errors.New("the first sample")

// firstDay returns the UTC day of the earliest sample of some series.
func (p *Projection) firstDay(ctx context.Context, keys []string) (int64, error) {
	at := latest
	for _, key := range keys {
		err := p.cfg.Collector.Samples(ctx, key, earliest, at, func(x wire.Sample, _ bool) error {
			at = x.At
			return errFirst
		})
		if err != nil && !errors.Is(err, errFirst) {
			return 0, err
		}
	}
	return utcDay(at), nil
}
