package calc

import (
	"strings"
	"testing"

	"github.com/shopspring/decimal"
)

// TestRulingThatCannotHold: what a register cannot show, an instant of which a record or
// another ruling speaks, and what has not happened are refused with what to do.
func TestRulingThatCannotHold(t *testing.T) {
	v := func(s string) *decimal.Decimal { d := num(s); return &d }
	at := inst("2027-01-10T11:00:00+07:00")
	for _, tt := range []struct {
		name, want string
		r          Ruling
	}{
		{"good", "", Ruling{Meter: "pv-1", From: at, FinalKWh: v("10000"), InitialKWh: v("0")}},
		{"at its modulus", "", Ruling{Meter: "pv-1", Cause: CauseRollover, From: at, FinalKWh: v("1000000"), InitialKWh: v("0")}},
		{"beyond the modulus", "goes on from 0 at 1000000 kWh", Ruling{Meter: "pv-1", From: at, FinalKWh: v("1000000.1")}},
		{"begins at the modulus", "goes on from 0 at 1000000 kWh", Ruling{Meter: "pv-1", From: at, InitialKWh: v("1000000")}},
		{"negative", "want 0 or more", Ruling{Meter: "pv-1", From: at, InitialKWh: v("-1")}},
		{"without end", "at most 30 digits", Ruling{Meter: "pv-2", From: at, FinalKWh: v("1e40")}},
		{"at the instant of a record", "serial A1", Ruling{Meter: "pv-1", From: inst("2026-12-20T03:00:00Z"), FinalKWh: v("12600")}},
		{"while no meter is there", "no meter is installed", Ruling{Meter: "pv-1", From: inst("2026-12-20T11:00:00+07:00")}},
		{"at the instant of another", "another ruling", Ruling{Meter: "pv-2", From: at}},
		{"in the future", "in the future", Ruling{Meter: "pv-1", From: inst("2027-03-01T00:00:00Z")}},
		{"a span to the future", "in the future", Ruling{Meter: "pv-1", Cause: CauseDip, From: at, To: inst("2027-03-01T00:00:00Z")}},
		{"of a power", "integrated from a power", Ruling{Meter: "fan", From: at, FinalKWh: v("12")}},
		{"the unit of another", "give final_kWh", Ruling{Meter: "pv-1", From: at, FinalVal: v("12")}},
	} {
		p, m, _ := everything(t)
		r := tt.r
		if r.Who, r.Why = "K. Sato", "seen"; r.Cause == "" {
			r.Cause = CauseReplacement
		}
		p.Decided.Rulings = append(p.Decided.Rulings, r)
		err := p.CheckDecided(m)
		if err != nil {
			t.Errorf("%s: as it stands in a book: %v", tt.name, err)
		}
		if err = p.CheckRuling(&r, inst("2027-02-28T00:00:00Z").Time); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	p, m, _ := boiler(t)
	for _, tt := range []struct {
		want string
		r    Ruling
	}{
		{"it counts Nm3: give final_value", Ruling{Meter: "gas", FinalKWh: v("12")}},
		{"", Ruling{Meter: "gas", FinalVal: v("12"), InitialVal: v("0")}},
		{"at 100000 Nm3", Ruling{Meter: "gas", FinalVal: v("100001")}},
	} {
		r := tt.r
		r.Cause, r.Who, r.Why, r.From = CauseReplacement, "K. Sato", "seen", inst("2026-03-02T09:00:00Z")
		p.Decided.Rulings = []Ruling{r}
		err := p.CheckDecided(m)
		if err == nil {
			err = p.CheckRuling(&r, inst("2027-02-28T00:00:00Z").Time)
		}
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

// TestRulingOfARecordsInstant: one that is in a book already, or whose instant a record
// took later, shows that it has no effect.
func TestRulingOfARecordsInstant(t *testing.T) {
	p, _, _ := everything(t)
	final := num("12600")
	p.Decided.Rulings = append(p.Decided.Rulings, Ruling{Meter: "pv-1", Cause: CauseReplacement, From: inst("2026-12-20T12:00:00+07:00"), FinalKWh: &final, Who: "K. Sato", Why: "protocol 8a"})
	changes := p.Registers()[0].Changes
	if n := len(changes); n != 3 || !strings.Contains(changes[2].Why, "serial A2") || !strings.Contains(changes[2].Why, "without effect: protocol 8a (ruled by K. Sato)") {
		t.Errorf("%+v", changes)
	}
}
