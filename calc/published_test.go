package calc

import (
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
)

// publishedSplits are issued credits with their parts, tCO2. Source for Mongolia: the
// issuance list of https://www.jcm.go.jp/jc/mn-projects-issues; for the others as named.
var publishedSplits = []struct {
	project, period string
	total           int64
	parts           map[string]int64
}{
	{"ID002+ID003", "6 months to 2015-07-31, https://carbon-pulse.com/19918", 40, map[string]int64{"JP government": 27, "JP maker": 4, "ID government": 5, "ID host": 4}},
	{"MN001", "2015-09-20..2016-05-15", 50, map[string]int64{"MN": 10, "JP": 40}},
	{"MN002", "2015-09-15..2016-05-02", 107, map[string]int64{"MN": 22, "JP": 85}},
	{"MN001", "issued November 2018", 118, map[string]int64{"MN": 24, "JP": 94}},
	{"MN002", "issued November 2018", 208, map[string]int64{"MN": 42, "JP": 166}},
	{"MN001", "2018-09-15..2020-12-31", 139, map[string]int64{"MN": 29, "JP": 110}},
	{"MN002", "2018-09-15..2020-12-31", 322, map[string]int64{"MN": 66, "JP": 256}},
	{"MN003", "2017-08-26..2018-05-31", 8880, map[string]int64{"MN": 1776, "JP": 7104}},
	{"MN003", "2018-06-01..2020-12-31", 35419, map[string]int64{"MN": 7084, "JP": 28335}},
	{"MN004", "2017-01-01..2017-07-31", 8947, map[string]int64{"MN": 1789, "JP": 7158}},
	{"MN004", "2017-08-01..2020-12-31", 44817, map[string]int64{"MN": 8963, "JP": 35854}},
	{"MN005", "2017-12-02..2018-12-31", 1, map[string]int64{"MN": 1, "JP": 0}},
	{"MN006", "2019-07-06..2020-12-31", 30312, map[string]int64{"MN": 6063, "JP": 24249}},
	{"BD002+BD004", "to 2019-07-31, https://www.env.go.jp/en/headline/2596.html", 499, map[string]int64{"BD002": 144, "BD004": 355}},
	{"MN001+MN002", "first issuance, https://www.mofa.go.jp/mofaj/ic/ch/page22_002709.html", 157, map[string]int64{"MN001": 50, "MN002": 107}},
	{"MN004", "cumulative", 53764, map[string]int64{"2017-01..07": 8947, "2017-08..2020": 44817}},
}

// TestPublishedSplitsAddUp: whole tonnes are divided without a rest, and by no single
// rule: a share of the total, rounded down, gives other figures than were issued. So a
// split is what people decide, and a program only adds up.
func TestPublishedSplitsAddUp(t *testing.T) {
	others := 0
	for _, s := range publishedSplits {
		var sum int64
		for _, n := range s.parts {
			sum += n
		}
		if sum != s.total {
			t.Errorf("%s, %s: the parts are %d, the total %d", s.project, s.period, sum, s.total)
		}
		for off, problem := range map[int64]string{0: "", 1: "decided for"} {
			year := Span{day("2019-01-01"), day("2019-12-31")}
			decided := Split{Period: year, Vintage: 2019, Accounts: maps.Clone(s.parts), Who: "both sides"}
			first := slices.Sorted(maps.Keys(s.parts))[0]
			decided.Accounts[first] += off
			r := sunny(t, "Asia/Ulaanbaatar", "1", year, map[string]string{"2019-01-01 00:00:00": "0", "2019-12-31 12:00:00": strconv.FormatInt(s.total*1000, 10)}, func(p *Project) {
				for name := range s.parts {
					p.Allocation = append(p.Allocation, Account{Name: name, Percent: Number{num("0")}})
				}
				p.Allocation[0].Percent = Number{num("100")}
				p.Decided.Splits = []Split{decided}
			})
			if got := r.Splits["2019"].Problem; !strings.HasPrefix(got, problem) || (got == "") != (problem == "") {
				t.Errorf("%s, %s, %d t too many: %q", s.project, s.period, off, got)
			}
		}
		if jp, ok := s.parts["JP"]; ok && floor(big.NewRat(s.total*8, 10)).Int64() != jp {
			others++
		}
	}
	if others != 4 {
		t.Errorf("%d splits differ from 80 %% rounded down; published are 4: MN001 and MN002 of 2018 to 2020 below it, MN004 twice above", others)
	}
}

// TestPublishedReduction: expected RE, PE and ER of ID015 under ID_AM011, as the page of
// the project has them (https://gec.jp/jcm/projects/14pro_ina_06/): 3,058.5, 2,316.2 and
// 742 tCO2 a year. ER is cut off, not rounded, once.
func TestPublishedReduction(t *testing.T) {
	re, pe := num("3058.5"), num("2316.2")
	er := new(big.Rat).Sub(re.Rat(), pe.Rat())
	if numberText(er) != "742.3" || floor(er).Int64() != 742 {
		t.Errorf("ER is %s, in whole tonnes %v; published 742", numberText(er), floor(er))
	}
}

// sunny is a project of one meter that reads the given kWh at local times.
func sunny(t *testing.T, place, factor string, period Span, readings map[string]string, more ...func(*Project)) *Report {
	t.Helper()
	ef := Number{num(factor)}
	p := &Project{
		Reference: "check", Title: "Check", Zone: place, Methodology: Pin{"KS-F1", "1.0"}, Periods: []Span{period},
		Parameters: map[string]Value{"EF_RE": {Value: &ef, Unit: "tCO2/MWh", Source: "of the check"}}, Meters: []Meter{{Key: "m", Register: "site-1/m/kWh", Parameter: "EG"}},
	}
	for _, f := range more {
		f(p)
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	z := zone(t, place)
	c := NewCurve(p.Registers()[0], z)
	for _, at := range slices.Sorted(maps.Keys(readings)) {
		when, err := time.ParseInLocation("2006-01-02 15:04:05", at, z)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Add(Sample{At: when.UnixMilli(), Value: num(readings[at]), Unit: "kWh", Good: true}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := p.Report(solar(), 0, func(string) *Curve { return c })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestTwoVintagesAreRoundedApart: 0.99 t in one year and 1 t in the next are 0 and 1
// credits, not the 1 that 1.99 t would be, nor 2.
func TestTwoVintagesAreRoundedApart(t *testing.T) {
	r := sunny(t, "Asia/Ulaanbaatar", "1", Span{day("2019-12-01"), day("2020-01-31")}, map[string]string{
		"2019-12-01 00:00:00": "0", "2019-12-31 12:00:00": "990", "2020-01-31 12:00:00": "1990",
	})
	if a, b := r.Vintages["2019"]["ER_tCO2"], r.Vintages["2020"]["ER_tCO2"]; a != "0" || b != "1" {
		t.Errorf("vintages of 0.99 and 1 t are %s and %s, want 0 and 1", a, b)
	}
}

// TestPeriodIsCutAtLocalMidnight: credits change their year at midnight of the host
// country, not of UTC; Chile is in its summer time then.
func TestPeriodIsCutAtLocalMidnight(t *testing.T) {
	for place, want := range map[string]string{"Asia/Ulaanbaatar": "10 5", "America/Santiago": "10 5", "Pacific/Palau": "10 5"} {
		r := sunny(t, place, "1", Span{day("2020-12-01"), day("2021-01-31")}, map[string]string{
			"2020-12-01 00:00:00": "0", "2020-12-31 23:59:59": "9000", "2021-01-01 00:00:00": "10000", "2021-01-01 00:00:01": "14000", "2021-01-31 12:00:00": "15000",
		})
		if got := r.Vintages["2020"]["ER_tCO2"] + " " + r.Vintages["2021"]["ER_tCO2"]; got != want {
			t.Errorf("%s: vintages are %s, want %s", place, got, want)
		}
	}
}

// TestWholeTonnesOfOneVintage: TH014 was issued 2,017 t for the one vintage 2021
// (https://www.rim-intelligence.co.jp/news/rre/1813927.html). What it generated is not
// published; with the factor from recall, which ships nowhere, 6,323 MWh give that figure
// and one MWh less does not. So the figure is exact where a tonne changes.
func TestWholeTonnesOfOneVintage(t *testing.T) {
	for kWh, want := range map[string]string{"6323000": "2017", "6322000": "2016", "6322884": "2016", "6322885": "2017"} {
		r := sunny(t, "Asia/Bangkok", "0.319", Span{day("2021-01-01"), day("2021-12-31")}, map[string]string{"2021-01-01 00:00:00": "0", "2021-12-31 12:00:00": kWh})
		if got := r.Vintages["2021"]["ER_tCO2"]; got != want || len(r.Vintages) != 1 {
			t.Errorf("%s kWh are %s t in %d vintages, want %s in one", kWh, got, len(r.Vintages), want)
		}
	}
}

// TestPublishedOutputIsPlausible holds issued credits of solar plants against what such
// plants make: with the factor from recall, which ships nowhere, a share of 13 to 23 % of rated
// power × time, sun and nights together. A figure that is off by 1,000, or by a tenth, is not in there.
func TestPublishedOutputIsPlausible(t *testing.T) {
	for _, x := range []struct {
		project, kW, factor, tonnes string
		period                      Span
		percent                     string
	}{
		{"TH014", "5000", "0.319", "2017", Span{day("2021-01-01"), day("2021-12-31")}, "14.44"},
		{"MN004", "10000", "0.797", "8947", Span{day("2017-01-01"), day("2017-07-31")}, "22.06"},
		{"MN004", "10000", "0.797", "44817", Span{day("2017-08-01"), day("2020-12-31")}, "18.76"},
		{"MN006", "15000", "0.797", "30312", Span{day("2019-07-06"), day("2020-12-31")}, "19.38"},
		{"MN003", "12700", "0.797", "35419", Span{day("2018-06-01"), day("2020-12-31")}, "15.43"},
	} {
		hours := int64(daysOf(x.period)) * 24
		MWh := num(x.tonnes).DivRound(num(x.factor), 12)
		full := num(x.kW).Mul(decimal.New(hours, -3))
		share := MWh.Div(full).Shift(2)
		if got := share.StringFixed(2); got != x.percent || share.LessThan(num("13")) || share.GreaterThan(num("23")) {
			t.Errorf("%s, %v: %s tCO2 are %s MWh, %s %% of %s MWh; want %s, within 13 and 23", x.project, x.period, x.tonnes, MWh.StringFixed(0), got, full, x.percent)
		}
		// The other way: a counter that shows these MWh at the end of the period is measured and
		// claimed whole, and a thousand times as much is held back beyond rated power.
		for factor, whole := range map[int32]bool{3: true, 6: false} {
			end := x.period.End.String() + " 23:00:00"
			r := sunny(t, "Asia/Ulaanbaatar", x.factor, x.period, map[string]string{x.period.Start.String() + " 00:00:00": "0", end: MWh.Shift(factor).StringFixed(0)}, func(p *Project) {
				p.Meters[0].RatedKW, p.Meters[0].RatedSource = Number{num(x.kW)}, "published"
			})
			limit := full.Shift(3)
			if r.MeasuredKWh.Equal(r.ClaimableKWh) != whole || r.ClaimableKWh.GreaterThan(limit) {
				t.Errorf("%s, %v: measured %s, claimable %s of at most %s kWh", x.project, x.period, r.MeasuredKWh, r.ClaimableKWh, limit)
			}
		}
	}
}

// weighted is F3 with the mean factor of grid and captive power.
func weighted() *Methodology {
	m := solar()
	fixed := func(symbol, unit, per string) Parameter {
		return Parameter{Symbol: symbol, Description: "of the check", Unit: unit, Per: per}
	}
	metered := func(symbol, per string) Parameter {
		return Parameter{Symbol: symbol, Description: "of the check", Unit: "MWh", Monitored: true, Per: per, Options: []string{"B", "C"}}
	}
	m.Parameters = []Parameter{
		metered("EC_PJ", PerUnit), fixed("COP_PJ", "1", PerUnit), fixed("COP_RE", "1", PerUnit), metered("EI_grid", PerProject), metered("EI_gen", PerProject),
		fixed("EF_grid", "tCO2/MWh", PerProject), fixed("EF_captive", "tCO2/MWh", PerProject),
	}
	m.Terms = []Term{{"EF_elec", "mean factor", "tCO2/MWh", "(EI_grid * EF_grid + EI_gen * EF_captive) / (EI_grid + EI_gen)"}}
	m.Formulas = Formulas{RE: "sum(EC_PJ * COP_PJ / COP_RE * EF_elec)", PE: "sum(EC_PJ * EF_elec)", ER: "RE - PE"}
	return m
}

// TestUnitTrapOfID009: the published sheet of ID009 prints EC_PJ as 347.2 MWh of one chiller
// and EI_grid as 42,826,880 MWh of the factory, which are kWh
// (https://pdfslide.net/documents/monitoring-report-sheet-input-sheet-for-verification.html).
// As a weight alone the slip did no harm; beside captive power in MWh it takes the factor of
// the grid for the whole. A parameter in kWh does not load beside one in MWh.
func TestUnitTrapOfID009(t *testing.T) {
	er := func(grid, gen string) string {
		m := weighted()
		f, err := m.compile()
		if err != nil {
			t.Fatal(err)
		}
		r := func(s string) *big.Rat { d := num(s); return d.Rat() }
		in := &inputs{project: map[string]*big.Rat{"EI_grid": r(grid), "EI_gen": r(gen), "EF_grid": r("0.5"), "EF_captive": r("0.8")}}
		in.units = []unitInputs{{"chiller-1", map[string]*big.Rat{"EC_PJ": r("347.2"), "COP_PJ": r("6"), "COP_RE": r("5")}}}
		out, err := f.eval(in)
		if err != nil {
			t.Fatal(err)
		}
		return numberText(out.er)
	}
	if a, b := er("42826.88", "0"), er("42826880", "0"); a != b || a != "34.72" {
		t.Errorf("as the only weight: %s in MWh, %s in kWh, want 34.72 both", a, b)
	}
	if a, b := er("42826.88", "42826.88"), er("42826880", "42826.88"); a != "45.136" || a == b || !strings.HasPrefix(b, "34.74") {
		t.Errorf("beside as much captive power: %s in MWh, %s with the slip", a, b)
	}
	m := weighted()
	m.parameter("EI_grid").Unit = "kWh"
	if err := m.Validate(); err == nil || !strings.Contains(err.Error(), "+ joins kWh*tCO2/MWh and tCO2; convert one") {
		t.Errorf("kWh beside MWh: %v", err)
	}
}
