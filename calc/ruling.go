package calc

import (
	"fmt"
	"time"

	"github.com/shopspring/decimal"
)

// CheckRuling reports why a ruling that a person gives now can have no effect or not
// the one it names. The project has it among what is decided. Rulings that are in the
// book already are not held against this.
func (p *Project) CheckRuling(r *Ruling, now time.Time) error {
	if Blank(r.Who) || Blank(r.Why) {
		return fmt.Errorf("ruling on meter %s: say who rules and why", r.Meter)
	}
	if err := checkEvidence(r.Evidence); err != nil {
		return fmt.Errorf("ruling on meter %s: %w", r.Meter, err)
	}
	for i := range p.Meters {
		if m := &p.Meters[i]; m.Key == r.Meter {
			if err := p.ruled(m, r, now); err != nil {
				return fmt.Errorf("ruling on meter %s: %w", r.Meter, err)
			}
		}
	}
	return nil
}

func (p *Project) ruled(m *Meter, r *Ruling, now time.Time) error {
	for _, t := range []time.Time{r.From.Time, r.To.Time} {
		if t.After(now) {
			return fmt.Errorf("%s is in the future by the clock here, %s: rule on what has happened", t.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
	}
	if r.span() {
		return nil
	}
	if m.Counts != "" && (r.FinalKWh != nil || r.InitialKWh != nil) {
		return fmt.Errorf("it counts %s: give final_value and initial_value (--final-value, --initial-value) in %s, not kWh", m.Counts, m.Counts)
	}
	if m.Counts == "" && (r.FinalVal != nil || r.InitialVal != nil) {
		return fmt.Errorf("it counts kWh: give final_kWh and initial_kWh (--final-kwh, --initial-kwh)")
	}
	if err := m.showable("final", r.final()); err != nil {
		return err
	}
	if err := m.showable("initial", r.initial()); err != nil {
		return err
	}
	if m.Calculated() && (r.final() != nil || r.initial() != nil) {
		return fmt.Errorf("its register is integrated from a power and shows no value: leave out final and initial value")
	}
	there := len(m.Records) == 0
	for i := range m.Records {
		x := &m.Records[i]
		if x.Installed.Equal(r.From.Time) || x.Removed.Equal(r.From.Time) {
			return fmt.Errorf("%s is the instant at which the record of serial %s says that a meter was installed or removed, and what the record says holds: put the values into the record, as installed_%[3]s and removed_%[3]s", r.From.Format(time.RFC3339), x.Serial, m.valueKey())
		}
		there = there || x.Installed.Before(r.From.Time) && (x.Removed.IsZero() || x.Removed.After(r.From.Time))
	}
	if !there {
		return fmt.Errorf("by its records no meter is installed at %s: correct the records", r.From.Format(time.RFC3339))
	}
	same := 0
	for i := range p.Decided.Rulings {
		if x := &p.Decided.Rulings[i]; x.Meter == r.Meter && !x.span() && x.From.UnixMilli() == r.From.UnixMilli() {
			same++
		}
	}
	if same > 1 {
		return fmt.Errorf("another ruling says what happened at %s: withdraw that, or give this one its id", r.From.Format(time.RFC3339))
	}
	return nil
}

func (m *Meter) valueKey() string {
	if m.Counts != "" {
		return "value"
	}
	return "kWh"
}

// showable reports a value that the register of a meter cannot show.
func (m *Meter) showable(what string, v *decimal.Decimal) error {
	if v == nil {
		return nil
	}
	_, _, modulus := m.rating()
	switch {
	case !(Number{*v}).sane():
		return fmt.Errorf("%s value %s: want at most 30 digits", what, v)
	case v.IsNegative():
		return fmt.Errorf("%s value %s %s: want 0 or more", what, v, m.Base())
	case modulus.IsPositive() && (v.GreaterThan(modulus.Decimal) || what == "initial" && v.Equal(modulus.Decimal)):
		return fmt.Errorf("%s value %s %s: its register goes on from 0 at %s %s and cannot show it", what, v, m.Base(), modulus, m.Base())
	}
	return nil
}
