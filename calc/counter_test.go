package calc

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
)

// hour is a time on 2026-03-01 and after, UTC, in ms.
func hour(h float64) int64 {
	return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixMilli() + int64(h*3_600_000)
}

func at(h float64, value string) Sample {
	return Sample{At: hour(h), Value: num(value), Unit: "kWh", Good: true}
}

func kw(h float64, value string) Sample {
	return Sample{At: hour(h), Value: num(value), Unit: "kW", Good: true}
}

func ref(value string) *decimal.Decimal { return new(num(value)) }

// TestCounterRules has a line for each rule. Samples come in order; energy is that
// of three days from 2026-03-01, held what rule 7 takes of it.
func TestCounterRules(t *testing.T) {
	rated := Register{RatedKW: num("10")} // lags by at most 0.8333.. kWh
	bad := Sample{At: hour(2), Reason: "exception 2"}
	for _, tt := range []struct {
		name    string
		spec    Register
		samples []Sample
		energy  string
		held    string
		events  string
		pending string // value of the first reading below
	}{
		{"1: a sample that is not good is no reading", rated, []Sample{at(1, "5"), bad, at(3, "7")}, "2", "0", "", ""},
		{"1: a broken clock dates nothing", rated, []Sample{{At: 0, Value: num("1"), Unit: "kWh", Good: true}, at(1, "5"), {At: 1 << 60, Value: num("9"), Unit: "kWh", Good: true}, at(2, "6")}, "1", "0", "", ""},
		{"2: units are converted exactly", Register{}, []Sample{at(1, "1"), {At: hour(2), Value: num("1500.5"), Unit: "Wh", Good: true}, {At: hour(3), Value: num("0.00225"), Unit: "MWh", Good: true}, {At: hour(4), Value: num("0.00001"), Unit: "GWh", Good: true}}, "9", "0", "", ""},
		{"2: an unknown unit is no reading, and shown once a day", rated, []Sample{at(1, "1"), {At: hour(2), Value: num("5"), Unit: "varh", Good: true}, {At: hour(3), Value: num("6"), Unit: "", Good: true}, at(4, "2")}, "1", "0", "unit×2 gap×1", ""},
		{"3: what was counted before the first reading is not measured", rated, []Sample{at(1, "6259559")}, "0", "0", "", ""},
		{"6: a gap is measured, on the day of the reading that ends it", rated, []Sample{at(1, "0"), at(47, "400")}, "400", "0", "gap×1", ""},
		{"7: as much as rated power is no jump", rated, []Sample{at(1, "0"), at(2, "10"), at(3, "20")}, "20", "0", "", ""},
		{"7: a register may lag", rated, []Sample{at(1, "0"), at(2, "9.5"), at(3, "20")}, "20", "0", "", ""},
		{"7: but not twice", rated, []Sample{at(1, "0"), at(2, "10.8"), at(3, "21.6")}, "21.6", "0.8", "jump×1", ""},
		{"7: it may lag again after it was slower", rated, []Sample{at(1, "0"), at(2, "10.8"), at(3, "20"), at(4, "30.8")}, "30.8", "0", "", ""},
		{"7: lag does not end at midnight", rated, []Sample{at(22, "0"), at(23, "9.5"), at(24.5, "25.2")}, "25.2", "0", "", ""},
		{"7: what is beyond rated power × time is held back", rated, []Sample{at(1, "0"), at(2, "15")}, "15", "5", "jump×1", ""},
		{"7: jumps that follow each other are one line", rated, []Sample{at(1, "0"), at(2, "15"), at(3, "30"), at(4, "31")}, "31", "10", "jump×2", ""},
		{"7: a coarse register counts in steps", Register{RatedKW: num("3"), StepKWh: num("1")}, []Sample{at(1, "10"), at(1.01, "11"), at(1.35, "12")}, "2", "0", "", ""},
		{"7: which without its step looks like a jump", Register{RatedKW: num("3")}, []Sample{at(1, "10"), at(1.01, "11")}, "1", "0.97", "jump×1", ""},
		{"7: what rated power makes is rounded down", Register{RatedKW: num("1")}, []Sample{at(1, "0"), {At: hour(1) + 1, Value: num("1"), Unit: "kWh", Good: true}}, "1", "1", "jump×1", ""},
		{"7: without a rating nothing is a jump", Register{}, []Sample{at(1, "0"), at(2, "1000000")}, "1000000", "0", "", ""},
		{"8: a fall is pending and the value in force stays", rated, []Sample{at(1, "100"), at(2, "105"), at(3, "40")}, "5", "0", "", "40"},
		{"8: what it counts meanwhile is not measured", rated, []Sample{at(1, "100"), at(2, "0"), at(30, "99")}, "0", "0", "gap×1", "0"},
		{"8: a fall to 0 for two days is a dip when the old count is back", rated, []Sample{at(1, "100"), at(2, "0"), at(49, "0"), at(49.5, "110")}, "10", "0", "gap×1 dip×1", ""},
		{"8: back through a mean of the quarter hour is still proof", rated, []Sample{at(1, "100"), at(2, "0"), at(2.25, "98"), at(2.5, "100.5")}, "0.5", "0", "dip×1", ""},
		{"8: proof is not forgotten on a slow way back", rated, []Sample{at(1, "100"), at(2, "0"), at(2.25, "98"), at(2.5, "98.5"), at(3, "100.5")}, "0.5", "0", "dip×1", ""},
		{"8: back exactly to the value in force is a dip", rated, []Sample{at(1, "100"), at(2, "0"), at(3, "100")}, "0", "0", "dip×1", ""},
		{"8: counted past the old value as fast as it may: perhaps exchanged", rated, []Sample{at(1, "5"), at(2, "0"), at(3, "4"), at(4, "9")}, "4", "0", "recovered×1", ""},
		{"8: without a rating the way back proves nothing and is accepted", Register{}, []Sample{at(1, "5"), at(2, "0"), at(3, "4"), at(4, "9")}, "4", "0", "dip×1", ""},
		{"8: a way back that is a jump is held back", rated, []Sample{at(1, "100"), at(2, "0"), at(3, "1100")}, "1000", "980", "dip×1 jump×1", ""},
		{"8: a correction is not counted twice", Register{RatedKW: num("10")}, []Sample{at(1, "1000"), at(2, "995"), at(2.5, "998"), at(3, "1002")}, "2", "0", "correction×1", ""},
		{"9: a rollover, once it has counted on", Register{RatedKW: num("10"), Modulus: num("100000")}, []Sample{at(1, "99996"), at(2, "2"), at(3, "8"), at(4, "9")}, "13", "0", "rollover×1", ""},
		{"9: is pending until then", Register{RatedKW: num("10"), Modulus: num("100000")}, []Sample{at(1, "99996"), at(2, "2"), at(3, "2")}, "0", "0", "", "2"},
		{"9: 2^32 Wh", Register{RatedKW: num("10"), Modulus: num("4294967.296")}, []Sample{at(1, "4294967.295"), at(2, "0.004"), at(3, "5")}, "5.001", "0", "rollover×1", ""},
		{"9: a dip to 0 near the modulus is none", Register{RatedKW: num("10"), Modulus: num("100000")}, []Sample{at(1, "99996"), at(2, "0"), at(3, "0"), at(3.5, "99998")}, "2", "0", "dip×1", ""},
		{"9: what the plant cannot have made is none", Register{RatedKW: num("10"), Modulus: num("100000")}, []Sample{at(1, "99980"), at(2, "4"), at(3, "8")}, "0", "0", "", "4"},
		{"10: a restart, once it has counted on for a day", Register{RatedKW: num("10"), GapMs: 1 << 40}, []Sample{at(1, "1000"), at(2, "5"), at(10, "40"), at(20, "60"), at(26, "90"), at(27, "95")}, "90", "0", "restart×1", ""},
		{"10: is pending until then", Register{RatedKW: num("10"), GapMs: 1 << 40}, []Sample{at(1, "1000"), at(2, "5"), at(10, "40"), at(20, "60"), at(25.9, "90")}, "0", "0", "", "5"},
		{"10: a value that cannot have been counted is none", Register{RatedKW: num("10"), GapMs: 1 << 40}, []Sample{at(1, "1000"), at(2, "15"), at(10, "40"), at(20, "60"), at(27, "95"), at(50, "99")}, "0", "0", "", "15"},
		{"10: nor is a register that stands at 0", Register{RatedKW: num("10"), GapMs: 1 << 40}, []Sample{at(1, "1000"), at(2, "0"), at(20, "0"), at(40, "0"), at(60, "0"), at(60.5, "1000")}, "0", "0", "dip×1", ""},
		{"10: a mean on the way down does not hide it", Register{RatedKW: num("10"), GapMs: 1 << 40}, []Sample{at(1, "1000"), at(1.25, "480"), at(1.5, "2"), at(10, "40"), at(20, "60"), at(26, "90")}, "88", "0", "restart×1", ""},
		{"11: a spike is taken back", Register{RatedKW: num("10")}, []Sample{at(1, "100"), at(2, "70000"), at(3, "70000"), at(4, "108"), at(5, "110")}, "10", "0", "spike×1", ""},
		{"11: not when it is back below", Register{RatedKW: num("10")}, []Sample{at(1, "100"), at(2, "700"), at(3, "99")}, "600", "590", "jump×1", "99"},
		{"11: a correction after a jump is none", Register{RatedKW: num("100")}, []Sample{at(1, "100"), at(2, "230"), at(3, "229")}, "130", "30", "jump×1", "229"},
		{"11: through a dip", Register{RatedKW: num("10")}, []Sample{at(1, "100"), at(2, "70000"), at(3, "0"), at(4, "108"), at(5, "110")}, "10", "0", "spike×1", ""},
		{"12: a record with both values measures across", Register{RatedKW: num("10"), Installed: true, Changes: []Change{{At: hour(3), Cause: CauseReplacement, Final: ref("108"), Initial: ref("7")}}}, []Sample{at(1, "100"), at(2, "104"), at(4, "9"), at(5, "12")}, "13", "0", "replacement×1", ""},
		{"12: without values what is between is not measured", Register{RatedKW: num("10"), Installed: true, Changes: []Change{{At: hour(3), Cause: CauseReplacement}}}, []Sample{at(1, "100"), at(2, "104"), at(4, "2000"), at(5, "2003")}, "7", "0", "replacement×1", ""},
		{"12: a final value is checked like any reading", Register{RatedKW: num("10"), Installed: true, Changes: []Change{{At: hour(3), Cause: CauseReplacement, Final: ref("154"), Initial: ref("0")}}}, []Sample{at(1, "100"), at(2, "104"), at(4, "0")}, "54", "40", "jump×1 replacement×1", ""},
		{"12: a fall before it is over", Register{RatedKW: num("10"), Installed: true, Changes: []Change{{At: hour(3), Cause: CauseRestart}}}, []Sample{at(1, "100"), at(2, "0"), at(4, "2"), at(5, "3")}, "1", "0", "restart×1", ""},
		{"13: outside of its installation nothing is read", Register{RatedKW: num("10"), Changes: []Change{{At: hour(2), Cause: CauseInstalled, Initial: ref("50")}, {At: hour(4), Cause: CauseRemoved, Final: ref("62"), Out: true}}}, []Sample{at(1, "40"), at(3, "55"), at(5, "70")}, "12", "0", "outside×2 installed×1 removed×1", ""},
		{"13: what is ruled out", Register{RatedKW: num("10"), Excluded: []Exclusion{{hour(2), hour(3), CauseDip, "x"}}}, []Sample{at(1, "40"), at(2, "90"), at(3, "91"), at(4, "60")}, "20", "0", "ruled out×2 gap×1", ""},
		{"14: frozen", Register{RatedKW: num("10"), GapMs: 1 << 40}, []Sample{at(-40, "40"), at(-10, "41"), at(2, "41"), at(63, "41"), at(70, "50")}, "9", "0", "frozen×1", ""},
		{"2: a ratio", Register{Factor: num("40"), Installed: true, Changes: []Change{{At: hour(2), Cause: CauseReplacement, Final: ref("80"), Initial: ref("0"), Factor: num("10")}}}, []Sample{at(1, "1"), at(3, "1")}, "50", "0", "replacement×1", ""},
		{"15: a power holds until the next, for an hour at most", Register{HoldMs: 3_600_000}, []Sample{kw(1, "6"), kw(1.5, "8"), {At: hour(2), Reason: "timeout"}, kw(3, "4"), kw(5, "-3"), kw(6, "2"), kw(6.5, "1")}, "12", "0", "", ""},
		{"4: the same once more changes nothing", rated, []Sample{at(1, "1"), at(2, "2"), at(2, "2.00"), at(3, "3")}, "2", "0", "", ""},
	} {
		c := NewCurve(tt.spec, time.UTC)
		for _, s := range tt.samples {
			if err := c.Add(s); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		span := Span{day("2026-03-01"), day("2026-03-03")}
		held, events := decimal.Zero, []string{}
		c.Events(span, func(_ Date, e *Event) {
			held, events = held.Add(e.Held), append(events, fmt.Sprintf("%s×%d", e.Cause, e.Count))
		})
		pending := ""
		if f := c.Pending(span.End); f != nil {
			pending = f.From.KWh.String()
		}
		energy := c.Energy(span.Start, span.End.Next()).String()
		if energy != tt.energy || held.String() != tt.held || strings.Join(events, " ") != tt.events || pending != tt.pending {
			t.Errorf("%s: %s kWh, held %s, events %q, pending %q; want %s, %s, %q, %q", tt.name, energy, held, events, pending, tt.energy, tt.held, tt.events, tt.pending)
		}
	}
}

// Rules 4 and 5: what is refused, and that it changes nothing.
func TestLateAndConflict(t *testing.T) {
	bad := func(h float64) Sample { return Sample{At: hour(h), Reason: "timeout"} }
	for _, tt := range []struct {
		name  string
		first Sample
		then  Sample
		want  error
	}{
		{"earlier", at(5, "10"), at(4, "9"), ErrLate},
		{"earlier than a pending one", at(5, "1"), at(4.5, "12"), ErrLate},
		{"earlier than a bad one", bad(5), at(4.5, "12"), ErrLate},
		{"a bad one earlier", at(5, "12"), bad(4.5), ErrLate},
		{"equal time, equal value, other unit", at(5, "10"), Sample{At: hour(5), Value: num("10000"), Unit: "Wh", Good: true}, nil},
		{"equal time, other value", at(5, "10"), at(5, "10.1"), ErrConflict},
		{"equal time, now bad", at(5, "10"), bad(5), ErrConflict},
		{"equal time, bad before", bad(5), at(5, "10"), ErrConflict},
		{"bad twice", bad(5), bad(5), nil},
		{"0 is not bad", Sample{At: hour(5), Unit: "kWh", Good: true}, bad(5), ErrConflict},
	} {
		c := NewCurve(Register{RatedKW: num("10")}, time.UTC)
		for _, s := range []Sample{at(1, "5"), tt.first} {
			if err := c.Add(s); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
		}
		before := dump(t, c)
		if err := c.Add(tt.then); !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if after := dump(t, c); after != before {
			t.Errorf("%s: changed\n%s\nto\n%s", tt.name, before, after)
		}
	}
}

// A reading exactly at midnight closes the day before and opens the next.
func TestBoundary(t *testing.T) {
	c := NewCurve(Register{}, time.UTC)
	for _, s := range []Sample{at(0, "10"), at(12, "15"), at(24, "20"), at(60, "50")} {
		if err := c.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	for d, want := range map[string]string{"2026-02-27": "0", "2026-02-28": "0", "2026-03-01": "10", "2026-03-02": "0", "2026-03-03": "30", "2026-03-04": "0"} {
		if got := c.Energy(day(d), day(d).Next()); got.String() != want {
			t.Errorf("%s: %s kWh, want %s", d, got, want)
		}
	}
	var days []string
	for _, k := range c.Closings(day("2026-03-01"), Date{}) {
		days = append(days, k.Day.String())
	}
	if !slices.Equal(days, []string{"2026-03-01", "2026-03-03"}) {
		t.Errorf("closings from 2026-03-01: %v; want the day of the reading at midnight and the running one", days)
	}
	if l := c.Closings(day("2026-03-04"), Date{}); l == nil || len(l) != 0 {
		t.Errorf("closings after the last: %v, want an empty list that is not nil", l)
	}
}

// TestClosingsGolden holds the form in which closings are stored.
func TestClosingsGolden(t *testing.T) {
	c := NewCurve(Register{RatedKW: num("10")}, zone(t, "Asia/Bangkok"))
	for _, s := range []Sample{
		{At: hour(1), Reason: "timeout"}, at(2, "5"), at(3, "30.25"), {At: hour(4), Value: num("1"), Unit: "varh", Good: true},
		at(5, "0"), at(6, "31"), at(30, "20"), at(31, "24"), {At: hour(32), Reason: "0xFFFFFFFF"},
	} {
		if err := c.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	got, err := json.MarshalIndent(c.Closings(Date{}, Date{}), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/closings.golden", append(got, '\n'))
}

// What a curve gave away does not change when it goes on.
func TestClosingsAreTheCallers(t *testing.T) {
	c := NewCurve(Register{RatedKW: num("1")}, time.UTC)
	add := func(s Sample) {
		if err := c.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	add(at(1, "0"))
	add(at(2, "50"))
	given := c.Closings(Date{}, Date{})
	r, err := RestoreCurve(c.Spec(), time.UTC, given)
	if err != nil {
		t.Fatal(err)
	}
	add(at(3, "100"))
	if got := given[0].Events[0]; got.Count != 1 || got.Held.String() != "49" {
		t.Errorf("the event given away became %+v", got)
	}
	given[0].Events[0].Count = 7
	r.Events(Span{day("2026-03-01"), day("2026-03-01")}, func(_ Date, e *Event) {
		if e.Count != 1 {
			t.Errorf("the event of the restored curve became %+v", e)
		}
	})
}

// A register gone mad fills neither memory nor disk, and loses no kWh.
func TestEventsOfADayAreBounded(t *testing.T) {
	c := NewCurve(Register{RatedKW: num("1")}, time.UTC)
	value := decimal.Zero
	for i := range 5000 {
		rise := "0.001"
		if i%2 == 1 {
			rise = "3"
		}
		value = value.Add(num(rise))
		if err := c.Add(Sample{At: hour(1) + int64(i)*10_000, Value: value, Unit: "kWh", Good: true}); err != nil {
			t.Fatal(err)
		}
	}
	n, count, held := 0, 0, decimal.Zero
	c.Events(Span{day("2026-03-01"), day("2026-03-02")}, func(_ Date, e *Event) { n, count, held = n+1, count+e.Count, held.Add(e.Held) })
	if n > maxEvents || count != 2500 || !held.GreaterThan(num("7490")) {
		t.Errorf("%d lines for %d jumps, %s kWh held back; want at most %d, 2500, about 7493", n, count, held, maxEvents)
	}
}

func TestRestoreRefuses(t *testing.T) {
	c := NewCurve(Register{}, time.UTC)
	for _, s := range []Sample{at(1, "1"), at(30, "2"), at(100, "3")} {
		if err := c.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func(l []Closing) []Closing{
		"other rules":           func(l []Closing) []Closing { l[1].Rules++; return l },
		"order":                 func(l []Closing) []Closing { l[0], l[1] = l[1], l[0]; return l },
		"a day twice":           func(l []Closing) []Closing { l[1] = l[0]; return l },
		"another zone's":        func(l []Closing) []Closing { l[1].Day = l[1].Day.Next(); return l },
		"the first is missing":  func(l []Closing) []Closing { return l[1:] },
		"the second is missing": func(l []Closing) []Closing { return append(l[:1], l[2]) },
	} {
		l := spoil(c.Closings(Date{}, Date{}))
		if _, err := RestoreCurve(Register{}, time.UTC, l); err == nil {
			t.Errorf("%s: restored all the same", name)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	for name, spec := range map[string]Register{"unrated": {}, "rated": {RatedKW: num("250")}} {
		b.Run(name, func(b *testing.B) {
			samples := make([]Sample, 7*1440)
			for i := range samples {
				samples[i] = Sample{At: hour(0) + int64(i)*60_000, Value: decimal.New(int64(i)*2000, 0), Unit: "Wh", Good: true}
			}
			z := zone(b, "Asia/Bangkok")
			b.ReportAllocs()
			c, i := NewCurve(spec, z), 0
			for b.Loop() {
				if i == len(samples) {
					c, i = NewCurve(spec, z), 0
				}
				if err := c.Add(samples[i]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
