package calc

import (
	"math/big"
	"strings"
	"testing"
)

// bench is a scope with one symbol of each sort, and inputs for two units.
func bench() (scope, *inputs) {
	s := scope{
		"EG":   {unit: unit{"MWh": 1}, each: true},
		"EGK":  {unit: unit{"kWh": 1}, each: true},
		"COP":  {unit: unit{}, each: true},
		"EF":   {unit: unit{"tCO2": 1, "MWh": -1}, each: false},
		"EFK":  {unit: unit{"kgCO2": 1, "kWh": -1}, each: false},
		"GRID": {unit: unit{"MWh": 1}, each: false},
		"FC":   {unit: unit{"t": 1}, each: false},
		"NCV":  {unit: unit{"GJ": 1, "t": -1}, each: false},
		"EFF":  {unit: unit{"tCO2": 1, "GJ": -1}, each: false},
		"ZERO": {unit: unit{}, each: false},
		"GAS":  {unit: unit{"Nm3": 1}, each: false},
		"DAY":  {unit: unit{"MWh": 1}, each: true, daily: true},
		"CAT":  {unit: unit{}, daily: true},
		"KW":   {unit: unit{"kW": 1}},
		"DAYS": {unit: unit{"d": 1}},
		"CLASS": {unit: unit{}, table: &Table{Symbol: "CLASS", By: "MWh", Unit: "1", Rows: []Row{
			{numberOf("10"), Number{num("1")}}, {numberOf("50"), Number{num("2")}}, {nil, Number{num("3")}},
		}}},
	}
	half, err := (&compiler{scope: s}).read("EG / 2")
	if err != nil {
		panic(err)
	}
	s["HALF"] = kind{unit: unit{"MWh": 1}, each: true, term: half}
	in := &inputs{
		project: map[string]*big.Rat{"EF": big.NewRat(533, 1000), "EFK": big.NewRat(533, 1000), "GRID": big.NewRat(100, 1), "FC": big.NewRat(2, 1),
			"NCV": big.NewRat(43, 1), "EFF": big.NewRat(726, 10000), "ZERO": new(big.Rat), "GAS": big.NewRat(9, 1), "KW": big.NewRat(5, 1), "DAYS": big.NewRat(2, 1)},
		days: 2,
		daily: map[string]map[string][]*big.Rat{
			"": {"CAT": {big.NewRat(1, 1), new(big.Rat)}}, "a": {"DAY": {big.NewRat(4, 1), big.NewRat(6, 1)}}, "b": {"DAY": {big.NewRat(2, 1), big.NewRat(3, 1)}},
		},
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

		{"sum(sum_d(DAY))", "MWh", "15", ""},
		{"sum_d(sum(DAY) * CAT)", "MWh", "6", ""},
		{"sum(sum_d(DAY * CAT) * EF)", "tCO2", "3.198", ""},
		{"sum_d(CAT)", "1", "1", ""},
		{"sum(HALF) * EF", "tCO2", "3.9975", ""},
		{"MWh(KW * DAYS)", "MWh", "0.24", ""},
		{"GJ(KW * DAYS)", "GJ", "0.864", ""},
		{"CLASS(sum(EG) * 0.6666)", "1", "1", ""},
		{"CLASS(sum(EG) * 2 / 3)", "1", "2", ""},
		{"CLASS(GRID)", "1", "3", ""},
		{"sum(EG * CLASS(EG))", "MWh", "25", ""},
		{"sum(EG) * (ZERO / ZERO)", "MWh", "", "column 17: 0 divided by 0 is no number"},
		{"ZERO * (ZERO / ZERO) * sum(EG)", "MWh", "0", ""},
		{"(ZERO / ZERO) * ZERO + GRID / GRID", "1", "1", ""},
		{"max(ZERO / ZERO, 1)", "1", "", "column 10: 0 divided by 0 is no number"},

		{"sum(DAY)", "", "", "column 1: DAY has a value per day; add it up with sum_d(...)"},
		{"sum_d(DAY)", "", "", "column 1: DAY has a value per unit; add it up with sum(...)"},
		{"sum_d(sum(EG))", "", "", "column 1: sum_d of something that is the same for all days"},
		{"sum_d(sum_d(CAT))", "", "", "column 7: sum_d takes one expression"},
		{"HALF", "", "", "column 1: HALF has a value per unit"},
		{"CLASS", "", "", "column 1: CLASS is a table; look up a value in it"},
		{"CLASS(EF)", "", "", "column 1: table CLASS is looked up by a value in MWh, not in tCO2/MWh"},
		{"CLASS(GRID, GRID)", "", "", "column 1: table CLASS is looked up by one value"},
		{"MWh(KW)", "", "", "column 1: kW cannot be converted to MWh"},
		{"sum(EGK * EF)", "kWh*tCO2/MWh", "7995", ""}, // refused by the methodology: not in tCO2
		{"sum(EG + EGK)", "", "", "column 8: + joins MWh and kWh; convert one, like MWh(x)"},
		{"EG * EF", "", "", "column 4: EG has a value per unit; add it up with sum(...)"},
		{"sum(EF)", "", "", "column 1: sum of something that is the same for all units"},
		{"sum(sum(EG))", "", "", "column 5: sum takes one expression"},
		{"sum(EG, EG)", "", "", "column 1: sum takes one expression"},
		{"sum(EG) + EF", "", "", "column 9: + joins MWh and tCO2/MWh"},
		{"GRID + 1", "", "", "column 6: + joins MWh and 1"},
		{"XX * 2", "", "", "column 1: XX is no parameter; known are CAT, CLASS, COP"},
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
			if r, err = (&evaluation{in: in}).eval(e, place{}); err == nil {
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
			if _, err := (&evaluation{in: in}).eval(e, place{}); err != nil {
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
	for _, seed := range []string{"sum(EG * EF)", "sum(EG/COP)*EF", "min(GRID, sum(EG))", "MWh(sum(EGK))*EF", "-(-0.5)/ZERO", "((", "0*GRID+FC", "max(0,0)", "kWh(0)", "sum(EG)[:]", "\x00", "η*2", "sum(sum_d(DAY*CAT))*EF", "sum(HALF)+CLASS(GRID)*GRID", "MWh(KW*DAYS)", "ZERO*(ZERO/ZERO)"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, in := bench()
		e, err := compile(text, s)
		if err != nil {
			return
		}
		a, err := (&evaluation{in: in}).eval(e, place{})
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
		for _, values := range twice.daily {
			for symbol, list := range values {
				for d := range list {
					list[d] = power2(list[d], energies(s[symbol].unit))
				}
			}
		}
		if strings.Contains(text, "CLASS") {
			return // a class does not grow with what is looked up
		}
		b, err := (&evaluation{in: twice}).eval(e, place{})
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
		if quantity, _, _ := size(name); quantity == "energy" || quantity == "power" {
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
