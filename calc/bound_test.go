package calc

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/shopspring/decimal"
)

// truth is a meter of at most 10 kW over 40 days: what really flowed, Wh, and what
// its register showed, read every hour. Everything happens to it that takes energy
// away: readings that do not come, dips, restarts, a register that is put back, a
// meter that is first read late or dies.
func truth(r *rand.Rand) (flowed int64, shown string) {
	const hours, visible = 40 * 24, 60_000 // a fall by less than flows until the next reading is seen by nobody
	var count, set int64                   // counted in all, and what the register shows less than that
	first, last := 0, hours
	if r.IntN(4) == 0 {
		first = r.IntN(100)
	}
	if r.IntN(4) == 0 {
		last = hours - r.IntN(100)
	}
	begin := inst("2026-12-01T00:00:00+07:00")
	gap, dip, quiet, depth := 0, 0, 0, int64(0)
	for h := range hours + 1 {
		if h > 0 {
			load := r.Int64N(10_001) // W
			if r.IntN(3) == 0 {
				load = 10_000
			}
			at := count + r.Int64N(load+1) // something happens within the hour
			count += load
			quiet--
			switch what := r.IntN(150); {
			case gap > 0 || dip > 0 || quiet > 0:
			case what == 0 && at-set > visible:
				set, quiet = at, 24 // it restarts from 0
			case what == 1 && (at-set)/3 > visible:
				by := visible + r.Int64N((at-set)/3-visible)
				set, quiet = set+by, 24+int(by/2000) // it is put back, and nothing else before it is where it was
			case what == 2 || what == 3:
				gap = r.IntN(60)
			case what == 4 || what == 5:
				dip, depth = r.IntN(20), r.Int64N(100) // a day of it counts as a restart, rule 10
			}
		}
		gap, dip = gap-1, dip-1
		value := fmt.Sprint(decimal.New(count-set, -3))
		if dip > 0 {
			value = fmt.Sprint(decimal.New((count-set)*depth/100, -3))
		}
		switch {
		case h < first || h > last || gap > 0:
			continue
		case r.IntN(40) == 0:
			value = "bad"
		}
		shown += begin.Add(time.Duration(h)*time.Hour).Format("2006-01-02T15:04") + " " + value + "\n"
	}
	return count, shown
}

// TestTakenIsNeverLessThanTruth: of a meter that lowers ER no less is taken than what
// flowed, and of one that raises it no more is claimed, whatever the registers did.
func TestTakenIsNeverLessThanTruth(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 5))
		flowed, own := truth(r)
		made, pv := truth(r)
		p, m, curve := ownUse(t, func(p *Project) {
			rated(0, "10")(p)
			rated(1, "10")(p)
			p.Periods = []Span{{day("2026-12-01"), day("2027-01-09")}}
			p.Meters = append(p.Meters, Meter{Key: "clock", Register: "site-1/clock/Wh", Parameter: "EG"})
		}, map[string]string{"site-1/own/Wh": own, "site-1/pv/Wh": pv, "site-1/clock/Wh": "2026-12-01T00:00 0\n2027-01-10T00:00 0\n"})
		report, err := p.Report(m, 0, curve)
		if err != nil {
			t.Fatal(err)
		}
		flowed -= 20_000 // of the last two hours, which may belong to the next reading
		if got := report.Meters["own"].ClaimableKWh; got.LessThan(decimal.New(flowed, -3)) {
			t.Errorf("seed %d: %v kWh are taken of the %v that flowed", seed, got, decimal.New(flowed, -3))
		}
		if got := report.Meters["pv"].ClaimableKWh; got.GreaterThan(decimal.New(made, -3)) {
			t.Errorf("seed %d: %v kWh are claimed of the %v that were made", seed, got, decimal.New(made, -3))
		}
	}
}
