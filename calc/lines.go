package calc

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// What a report takes away beside what counters did.
const (
	CauseCalibration = "calibration" // report rule 1
	CauseUnread      = "unread"      // report rule 2
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
	spec := c.Spec()
	c.Events(b.report.Period, func(day Date, e *Event) {
		if e.takes() {
			out = append(out, Deduction{Meter: m.Key, Cause: e.Cause, Rule: ruleOf(e), From: e.From, To: e.To,
				KWh: e.Held, TCO2: "0", Note: inUnit(e.note(&spec), m), year: day.Year, day: day})
		}
	})
	if f := c.Pending(b.report.Period.End); f != nil {
		stands := c.Last()
		out = append(out, Deduction{Meter: m.Key, Cause: CauseFall, Rule: "counter rule 8", From: stands.At, To: f.Last.At,
			TCO2: "0", Note: inUnit(f.note(stands), m), year: b.report.Period.End.Year})
	}
	if e := c.opening(b.report.Period.End); e != nil {
		out = append(out, Deduction{Meter: m.Key, Cause: e.Cause, Rule: ruleOf(e), From: e.From, To: e.To, TCO2: "0",
			Note: e.Detail + "; the new register was not read yet", year: b.report.Period.End.Year})
	}
	slices.SortStableFunc(out, func(x, y Deduction) int { return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.To, y.To)) })
	return out
}

// events returns what a meter's counter did that holds nothing back.
func (b *builder) events(m *Meter, c *Curve) []MeterEvent {
	var out []MeterEvent
	spec := c.Spec()
	c.Events(b.report.Period, func(_ Date, e *Event) {
		if e.takes() {
			return
		}
		k := MeterEvent{Cause: e.Cause, Rule: ruleOf(e), From: e.From, To: e.To, Note: inUnit(e.note(&spec), m)}
		switch e.Cause {
		case CauseRollover:
			k.KWh = spec.Modulus.Sub(e.Before).Add(e.After)
		case CauseGap, CauseFrozen, CauseDip, CauseCorrection:
			if k.KWh = e.After.Sub(e.Before); k.KWh.IsNegative() {
				k.KWh = decimal.Zero
			}
		}
		out = append(out, k)
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
	end := func(next Date) {
		if open == nil {
			return
		}
		kWh := c.Energy(from, next)
		if !kWh.IsZero() {
			out = append(out, Deduction{Meter: m.Key, Cause: CauseCalibration, Rule: "report rule 1", From: from.startMs(b.zone), To: next.startMs(b.zone),
				KWh: kWh.Mul(open.MPE.Decimal).Shift(-2), TCO2: "0", year: s.Start.Year, day: from,
				Note: fmt.Sprintf("meter %s has no valid calibration from %v to %v: %s %% (%s) of the %s %s measured then", open.Serial, from, next.Prev(), open.MPE, open.MPESource, kWh, m.Base())})
		}
		open = nil
	}
	for d := s.Start; !s.End.Before(d); d = d.Next() {
		r := m.record(d, b.zone)
		if r != nil && (r.MPE.IsZero() || r.calibrated(d)) {
			r = nil
		}
		if r != open || b.perDay(m) {
			end(d)
			open, from = r, d
		}
	}
	end(s.End.Next())
	return out
}

// unread returns the spans of a vintage before the first and after the newest
// reading of a meter, up to the newest of any meter.
func (b *builder) unread(m *Meter, c *Curve, s Span) []Deduction {
	start, end := s.Start.startMs(b.zone), min(s.End.Next().startMs(b.zone), b.newest)
	var out []Deduction
	add := func(from, to int64) {
		if to-from > c.gap {
			out = append(out, Deduction{Meter: m.Key, Cause: CauseUnread, Rule: "report rule 2", From: from, To: to, TCO2: "0", Note: "no reading in this time", year: s.Start.Year})
		}
	}
	if c.First().At == 0 {
		add(start, end)
		return out
	}
	add(start, min(c.First().At, end))
	last := c.Last().At
	if f := c.last().Fall; f != nil {
		last = f.Last.At
	}
	add(max(last, start), end)
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

func (f *Fall) note(stands Reading) string {
	what := "undecided"
	if f.Cause != "" {
		what = "it will be a " + f.Cause + " if it counts on"
	}
	return "fell from " + stands.KWh.String() + " to " + f.From.KWh.String() + " kWh and is at " + f.Last.KWh.String() + " kWh now: " + what +
		"; what it counted since, " + f.Last.KWh.Sub(f.Low).String() + " kWh, is not measured"
}
