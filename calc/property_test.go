package calc

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/shopspring/decimal"
)

// dump is everything a curve holds, as it is stored.
func dump(t testing.TB, c *Curve) string {
	t.Helper()
	text, err := json.Marshal(c.Closings(Date{}, Date{}))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// restore takes a curve through its stored form.
func restore(t testing.TB, c *Curve, z *time.Location) *Curve {
	t.Helper()
	var l []Closing
	if err := json.Unmarshal([]byte(dump(t, c)), &l); err != nil {
		t.Fatal(err)
	}
	r, err := RestoreCurve(c.Spec(), z, l)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// trouble makes samples of a counter in the order in which they arrive:
// everything the rules know of, over some days, some of it late and twice.
func trouble(r *rand.Rand, n int) []Sample {
	units := []string{"kWh", "Wh", "MWh", "varh"}
	var out []Sample
	ms := hour(r.Float64() * 48)
	value := int64(r.IntN(100_000)) // Wh
	for range n {
		switch r.IntN(12) {
		case 0:
			ms += int64(r.IntN(40)) * 3_600_000
		case 1:
			ms = hour(float64(24 * (1 + (ms-hour(0))/86_400_000))) // midnight, UTC
		default:
			ms += int64(1+r.IntN(90)) * 60_000
		}
		value += int64(r.IntN(9000))
		s := Sample{At: ms, Unit: "Wh", Good: true, Value: decimal.New(value, 0)}
		switch r.IntN(14) {
		case 0:
			s.Value = decimal.Zero
		case 1:
			s.Value = decimal.New(value*int64(r.IntN(100))/100, 0)
		case 2:
			s.Good = false
		case 3:
			s.Unit = units[r.IntN(len(units))]
			s.Value = s.Value.Shift([]int32{-3, 0, -6, 0}[slices.Index(units, s.Unit)])
		case 4:
			value += int64(r.IntN(3_000_000))
		case 5:
			value = int64(r.IntN(1000))
		case 6: // for one reading
			s.Value = s.Value.Add(decimal.New(int64(1_000_000+r.IntN(1_000_000)), 0))
		}
		out = append(out, s)
		for r.IntN(10) == 0 { // again, the same or not
			if r.IntN(2) == 0 {
				s.Value = s.Value.Add(decimal.New(int64(r.IntN(3)), 0))
			}
			out = append(out, s)
		}
	}
	for range r.IntN(n) { // late ones
		i, j := r.IntN(len(out)), r.IntN(len(out))
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// inOrder is what a curve is when it gets the samples by time; of equal times
// the first to arrive comes first.
func inOrder(t testing.TB, spec Register, z *time.Location, samples []Sample) *Curve {
	t.Helper()
	sorted := slices.Clone(samples)
	slices.SortStableFunc(sorted, func(a, b Sample) int { return cmp.Compare(a.At, b.At) })
	c := NewCurve(spec, z)
	for _, s := range sorted {
		if err := c.Add(s); err != nil && !errors.Is(err, ErrConflict) {
			t.Fatal(err)
		}
	}
	return c
}

// TestOrderOfArrivalMakesNoDifference settles samples as the collector does:
// late ones wait until the step ends, then the curve is rewound to the earliest
// day and given what is stored from there. It is stored and restored now and then.
func TestOrderOfArrivalMakesNoDifference(t *testing.T) {
	rejoined, seen := 0, map[string]int{}
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		z := zone(t, []string{"UTC", "Asia/Kolkata", "America/Santiago", "Pacific/Auckland"}[r.IntN(4)])
		spec := anySpec(r)
		arrivals := trouble(r, 80)
		c := NewCurve(spec, z)
		stored := map[int64]Sample{} // the first of each instant, as the series store keeps it
		var again *Date
		var newest Date // of the late ones
		for i, s := range arrivals {
			if _, ok := stored[s.At]; !ok {
				stored[s.At] = s
			}
			switch err := c.Add(s); {
			case errors.Is(err, ErrLate):
				d := ClosingDay(s.At, z)
				if again == nil || d.Before(*again) {
					again = &d
				}
				if newest.Before(d) {
					newest = d
				}
			case err != nil && !errors.Is(err, ErrConflict):
				t.Fatal(err)
			}
			if again != nil && (r.IntN(4) == 0 || i == len(arrivals)-1) {
				from, tail := c.Rewind(*again)
				var list []Sample
				for ms, s := range stored {
					if ms > from.Start(z).UnixMilli() {
						list = append(list, s)
					}
				}
				slices.SortFunc(list, func(a, b Sample) int { return cmp.Compare(a.At, b.At) })
				for i, s := range list {
					if i > 0 && ClosingDay(list[i-1].At, z) != ClosingDay(s.At, z) && c.Rejoin(tail, newest) {
						rejoined++
						break
					}
					if err := c.Add(s); err != nil && !errors.Is(err, ErrConflict) {
						t.Fatal(err)
					}
				}
				again, newest = nil, Date{}
			}
			if r.IntN(5) == 0 {
				c = restore(t, c, z)
			}
		}
		if got, want := dump(t, c), dump(t, inOrder(t, spec, z, arrivals)); got != want {
			t.Fatalf("seed %d:\n%s\nwant\n%s", seed, got, want)
		}
		c.Events(Span{day("2026-01-01"), day("2027-01-01")}, func(_ Date, e *Event) { seen[e.Cause]++ })
	}
	for _, cause := range []string{CauseUnit, CauseGap, CauseJump, CauseDip, CauseRecovered, CauseCorrection, CauseRollover, CauseRestart, CauseSpike,
		CauseReplacement, CauseRemoved, CauseInstalled, CauseOut, CauseExcluded} {
		if seen[cause] == 0 {
			t.Errorf("no history showed %q: the test proves nothing of it; seen %v", cause, seen)
		}
	}
	if rejoined < 50 {
		t.Errorf("rejoined %d times only", rejoined)
	}
}

// anySpec is a register with some of everything that can be known of one.
func anySpec(r *rand.Rand) Register {
	s := Register{Installed: true}
	if r.IntN(4) > 0 {
		s.RatedKW, s.StepKWh = num("7.5"), num("0.01")
	}
	if r.IntN(3) == 0 {
		s.Modulus = decimal.New(int64(20+r.IntN(80)), 0)
	}
	if r.IntN(3) == 0 {
		s.HoldMs = int64(r.IntN(3)) * 3_600_000
	}
	if r.IntN(3) == 0 {
		s.Installed = r.IntN(2) == 0
		s.Changes = []Change{
			{At: hour(r.Float64() * 20), Cause: CauseInstalled, Initial: ref("3")},
			{At: hour(30 + r.Float64()*40), Cause: CauseReplacement, Final: ref("90")},
			{At: hour(80 + r.Float64()*40), Cause: CauseRemoved, Out: true},
			{At: hour(150), Cause: CauseInstalled, Factor: num("2")},
		}
	}
	if r.IntN(3) == 0 {
		from := hour(r.Float64() * 100)
		s.Excluded = []Exclusion{{from, from + int64(r.IntN(40))*3_600_000, CauseDip, "x"}}
	}
	return s
}

// TestRestoreGoesOnAlike restores a curve after every sample.
func TestRestoreGoesOnAlike(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 2))
		samples := trouble(r, 60)
		spec := anySpec(r)
		whole, broken := NewCurve(spec, time.UTC), NewCurve(spec, time.UTC)
		for i, s := range samples {
			e1, e2 := whole.Add(s), broken.Add(s)
			if fmt.Sprint(e1) != fmt.Sprint(e2) {
				t.Fatalf("seed %d, sample %d: %v, restored %v", seed, i, e1, e2)
			}
			broken = restore(t, broken, time.UTC)
			if got, want := dump(t, broken), dump(t, whole); got != want {
				t.Fatalf("seed %d, sample %d:\n%s\nwant\n%s", seed, i, got, want)
			}
			if broken.First() != whole.First() && broken.First().KWh.Cmp(whole.First().KWh) != 0 {
				t.Fatalf("seed %d, sample %d: first %v, want %v", seed, i, broken.First(), whole.First())
			}
		}
	}
}

// TestPartsAddUp cuts the time at random days, and rewinds to one of them.
func TestPartsAddUp(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 3))
		c := inOrder(t, anySpec(r), time.UTC, trouble(r, 100))
		from, to := day("2026-02-20"), day("2026-04-20")
		sum, days := decimal.Zero, decimal.Zero
		for a := from; a != to; {
			b := a
			for range 1 + r.IntN(9) {
				if b != to {
					b = b.Next()
				}
			}
			part := c.Energy(a, b)
			if part.IsNegative() {
				t.Fatalf("seed %d: %v to %v is %v kWh", seed, a, b, part)
			}
			sum = sum.Add(part)
			for ; a != b; a = a.Next() {
				days = days.Add(c.Energy(a, a.Next()))
			}
		}
		if whole := c.Energy(from, to); !whole.Equal(sum) || !whole.Equal(days) || !whole.Equal(c.Total(to).Sub(c.First().KWh)) {
			t.Fatalf("seed %d: parts %v, days %v, whole %v", seed, sum, days, whole)
		}
	}
}

// What can be claimed never exceeds what the plant can make, lag granted once.
func TestClaimableIsPossible(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 4))
		c := inOrder(t, Register{RatedKW: num("3")}, time.UTC, trouble(r, 100))
		all := Span{day("2026-02-20"), day("2026-06-20")}
		claim := c.Energy(all.Start, all.End)
		c.Events(all, func(_ Date, e *Event) {
			if e.Held.IsNegative() || e.Held.GreaterThan(e.After.Sub(e.Before).Abs().Mul(decimal.New(int64(e.Count), 0))) {
				t.Errorf("seed %d: %+v holds back more than was measured", seed, e)
			}
			claim = claim.Sub(e.Held)
		})
		most := num("3").Mul(decimal.New(c.Last().At-c.First().At+lagMs, 0)).Div(num("3600000"))
		if claim.IsNegative() || claim.GreaterThan(most) {
			t.Errorf("seed %d: claimable %v kWh, the plant can make %v", seed, claim, most)
		}
	}
}
