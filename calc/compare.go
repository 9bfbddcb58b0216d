package calc

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/shopspring/decimal"
)

// Comparison sets a check meter or an invoice beside what is counted. What is
// counted is used, always.
type Comparison struct {
	With      string          `json:"with"`          // check meter, or "input" with its id
	From      Date            `json:"from,omitzero"` // days that both sides are about; the zero Date for the period
	To        Date            `json:"to,omitzero"`
	Parameter string          `json:"parameter"`
	UnitName  string          `json:"unit_i,omitempty"`
	Unit      string          `json:"unit"`
	Counted   decimal.Decimal `json:"counted"`
	Compared  decimal.Decimal `json:"compared"`
	Percent   string          `json:"percent"`        // (counted − compared) ÷ compared, 2 decimals; "" without a value to compare
	Flag      bool            `json:"flag"`           // more than 3 % apart: a verifier will ask
	Note      string          `json:"note,omitempty"` // why the two sides cannot be set beside each other, or not whole
}

func (b *builder) compare() {
	for i := range b.project.Meters {
		m := &b.project.Meters[i]
		if m.Role == RoleCheck && m.Parameter != "" && b.meters[m.Key].First != nil {
			c := Comparison{With: m.Key, Parameter: m.Parameter, UnitName: m.Unit, Unit: m.Base(), Compared: b.meters[m.Key].MeasuredKWh}
			b.comparison(c, b.report.Period)
		}
	}
	for i := range b.report.Inputs {
		if x := &b.report.Inputs[i]; x.Role == RoleCheck {
			b.comparison(b.invoice(x), Span{x.From, x.To})
		}
	}
}

// invoice is an input in the unit that the meters of its parameter count in.
func (b *builder) invoice(x *InputReport) Comparison {
	c := Comparison{With: "input " + x.ID, From: x.From, To: x.To, Parameter: x.Parameter, UnitName: x.UnitName, Unit: "kWh"}
	for i := range b.project.Meters {
		if m := &b.project.Meters[i]; m.Role == RoleCounts && m.Parameter == x.Parameter {
			c.Unit = m.Base()
		}
	}
	factor, err := conversion(unit{c.Unit: 1}, x.Unit)
	if err != nil {
		c.Unit, c.Compared = x.Unit, x.Value
		return c
	}
	amount := new(big.Rat).Quo(x.Value.Rat(), factor)
	c.Compared, _ = decimal.NewFromString(amount.FloatString(displayDecimals))
	return c
}

// comparison adds what was counted on the days of the other side: of a meter that is
// what it measured from the first of them to the end of the last.
func (b *builder) comparison(c Comparison, days Span) {
	start, end := days.Start.startMs(b.zone), min(days.End.Next().startMs(b.zone), max(b.newest, days.Start.startMs(b.zone)))
	var short []string // meters that were not read on all of these days
	counting := 0
	for i := range b.project.Meters {
		m, curve := &b.project.Meters[i], b.curves[i]
		if m.Role != RoleCounts || m.Parameter != c.Parameter || c.UnitName != "" && m.UnitName() != c.UnitName {
			continue
		}
		if counting++; m.Base() != c.Unit {
			c.Note = "meters of " + c.Parameter + " count in other units, and only what is counted in this one is set beside it"
			continue
		}
		c.Counted = c.Counted.Add(curve.Energy(days.Start, days.End.Next()))
		if first := curve.First().At; first == 0 || first-start > curve.gap || end-curve.last().Newest.At > curve.gap {
			short = append(short, m.Key)
		}
	}
	switch {
	case counting == 0:
		c.Note = "no meter counts what can be set beside it"
	case c.Note != "":
	case !c.Compared.IsZero():
		r := new(big.Rat).Quo(c.Counted.Sub(c.Compared).Rat(), c.Compared.Rat())
		c.Percent = r.Mul(r, big.NewRat(100, 1)).FloatString(2)
		c.Flag = r.Abs(r).Cmp(big.NewRat(3, 1)) > 0
	}
	if c.Note == "" && c.From != (Date{}) && b.newest+gapMs < days.End.Next().startMs(b.zone) {
		c.Note, c.Flag = "its days are not all read yet", false
	} else if c.Note == "" && len(short) > 0 {
		c.Note = fmt.Sprintf("not read on all of these days: %s", strings.Join(short, ", "))
	}
	b.report.Comparisons = append(b.report.Comparisons, c)
}
