package plant

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Energy tells what an energy counter shows at a time, in mWh, and the power
// then, in W. ok is false when there is nothing to show.
type Energy func(t time.Time) (milliWattHours, watts int64, ok bool)

// Steady is an energy that began at start with so many Wh and grows with the
// same power for ever, rounded down to mWh. Before start it stands.
func Steady(start time.Time, wattHours, watts int64) Energy {
	return func(t time.Time) (int64, int64, bool) {
		ms := max(t.Sub(start).Milliseconds(), 0)
		return wattHours*1000 + watts*(ms/3600) + watts*(ms%3600)/3600, watts, true
	}
}

// Counter is the readings of one energy counter, taken once.
type Counter struct {
	times  []int64 // ms since 1970, ascending
	values []int64 // mWh
}

// CounterFormat says what the columns of a counter's file mean.
type CounterFormat struct {
	Unit string         // Wh, kWh or MWh
	Zone *time.Location // of times that name none
}

// ReadCounter reads the readings of a counter: CSV, gzip or plain, with two
// columns and no others, time and value. A head line "time,value" may stand
// before them. A time is RFC 3339, "2006-01-02 15:04" with or without seconds in
// the zone, or whole seconds since 1970; times rise from line to line. Values may
// fall, as they do in real files; they have no digits beyond a mWh.
//
// Nothing is guessed: anything else is an error that names the line.
func ReadCounter(r io.Reader, format CounterFormat) (*Counter, error) {
	decimals, ok := map[string]int{"Wh": 3, "kWh": 6, "MWh": 9}[format.Unit]
	if !ok {
		return nil, fmt.Errorf("unit %q: want Wh, kWh or MWh", format.Unit)
	}
	in, err := plain(r)
	if err != nil {
		return nil, err
	}
	lines := csv.NewReader(in)
	lines.FieldsPerRecord = 2
	lines.ReuseRecord = true
	c := &Counter{}
	for {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if parse := (*csv.ParseError)(nil); errors.As(err, &parse) {
			return nil, fmt.Errorf("line %d: %w; want two columns, time and value", parse.Line, parse.Err)
		}
		if err != nil {
			return nil, err
		}
		line, _ := lines.FieldPos(0)
		if line == 1 && fields[0] == "time" && fields[1] == "value" {
			continue
		}
		if err := c.take(fields[0], fields[1], decimals, format.Zone); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
	}
	if len(c.times) == 0 {
		return nil, errors.New("no readings; want lines of time,value")
	}
	return c, nil
}

// plain returns r without gzip and byte order mark.
func plain(r io.Reader) (*bufio.Reader, error) {
	in := bufio.NewReader(r)
	if magic, _ := in.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("unpack gzip: %w", err)
		}
		in = bufio.NewReader(z)
	}
	if mark, _ := in.Peek(3); string(mark) == "\ufeff" {
		in.Discard(3) // cannot fail: these bytes were just seen
	}
	return in, nil
}

func (c *Counter) take(at, value string, decimals int, zone *time.Location) error {
	t, err := counterTime(at, zone)
	if err != nil {
		return err
	}
	ms := t.UnixMilli()
	if n := len(c.times); n > 0 && c.times[n-1] >= ms {
		return fmt.Errorf("time %s is not after that of the line before", at)
	}
	mWh, rest, err := fixedPoint(value, decimals)
	if err != nil || strings.Trim(rest, "0") != "" || mWh < 0 {
		return fmt.Errorf("value %q: want a number from 0 up with at most %d decimals (whole mWh)", value, decimals)
	}
	c.times, c.values = append(c.times, ms), append(c.values, mWh)
	return nil
}

func counterTime(text string, zone *time.Location) (time.Time, error) {
	if s, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(s, 0), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04"} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			if layout != time.RFC3339 && t.Format(layout) != text {
				return t, fmt.Errorf("time %q does not exist in %v", text, zone)
			}
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("time %q: want 2006-01-02 15:04, RFC 3339 or seconds since 1970", text)
}

// Times returns the times of all readings, UTC.
func (c *Counter) Times() []time.Time {
	out := make([]time.Time, len(c.times))
	for i, ms := range c.times {
		out[i] = time.UnixMilli(ms).UTC()
	}
	return out
}

// Energy shows the last reading at or before a time, nothing before the first,
// and as power what the counter gains until the next, 0 where it falls.
func (c *Counter) Energy(t time.Time) (milliWattHours, watts int64, ok bool) {
	i, found := slices.BinarySearch(c.times, t.UnixMilli())
	if !found {
		i--
	}
	if i < 0 {
		return 0, 0, false
	}
	if i+1 < len(c.times) {
		gain, ms := max(c.values[i+1]-c.values[i], 0), c.times[i+1]-c.times[i]
		watts = int64(float64(gain) * 3600 / float64(ms))
	}
	return c.values[i], watts, true
}

// WholeWh tells whether every reading is whole Wh, as a register that counts Wh
// can show it, and which is not.
func (c *Counter) WholeWh() error {
	for i, mWh := range c.values {
		if mWh%1000 != 0 {
			return fmt.Errorf("reading of %s is %d mWh, and the register counts whole Wh; take a profile with a finer one",
				time.UnixMilli(c.times[i]).UTC().Format(time.RFC3339), mWh)
		}
	}
	return nil
}
