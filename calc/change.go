package calc

import (
	"encoding/json"
	"strings"

	"github.com/shopspring/decimal"
)

// Power is what rule 15 has made of the values of a power so far.
type Power struct {
	KWms decimal.Decimal `json:"kW_ms"`             // integral, kW × ms
	At   int64           `json:"at,omitempty"`      // ms UTC of the value that holds; 0 for none
	KW   decimal.Decimal `json:"kW,omitzero"`       // that value
	Held int64           `json:"held_ms,omitempty"` // how long values have held, up to the newest sample
}

// integrate takes a sample of a power and returns the register that its integral
// makes: rule 15. r.KWh holds kW.
func (c *Curve) integrate(k *Closing, r Reading, good bool) decimal.Decimal {
	if k.Power == nil {
		k.Power = &Power{}
	}
	p := k.Power
	if p.At != 0 {
		held := min(r.At-p.At, c.spec.HoldMs)
		if p.Held += held; !p.KW.IsZero() {
			p.KWms = p.KWms.Add(p.KW.Mul(decimal.New(held, 0)))
		}
	}
	p.At, p.KW = 0, decimal.Zero
	if good {
		p.At = r.At
		if r.KWh.IsPositive() {
			p.KW = r.KWh
		}
	}
	q, _ := p.KWms.QuoRem(decimal.New(3_600_000, 0), 9)
	return q
}

// change applies the changes due at an instant: rule 12.
func (c *Curve) change(at int64) {
	for c.next < len(c.spec.Changes) && c.spec.Changes[c.next].At <= at {
		x := &c.spec.Changes[c.next]
		c.next++
		k := c.day(x.At)
		k.Newest, k.Bad = Reading{At: x.At}, true
		c.exchange(k, x)
	}
}

// exchange ends the register that was there and lets the next one begin.
func (c *Curve) exchange(k *Closing, x *Change) {
	k.Fall = nil
	if c.spec.HoldMs > 0 {
		c.integrate(k, Reading{At: x.At}, false)
	}
	counting := !k.Out && k.Opening == nil && k.InForce.At != 0
	e := Event{Cause: x.Cause, Before: k.InForce.KWh, To: x.At, Count: 1, Detail: x.Why, Lost: counting && !x.Out}
	if counting && x.Final != nil {
		if x.Final.LessThan(k.InForce.KWh) {
			e.Detail += "; its final value " + x.Final.String() + " kWh is below the reading in force and is not accepted"
		} else {
			c.take(k, Reading{x.At, *x.Final})
			e.Before, e.Lost = *x.Final, x.Initial == nil && !x.Out
		}
	}
	if e.From = k.InForce.At; !counting {
		e.From = x.At
	}
	k.Leap, k.Out, k.Opening = nil, x.Out, nil
	if x.Out {
		c.note(k, e)
		return
	}
	k.Opening = &e
	if x.Initial != nil {
		c.open(k, Reading{x.At, *x.Initial})
	}
}

// refused reports whether a good value is no reading by rule 13.
func (c *Curve) refused(k *Closing, r Reading) bool {
	e := Event{From: r.At, To: r.At, Before: k.InForce.KWh, After: r.KWh, Count: 1}
	if k.Out {
		e.Cause = CauseOut
		c.note(k, e)
		return true
	}
	for i := range c.spec.Excluded {
		if x := &c.spec.Excluded[i]; x.From <= r.At && r.At <= x.To {
			e.Cause, e.Detail = CauseExcluded, x.Cause+": "+x.Why
			c.note(k, e)
			return true
		}
	}
	return false
}

// convert returns a value in kWh, or in kW where a power is integrated, exactly.
// It reports false for a unit it does not know.
func (c *Curve) convert(s *Sample) (v decimal.Decimal, known bool) {
	switch {
	case c.spec.Base != "":
		if c.unit != s.Unit || s.Unit == "" {
			c.unit = s.Unit
			c.inBase, c.fits = inBase(s.Unit, c.spec.Base, c.spec.HoldMs > 0)
		}
		v, known = s.Value.Mul(c.inBase), c.fits
	case c.spec.HoldMs > 0:
		v, known = kW(s.Value, s.Unit)
	default:
		v, known = kWh(s.Value, s.Unit)
	}
	if f := c.factor(s.At); known && !f.IsZero() {
		v = v.Mul(f)
	}
	return v, known
}

// factor returns what a value of an instant is multiplied by, 0 for 1.
func (c *Curve) factor(at int64) decimal.Decimal {
	f := c.spec.Factor
	for i := range c.spec.Changes {
		if c.spec.Changes[i].At > at {
			break
		}
		f = c.spec.Changes[i].Factor
	}
	return f
}

// kWh converts a value exactly. It reports false for a unit it does not know.
func kWh(v decimal.Decimal, unit string) (decimal.Decimal, bool) {
	switch unit {
	case "kWh":
		return v, true
	case "Wh":
		return v.Shift(-3), true
	case "MWh":
		return v.Shift(3), true
	case "GWh":
		return v.Shift(6), true
	}
	return v, false
}

// inBase returns what a value is multiplied by to be in a base, or in it per hour
// when it is a flow. It reports false for a unit that is of something else, or whose
// factor has no end as a decimal.
func inBase(name, base string, flow bool) (decimal.Decimal, bool) {
	u := unit{name: 1}
	if flow {
		amount, ok := strings.CutSuffix(name, "/h")
		if u = (unit{amount: 1}); !ok {
			u = unit{name: 1, "h": 1} // a power
		}
	}
	for part := range u {
		if _, _, ok := size(part); !ok {
			return decimal.Zero, false
		}
	}
	f, err := conversion(u, base)
	if err != nil {
		return decimal.Zero, false
	}
	n, exact := f.FloatPrec()
	if !exact {
		return decimal.Zero, false
	}
	d, err := decimal.NewFromString(f.FloatString(n))
	return d, err == nil
}

func kW(v decimal.Decimal, unit string) (decimal.Decimal, bool) {
	switch unit {
	case "kW":
		return v, true
	case "W":
		return v.Shift(-3), true
	case "MW":
		return v.Shift(3), true
	}
	return v, false
}

// equalState compares by value: 1.0 is 1.
func equalState(a, b *State) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}
