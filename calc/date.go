package calc

import (
	"fmt"
	"time"
)

// Date is a day of a project's local calendar. The zero Date is no day.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// ParseDate reads "2020-05-15". A day that does not exist is an error.
func ParseDate(text string) (Date, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return Date{}, fmt.Errorf("date %q: want year-month-day of a day that exists, like 2020-05-15", text)
	}
	return Date{t.Year(), t.Month(), t.Day()}, nil
}

// String returns the date as ISO 8601 writes it: 2020-05-15.
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, int(d.Month), d.Day) }

// MarshalText writes the date as String does.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDate reads.
func (d *Date) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDate(string(text))
	return err
}

// Compare returns -1, 0 or 1 as d is before, the same as or after e.
func (d Date) Compare(e Date) int {
	switch {
	case d == e:
		return 0
	case d.Year < e.Year, d.Year == e.Year && d.Month < e.Month, d.Year == e.Year && d.Month == e.Month && d.Day < e.Day:
		return -1
	}
	return 1
}

// ordinal returns a number that orders days; it does not count them.
func (d Date) ordinal() int32 { return int32(d.Year*512 + int(d.Month)*32 + d.Day) }

// Before reports whether d is before e.
func (d Date) Before(e Date) bool { return d.Compare(e) < 0 }

// Next returns the day after.
func (d Date) Next() Date { return d.add(1) }

// Prev returns the day before.
func (d Date) Prev() Date { return d.add(-1) }

func (d Date) add(days int) Date {
	if day := d.Day + days; day >= 1 && day <= 28 {
		return Date{d.Year, d.Month, day}
	}
	y, m, day := time.Date(d.Year, d.Month, d.Day+days, 0, 0, 0, 0, time.UTC).Date()
	return Date{y, m, day}
}

// Start returns the first instant of the day in a zone. Where the clock is put
// forward at midnight that is 01:00 (America/Santiago); where it is put back over
// midnight it is the first of the two; a day that a zone left out (Pacific/Apia
// 2011-12-30) starts where the next one does and is empty.
func (d Date) Start(zone *time.Location) time.Time {
	// With a fixed offset the day would start at midnight minus the offset. Of the
	// spans between two changes of the clock, the first that gets there decides.
	midnight := time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC)
	t := midnight.Add(-36 * time.Hour).In(zone)
	for {
		from, to := t.ZoneBounds()
		_, offset := t.Zone()
		start := midnight.Add(-time.Duration(offset) * time.Second).In(zone)
		if start.Before(from) && !from.IsZero() {
			start = from
		}
		if to.IsZero() || start.Before(to) {
			return start
		}
		t = to
	}
}

// CalendarDay returns the day that an instant (ms UTC) belongs to: the last one
// whose first instant is not after it.
func CalendarDay(at int64, zone *time.Location) Date { return ClosingDay(at+1, zone) }

// ClosingDay returns the day whose figures a reading at an instant (ms UTC)
// closes: a reading exactly at midnight is the last of the day before.
func ClosingDay(at int64, zone *time.Location) Date {
	y, m, day := time.UnixMilli(at).In(zone).Date()
	d := Date{y, m, day}
	for d.startMs(zone) >= at {
		d = d.Prev()
	}
	for d.Next().startMs(zone) < at {
		d = d.Next()
	}
	return d
}

func (d Date) startMs(zone *time.Location) int64 { return d.Start(zone).UnixMilli() }
