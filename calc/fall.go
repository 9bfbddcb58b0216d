package calc

import "github.com/shopspring/decimal"

// Fall is a register below its value in force. While it is pending the value in
// force stays.
type Fall struct {
	From   Reading         `json:"from"`             // first reading below
	Last   Reading         `json:"last"`             // newest reading below
	Low    decimal.Decimal `json:"low"`              // lowest of them, kWh
	Fell   decimal.Decimal `json:"fell"`             // by how much it fell in all, with what rated power made meanwhile, kWh
	Owed   decimal.Decimal `json:"owed"`             // how much of what it fell it has not come back faster than it can count, kWh
	Faster bool            `json:"faster,omitempty"` // it has risen faster than rated power since, as no counting register can
	Cause  string          `json:"cause,omitempty"`  // what it will be if it counts on: CauseRollover, CauseRestart or nothing
	Start  Reading         `json:"start"`            // since when it has counted on
	Still  int64           `json:"still"`            // State.Still, if it counts from Start
	Spare  micro           `json:"spare,omitempty"`  // State.Spare, if it counts from Start
	Rises  int             `json:"rises,omitempty"`  // how often it has risen since Start
}

// returns takes a rise faster than any register counts off what has fallen and is not back.
func (f *Fall) returns(r Reading) { f.Owed = f.Owed.Sub(r.KWh).Add(f.Last.KWh) }

// Leap is a jump, with what to go back to should it turn out to be a spike.
type Leap struct {
	Before Reading `json:"before"` // in force before
	Still  int64   `json:"still"`  // State.Still then
	Spare  micro   `json:"spare"`  // State.Spare then
	First  int64   `json:"first"`  // ms UTC of the reading that jumped
}

// reading takes a good value: rules 3 and 6 to 11.
func (c *Curve) reading(k *Closing, r Reading) {
	if k.Opening != nil || k.InForce.At == 0 {
		c.open(k, r)
		return
	}
	before := k.InForce
	if k.Fall != nil {
		before = k.Fall.Last
	}
	if r.At-before.At > c.gap {
		c.note(k, Event{Cause: CauseGap, From: before.At, To: r.At, Before: before.KWh, After: r.KWh, Count: 1})
	}
	c.take(k, r)
}

// open makes r the first reading of a register: rules 3 and 12.
func (c *Curve) open(k *Closing, r Reading) {
	if k.InForce.At == 0 {
		k.First, c.first = r, r
	} else {
		k.Base = k.Total().Sub(r.KWh)
	}
	k.InForce, k.Still, k.Spare = r, r.At, c.slack
	if e := k.Opening; e != nil {
		k.Opening = nil
		e.To, e.After = r.At, r.KWh
		c.note(k, *e)
	}
}

// take applies rules 7 to 11 and 14 to a reading that is newer than all others.
func (c *Curve) take(k *Closing, r Reading) {
	up, sign := rise(k.InForce.KWh, r.KWh)
	if sign < 0 {
		if !c.spiked(k, r) {
			c.fall(k, r)
		}
		return
	}
	if f := k.Fall; f != nil {
		cause := CauseDip
		if c.rated > 0 && !f.Faster && !c.faster(f.Last, r) {
			cause = CauseCorrection
			if f.Cause != "" {
				cause = CauseRecovered
			}
		}
		e := Event{Cause: cause, From: k.InForce.At, To: r.At, Before: k.InForce.KWh, After: r.KWh, Again: f.Fell, Count: 1}
		if c.rated > 0 && c.faster(f.Last, r) {
			f.returns(r)
			if !f.Owed.IsPositive() {
				e.Again = decimal.Zero // no register counts like that: it was never below
			}
		}
		c.note(k, e)
		k.Fall = nil
	}
	if sign > 0 {
		if k.InForce.At-k.Still >= frozenMs {
			c.note(k, Event{Cause: CauseFrozen, From: k.Still, To: r.At, Before: k.InForce.KWh, After: r.KWh, Count: 1})
		}
		if c.rated > 0 {
			c.limit(k, r, up)
		}
		k.Still = r.At
	} else if c.rated > 0 {
		k.Spare = min(c.slack, k.Spare+c.possible(r.At-k.InForce.At))
	}
	if k.Leap != nil && r.At-k.Leap.First >= steadyMs {
		k.Leap = nil
	}
	k.InForce = r
}

// limit applies rule 7 to a rise from the value in force to r.
func (c *Curve) limit(k *Closing, r Reading, up micro) {
	made := c.possible(r.At - k.InForce.At)
	left := made - up + k.Spare
	if left >= 0 {
		k.Spare = min(left, c.slack)
		return
	}
	if k.Leap == nil {
		k.Leap = &Leap{Before: k.InForce, Still: k.Still, Spare: k.Spare, First: r.At}
	}
	c.note(k, Event{Cause: CauseJump, From: k.InForce.At, To: r.At, Before: k.InForce.KWh, After: r.KWh,
		Held: r.KWh.Sub(k.InForce.KWh).Sub(made.kWh()), Count: 1})
}

// faster reports whether a register rose from a to b faster than rated power
// allows, the lag of rule 7 granted in full.
func (c *Curve) faster(a, b Reading) bool {
	up, _ := rise(a.KWh, b.KWh)
	return up > c.possible(b.At-a.At)+c.slack
}

// fall notes a reading below the value in force, which stays: rule 8.
func (c *Curve) fall(k *Closing, r Reading) {
	f := k.Fall
	if f == nil {
		k.Fall = &Fall{From: r, Last: r, Low: r.KWh, Owed: k.InForce.KWh.Sub(r.KWh), Fell: k.InForce.KWh.Sub(r.KWh).Add(c.possible(r.At - k.InForce.At).kWh())}
		c.guess(k, r)
		return
	}
	up, sign := rise(f.Last.KWh, r.KWh)
	made := c.possible(r.At - f.Last.At)
	if c.rated > 0 && sign > 0 && up > made+c.slack {
		f.Faster = true
		f.returns(r)
	}
	if sign < 0 {
		drop := f.Last.KWh.Sub(r.KWh)
		f.Owed, f.Fell = f.Owed.Add(drop), f.Fell.Add(drop).Add(made.kWh())
	}
	f.Last = r
	switch {
	case sign < 0:
		if r.KWh.LessThan(f.Low) {
			f.Low = r.KWh
		}
		c.guess(k, r)
		return
	case sign > 0:
		f.Rises++
		f.Still = r.At
	}
	if f.Spare = min(c.slack, f.Spare+made-up); f.Spare < 0 {
		f.Cause, f.Spare = "", 0
	}
	if f.Cause == CauseRollover && f.Rises > 0 || f.Cause == CauseRestart && f.Rises >= minRises && r.At-f.Start.At >= steadyMs {
		c.confirm(k.Day)
	}
}

// guess begins anew to see whether a pending fall is a rollover or a restart:
// rules 9 and 10.
func (c *Curve) guess(k *Closing, r Reading) {
	f := k.Fall
	f.Start, f.Still, f.Cause, f.Spare, f.Rises = r, r.At, "", c.slack, 0
	if c.rated == 0 || r.KWh.IsNegative() {
		return
	}
	made := c.possible(r.At - k.InForce.At)
	if m := c.spec.Modulus; m.IsPositive() && r.KWh.LessThan(m) && k.InForce.KWh.GreaterThan(m.Mul(decimal.New(9, -1))) && k.InForce.KWh.LessThan(m) {
		if left := made - microUp(m.Sub(k.InForce.KWh).Add(r.KWh)) + k.Spare; left >= 0 {
			f.Cause, f.Spare = CauseRollover, min(left, c.slack)
			return
		}
	}
	if microUp(r.KWh) <= made+c.slack && !r.KWh.Add(r.KWh).GreaterThan(k.InForce.KWh) {
		f.Cause = CauseRestart
	}
}

// confirm makes a fall that has counted on what it was guessed to be, from the
// day it began: the closings since hold what its register showed at their end.
func (c *Curve) confirm(by Date) {
	start, at := c.last().Fall.Start, len(c.days)
	for at > 0 && c.days[at-1].Fall != nil && c.days[at-1].Fall.Start.At == start.At {
		at--
	}
	first := &c.days[at]
	e := Event{Cause: first.Fall.Cause, From: first.InForce.At, To: start.At, Before: first.InForce.KWh, After: start.KWh, Count: 1, Lost: first.Fall.Cause == CauseRestart}
	add := c.spec.Modulus
	if e.Cause == CauseRestart {
		add = e.Before.Sub(e.After)
	}
	for i := at; i < len(c.days); i++ {
		k := &c.days[i]
		k.Base, k.InForce, k.Still, k.Spare = k.Base.Add(add), k.Fall.Last, k.Fall.Still, k.Fall.Spare
		k.Fall, k.Leap = nil, nil
		c.known(k, by)
	}
	c.note(first, e)
	c.touch(first.Day)
}

// known marks a closing that readings of a later day have decided.
func (c *Curve) known(k *Closing, by Date) {
	if k.Day.Before(by) {
		k.KnownBy = by
	}
}

// spiked applies rule 11: is r where the register would be without its jump, the
// jump is taken back from the day it began and r follows on from before it.
func (c *Curve) spiked(k *Closing, r Reading) bool {
	l := k.Leap
	if l == nil {
		return false
	}
	up, sign := rise(l.Before.KWh, r.KWh)
	if sign < 0 || up > c.possible(r.At-l.Before.At)+l.Spare {
		return false
	}
	if r.KWh.Add(r.KWh).GreaterThan(l.Before.KWh.Add(k.InForce.KWh)) {
		return false
	}
	peak, leap := k.InForce.KWh, *l
	for i := len(c.days) - 1; i >= 0 && c.days[i].opens(leap.Before.At); i-- {
		d := &c.days[i]
		d.InForce, d.Still, d.Spare, d.Fall, d.Leap = leap.Before, leap.Still, leap.Spare, nil, nil
		c.known(d, k.Day)
		c.touch(d.Day)
		kept := d.Events[:0]
		for _, e := range d.Events {
			if e.Cause == CauseGap && e.From >= leap.Before.At && e.To < r.At {
				e.After = e.Before // what it showed then is not accepted
			}
			if e.From < leap.Before.At || e.Cause == CauseUnit || e.Cause == CauseGap || e.Cause == CauseExcluded {
				kept = append(kept, e)
			}
		}
		d.Events = kept
	}
	c.settleEnd()
	c.note(k, Event{Cause: CauseSpike, From: leap.Before.At, To: r.At, Before: leap.Before.KWh, After: peak, Count: 1})
	c.take(k, r)
	return true
}
