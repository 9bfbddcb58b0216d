package plant

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Reading is what the file says of one inverter at one time.
type Reading struct {
	Key        string // the inverter
	WattHours  uint64 // lifetime energy, exact
	MicroWatts int64  // AC power
}

// Replay is a plant that repeats readings taken once from a real one.
type Replay struct {
	times    []time.Time
	keys     []string
	readings map[int64][]Reading // by ms since 1970, in order of keys
}

// The columns of the file that are used; others may stand between them.
const (
	timeColumn   = "DATE_TIME"   // local time, layout below
	keyColumn    = "SOURCE_KEY"  // inverter, up to 32 bytes
	powerColumn  = "AC_POWER"    // kW
	energyColumn = "TOTAL_YIELD" // kWh since the inverter was installed

	timeLayout = "02-01-2006 15:04"
	maxKey     = 32  // bytes of SN in SunSpec model 1
	maxUnits   = 247 // unit ids of one Modbus endpoint
)

// LoadReplay reads a generation file, CSV with a head line, gzip or plain:
// DATE_TIME dd-mm-yyyy HH:MM in zone, SOURCE_KEY, AC_POWER in kW, TOTAL_YIELD in
// kWh. Lines may come in any order.
//
// Nothing is guessed: a yield that is not whole Wh, a time that zone does not
// have, a second reading of an inverter at one time, or anything else that is
// not as described is an error that names the line of the file. Of a power,
// digits beyond a µW are cut off.
func LoadReplay(r io.Reader, zone *time.Location) (*Replay, error) {
	in, err := plain(r)
	if err != nil {
		return nil, err
	}
	lines := csv.NewReader(in)
	lines.ReuseRecord = true
	column, err := columns(lines)
	if err != nil {
		return nil, err
	}
	l := &loader{column: column, zone: zone, lineOf: make(map[moment]int), readings: make(map[int64][]Reading)}
	for line := 1; ; {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return l.arrange()
		}
		if parse := (*csv.ParseError)(nil); errors.As(err, &parse) {
			return nil, fmt.Errorf("line %d: %w; want CSV with as many fields as the head line", parse.Line, parse.Err)
		}
		if err != nil {
			return nil, fmt.Errorf("after line %d: %w", line, err)
		}
		line, _ = lines.FieldPos(0)
		if err := l.take(line, fields); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
	}
}

// loader is a file being read.
type loader struct {
	column   map[string]int
	zone     *time.Location
	lineOf   map[moment]int
	readings map[int64][]Reading
}

// moment is what a file may have once only.
type moment struct {
	ms  int64
	key string
}

// columns returns where each used column stands, by the head line.
func columns(lines *csv.Reader) (map[string]int, error) {
	head, err := lines.Read()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	at := make(map[string]int)
	for _, name := range []string{timeColumn, keyColumn, powerColumn, energyColumn} {
		if at[name] = slices.Index(head, name); at[name] < 0 {
			return nil, fmt.Errorf("line 1: no column %s; want a head line with %s, %s, %s and %s",
				name, timeColumn, keyColumn, powerColumn, energyColumn)
		}
	}
	return at, nil
}

// take adds one line.
func (l *loader) take(line int, fields []string) error {
	text := fields[l.column[timeColumn]]
	at, err := time.ParseInLocation(timeLayout, text, l.zone)
	if err != nil || at.Format(timeLayout) != text {
		return fmt.Errorf("%s %q: want dd-mm-yyyy HH:MM, a time that exists in %s", timeColumn, text, l.zone)
	}
	key := strings.Clone(fields[l.column[keyColumn]]) // the record is used again
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("%s %q: want 1 to %d bytes", keyColumn, key, maxKey)
	}
	text = fields[l.column[energyColumn]]
	energy, rest, err := fixedPoint(text, 3)
	if err != nil || rest != "" || energy < 0 {
		return fmt.Errorf("%s %q: want kWh from 0 up with at most 3 decimals (whole Wh)", energyColumn, text)
	}
	text = fields[l.column[powerColumn]]
	power, _, err := fixedPoint(text, 9)
	if err != nil {
		return fmt.Errorf("%s %q: want kW as a decimal number", powerColumn, text)
	}
	m := moment{at.UnixMilli(), key}
	if first, ok := l.lineOf[m]; ok {
		return fmt.Errorf("a second reading of %s at this time, after line %d: want one", key, first)
	}
	l.lineOf[m] = line
	l.readings[m.ms] = append(l.readings[m.ms], Reading{key, uint64(energy), power})
	return nil
}

// arrange sorts what was taken and looks at it as a whole.
func (l *loader) arrange() (*Replay, error) {
	p := &Replay{readings: l.readings}
	known := make(map[string]bool)
	for ms, at := range p.readings {
		p.times = append(p.times, time.UnixMilli(ms).UTC())
		slices.SortFunc(at, func(a, b Reading) int { return strings.Compare(a.Key, b.Key) })
		for _, r := range at {
			known[r.Key] = true
		}
	}
	slices.SortFunc(p.times, time.Time.Compare)
	p.keys = slices.Sorted(maps.Keys(known))
	switch {
	case len(p.keys) == 0:
		return nil, errors.New("no readings: want lines below the head line")
	case len(p.keys) > maxUnits:
		return nil, fmt.Errorf("%d inverters: want at most %d, the units of one Modbus endpoint", len(p.keys), maxUnits)
	}
	return p, nil
}

// fixedPoint reads a decimal number such as -12.5 as an integer of 10^-decimals:
// 12.5 with 3 decimals is 12500. rest is what was written beyond those decimals.
// A text that is not digits with at most one sign and one point, or a number of
// more than 64 bits, is an error.
func fixedPoint(text string, decimals int) (n int64, rest string, err error) {
	digits, negative := strings.CutPrefix(text, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	if whole == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, "", fmt.Errorf("%q is not a decimal number", text)
	}
	if len(fraction) > decimals {
		fraction, rest = fraction[:decimals], fraction[decimals:]
	}
	fraction += strings.Repeat("0", decimals-len(fraction))
	n, err = strconv.ParseInt(whole+fraction, 10, 64)
	if negative {
		n = -n
	}
	return n, rest, err
}

// Times returns every time for which the file has a reading, in order, UTC.
func (p *Replay) Times() []time.Time { return slices.Clone(p.times) }

// Keys returns the names of the inverters, sorted.
func (p *Replay) Keys() []string { return slices.Clone(p.keys) }

// Readings returns what the file has for exactly this time, sorted by key; none
// when it has nothing.
func (p *Replay) Readings(at time.Time) []Reading {
	if at.Nanosecond()%int(time.Millisecond) != 0 {
		return nil
	}
	return slices.Clone(p.readings[at.UnixMilli()])
}

// Unit returns an inverter of the file as a SunSpec unit: SN is its key, ActWh
// of model 122 its yield in Wh, W its power. At a moment for which the file has
// no reading of it, and only then, every request is refused with exception 0x0B.
func (p *Replay) Unit(key string, clock Clock) Unit {
	plate := Nameplate{Manufacturer: "Replay", Model: "Generation data", Version: "1", Serial: key, EnergyScale: 3}
	return SunSpecInverter(plate, func() (Output, bool) {
		now := clock.Now()
		at := p.readings[now.UnixMilli()]
		i, ok := slices.BinarySearchFunc(at, key, func(r Reading, key string) int { return strings.Compare(r.Key, key) })
		if !ok || now.Nanosecond()%int(time.Millisecond) != 0 {
			return Output{}, false
		}
		out := Output{MicroWatts: at[i].MicroWatts, WattHours: at[i].WattHours, State: stateSleeping}
		if out.MicroWatts > 0 {
			out.State = stateMPPT
		}
		return out, true
	})
}

// Units returns every inverter of the file under its place in Keys, from 1 on.
func (p *Replay) Units(clock Clock) map[uint8]Unit {
	units := make(map[uint8]Unit)
	for i, key := range p.keys {
		units[uint8(i+1)] = p.Unit(key, clock)
	}
	return units
}
