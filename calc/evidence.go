package calc

import (
	"fmt"
	"maps"
	"slices"
)

// FixedReport is a parameter fixed ex ante as a report shows it.
type FixedReport struct {
	Symbol       string `json:"parameter"`
	UnitName     string `json:"unit_i,omitempty"` // of one unit i only
	Value        string `json:"value"`
	Unit         string `json:"unit"`
	Source       string `json:"source"`
	Evidence     string `json:"evidence,omitempty"`         // SHA-256 of the source
	RangeChecked string `json:"range_checked_by,omitempty"` // of a value outside of the methodology's range
}

// fixed lists what the project fixes ex ante: for all units, then unit by unit.
func (p *Project) fixed() (out []FixedReport) {
	add := func(unit string, values map[string]Value) {
		for _, symbol := range slices.Sorted(maps.Keys(values)) {
			v := values[symbol]
			out = append(out, FixedReport{symbol, unit, v.Value.String(), v.Unit, v.Source, v.Evidence, v.RangeChecked})
		}
	}
	add("", p.Parameters)
	for _, name := range slices.Sorted(maps.Keys(p.Units)) {
		add(name, p.Units[name].Parameters)
	}
	return out
}

// evidenced reports a parameter fixed ex ante whose source is named and not pinned: the
// document could be another one tomorrow. The numbers of an illustration are invented
// and have none.
func (p *Project) evidenced() error {
	if p.Status == Illustration {
		return nil
	}
	for _, x := range p.fixed() {
		if x.Evidence == "" {
			return fmt.Errorf("parameter %s%s has a source and no evidence: write the SHA-256 of that document beside it, as sha256sum prints it", x.Symbol, of(x.UnitName))
		}
	}
	return nil
}
