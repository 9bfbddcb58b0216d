package calc

import (
	"math/big"
	"strings"
	"testing"
)

// bench is a scope with one symbol of each sort, and inputs for two units.
func bench() (scope, *inputs) {
	s := scope{
		"EG":   {unit{"MWh": 1}, true},
		"EGK":  {unit{"kWh": 1}, true},
		"COP":  {unit{}, true},
		"EF":   {unit{"tCO2": 1, "MWh": -1}, false},
		"EFK":  {unit{"kgCO2": 1, "kWh": -1}, false},
		"GRID": {unit{"MWh": 1}, false},
		"FC":   {unit{"t": 1}, false},
		"NCV":  {unit{"GJ": 1, "t": -1}, false},
		"EFF":  {unit{"tCO2": 1, "GJ": -1}, false},
		"ZERO": {unit{}, false},
		"GAS":  {unit{"Nm3": 1}, false},
	}
	in := &inputs{
		project: map[string]*big.Rat{"EF": big.NewRat(533, 1000), "EFK": big.NewRat(533, 1000), "GRID": big.NewRat(100, 1), "FC": big.NewRat(2, 1),
			"NCV": big.NewRat(43, 1), "EFF": big.NewRat(726, 10000), "ZERO": new(big.Rat), "GAS": big.NewRat(9, 1)},
		units: []unitInputs{
			{"a", map[string]*big.Rat{"EG": big.NewRat(10, 1), "EGK": big.NewRat(10000, 1), "COP": big.NewRat(3, 1)}},
			{"b", map[string]*big.Rat{"EG": big.NewRat(5, 1), "EGK": big.NewRat(5000, 1), "COP": big.NewRat(7, 1)}},
		},
	}
	return s, in
}

func TestFormulas(t *testing.T) {
	for _, tt := range []struct{ formula, unit, value, err string }{
		{"sum(EG * EF)", "tCO2", "7.995", ""},
		{"sum(EG) * EF", "tCO2", "7.995", ""},
		{"sum(MWh(EGK)) * EF", "tCO2", "7.995", ""},
		{"tCO2(sum(EGK) * EFK)", "tCO2", "7.995", ""},
		{"sum(EG / COP)", "MWh", "4.047619048", ""},
		{"sum(EG / (COP - 2)) - sum(EG) / 3 * 2 - -GRID", "MWh", "101", ""},
		{"min(sum(EG), GRID)", "MWh", "15", ""},
		{"max(sum(EG), GRID, 0)", "MWh", "100", ""},
		{"sum(max(EG - MWh(EGK), 0)) * EF", "tCO2", "0", ""},
		{"FC * NCV * EFF", "tCO2", "6.2436", ""},
		{"MWh(FC * NCV)", "MWh", "23.888888889", ""},
		{"0", "1", "0", ""},
		{"1 - 0.25", "1", "0.75", ""},
		{"(((GRID)))", "MWh", "100", ""},

		{"sum(EGK * EF)", "kWh*tCO2/MWh", "7995", ""}, // refused by the methodology: not in tCO2
		{"sum(EG + EGK)", "", "", "column 8: + joins MWh and kWh; convert one, like MWh(x)"},
		{"EG * EF", "", "", "column 4: EG has a value per unit; add it up with sum(...)"},
		{"sum(EF)", "", "", "column 1: sum of something that is the same for all units"},
		{"sum(sum(EG))", "", "", "column 5: sum takes one expression"},
		{"sum(EG, EG)", "", "", "column 1: sum takes one expression"},
		{"sum(EG) + EF", "", "", "column 9: + joins MWh and tCO2/MWh"},
		{"GRID + 1", "", "", "column 6: + joins MWh and 1"},
		{"XX * 2", "", "", "column 1: XX is no parameter; known are COP, EF"},
		{"GRID * (2", "", "", "column 10: expected ')'"},
		{"GRID GRID", "", "", "column 6: "},
		{"GRID % 2", "", "", "column 6: % is not part of formulas"},
		{"GRID == 2", "", "", "column 6: == is not part of formulas"},
		{"+GRID", "", "", "column 1: + is not part of formulas"},
		{"GRID[0]", "", "", "column 1: this is not part of formulas"},
		{"func() {}", "", "", "column 1: this is not part of formulas"},
		{"GRID // twice", "", "", "comment"},
		{"GRID /* twice */", "", "", "comment"},
		{"GRID * 1e9", "", "", "column 8: 1e9: write numbers as decimals"},
		{"GRID * 0x10", "", "", "column 8: 0x10: write numbers as decimals"},
		{"GRID * 1_000", "", "", "column 8: 1_000: write numbers as decimals"},
		{"GRID * 'a'", "", "", "column 8: 'a': write numbers as decimals"},
		{"GRID * 2i", "", "", "column 8: 2i: write numbers as decimals"},
		{"min(GRID)", "", "", "column 1: min needs two or more"},
		{"min(GRID, EF)", "", "", "column 1: min joins MWh and tCO2/MWh"},
		{"min(GRID...)", "", "", "column 1: this is not part of formulas"},
		{"sqrt(GRID)", "", "", "column 1: sqrt is no function"},
		{"MWh(EF)", "", "", "column 1: tCO2/MWh cannot be converted to MWh"},
		{"t(GRID)", "", "", "column 1: MWh cannot be converted to t"},
		{"tCO2(FC)", "", "", "column 1: t cannot be converted to tCO2"},
		{"km(GAS)", "", "", "column 1: Nm3 cannot be converted to km"},
		{"Nm3(GAS)", "Nm3", "9", ""},
		{"MWh(GRID, GRID)", "", "", "column 1: MWh is no function of one value"},
		{"GRID / 0", "", "", "column 8: division by zero"},
		{"GRID / ZERO", "MWh", "", "column 6: division by zero"},
		{"sum(EG / (COP - 3))", "MWh", "", "unit a: column 8: division by zero"},
		{"", "", "", "is empty"},
		{"GRID\n+GRID", "", "", "more than one line"},
		{strings.Repeat("(", 200) + "GRID" + strings.Repeat(")", 200), "", "", "more than 100 parts within each other"},
		{"GRID" + strings.Repeat("+GRID", 250), "", "", "has 1254 bytes, at most 1000"},
	} {
		s, in := bench()
		e, err := compile(tt.formula, s)
		var value string
		if err == nil {
			if tt.unit != e.unit.String() {
				t.Errorf("%s is in %s, want %s", tt.formula, e.unit, tt.unit)
			}
			var r *big.Rat
			if r, err = e.eval(in, nil); err == nil {
				value = numberText(r)
			}
		}
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) || value != tt.value {
			t.Errorf("%s = %q, %v; want %q, error %q", tt.formula, value, err, tt.value, tt.err)
		}
	}
}

// A formula leaves its inputs as they were.
func TestEvalDoesNotWriteInputs(t *testing.T) {
	s, in := bench()
	_, want := bench()
	for _, text := range []string{"min(GRID, sum(EG)) - GRID", "max(EF, EF) + EF", "-EF", "sum(EG)"} {
		e, err := compile(text, s)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := e.eval(in, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for k, v := range want.project {
		if in.project[k].Cmp(v) != 0 {
			t.Errorf("%s became %v", k, in.project[k])
		}
	}
}

func TestUnits(t *testing.T) {
	for _, tt := range []struct{ text, want, err string }{
		{"tCO2/MWh", "tCO2/MWh", ""},
		{"1", "1", ""},
		{"1/h", "1/h", ""},
		{"kWh/m3/d", "kWh/d/m3", ""},
		{"h*W", "W*h", ""},
		{"m2*m2/m2", "m2", ""},
		{"", "", `"" is not known`},
		{"%", "", `"%" is not known`},
		{"kWH", "", `"kWH" is not known`},
		{"tCO2 / MWh", "", `"tCO2 " is not known`},
		{"tCO2/", "", `"" is not known`},
		{strings.Repeat("h*", 30) + "h", "", "at most 40"},
	} {
		u, err := parseUnit(tt.text)
		if tt.err == "" && (err != nil || u.String() != tt.want) || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("unit %q = %v, %v; want %q, error %q", tt.text, u, err, tt.want, tt.err)
		}
	}
	if !sameUnit("h*W", "W*h") || sameUnit("kWh", "MWh") || sameUnit("kWh", "x") {
		t.Error("sameUnit compares the text")
	}
	for to, want := range map[string]string{"kWh": "1", "MWh": "1/1000", "Wh": "1000", "GJ": "9/2500", "GWh": "1/1000000"} {
		if got, err := energyFactor(to); err != nil || got.RatString() != want {
			t.Errorf("kWh to %s: %v, %v; want %s", to, got, err, want)
		}
	}
}

func TestNumberText(t *testing.T) {
	for _, tt := range []struct {
		a, b int64
		text string
		t    string // floored
	}{
		{5381113, 1000, "5381.113", "5381"}, {10, 1, "10", "10"}, {1, 3, "0.333333333", "0"}, {2, 3, "0.666666667", "0"}, {-1, 3, "-0.333333333", "-1"},
		{-10, 1, "-10", "-10"}, {1, 1 << 20, "0.00000095367431640625", "0"}, {0, 1, "0", "0"}, {-1, 1 << 20, "-0.00000095367431640625", "-1"},
	} {
		r := big.NewRat(tt.a, tt.b)
		if got, tonnes := numberText(r), floor(r).String(); got != tt.text || tonnes != tt.t {
			t.Errorf("%d/%d is %s, floored %s; want %s, %s", tt.a, tt.b, got, tonnes, tt.text, tt.t)
		}
	}
}

// Whatever text it is given, a formula is refused or gives a number. One that is
// not refused keeps its units: with every energy twice as large in whatever unit,
// and all that is per energy half as large, it changes by two to the power of its
// unit's energies. A silent factor would show.
func FuzzFormula(f *testing.F) {
	for _, seed := range []string{"sum(EG * EF)", "sum(EG/COP)*EF", "min(GRID, sum(EG))", "MWh(sum(EGK))*EF", "-(-0.5)/ZERO", "((", "0*GRID+FC", "max(0,0)", "kWh(0)", "sum(EG)[:]", "\x00", "η*2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, in := bench()
		e, err := compile(text, s)
		if err != nil {
			return
		}
		a, err := e.eval(in, nil)
		if err != nil {
			return
		}
		_, twice := bench()
		scale := func(values map[string]*big.Rat) {
			for symbol, v := range values {
				values[symbol] = power2(v, energies(s[symbol].unit))
			}
		}
		scale(twice.project)
		for _, u := range twice.units {
			scale(u.values)
		}
		b, err := e.eval(twice, nil)
		if want := power2(a, energies(e.unit)); err != nil || b.Cmp(want) != 0 {
			t.Errorf("%q in %v is %v, with twice the energy %v, %v; want %v", text, e.unit, a, b, err, want)
		}
		if e.unit == nil && a.Sign() != 0 {
			t.Errorf("%q has no unit and is %v", text, a)
		}
	})
}

// energies returns to what power energy stands in a unit.
func energies(u unit) (power int) {
	for name, n := range u {
		if quantity, _, _ := size(name); quantity == "energy" {
			power += n
		}
	}
	return power
}

func power2(v *big.Rat, power int) *big.Rat {
	f := new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), uint(max(power, -power))))
	if power < 0 {
		f.Inv(f)
	}
	return f.Mul(f, v)
}

func FuzzUnit(f *testing.F) {
	for _, seed := range []string{"tCO2/MWh", "1", "1/h", "kWh/m3/d", "*", "/", "%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseUnit(text)
		if err != nil {
			return
		}
		if again, err := parseUnit(u.String()); err != nil || again.String() != u.String() {
			t.Errorf("%q is %q, which is %v, %v", text, u, again, err)
		}
	})
}
