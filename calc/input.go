package calc

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// InputDecl says that a monitored parameter, or a comparison with one, comes as
// dated inputs: an invoice total, a weighbridge list, a survey.
type InputDecl struct {
	Parameter string `yaml:"parameter"` // symbol of the methodology
	Unit      string `yaml:"unit"`      // unit i it belongs to; left out for a parameter of the whole project
	Option    string `yaml:"option"`    // monitoring option A, B or C
	Role      string `yaml:"role"`      // RoleCounts or RoleCheck: an invoice beside a meter
	Title     string `yaml:"title"`
}

// Input is an amount that no meter gave, as a person has put it into the book.
type Input struct {
	ID        string          `json:"id"`        // a later one of the same id takes its place
	Parameter string          `json:"parameter"` // symbol
	UnitName  string          `json:"unit_i,omitempty"`
	From      Date            `json:"from"`
	To        Date            `json:"to"` // last day it is about
	Value     decimal.Decimal `json:"value"`
	Unit      string          `json:"unit"`     // must be the methodology's
	Document  string          `json:"document"` // what shows it: invoice number, list, report
	Evidence  string          `json:"evidence"` // SHA-256 of the document, 64 hexadecimal digits
	Who       string          `json:"who"`
	Why       string          `json:"why,omitempty"`
}

func (x *Input) validate() error {
	switch {
	case !namePattern.MatchString(x.ID):
		return fmt.Errorf("input %q: its id must be 1 to 64 letters, digits, '.', '_' and '-'", x.ID)
	case x.Who == "":
		return fmt.Errorf("input %s: say who puts it in", x.ID)
	case x.Document == "":
		return fmt.Errorf("input %s: name the document that shows it", x.ID)
	case !hashPattern.MatchString(x.Evidence):
		return fmt.Errorf("input %s: evidence %q: want the SHA-256 of the document, 64 hexadecimal digits, as sha256sum prints it", x.ID, x.Evidence)
	case !(Number{x.Value}).sane():
		return fmt.Errorf("input %s: value %s: want at most 30 digits", x.ID, x.Value)
	}
	if err := (Span{x.From, x.To}).Validate(); err != nil {
		return fmt.Errorf("input %s: %w", x.ID, err)
	}
	return nil
}

// decl returns what the project says of the parameter and unit of an input.
func (p *Project) decl(x *Input) *InputDecl {
	for i := range p.Inputs {
		if d := &p.Inputs[i]; d.Parameter == x.Parameter && d.Unit == x.UnitName {
			return d
		}
	}
	return nil
}

// CheckDecided reports a ruling, input or split that does not fit the project.
func (p *Project) CheckDecided(m *Methodology) error {
	for i := range p.Decided.Rulings {
		r := &p.Decided.Rulings[i]
		if err := r.validate(); err != nil {
			return err
		}
		if !slices.ContainsFunc(p.Meters, func(k Meter) bool { return k.Key == r.Meter }) {
			return fmt.Errorf("ruling on meter %q: project %s has none of that key", r.Meter, p.Reference)
		}
	}
	for i := range p.Decided.Inputs {
		x := &p.Decided.Inputs[i]
		if err := x.validate(); err != nil {
			return err
		}
		d, a := p.decl(x), m.parameter(x.Parameter)
		switch {
		case d == nil || a == nil:
			return fmt.Errorf("input %s: the project expects none for parameter %s%s; name it under inputs of its file", x.ID, x.Parameter, of(x.UnitName))
		case !sameUnit(a.Unit, x.Unit):
			return fmt.Errorf("input %s is given in %s, methodology %v wants %s; convert it, nothing is converted silently", x.ID, x.Unit, p.Methodology, a.Unit)
		}
		if x.Value.IsNegative() && !a.Signed {
			return fmt.Errorf("input %s: value %s: want 0 or more; methodology %v does not say that %s can be negative", x.ID, x.Value, p.Methodology, a.Symbol)
		}
		if err := a.within(Number{x.Value}); err != nil {
			return fmt.Errorf("input %s: %w", x.ID, err)
		}
		for k := range i {
			y := &p.Decided.Inputs[k]
			if !p.overlap(x, y) {
				continue
			}
			if a.daily() {
				return fmt.Errorf("inputs %s and %s share days: %s has one value on each day", y.ID, x.ID, x.Parameter)
			}
			if x.Document == y.Document {
				return fmt.Errorf("inputs %s and %s are of one document and share days: %s would count twice", y.ID, x.ID, x.Document)
			}
		}
	}
	for i := range p.Decided.Splits {
		if err := p.Decided.Splits[i].validate(p); err != nil {
			return err
		}
	}
	return nil
}

// CheckInput reports an input that a person gives now without a name or document, about
// days that are not over, or on a document that already counts on its days.
func (p *Project) CheckInput(x *Input, now time.Time) error {
	switch {
	case Blank(x.Who):
		return fmt.Errorf("input %s: say who puts it in", x.ID)
	case Blank(x.Document):
		return fmt.Errorf("input %s: name the document that shows it", x.ID)
	}
	if err := checkEvidence(x.Evidence); err != nil {
		return fmt.Errorf("input %s: %w", x.ID, err)
	}
	zone, err := p.Location()
	if err != nil {
		return err
	}
	if today := CalendarDay(now.UnixMilli(), zone); today.Before(x.To) {
		return fmt.Errorf("input %s is about days up to %v, and by the clock here it is %v in %s: put in an amount when its days are over", x.ID, x.To, today, p.Zone)
	}
	for i := range p.Decided.Inputs {
		y := &p.Decided.Inputs[i]
		if y.ID != x.ID && strings.EqualFold(x.Evidence, y.Evidence) && p.overlap(x, y) {
			return fmt.Errorf("inputs %s and %s share days and rest on the same document, SHA-256 %.16s: it would count twice; withdraw input %s first, or correct the days", y.ID, x.ID, x.Evidence, y.ID)
		}
	}
	return nil
}

// overlap reports whether two inputs are of one parameter and unit and share days.
func (p *Project) overlap(x, y *Input) bool {
	return p.decl(x) == p.decl(y) && !x.To.Before(y.From) && !y.To.Before(x.From)
}

// shared says which other inputs of the report count on days of this one.
func (b *builder) shared(x *InputReport) string {
	var notes []string
	for i := range b.report.Inputs {
		y := &b.report.Inputs[i]
		if y.ID == x.ID || y.Counts == "" || !b.project.overlap(&x.Input, &y.Input) {
			continue
		}
		first, last := x.From, x.To
		if first.Before(y.From) {
			first = y.From
		}
		if y.To.Before(last) {
			last = y.To
		}
		notes = append(notes, fmt.Sprintf("its days %v..%v are in %s too: both are added", first, last, y.ID))
	}
	return strings.Join(notes, "; ")
}

// checkInputs reports declarations of inputs that do not hold.
func (p *Project) checkInputs() error {
	seen := make(map[string]bool)
	for i := range p.Inputs {
		d := &p.Inputs[i]
		key := d.Parameter + of(d.Unit)
		wrong := func(format string, args ...any) error {
			return faultAt(fmt.Sprintf("$.inputs[%d]", i), fmt.Errorf(format, args...))
		}
		switch {
		case d.Parameter == "":
			return wrong("input %d: parameter: name the symbol of the methodology", i+1)
		case d.Option != "A" && d.Option != "B" && d.Option != "C":
			return wrong("input of %s: option %q: want A, B or C, as the methodology offers it", key, d.Option)
		case d.Role != RoleCounts && d.Role != RoleCheck:
			return wrong("input of %s: role %q: leave it out, or write %q for one that is only compared", key, d.Role, RoleCheck)
		case seen[key]:
			return wrong("input of %s stands twice", key)
		case d.Role == RoleCounts && p.metered(d.Parameter, d.Unit):
			return wrong("input of %s: a meter feeds it too, its amount would count twice; give one of them role %s", key, RoleCheck)
		}
		seen[key] = true
	}
	return nil
}

// InputReport is a dated input as a report shows it.
type InputReport struct {
	Input
	Option string `json:"option"`
	Role   string `json:"role,omitempty"` // RoleCheck: compared, in no total
	Counts string `json:"counts"`         // vintage it counts in; "" with the reason in Note, which else names what counts on its days too
	Note   string `json:"note,omitempty"`
}

// inputsOf lists the inputs that touch the period. One that is not wholly inside
// a vintage of it counts nowhere: nothing is split by days.
func (b *builder) inputsOf() {
	for i := range b.project.Decided.Inputs {
		x := b.project.Decided.Inputs[i]
		period := b.report.Period
		if x.To.Before(period.Start) || period.End.Before(x.From) {
			continue
		}
		r := InputReport{Input: x, Counts: strconv.Itoa(x.From.Year)}
		if d := b.project.decl(&x); d != nil {
			r.Option, r.Role = d.Option, d.Role
		}
		switch {
		case r.Role == RoleCheck:
			r.Counts, r.Note = "", "only compared, on its own days"
		case !period.Contains(x.From) || !period.Contains(x.To) || x.From.Year != x.To.Year:
			r.Counts, r.Note = "", "it reaches over an end of the period or of the year; nothing is split by days: put in the parts, each with its document"
		}
		b.report.Inputs = append(b.report.Inputs, r)
	}
	slices.SortFunc(b.report.Inputs, func(x, y InputReport) int { return cmp.Or(x.From.Compare(y.From), cmp.Compare(x.ID, y.ID)) })
	for i := range b.report.Inputs {
		if x := &b.report.Inputs[i]; x.Counts != "" {
			x.Note = b.shared(x)
		}
	}
}

// notGiven names what nobody gave an amount of in a vintage. That is not an amount
// of 0, which is an input with its document like any other.
func (b *builder) notGiven() {
	for _, v := range b.report.Period.Vintages() {
		year := strconv.Itoa(v.Start.Year)
		for i := range b.project.Inputs {
			d := &b.project.Inputs[i]
			if a := b.methodology.parameter(d.Parameter); d.Role != RoleCounts || a == nil || a.daily() {
				continue // a day without a value is in days_without_value
			}
			given := slices.ContainsFunc(b.report.Inputs, func(x InputReport) bool {
				return x.Parameter == d.Parameter && x.UnitName == d.Unit && x.Counts == year
			})
			if given {
				continue
			}
			if b.report.NotGiven == nil {
				b.report.NotGiven = make(map[string][]string)
			}
			b.report.NotGiven[year] = append(b.report.NotGiven[year], d.Parameter+of(d.Unit))
		}
	}
}

// addInputs adds the inputs of a vintage to what is measured.
func (b *builder) addInputs(s Span, in *inputs, amounts map[string]*big.Rat) {
	for i := range b.report.Inputs {
		x := &b.report.Inputs[i]
		if x.Role != RoleCounts || x.Counts != strconv.Itoa(s.Start.Year) {
			continue
		}
		if a := b.methodology.parameter(x.Parameter); a.daily() {
			x.sayDays(in, a)
			continue
		}
		v := b.valueOf(in, x.Parameter, x.UnitName)
		v.Add(v, x.Value.Rat())
		if amounts[x.Parameter] == nil {
			amounts[x.Parameter] = new(big.Rat)
		}
		amounts[x.Parameter].Add(amounts[x.Parameter], x.Value.Rat())
	}
}
