package calc

import (
	"errors"
	"fmt"
	"go/token"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// Methodology is what a file in configs/methodologies says: formulas and the
// parameters they are made of. It ships no number of a project.
type Methodology struct {
	Number     string      `yaml:"number"`
	Version    string      `yaml:"version"`
	Country    string      `yaml:"country"` // "" for a family that several countries have a methodology of
	Title      string      `yaml:"title"`
	Status     string      `yaml:"status"`  // Template, Approved or Unverified
	Sources    []Source    `yaml:"sources"` // at least one
	Note       string      `yaml:"note"`    // what a user must know before relying on it
	Parameters []Parameter `yaml:"parameters"`
	Formulas   Formulas    `yaml:"formulas"`
	Rounding   Rounding    `yaml:"rounding"`
	Examples   []Example   `yaml:"examples"` // at least one; all must come out
}

// Status of a methodology file.
const (
	Template   = "template"   // the shape of a family, no approved text
	Approved   = "approved"   // written from the approved document that its sources name
	Unverified = "unverified" // written from recall; never for a sealed period
)

// Source is a document that the file was written from.
type Source struct {
	Document string `yaml:"document"`
	URL      string `yaml:"url"`
	Tag      string `yaml:"tag"` // P published text, S structure taken from a published summary
}

// Parameter is a symbol of the formulas.
type Parameter struct {
	Symbol      string   `yaml:"symbol"`
	Description string   `yaml:"description"`
	Unit        string   `yaml:"unit"`
	Monitored   bool     `yaml:"monitored"` // measured ex post; otherwise fixed ex ante by the project
	Per         string   `yaml:"per"`       // PerUnit or PerProject
	Options     []string `yaml:"options"`   // monitoring options A, B, C, when monitored
}

// What a parameter has one value for.
const (
	PerUnit    = "unit"
	PerProject = "project"
)

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

// Example is a worked example: numbers in, and what must come out.
type Example struct {
	Title      string             `yaml:"title"`
	Source     string             `yaml:"source"`
	Parameters Numbers            `yaml:"parameters"` // for the project and for all units
	Units      map[string]Numbers `yaml:"units"`      // for each unit i
	Result     ExampleResult      `yaml:"result"`
}

// Numbers are values by symbol, each in its parameter's unit.
type Numbers map[string]Number

// ExampleResult is what an Example must give: RE and PE exact, or to 9 decimals
// when they do not end; ER in whole tonnes.
type ExampleResult struct {
	RE Number `yaml:"RE"`
	PE Number `yaml:"PE"`
	ER Number `yaml:"ER"`
}

// Validate reports the first thing that does not hold: a formula that does not
// parse or does not fit its units, an example that does not come out.
func (m *Methodology) Validate() error {
	switch {
	case m.Number == "" || m.Version == "" || m.Title == "":
		return errors.New("a methodology needs number, version and title")
	case m.Status != Template && m.Status != Approved && m.Status != Unverified:
		return fmt.Errorf("status %q: want %s, %s or %s", m.Status, Template, Approved, Unverified)
	case len(m.Sources) == 0:
		return errors.New("sources: name at least one document with what is published of it")
	case m.Rounding.ER != Floor:
		return fmt.Errorf("rounding of ER %q: want %s, the one there is", m.Rounding.ER, Floor)
	case len(m.Examples) == 0:
		return errors.New("examples: give at least one, with numbers and what must come out")
	}
	for i, s := range m.Sources {
		if s.Document == "" || s.Tag != "P" && s.Tag != "S" {
			return fmt.Errorf("source %d: want document, and tag P (published text) or S (structure of a published summary)", i+1)
		}
	}
	if err := m.checkParameters(); err != nil {
		return err
	}
	f, err := m.compile()
	if err != nil {
		return err
	}
	for i := range m.Examples {
		if err := m.run(f, &m.Examples[i]); err != nil {
			return fmt.Errorf("example %d (%s): %w", i+1, m.Examples[i].Title, err)
		}
	}
	return nil
}

func (m *Methodology) checkParameters() error {
	seen := make(map[string]bool)
	for i := range m.Parameters {
		p := &m.Parameters[i]
		switch {
		case !token.IsIdentifier(p.Symbol) || reserved(p.Symbol):
			return fmt.Errorf("parameter %d: symbol %q: want letters, digits and '_', and no unit or function of the formulas", i+1, p.Symbol)
		case seen[p.Symbol]:
			return fmt.Errorf("parameter %s stands twice", p.Symbol)
		case p.Description == "":
			return fmt.Errorf("parameter %s has no description", p.Symbol)
		case p.Per != PerUnit && p.Per != PerProject:
			return fmt.Errorf("parameter %s: per %q: want %s or %s", p.Symbol, p.Per, PerUnit, PerProject)
		case p.Monitored == (len(p.Options) == 0):
			return fmt.Errorf("parameter %s: monitoring options belong to a monitored parameter, and only there", p.Symbol)
		}
		for _, o := range p.Options {
			if o != "A" && o != "B" && o != "C" {
				return fmt.Errorf("parameter %s: option %q: want A, B or C", p.Symbol, o)
			}
		}
		if _, err := parseUnit(p.Unit); err != nil {
			return fmt.Errorf("parameter %s: %w", p.Symbol, err)
		}
		seen[p.Symbol] = true
	}
	return nil
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
		if m.Parameters[i].Monitored == monitored {
			out = append(out, m.Parameters[i].Symbol)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// formulas are the compiled formulas of a methodology.
type formulas struct{ re, pe, er *expr }

func (m *Methodology) compile() (*formulas, error) {
	s := scope{}
	for i := range m.Parameters {
		p := &m.Parameters[i]
		u, err := parseUnit(p.Unit)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", p.Symbol, err)
		}
		s[p.Symbol] = kind{u, p.Per == PerUnit}
	}
	tCO2 := unit{"tCO2": 1}
	f := &formulas{}
	for _, l := range []struct {
		name, text string
		to         **expr
	}{{"RE", m.Formulas.RE, &f.re}, {"PE", m.Formulas.PE, &f.pe}, {"ER", m.Formulas.ER, &f.er}} {
		e, err := compile(l.text, s)
		if err != nil {
			return nil, fmt.Errorf("formula %s = %s: %w", l.name, l.text, err)
		}
		if !e.unit.fits(tCO2) {
			return nil, fmt.Errorf("formula %s = %s: comes out in %s, want tCO2", l.name, l.text, e.unit)
		}
		*l.to = e
		s[l.name] = kind{tCO2, false}
	}
	return f, nil
}

// inputs are the numbers of one vintage, each in its parameter's unit.
type inputs struct {
	project map[string]*big.Rat
	units   []unitInputs
}

type unitInputs struct {
	name   string
	values map[string]*big.Rat
}

// outcome is what the formulas give for one vintage, tCO2.
type outcome struct{ re, pe, er *big.Rat }

// eval applies the formulas. in is left as it was.
func (f *formulas) eval(in *inputs) (out outcome, err error) {
	if out.re, err = f.re.eval(in, nil); err != nil {
		return out, fmt.Errorf("formula RE: %w", err)
	}
	if out.pe, err = f.pe.eval(in, nil); err != nil {
		return out, fmt.Errorf("formula PE: %w", err)
	}
	all := inputs{project: maps.Clone(in.project), units: in.units}
	all.project["RE"], all.project["PE"] = out.re, out.pe
	if out.er, err = f.er.eval(&all, nil); err != nil {
		return out, fmt.Errorf("formula ER: %w", err)
	}
	return out, nil
}

// run computes an example and compares.
func (m *Methodology) run(f *formulas, e *Example) error {
	if e.Source == "" {
		return errors.New("has no source; name the document, or say that its numbers are invented")
	}
	in := inputs{project: make(map[string]*big.Rat)}
	if err := m.enter(in.project, e.Parameters, nil); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(e.Units)) {
		u := unitInputs{name, make(map[string]*big.Rat)}
		if err := m.enter(u.values, e.Parameters, e.Units[name]); err != nil {
			return fmt.Errorf("unit %s: %w", name, err)
		}
		in.units = append(in.units, u)
	}
	out, err := f.eval(&in)
	if err != nil {
		return err
	}
	for _, r := range []struct {
		name string
		got  string
		want Number
	}{{"RE", numberText(out.re), e.Result.RE}, {"PE", numberText(out.pe), e.Result.PE}, {"ER", floor(out.er).String(), e.Result.ER}} {
		if r.got != r.want.String() {
			return fmt.Errorf("%s comes out as %s tCO2, the file says %s", r.name, r.got, r.want)
		}
	}
	return nil
}

// enter fills in the numbers of an example.
func (m *Methodology) enter(to map[string]*big.Rat, all, own Numbers) error {
	for _, numbers := range []Numbers{all, own} {
		for _, symbol := range slices.Sorted(maps.Keys(numbers)) {
			if m.parameter(symbol) == nil {
				return fmt.Errorf("%s is no parameter of the methodology", symbol)
			}
			if !numbers[symbol].sane() {
				return fmt.Errorf("%s has more than 30 digits before or after the point", symbol)
			}
			to[symbol] = numbers[symbol].Rat()
		}
	}
	return nil
}
