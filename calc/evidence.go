package calc

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
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

// Blank reports a text that shows nothing when it is printed.
func Blank(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) })
}

// emptySHA256 is the SHA-256 of a file without a byte.
const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// checkEvidence refuses a hash that is of no document.
func checkEvidence(hash string) error {
	switch strings.ToLower(hash) {
	case emptySHA256:
		return errors.New("evidence is the SHA-256 of an empty file; take that of the document")
	case strings.Repeat("0", 64):
		return errors.New("evidence is 64 zeros; give the SHA-256 of the document, as sha256sum prints it")
	}
	return nil
}

// Documented reports a person or document that the project's file names by blanks only,
// or pins by the hash of nothing. It is asked of a file that comes in force: what is in
// force already goes on being read.
func (p *Project) Documented() error {
	if err := documented("parameter", "$.parameters", p.Parameters); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(p.Units)) {
		if err := documented("unit "+name+": parameter", unitPath(name)+".parameters", p.Units[name].Parameters); err != nil {
			return err
		}
	}
	for i := range p.Meters {
		m := &p.Meters[i]
		named := map[string]string{"rated_source": m.RatedSource}
		if m.Heat != nil {
			named["heat.source"] = m.Heat.Source
		}
		for k := range m.Records {
			r, path := &m.Records[k], fmt.Sprintf("records[%d].", k)
			named[path+"evidence"], named[path+"mpe_source"] = r.Evidence, r.MPESource
			for j := range r.Calibrations {
				named[fmt.Sprintf("%scalibrations[%d].certificate", path, j)] = r.Calibrations[j].Certificate
			}
		}
		for _, key := range slices.Sorted(maps.Keys(named)) {
			if text := named[key]; text != "" && Blank(text) {
				return faultAt(meterPath(i)+"."+key, fmt.Errorf("meter %s: %s is blank; name the document", m.Key, key))
			}
		}
	}
	return nil
}

func documented(what, path string, values map[string]Value) error {
	for _, symbol := range slices.Sorted(maps.Keys(values)) {
		v := values[symbol]
		err := checkEvidence(v.Evidence)
		switch {
		case err != nil:
			err = fmt.Errorf("%s %s: %w", what, symbol, err)
		case Blank(v.Source):
			err = fmt.Errorf("%s %s: its source is blank; name the document and table that a verifier can open", what, symbol)
		case v.RangeChecked != "" && Blank(v.RangeChecked):
			err = fmt.Errorf("%s %s: range_checked_by is blank; say who has checked the value and by what", what, symbol)
		}
		if err != nil {
			return faultAt(path+"."+symbol, err)
		}
	}
	return nil
}
