package web

import (
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

const (
	notAvailable = "not available"
	noReading    = "no reading"
	thin         = "\u202f" // narrow no-break space, between groups of three digits
)

// grouped returns a number with all its digits, the integer part in groups of
// three as ISO 80000-1 writes them.
func grouped(d decimal.Decimal) string { return groupedText(d.String()) }

// groupedText does the same for a number that is text already; other text stays.
func groupedText(text string) string {
	whole, rest, dot := strings.Cut(text, ".")
	digits := strings.TrimPrefix(whole, "-")
	if len(digits) < 4 || strings.Trim(digits+rest, "0123456789") != "" {
		return text
	}
	var b strings.Builder
	b.WriteString(whole[:len(whole)-len(digits)])
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteString(thin)
		}
		b.WriteRune(c)
	}
	if dot {
		b.WriteString("." + rest)
	}
	return b.String()
}

// kilo is what a power in a unit has to be shifted by to be in kW.
func kilo(unit string) (shift int32, ok bool) {
	switch unit {
	case "W":
		return -3, true
	case "kW":
		return 0, true
	case "MW":
		return 3, true
	}
	return 0, false
}

// age tells how long ago an instant was, in the largest unit that fits.
func age(now time.Time, at int64) string {
	d := now.Sub(time.UnixMilli(at))
	ending := " ago"
	if d < 0 {
		if d > -2*time.Second {
			return "0 s ago"
		}
		d, ending = -d, " ahead of the clock"
	}
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second) + ending
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute) + ending
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour) + ending
	}
	return fmt.Sprintf("%d d", d/(24*time.Hour)) + ending
}

// clock writes an instant (ms UTC) in a zone, to the second.
func clock(at int64, zone *time.Location) string {
	return time.UnixMilli(at).In(zone).Format(time.DateTime)
}
