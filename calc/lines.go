package calc

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What a report takes away beside what counters did.
const (
	CauseCalibration = "calibration" // report rule 1
	CauseUnread      = "unread"      // report rule 2
	CauseUnheld      = "no value"    // report rule 2
	CauseEnd         = "end"         // report rule 7
	CauseStart       = "start"       // report rule 7
)

// rules names the rule of each cause.
var rules = map[string]string{
	CauseUnit: "2", CauseGap: "6", CauseJump: "7", CauseFall: "8", CauseDip: "8", CauseRecovered: "8", CauseCorrection: "8",
	CauseRollover: "9", CauseRestart: "10", CauseSpike: "11", CauseReplacement: "12", CauseInstalled: "12", CauseRemoved: "12",
	CauseOut: "13", CauseExcluded: "13", CauseFrozen: "14",
}

// ruleOf names the rule that an event comes from. What a person or a record says is rule 12.
func ruleOf(e *Event) string {
	n := rules[e.Cause]
	if e.Detail != "" && e.Cause != CauseUnit && e.Cause != CauseExcluded {
		n = "12"
	}
	return "counter rule " + n
}

// takes reports whether an event holds energy back or lets it go unmeasured.
func (e *Event) takes() bool {
	switch e.Cause {
	case CauseUnit, CauseJump, CauseRecovered, CauseOut, CauseExcluded:
		return true
	}
	return e.Lost
}

// inUnit writes a note about a register that counts something else than kWh in its unit.
func inUnit(note string, m *Meter) string {
	if m.Counts == "" {
		return note
	}
	return strings.NewReplacer(" none of Wh, kWh, MWh, GWh:", " no unit of "+m.Counts+":", " kWh", " "+m.Counts, " kW ", " "+m.Counts+"/h ").Replace(note)
}

// deductions returns the lines of a meter, in the order of their time.
func (b *builder) deductions(m *Meter, c *Curve) []Deduction {
	var out []Deduction
	period, spec := b.report.Period, c.Spec()
	line := func(e *Event) Deduction {
		return Deduction{Meter: m.Key, Cause: e.Cause, Rule: ruleOf(e), From: e.From, To: e.To, KWh: e.Held, TCO2: "0", Note: inUnit(e.note(&spec), m)}
	}
	c.Events(period, func(day Date, e *Event) {
		switch d := line(e); {
		case e.unmeasured():
			out = append(out, b.spread(d)...)
		case e.takes():
			d.year, d.day = day.Year, day
			out = append(out, d)
		}
	})
	c.across(period.End, b.end(), func(e *Event) {
		if e.unmeasured() {
			out = append(out, b.spread(line(e))...)
		}
	})
	out = append(out, b.early(m, c)...)
	if then, now := c.pending(period.End); now != nil {
		stands := c.Last()
		out = append(out, b.spread(Deduction{Meter: m.Key, Cause: CauseFall, Rule: "counter rule 8", From: stands.At, To: now.Last.At,
			TCO2: "0", Note: inUnit(now.note(stands, then), m)})...)
	}
	if e := c.opening(period.End); e != nil {
		d := line(e)
		d.Note = e.Detail + "; the new register was not read yet"
		out = append(out, b.spread(d)...)
	}
	slices.SortStableFunc(out, func(x, y Deduction) int { return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.To, y.To)) })
	return out
}

// unmeasured reports whether an event is about a time in which nothing was measured, or
// perhaps not all. Each vintage has its part of such a time.
func (e *Event) unmeasured() bool { return e.Lost || e.Cause == CauseRecovered }

// end returns when the period ends, ms UTC.
func (b *builder) end() int64 { return b.calendar[len(b.calendar)-1].start }

// spread gives each vintage its part of a line.
func (b *builder) spread(d Deduction) (out []Deduction) {
	for _, v := range b.report.Period.Vintages() {
		start, end := v.Start.startMs(b.zone), v.End.Next().startMs(b.zone)
		part := d
		part.From, part.To, part.year, part.day = max(d.From, start), min(d.To, end), v.Start.Year, v.Start
		switch {
		case d.From == d.To && (d.To <= start || end < d.To), d.From < d.To && part.To <= part.From:
			continue
		case part.From != d.From || part.To != d.To:
			part.Note += fmt.Sprintf("; this is the part in %d, in all it is from %s to %s", part.year, local(d.From, b.zone), local(d.To, b.zone))
		}
		out = append(out, part)
	}
	return out
}

// across calls fn for the events of later days that began by the end of a day, at ms:
// what they are was not known by then.
func (c *Curve) across(day Date, ms int64, fn func(*Event)) {
	for i := c.index(day.Next()); i < len(c.days); i++ {
		k := &c.days[i]
		for j := range k.Events {
			if e := &k.Events[j]; e.From < ms {
				fn(e)
			}
		}
		if k.Out || k.Opening == nil && k.InForce.At >= ms && k.Still >= ms && (k.Leap == nil || k.Leap.Before.At >= ms) {
			return
		}
	}
}

// events returns what a meter's counter did that holds nothing back.
func (b *builder) events(m *Meter, c *Curve) []MeterEvent {
	var out []MeterEvent
	spec := c.Spec()
	add := func(e *Event) *MeterEvent {
		out = append(out, MeterEvent{Cause: e.Cause, Rule: ruleOf(e), From: e.From, To: e.To, Note: inUnit(e.note(&spec), m)})
		return &out[len(out)-1]
	}
	c.Events(b.report.Period, func(_ Date, e *Event) {
		if e.takes() {
			return
		}
		k := add(e)
		if rose := e.rose(&spec); rose.IsPositive() {
			k.KWh = rose
		}
	})
	c.across(b.report.Period.End, b.end(), func(e *Event) {
		if !e.unmeasured() {
			add(e).Note += "; it reaches over the end of the period: what the register counted across it is on " + ClosingDay(e.To, b.zone).String()
		}
	})
	slices.SortStableFunc(out, func(x, y MeterEvent) int { return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.To, y.To)) })
	return out
}

// uncalibrated returns a line for each run of days of a vintage in which the
// meter had no valid calibration: its maximum permissible error of what was
// measured then, before any netting.
func (b *builder) uncalibrated(m *Meter, c *Curve, s Span) []Deduction {
	if len(m.Records) == 0 || c.First().At == 0 {
		return nil
	}
	var out []Deduction
	var open *MeterRecord
	var from Date
	var carried bool // the last day has a certificate, and brought what days without one made
	end := func(next Date) {
		if open == nil {
			return
		}
		kWh := c.Energy(from, next)
		if !kWh.IsZero() {
			out = append(out, Deduction{Meter: m.Key, Cause: CauseCalibration, Rule: "report rule 1", From: from.startMs(b.zone), To: next.startMs(b.zone),
				KWh: kWh.Mul(open.MPE.Decimal).Shift(-2), TCO2: "0", year: s.Start.Year, day: from,
				Note: fmt.Sprintf("meter %s has no valid calibration from %v to %v: %s %% (%s) of the %s %s measured then", open.Serial, from, next.Prev(), open.MPE, open.MPESource, kWh, m.Base())})
			if carried {
				out[len(out)-1].Note += fmt.Sprintf("; on %v there is one, and its readings brought what was made on days before it that were not read", next.Prev())
			}
		}
		open, carried = nil, false
	}
	i := c.index(s.Start)
	for d := s.Start; !s.End.Before(d); d = d.Next() {
		first := d
		if i < len(c.days) && c.days[i].Day == d {
			if prev := c.days[i].Prev; prev != (Date{}) {
				first = prev.Next() // what these days made is booked on this one
			}
			i++
		}
		r := m.uncovered(first, d, b.zone)
		if r != open || carried || b.perDay(m) {
			end(d)
			open, from = r, d
		}
		carried = r != nil && first != d && m.uncovered(d, d, b.zone) == nil
	}
	end(s.End.Next())
	return out
}

// note says in a line what happened.
func (e *Event) note(spec *Register) string {
	span := time.Duration(e.To-e.From) * time.Millisecond
	switch e.Cause {
	case CauseUnit:
		return fmt.Sprintf("unit %q is none of Wh, kWh, MWh, GWh: what is in it is no reading (samples: %d)", e.Detail, e.Count)
	case CauseGap:
		return fmt.Sprintf("no reading for %v; the register showed %s kWh before and %s kWh after", span, e.Before, e.After)
	case CauseDip:
		if !e.Again.IsZero() {
			return fmt.Sprintf("fell below %s kWh and was back at %s kWh: what is between is measured, and nothing else", e.Before, e.After)
		}
		return fmt.Sprintf("fell below %s kWh and was back at %s kWh: nothing is lost", e.Before, e.After)
	case CauseRecovered:
		return fmt.Sprintf("fell below %s kWh and counted on to %s kWh as fast as it may: if it was exchanged or restarted, more was made than is measured", e.Before, e.After)
	case CauseRollover:
		return fmt.Sprintf("went from %s kWh by way of %s to %s kWh", e.Before, spec.Modulus, e.After)
	case CauseSpike:
		return fmt.Sprintf("showed %s kWh after %s kWh, which %s kW cannot make, and was back: what it showed between is not accepted", e.After, e.Before, spec.RatedKW)
	case CauseFrozen:
		return fmt.Sprintf("showed %s kWh for %v, then %s kWh: frozen, or the plant stood still", e.Before, span, e.After)
	case CauseOut:
		return fmt.Sprintf("no meter is installed by its records: %d readings do not count", e.Count)
	case CauseExcluded:
		return fmt.Sprintf("%s: %d readings do not count", e.Detail, e.Count)
	}
	if e.Cause == CauseJump {
		return fmt.Sprintf("rose by %s kWh, more than %s kW makes in %v", e.After.Sub(e.Before), spec.RatedKW, span)
	}
	return e.changed()
}

// opening returns the change by the end of a day whose new register was not read
// by then nor since, nil when there is none.
func (c *Curve) opening(day Date) *Event {
	i := c.index(day.Next())
	if i == 0 || c.days[i-1].Opening == nil || c.last().Opening == nil || c.days[i-1].Opening.To != c.last().Opening.To {
		return nil
	}
	return c.last().Opening
}

// changed says what is known where one register ended and another began.
func (e *Event) changed() string {
	switch {
	case e.Cause == CauseCorrection && e.Detail == "":
		return fmt.Sprintf("was put back from %s kWh and counted on: nothing was measured until it showed %s kWh", e.Before, e.After)
	case e.Cause == CauseRestart && e.Detail == "":
		return fmt.Sprintf("began anew: %s kWh after %s kWh; what was made between the two readings is not measured", e.After, e.Before)
	case (e.Cause == CauseInstalled || e.Cause == CauseRemoved) && !e.Lost:
		return e.Detail
	case e.Lost:
		return fmt.Sprintf("%s; known are %s kWh before and %s kWh after, what was made between is not measured", e.Detail, e.Before, e.After)
	}
	return fmt.Sprintf("%s; ended at %s kWh, began at %s kWh", e.Detail, e.Before, e.After)
}

// note says what is known of a fall that is pending, and how it stood at the end of a
// period.
func (f *Fall) note(stands Reading, then *Fall) string {
	what := "undecided"
	if f.Cause != "" {
		what = "it will be a " + f.Cause + " if it counts on"
	}
	at := "is at " + f.Last.KWh.String() + " kWh now"
	if then.Last.At != f.Last.At {
		at = "was at " + then.Last.KWh.String() + " kWh at the end of the period and " + at
	}
	return "fell from " + stands.KWh.String() + " to " + f.From.KWh.String() + " kWh, " + at + ": " + what +
		"; what it counted since, " + f.Last.KWh.Sub(f.Low).String() + " kWh, is not measured"
}
