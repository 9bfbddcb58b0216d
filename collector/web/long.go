package web

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/calc"
)

// longChart is the energy of a whole period, which may come from a copy: to look at.
// It stands as it was drawn and follows nothing.
type longChart struct {
	Slots     int
	Top, Half string // values of the lines, kWh
	Path      string // of the bars
	From, To  string // first and last day
	Each      string // what one bar is
	Origin    string // where it comes from, and why not from a copy

	at time.Time
}

const (
	maxSlots = 400         // bars; a longer period has several days in one
	maxLong  = 200         // charts that are kept
	longFor  = time.Minute // a chart is drawn once in that
	maxCells = 250_000     // days of meters; settling waits while the series store adds up more
)

// long adds the chart of the whole period to a page whose chart of days leaves some out.
func (p *Page) long(ctx context.Context, v *view) error {
	if v.Days.Older == 0 || len(v.Days.Bars) == 0 || len(v.Meters)*(v.Days.Older+len(v.Days.Bars)) > maxCells {
		return nil
	}
	key, now := fmt.Sprint(v.Reference, " ", v.N), p.cfg.Now()
	p.mu.Lock()
	c, ok := p.drawn[key]
	p.mu.Unlock()
	if ok && now.Sub(c.at) < longFor {
		v.Long = &c
		return nil
	}
	source, why, days, err := p.cfg.Charts.Days(ctx, v.Reference, v.N-1)
	if err != nil {
		return err
	}
	to, err := calc.ParseDate(v.Days.Bars[len(v.Days.Bars)-1].Day)
	if err != nil {
		return err
	}
	c = drawLong(v.start, to, days)
	c.at = now
	c.Origin = fmt.Sprintf("Drawn from the time series server %s at %s; each month adds up to that of the report.", source, v.At.Text)
	if source == storeName {
		c.Origin = "Drawn from the series store."
		if why != "" {
			c.Origin = fmt.Sprintf("Drawn from the series store (%s).", why)
		}
	}
	p.mu.Lock()
	if len(p.drawn) >= maxLong {
		clear(p.drawn)
	}
	p.drawn[key] = c
	p.mu.Unlock()
	v.Long = &c
	return nil
}

const storeName = "series store" // as Charts names it

// drawLong draws the days from one to another, both included.
func drawLong(from, to calc.Date, days map[string]decimal.Decimal) longChart {
	n := 0
	for d := from; !to.Before(d); d = d.Next() {
		n++
	}
	each := (n + maxSlots - 1) / maxSlots
	c := longChart{Slots: max((n+each-1)/each, minSlots), From: from.String(), To: to.String(), Each: "of each day"}
	if each > 1 {
		c.Each = fmt.Sprintf("of every %d days", each)
	}
	bars := make([]float64, c.Slots)
	i, highest := 0, 0.0
	for d := from; !to.Before(d); d = d.Next() {
		x := &bars[i/each]
		*x += days[d.String()].InexactFloat64() // of a drawing
		highest = max(highest, *x)
		i++
	}
	top := roundUp(highest)
	c.Top, c.Half = plain(top), plain(top/2)
	var path strings.Builder
	for i, x := range bars {
		if h := max(0, x/top*chartHeight); h > 0 {
			fmt.Fprintf(&path, "M%d.08 100V%.2fh.84V100z", i, chartHeight-h)
		}
	}
	c.Path = path.String()
	return c
}
