package calc

import (
	"fmt"
	"strings"
	"testing"
)

// TestInvoiceIsComparedOnItsDays: an invoice is about its own local days, whichever
// periods and years they are in; what the meter was read before and after is not.
func TestInvoiceIsComparedOnItsDays(t *testing.T) {
	var own strings.Builder // one kWh an hour, 10 kWh an hour from 5 May to 4 June
	total, at := 0, inst("2026-05-01T00:00:00+07:00")
	for ; at.Before(inst("2026-06-20T00:00:00+07:00").Time); at.Time = at.Add(3600e9) {
		fmt.Fprintf(&own, "%s %d\n", at.Format("2006-01-02T15:04"), total)
		total++
		if d := CalendarDay(at.UnixMilli(), zone(t, "Asia/Bangkok")); !d.Before(day("2026-05-05")) && d.Before(day("2026-06-05")) {
			total += 9
		}
	}
	hash := strings.Repeat("ab", 32)
	p, m, curve := ownUse(t, func(p *Project) {
		p.Periods = []Span{{day("2026-05-01"), day("2026-05-31")}, {day("2026-06-01"), day("2026-06-30")}}
		p.Inputs = []InputDecl{{Parameter: "EC", Option: "C", Role: RoleCheck}}
		in := func(id, from, to, kWh string) Input {
			return Input{ID: id, Parameter: "EC", From: day(from), To: day(to), Value: num(kWh).Shift(-3), Unit: "MWh", Document: id, Evidence: hash, Who: "K. Sato"}
		}
		p.Decided.Inputs = []Input{in("may", "2026-05-05", "2026-06-04", "7440"), in("april", "2026-04-05", "2026-05-04", "100"), in("june", "2026-06-05", "2026-06-30", "600")}
	}, map[string]string{"site-1/pv/Wh": "2026-04-30T12:00 0\n2026-06-20T00:00 1\n", "site-1/own/Wh": own.String()})
	for i, want := range []string{
		"input april 2026-04-05..2026-05-04 96 100 -4.00 true not read on all of these days: own\n" +
			"input may 2026-05-05..2026-06-04 7440 7440 0.00 false \n",
		"input may 2026-05-05..2026-06-04 7440 7440 0.00 false \n" +
			"input june 2026-06-05..2026-06-30 359 600 -40.17 false its days are not all read yet\n",
	} {
		r, err := p.Report(m, i, curve)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, c := range r.Comparisons {
			got += fmt.Sprintf("%s %v..%v %v %v %s %v %s\n", c.With, c.From, c.To, c.Counted, c.Compared, c.Percent, c.Flag, c.Note)
		}
		if got != want {
			t.Errorf("period %d:\n%swant\n%s", i, got, want)
		}
	}
}
