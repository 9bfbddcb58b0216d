package calc

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// Methodology is what a file in configs/methodologies says: formulas and the
// parameters they are made of. It ships no number of a project.
type Methodology struct {
	Number        string      `yaml:"number"`
	Version       string      `yaml:"version"`
	Country       string      `yaml:"country"` // "" for a family that several countries have a methodology of
	Title         string      `yaml:"title"`
	Family        string      `yaml:"family"`        // short name of the shape, like F3; taken over by those that extend it
	Extends       *Pin        `yaml:"extends"`       // the methodology whose parts are taken over, see Resolve
	Status        string      `yaml:"status"`        // Template, Published or Unverified
	Sources       []Source    `yaml:"sources"`       // at least one
	Note          string      `yaml:"note"`          // what a user must know before relying on it
	Applicability []string    `yaml:"applicability"` // what a project must be to come under it, as far as that is published
	Index         string      `yaml:"index"`         // what unit i is, like "project chiller"
	Parameters    []Parameter `yaml:"parameters"`
	Tables        []Table     `yaml:"tables"`
	Terms         []Term      `yaml:"terms"`
	Formulas      Formulas    `yaml:"formulas"`
	Rounding      Rounding    `yaml:"rounding"`
	Examples      []Example   `yaml:"examples"` // at least one; all must come out
}

// Status of a methodology file.
const (
	Template   = "template"   // the shape of a family as published summaries have it, no approved methodology
	Published  = "published"  // the shape that its sources publish of the approved methodology
	Unverified = "unverified" // written from recall; never for a sealed period
)

// Source is a document that the file was written from.
type Source struct {
	Document string `yaml:"document"`
	URL      string `yaml:"url"`
	Tag      string `yaml:"tag"` // P published text, S structure taken from a published summary, R recall
}

// Parameter is a symbol of the formulas.
type Parameter struct {
	Symbol      string   `yaml:"symbol"` // EC_PJ stands for EC_PJ,i,p when it is per unit and monitored
	Description string   `yaml:"description"`
	Unit        string   `yaml:"unit"`
	Monitored   bool     `yaml:"monitored"` // measured ex post; otherwise fixed ex ante by the project
	Calendar    bool     `yaml:"calendar"`  // the length of the vintage, which no meter gives: its days, or in unit a its days by those of its calendar year
	Per         string   `yaml:"per"`       // PerUnit, PerProject, PerDay or PerUnitDay
	Options     []string `yaml:"options"`   // monitoring options A, B, C, when monitored
	Signed      bool     `yaml:"signed"`    // a net amount, which an input may give as negative: emissions less removals
	Min         *Number  `yaml:"min"`       // values below are refused
	Max         *Number  `yaml:"max"`       // values above are refused: 92 for a share of 0.92
	Range       string   `yaml:"range"`     // why nothing below min or above max can be meant: a bound of physics, or a source
}

// What a parameter has one value for.
const (
	PerUnit    = "unit"
	PerProject = "project"
	PerDay     = "day"
	PerUnitDay = "unit-day"
)

func (p *Parameter) each() bool  { return p.Per == PerUnit || p.Per == PerUnitDay }
func (p *Parameter) daily() bool { return p.Per == PerDay || p.Per == PerUnitDay }

// within reports a value that the parameter cannot have.
func (p *Parameter) within(x Number) error {
	if !x.sane() {
		return fmt.Errorf("%s has more than 30 digits before or after the point", p.Symbol)
	}
	bound := ""
	switch {
	case p.Min != nil && x.LessThan(p.Min.Decimal):
		bound = "below " + p.Min.String()
	case p.Max != nil && x.GreaterThan(p.Max.Decimal):
		bound = "above " + p.Max.String()
	default:
		return nil
	}
	text := fmt.Sprintf("%s is %s, it cannot be %s", p.Symbol, strings.TrimSuffix(x.String()+" "+p.Unit, " 1"), bound)
	if p.Range != "" {
		text += " (" + p.Range + ")"
	}
	return errors.New(text + p.slip(x))
}

// slip says what a value outside of the range may be meant to be.
func (p *Parameter) slip(x Number) string {
	fits := func(d decimal.Decimal) bool {
		return !d.IsZero() && (p.Min == nil || !d.LessThan(p.Min.Decimal)) && (p.Max == nil || !d.GreaterThan(p.Max.Decimal))
	}
	switch share, small, large := x.Shift(-2), x.Shift(-3), x.Shift(3); {
	case p.Unit == "1" && p.Max != nil && fits(share):
		return fmt.Sprintf("; if %s %% is meant, write %s", x, share)
	case p.Unit == "1" && p.Max != nil && fits(small):
		return fmt.Sprintf("; %s, a thousandth of it, would fit: is its point in the right place?", small)
	case p.Max != nil && fits(small):
		return fmt.Sprintf("; is its unit 1,000 times smaller than %s? then write %s", p.Unit, small)
	case p.Min != nil && fits(large):
		return fmt.Sprintf("; is its unit 1,000 times larger than %s? then write %s", p.Unit, large)
	}
	return ""
}

// Table gives a value by class, such as a reference COP by cooling capacity.
type Table struct {
	Symbol      string `yaml:"symbol"` // used like a function: COP_class(CAP)
	Description string `yaml:"description"`
	By          string `yaml:"by"`     // unit of the value that is looked up
	Unit        string `yaml:"unit"`   // unit of what is found
	Source      string `yaml:"source"` // document and table
	Rows        []Row  `yaml:"rows"`   // rising; the last takes all that is left
}

// Row is a class: what is below its limit, and not below that of the row before.
type Row struct {
	Below *Number `yaml:"below"` // left out in the last row
	Value Number  `yaml:"value"`
}

// Term is a name for a part of the formulas, such as a weighted emission factor.
type Term struct {
	Symbol      string `yaml:"symbol"`
	Description string `yaml:"description"`
	Unit        string `yaml:"unit"`
	Formula     string `yaml:"formula"`
}

// Formulas hold one line each, in the notation of expr.go. ER may use RE and PE.
type Formulas struct {
	RE string `yaml:"RE"` // reference emissions, tCO2
	PE string `yaml:"PE"` // project emissions, tCO2
	ER string `yaml:"ER"` // emission reductions, tCO2
}

// Rounding says where a figure is rounded: only at the end.
type Rounding struct {
	ER string `yaml:"ER"` // Floor: to whole tonnes towards minus infinity, once per vintage
}

// Floor is the one rounding there is.
const Floor = "floor"

// Fault is what is wrong in a methodology's file.
type Fault struct {
	Path    string // of the value, such as $.parameters[2].unit
	Problem string
	Remedy  string
}

// Error returns problem and remedy.
func (f *Fault) Error() string {
	if f.Remedy == "" {
		return f.Problem
	}
	return f.Problem + "; " + f.Remedy
}

// Validate reports the first thing that does not hold: a formula that does not
// parse or does not fit its units, an example that does not come out.
func (m *Methodology) Validate() error {
	if f := m.Faults(); len(f) > 0 {
		return f[0]
	}
	return nil
}

// Sealable reports why no figure under the methodology can be final.
func (m *Methodology) Sealable() error {
	if m.Status == Unverified {
		return fmt.Errorf("methodology %s %s is written from recall: compare it with the approved document, name that as source and set the status, then periods under it can be sealed", m.Number, m.Version)
	}
	return nil
}

// Hash names the rules: a SHA-256 in hex over all of a resolved methodology that
// goes into a figure, and nothing of its prose.
func (m *Methodology) Hash() string {
	type rule struct{ Symbol, Unit, Per, Formula string }
	rules := []any{m.Number, m.Version, m.Formulas, m.Rounding, m.Tables}
	for _, p := range m.Parameters {
		rules = append(rules, rule{p.Symbol, p.Unit, p.Per, fmt.Sprint(p.Monitored, p.Calendar)})
	}
	for _, t := range m.Terms {
		rules = append(rules, rule{t.Symbol, t.Unit, "", t.Formula})
	}
	text, err := json.Marshal(rules)
	if err != nil {
		panic(err) // strings and decimals always marshal
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func (m *Methodology) parameter(symbol string) *Parameter {
	for i := range m.Parameters {
		if m.Parameters[i].Symbol == symbol {
			return &m.Parameters[i]
		}
	}
	return nil
}

// list names the monitored parameters, or those fixed ex ante.
func (m *Methodology) list(monitored bool) string {
	var out []string
	for i := range m.Parameters {
		if m.Parameters[i].Monitored == monitored && !m.Parameters[i].Calendar {
			out = append(out, m.Parameters[i].Symbol)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// count fills in the parameters that the calendar gives.
func (m *Methodology) count(in *inputs, s Span) {
	in.days = daysOf(s)
	year := Span{Date{s.Start.Year, time.January, 1}, Date{s.Start.Year, time.December, 31}}
	for i := range m.Parameters {
		p := &m.Parameters[i]
		if !p.Calendar {
			continue
		}
		length := big.NewRat(int64(in.days), 1)
		if p.Unit == "a" {
			length.SetFrac64(int64(in.days), int64(daysOf(year)))
		}
		in.project[p.Symbol] = length
		for k := range in.units {
			in.units[k].values[p.Symbol] = length
		}
	}
}
