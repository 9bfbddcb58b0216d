package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/collector"
)

// table says how a CSV file is written.
type table struct {
	Delimiter  string            `help:"Between columns; tab for tabulators." default:"," placeholder:"CHAR"`
	Skip       int               `help:"Lines before the head line, or before the data without one." default:"0" placeholder:"N"`
	NoHead     bool              `help:"There is no head line: columns are numbers from 1."`
	After      int               `help:"Lines between head line and data." default:"0" placeholder:"N"`
	Time       string            `help:"Column of the time, by name or number from 1." default:"1" placeholder:"COLUMN"`
	Value      string            `help:"Column of the value." default:"2" placeholder:"COLUMN"`
	Where      map[string]string `help:"Take only lines that have this value in that column." placeholder:"COLUMN=VALUE"`
	TimeFormat string            `help:"unix, unix-ms, rfc3339, or a pattern of YYYY MM DD hh mm ss." default:"YYYY-MM-DD hh:mm:ss" placeholder:"FORMAT"`
	Zone       string            `help:"IANA zone of times without offset; the project's when left out." placeholder:"ZONE"`
	Scale      string            `help:"Factor of every value, a decimal." default:"1" placeholder:"NUMBER"`
	Comma      bool              `help:"Values have a decimal comma."`
	NA         []string          `help:"Texts that stand for no value, beside empty, NaN, null and -." placeholder:"TEXT"`
}

// readings are the rows of a file and what is odd about it.
type readings struct {
	rows      []collector.ImportRow
	bad       []string // lines that cannot be used, the first ones
	badCount  int
	skipped   int // lines that --where passes over
	missing   int // without a value
	twice     int // local times that occur twice as the clocks are put back
	unordered int // earlier than the line before
}

const badShown = 5

// read reads a CSV file, gzip or not.
func (t *table) read(text []byte, zone *time.Location) (*readings, error) {
	if bytes.HasPrefix(text, []byte{0x1F, 0x8B}) {
		z, err := gzip.NewReader(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		if text, err = io.ReadAll(z); err != nil {
			return nil, fmt.Errorf("gzip: %w; get the file again", err)
		}
	}
	scale, err := decimal.NewFromString(t.Scale)
	if err != nil || scale.IsZero() {
		return nil, fmt.Errorf("--scale %q: want a decimal that is not 0", t.Scale)
	}
	clock, err := t.clock(zone)
	if err != nil {
		return nil, err
	}
	b := bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\xEF\xBB\xBF"))))
	for range t.Skip {
		if _, err := b.ReadString('\n'); err != nil {
			return nil, fmt.Errorf("--skip %d: the file has fewer lines", t.Skip)
		}
	}
	r := csv.NewReader(b)
	r.FieldsPerRecord, r.LazyQuotes, r.ReuseRecord = -1, true, true
	d := []rune(strings.NewReplacer("tab", "\t", `\t`, "\t").Replace(t.Delimiter))
	if len(d) != 1 || d[0] == '"' || d[0] == '\n' {
		return nil, fmt.Errorf("--delimiter %q: want one character, or tab", t.Delimiter)
	}
	r.Comma = d[0]
	var head []string
	if !t.NoHead {
		if head, err = r.Read(); err != nil {
			return nil, fmt.Errorf("head line: %w", err)
		}
		head = slices.Clone(head)
	}
	return t.rows(r, head, scale, clock)
}

func (t *table) rows(r *csv.Reader, head []string, scale decimal.Decimal, clock func(string, int64) (int64, bool, error)) (*readings, error) {
	at, err1 := column(head, t.Time)
	value, err2 := column(head, t.Value)
	where := make(map[int]string)
	var err3 error
	for c, v := range t.Where {
		i, err := column(head, c)
		where[i], err3 = v, errors.Join(err3, err)
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	out := &readings{}
	last := int64(-1 << 62)
	for n := 0; ; n++ {
		f, err := r.Read()
		if err == io.EOF {
			return out, nil
		}
		line, _ := r.FieldPos(0)
		line += t.Skip
		wrong := func(format string, args ...any) {
			if out.badCount++; len(out.bad) < badShown {
				out.bad = append(out.bad, fmt.Sprintf("line %d: %s", line, fmt.Sprintf(format, args...)))
			}
		}
		if err != nil {
			wrong("%v", err)
			continue
		}
		if n < t.After {
			continue
		}
		if !matches(f, where) {
			out.skipped++
			continue
		}
		if at >= len(f) || value >= len(f) {
			wrong("%d columns, want at least %d", len(f), max(at, value)+1)
			continue
		}
		if err := t.row(out, strings.TrimSpace(f[at]), strings.TrimSpace(f[value]), scale, clock, &last); err != nil {
			wrong("%v", err)
			continue
		}
		out.rows[len(out.rows)-1].Line = line
	}
}

// row adds one reading. last is the time of the line before.
func (t *table) row(out *readings, at, value string, scale decimal.Decimal, clock func(string, int64) (int64, bool, error), last *int64) error {
	ms, twice, err := clock(at, *last)
	if err != nil {
		return err
	}
	r := collector.ImportRow{At: ms}
	if t.none(value) {
		out.missing++
	} else {
		d, err := t.number(value)
		if err != nil {
			return fmt.Errorf("value %q is no number; --na names texts that stand for no value", value)
		}
		d = d.Mul(scale)
		r.Value = &d
	}
	if twice {
		out.twice++
	}
	if ms < *last {
		out.unordered++
	}
	*last = ms
	out.rows = append(out.rows, r)
	return nil
}

func matches(f []string, where map[int]string) bool {
	for i, v := range where {
		if i >= len(f) || strings.TrimSpace(f[i]) != v {
			return false
		}
	}
	return true
}

func (t *table) none(v string) bool {
	switch strings.ToLower(v) {
	case "", "nan", "null", "-", "n/a":
		return true
	}
	return slices.Contains(t.NA, v)
}

func (t *table) number(v string) (decimal.Decimal, error) {
	if t.Comma {
		v = strings.Replace(v, ",", ".", 1)
	}
	d, err := decimal.NewFromString(v)
	if err == nil && (d.Exponent() < -30 || d.NumDigits() > 30 || d.Exponent() > 30) {
		err = errors.New("more than 30 digits")
	}
	return d, err
}

// column returns the place of a column, counted from 0.
func column(head []string, name string) (int, error) {
	for i, h := range head {
		if strings.TrimSpace(h) == name {
			return i, nil
		}
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 1 {
		return n - 1, nil
	}
	return 0, fmt.Errorf("column %q: the head line has %q; name one of them or give its number from 1", name, head)
}

// clock returns how times are read: ms UTC, and whether the local time occurs
// twice. last is the time of the line before: of two equal local times the second
// is meant when it has passed the first.
func (t *table) clock(zone *time.Location) (func(text string, last int64) (int64, bool, error), error) {
	unit := int64(0)
	switch t.TimeFormat {
	case "unix":
		unit = 1000
	case "unix-ms":
		unit = 1
	case "rfc3339":
		return func(text string, _ int64) (int64, bool, error) {
			v, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return 0, false, fmt.Errorf("time %q: want RFC 3339, like 2026-01-31T09:30:00+07:00", text)
			}
			return v.UnixMilli(), false, nil
		}, nil
	}
	if unit > 0 {
		return func(text string, _ int64) (int64, bool, error) {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n > 1<<52 || n < 0 {
				return 0, false, fmt.Errorf("time %q: want %s, a whole number", text, t.TimeFormat)
			}
			return n * unit, false, nil
		}, nil
	}
	layout := strings.NewReplacer("YYYY", "2006", "MM", "01", "DD", "02", "hh", "15", "mm", "04", "ss", "05").Replace(t.TimeFormat)
	if !strings.Contains(layout, "2006") || !strings.Contains(layout, "15") {
		return nil, fmt.Errorf("--time-format %q: want unix, unix-ms, rfc3339, or a pattern such as DD.MM.YYYY hh:mm:ss", t.TimeFormat)
	}
	return func(text string, last int64) (int64, bool, error) {
		return local(text, layout, t.TimeFormat, zone, last)
	}, nil
}

func local(text, layout, format string, zone *time.Location, last int64) (int64, bool, error) {
	wall, err := time.Parse(layout, text)
	if err != nil {
		return 0, false, fmt.Errorf("time %q: want it as %s", text, format)
	}
	same := func(v time.Time) bool { return v.Format(time.DateTime) == wall.Format(time.DateTime) }
	v := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, zone)
	if !same(v) {
		return 0, false, fmt.Errorf("time %q does not exist in %v: the clocks were put forward", text, zone)
	}
	from, to := v.ZoneBounds()
	first, second := v, v
	_, offset := v.Zone()
	if !from.IsZero() {
		_, before := from.Add(-time.Second).Zone()
		if w := v.Add(time.Duration(offset-before) * time.Second); same(w.In(zone)) && w.Before(v) {
			first = w
		}
	}
	if !to.IsZero() {
		_, after := to.Zone()
		if w := v.Add(time.Duration(offset-after) * time.Second); same(w.In(zone)) && w.After(v) {
			second = w
		}
	}
	if first.Before(second) && last >= first.UnixMilli() {
		return second.UnixMilli(), true, nil
	}
	return first.UnixMilli(), first.Before(second), nil
}
