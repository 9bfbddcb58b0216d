package calc

import (
	"strings"
	"testing"
)

// TestUnitOffByThousand: a register in MWh whose label says kWh measures a thousandth of
// what the plant makes. Nothing is refused, for a plant may stand still; it is said.
func TestUnitOffByThousand(t *testing.T) {
	for _, x := range []struct{ end, rated, want string }{
		{"36000", "250", ""}, // 20 % of rated power × time
		{"36", "250", "meter m: 36 kWh in 719.0 h are 0.02 % of what rated power of 250 kW makes (179750 kWh): is a unit off by 1,000?"},
		{"36000", "250000", "is a unit off by 1,000?"}, // the rated power in W
		{"0", "250", ""},
		{"200", "250", ""}, // a pump that seldom runs
	} {
		r := sunny(t, "Asia/Bangkok", "0.5", Span{day("2026-06-01"), day("2026-06-30")}, map[string]string{"2026-06-01 00:00:00": "0", "2026-06-30 23:00:00": x.end}, func(p *Project) {
			p.Meters[0].RatedKW, p.Meters[0].RatedSource = Number{num(x.rated)}, "plate"
		})
		if got := strings.Join(r.Odd, "; "); (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s kWh of %s kW: %q, want %q", x.end, x.rated, got, x.want)
		}
	}
}
