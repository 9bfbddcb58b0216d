package calc

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
)

// Example is a worked example: numbers in, and what must come out.
type Example struct {
	Title      string             `yaml:"title"`
	Source     string             `yaml:"source"`     // document, or that the numbers are invented
	Parameters Numbers            `yaml:"parameters"` // for the project and for all units
	Units      map[string]Numbers `yaml:"units"`      // for each unit i
	Days       []ExampleDay       `yaml:"days"`       // what is per day, day after day
	Terms      Numbers            `yaml:"terms"`      // what terms must give that are the same for all units; may be left out
	Result     ExampleResult      `yaml:"result"`
}

// ExampleDay holds what is per day.
type ExampleDay struct {
	Parameters Numbers            `yaml:"parameters"` // for the project and for all units
	Units      map[string]Numbers `yaml:"units"`      // for each unit i
}

// Numbers are values by symbol, each in its parameter's unit.
type Numbers map[string]Number

// ExampleResult is what an Example must give: RE and PE exact, or to 9
// decimals when they do not end; ER in whole tonnes.
type ExampleResult struct {
	RE Number `yaml:"RE"`
	PE Number `yaml:"PE"`
	ER Number `yaml:"ER"`
}

// example runs an example and compares.
func (c *checker) example(f *formulas, i int) {
	e := &c.m.Examples[i]
	path, what := fmt.Sprintf("$.examples[%d]", i), fmt.Sprintf("example %d (%s): ", i+1, e.Title)
	if e.Source == "" {
		c.fault(path, what+"has no source", "name the document, or say that its numbers are invented")
		return
	}
	in, fault := c.m.enter(e)
	if fault != nil {
		c.fault(path+fault.Path, what+fault.Problem, fault.Remedy)
		return
	}
	out, terms, err := f.run(in)
	if err != nil {
		c.fault(path, what+err.Error(), "")
		return
	}
	differ := func(at, name, got, want, unit string) {
		if got != want {
			c.fault(path+at, fmt.Sprintf("%s%s comes out as %s %s, the file says %s", what, name, got, unit, want), "correct the formula, the numbers or the result")
		}
	}
	differ(".result.RE", "RE", numberText(out.re), e.Result.RE.String(), "tCO2")
	differ(".result.PE", "PE", numberText(out.pe), e.Result.PE.String(), "tCO2")
	differ(".result.ER", "ER", floor(out.er).String(), e.Result.ER.String(), "tCO2")
	for _, symbol := range slices.Sorted(maps.Keys(e.Terms)) {
		got, unit := "nothing that is the same for all units", ""
		if x := terms[symbol]; x != nil {
			got, unit = numberText(x), c.m.Terms[slices.IndexFunc(c.m.Terms, func(t Term) bool { return t.Symbol == symbol })].Unit
		}
		differ(".terms."+symbol, symbol, got, e.Terms[symbol].String(), unit)
	}
}

// enter turns the numbers of an example into inputs. The path of a fault begins at
// the example.
func (m *Methodology) enter(e *Example) (*inputs, *Fault) {
	in := &inputs{project: make(map[string]*big.Rat), days: len(e.Days), daily: map[string]map[string][]*big.Rat{}}
	if f := m.fill(in.project, e.Parameters, false, ".parameters"); f != nil {
		return nil, f
	}
	for _, name := range slices.Sorted(maps.Keys(e.Units)) {
		u := unitInputs{name, maps.Clone(in.project)}
		if f := m.fill(u.values, e.Units[name], false, ".units."+name); f != nil {
			f.Problem = "unit " + name + ": " + f.Problem
			return nil, f
		}
		in.units = append(in.units, u)
	}
	for d := range e.Days {
		if f := m.day(in, &e.Days[d], d); f != nil {
			f.Path, f.Problem = fmt.Sprintf(".days[%d]%s", d, f.Path), fmt.Sprintf("day %d: %s", d+1, f.Problem)
			return nil, f
		}
	}
	return in, nil
}

// day enters what is per day.
func (m *Methodology) day(in *inputs, day *ExampleDay, d int) *Fault {
	put := func(unit string, values map[string]*big.Rat) {
		if in.daily[unit] == nil {
			in.daily[unit] = make(map[string][]*big.Rat)
		}
		for symbol, x := range values {
			list := in.daily[unit][symbol]
			if list == nil {
				list = make([]*big.Rat, in.days)
				in.daily[unit][symbol] = list
			}
			list[d] = x
		}
	}
	all := make(map[string]*big.Rat)
	if f := m.fill(all, day.Parameters, true, ".parameters"); f != nil {
		return f
	}
	put("", all)
	for i := range in.units {
		put(in.units[i].name, all)
	}
	for _, name := range slices.Sorted(maps.Keys(day.Units)) {
		own := make(map[string]*big.Rat)
		if f := m.fill(own, day.Units[name], true, ".units."+name); f != nil {
			return f
		}
		if !slices.ContainsFunc(in.units, func(u unitInputs) bool { return u.name == name }) {
			return &Fault{".units." + name, fmt.Sprintf("unit %s is not among the units of the example", name), "write it under units too"}
		}
		put(name, own)
	}
	return nil
}

// fill enters numbers, of parameters that are per day or of the others.
func (m *Methodology) fill(to map[string]*big.Rat, numbers Numbers, daily bool, path string) *Fault {
	for _, symbol := range slices.Sorted(maps.Keys(numbers)) {
		p, x := m.parameter(symbol), numbers[symbol]
		switch {
		case p == nil:
			return &Fault{path + "." + symbol, symbol + " is no parameter of the methodology", "check its spelling"}
		case p.daily() != daily:
			return &Fault{path + "." + symbol, fmt.Sprintf("%s is per %s", symbol, p.Per), "what is per day stands under days, and only that"}
		}
		if err := p.within(x); err != nil {
			return &Fault{path + "." + symbol, err.Error(), ""}
		}
		to[symbol] = x.Rat()
	}
	return nil
}
