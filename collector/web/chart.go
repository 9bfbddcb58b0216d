package web

import (
	"fmt"
	"math"
	"slices"

	"github.com/shopspring/decimal"

	"kenshin/calc"
)

// The chart is drawn in these units and stretched by the browser.
const (
	chartHeight = 100
	maxDays     = 60 // the newest ones
	minSlots    = 14 // so that the first day is not as wide as the page
)

// chart is the energy of each day as bars, and as the table beside them.
type chart struct {
	Slots     int
	Top, Half cell // values of the lines, kWh
	Bars      []bar
	From, To  string // days of the first and the last slot
	Older     int    // days of the period that are not shown
}

type bar struct {
	Day  string
	X    int
	Bar  cell
	Text cell
}

// days draws the days of the period so far. A day without a reading has no bar
// and says so in the table.
func (b *builder) days(p *calc.Project, r *calc.Report) {
	days := b.shown(r.Period)
	c := &b.Days
	for d := r.Period.Start; d.Before(days[0]); d = d.Next() {
		c.Older++
	}
	if b.today.Before(days[0]) {
		days = nil
	}
	c.Slots = max(len(days), minSlots)
	energy, known := make([]decimal.Decimal, len(days)), make([]bool, len(days))
	highest := 0.0
	for i, d := range days {
		energy[i], known[i] = dayEnergy(p, r, d)
		highest = max(highest, energy[i].InexactFloat64())
	}
	top := roundUp(highest)
	c.Top, c.Half = b.cell("chart-top", plain(top)), b.cell("chart-half", plain(top/2))
	for i, d := range days {
		key := d.String()
		height, text := 0.0, noReading
		if known[i] {
			height, text = max(0, energy[i].InexactFloat64()/top*chartHeight), grouped(energy[i])
		}
		c.Bars = append(c.Bars, bar{
			Day: key, X: i,
			Bar:  b.add(cell{Key: "bar-" + key, Y: fmt.Sprintf("%.2f", chartHeight-height), H: fmt.Sprintf("%.2f", height)}),
			Text: b.cell("day-"+key, text),
		})
	}
	if len(days) > 0 {
		to := days[0]
		for range c.Slots - 1 {
			to = to.Next() // the label stands under the last slot, drawn or not
		}
		c.From, c.To = days[0].String(), to.String()
	}
}

// shown returns the days of a period that the page shows: the newest ones up to
// today, and the first one when the period has not begun.
func (b *builder) shown(period calc.Span) []calc.Date {
	end := period.End
	if b.today.Before(end) {
		end = b.today
	}
	days := []calc.Date{period.Start}
	if end.Before(period.Start) {
		return days
	}
	days = days[:0]
	for d := end; !d.Before(period.Start) && len(days) < maxDays; d = d.Prev() {
		days = append(days, d)
	}
	slices.Reverse(days)
	return days
}

// dayEnergy returns what the meters that count measured on a day, kWh, and
// whether any did.
func dayEnergy(p *calc.Project, r *calc.Report, d calc.Date) (total decimal.Decimal, known bool) {
	for i := range p.Meters {
		if p.Meters[i].Role != calc.RoleCounts {
			continue
		}
		m := r.Meters[p.Meters[i].Key]
		if kWh, ok := m.Days[d.String()]; ok && !slices.Contains(m.Unread, d.String()) {
			total, known = total.Add(kWh), true
		}
	}
	return total, known
}

// roundUp returns the next of 1, 2, 5 × 10^n, at least 1.
func roundUp(x float64) float64 {
	if x <= 1 {
		return 1
	}
	base := math.Pow(10, math.Floor(math.Log10(x)))
	for _, f := range []float64{1, 2, 5} {
		if x <= f*base {
			return f * base
		}
	}
	return 10 * base
}

// plain writes the value of a line.
func plain(x float64) string { return grouped(decimal.NewFromFloat(x)) }
