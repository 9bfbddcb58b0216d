package web

import (
	"fmt"
	"slices"

	"github.com/shopspring/decimal"

	"kenshin/calc"
	"kenshin/edge/wire"
)

// meters fills in the table of meters and the power now, which is the sum over
// the meters that count. A meter without a usable value is left out, and the note
// says so: what is not known is not 0.
func (b *builder) meters(p *calc.Project, r *calc.Report) {
	var total decimal.Decimal
	known, asked := 0, 0
	for i := range p.Meters {
		m := &p.Meters[i]
		row, kW, ok := b.meter(m, r)
		b.Meters = append(b.Meters, row)
		if m.Power == "" || m.Role != calc.RoleCounts {
			continue
		}
		if asked++; ok {
			known++
			total = total.Add(kW)
		}
	}
	b.Today = b.cell("today", noReading)
	if kWh, ok := dayEnergy(p, r, b.today); ok {
		b.Today = b.cell("today", grouped(kWh)+" kWh")
	}
	b.PowerUnit = b.cell("power-unit", "kW")
	if known == 0 {
		b.PowerUnit = b.cell("power-unit", "")
	}
	switch {
	case asked == 0:
		b.Power, b.PowerNote = b.bad("power", notAvailable), b.cell("power-note", "no meter of this project tells its power")
	case known == 0:
		b.Power, b.PowerNote = b.bad("power", notAvailable), b.bad("power-note", fmt.Sprintf("from none of %d meters", asked))
	case known < asked:
		b.Power, b.PowerNote = b.cell("power", grouped(total)), b.bad("power-note", fmt.Sprintf("from %d of %d meters only", known, asked))
	case asked == 1:
		b.Power, b.PowerNote = b.cell("power", grouped(total)), b.cell("power-note", "from its meter")
	default:
		b.Power, b.PowerNote = b.cell("power", grouped(total)), b.cell("power-note", fmt.Sprintf("from all %d meters", asked))
	}
}

// meter makes the row of one meter. ok is false when its power is not known.
func (b *builder) meter(m *calc.Meter, r *calc.Report) (row meterRow, kW decimal.Decimal, ok bool) {
	k := "meter-" + m.Key + "-"
	row = meterRow{Title: m.Title, Key: m.Key, Register: m.Register, Role: m.Role}
	if row.Title == "" {
		row.Title = m.Key
	}
	rep, unit := r.Of(m), "" // in kWh, as the columns say
	if m.Counts != "" {
		unit = " " + m.Counts
	}
	b.reading(&row, k, b.latest[m.Register], rep.Last, m.Base())
	row.Power, row.PowerAge = b.cell(k+"power", "not measured"), b.cell(k+"power-age", "")
	if m.Power != "" {
		s := b.latest[m.Power]
		text, why := notAvailable, noReading
		if kW, why, ok = b.power(s); ok {
			text = grouped(kW) + " kW"
		}
		if s != nil {
			why = b.told(s, why)
		}
		row.Power, row.PowerAge = b.add(cell{Key: k + "power", Text: text, State: state(ok)}), b.cell(k+"power-age", why)
	}
	row.Complete = b.cell(k+"complete", complete(&rep))
	row.Measured = b.cell(k+"measured", grouped(rep.MeasuredKWh)+unit)
	row.Claimable = b.cell(k+"claimable", grouped(rep.ClaimableKWh)+unit)
	switch day, there := rep.Days[b.today.String()]; {
	case !r.Period.Contains(b.today):
		row.Today = b.cell(k+"today", "not in this period")
	case !there || slices.Contains(rep.Unread, b.today.String()):
		row.Today = b.cell(k+"today", noReading)
	default:
		row.Today = b.cell(k+"today", grouped(day)+unit)
	}
	return row, kW, ok
}

func state(good bool) string {
	if good {
		return ""
	}
	return "bad"
}

// reading fills in the newest sample of the register and how to find its record.
func (b *builder) reading(row *meterRow, k string, s *wire.Sample, inForce *calc.Standing, base string) {
	row.Reading, row.Unit = b.bad(k+"reading", notAvailable), b.cell(k+"unit", "")
	row.Age, row.Quality, row.Record = b.cell(k+"age", ""), b.bad(k+"quality", noReading), b.cell(k+"record", "")
	if s == nil {
		return
	}
	row.Age = b.cell(k+"age", age(b.now, s.At))
	row.Record = b.cell(k+"record", fmt.Sprintf("record %s of %s", groupedText(fmt.Sprint(s.Seq)), s.Edge))
	if s.Quality == wire.Good {
		row.Reading, row.Unit = b.cell(k+"reading", grouped(s.Number)), b.cell(k+"unit", s.Unit)
		row.Quality = b.cell(k+"quality", s.Quality.String())
		return
	}
	row.Quality = b.bad(k+"quality", why(s))
	if inForce != nil {
		row.Unit = b.cell(k+"unit", "in force: "+grouped(inForce.KWh)+" "+base)
	}
}

// power returns a momentary power in kW, or why there is none.
func (b *builder) power(s *wire.Sample) (kW decimal.Decimal, reason string, ok bool) {
	if s == nil {
		return kW, noReading, false
	}
	shift, known := kilo(s.Unit)
	switch {
	case s.Quality != wire.Good:
		return kW, why(s), false
	case !known:
		return kW, fmt.Sprintf("unit %q is no power", s.Unit), false
	case b.now.UnixMilli()-s.At > maxAge.Milliseconds():
		return kW, "too old", false
	}
	return s.Number.Shift(shift), s.Quality.String(), true
}

// told says how old a sample is and what is to be thought of it.
func (b *builder) told(s *wire.Sample, quality string) string {
	return age(b.now, s.At) + ", " + quality
}

// why returns quality and reason of a value that may not be used.
func why(s *wire.Sample) string {
	if s.Reason == "" {
		return s.Quality.String()
	}
	return s.Quality.String() + ": " + s.Reason
}
