package calc

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// ownUse is a plant whose meter pv raises ER and whose meter own lowers it, each
// with the samples that are given as local time and kWh. ER = (EG − EC) × 0.5.
func ownUse(t testing.TB, edit func(*Project), samples map[string]string) (*Project, *Methodology, func(string) *Curve) {
	t.Helper()
	m := &Methodology{
		Number: "T-OWN", Version: "1.0", Title: "Net of own use", Status: Template, Sources: []Source{{Document: "d", Tag: "S"}},
		Parameters: []Parameter{
			{Symbol: "EG", Description: "electricity made", Unit: "MWh", Monitored: true, Per: PerProject, Options: []string{"C"}},
			{Symbol: "EC", Description: "electricity used", Unit: "MWh", Monitored: true, Per: PerProject, Options: []string{"C"}},
			{Symbol: "EF", Description: "factor", Unit: "tCO2/MWh", Per: PerProject},
		},
		Formulas: Formulas{RE: "EG * EF", PE: "EC * EF", ER: "RE - PE"},
		Rounding: Rounding{Floor},
		Examples: []Example{{Title: "x", Source: "invented", Parameters: Numbers{"EF": {num("0.5")}, "EC": {num("1")}, "EG": {num("10")}},
			Result: ExampleResult{Number{num("5")}, Number{num("0.5")}, Number{num("4")}}}},
	}
	ef := Number{num("0.5")}
	p := &Project{
		Reference: "own-1", Title: "Own use", Zone: "Asia/Bangkok", Methodology: Pin{"T-OWN", "1.0"},
		Periods:    []Span{{day("2026-12-01"), day("2027-01-31")}, {day("2027-02-01"), day("2027-02-28")}},
		Parameters: map[string]Value{"EF": {Value: &ef, Unit: "tCO2/MWh", Source: "invented", Evidence: strings.Repeat("5a", 32)}},
		Meters: []Meter{
			{Key: "pv", Register: "site-1/pv/Wh", Parameter: "EG"},
			{Key: "own", Register: "site-1/own/Wh", Parameter: "EC"},
		},
	}
	edit(p)
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	curves := make(map[string]*Curve)
	for _, spec := range p.Registers() {
		c := NewCurve(spec, zone(t, p.Zone))
		for at := range strings.Lines(samples[spec.Key]) {
			var when, value string
			if n, _ := fmt.Sscan(at, &when, &value); n == 0 {
				continue
			}
			s := Sample{At: inst(when + ":00+07:00").UnixMilli(), Unit: "kWh", Good: value != "bad"}
			if spec.HoldMs > 0 {
				s.Unit = "kW"
			}
			if s.Good {
				s.Value = num(value)
			}
			if err := c.Add(s); err != nil {
				t.Fatal(err)
			}
		}
		curves[spec.Key] = c
	}
	return p, m, func(key string) *Curve { return curves[key] }
}

func rated(meter int, kW string) func(*Project) {
	return func(p *Project) { p.Meters[meter].RatedKW, p.Meters[meter].RatedSource = Number{num(kW)}, "plate" }
}

const pvRead = "2026-11-30T12:00 0\n2027-01-31T12:00 500000\n2027-02-28T12:00 900000\n2027-03-01T12:00 910000\n"

// TestWhatWasNotMeasuredDoesNotPay: of a meter that lowers ER each way in which it
// did not measure is added as far as it is bounded, and keeps the period from being
// sealed where it is not.
func TestWhatWasNotMeasuredDoesNotPay(t *testing.T) {
	for _, tt := range []struct {
		name    string
		rated   string
		edit    func(*Project)
		own     string
		added   string // kWh, by all lines of the meter own
		refused string // part of what CanSeal says
	}{
		{"all is read", "", nil, "2026-11-30T12:00 0\n2027-02-28T12:00 100\n2027-03-01T12:00 101", "0", ""},
		{"fall that nobody has decided", "", nil, "2026-11-30T12:00 0\n2027-01-10T12:00 5000\n2027-01-10T18:00 100\n2027-03-01T12:00 200", "0", "own"},
		{"the same, bounded", "10", nil, "2026-11-30T12:00 0\n2027-01-30T12:00 5000\n2027-01-30T18:00 4000\n2027-03-01T12:00 4100", "360", ""}, // to the end of the period: 36 h × 10 kW
		{"not read any more", "", nil, "2026-11-30T12:00 0\n2027-01-10T12:00 5000", "0", "own"},
		{"never read", "", nil, "", "0", "own"},
		{"not read any more, bounded", "10", nil, "2026-11-30T12:00 0\n2027-01-31T00:00 100", "240", ""},
		{"fell and came back, without rated power", "", nil, "2026-11-30T12:00 0\n2027-01-10T12:00 100\n2027-01-10T18:00 1\n2027-01-20T18:00 120\n2027-03-01T12:00 130", "0", "own"},
		{"put back by little, without rated power", "", nil, "2026-11-30T12:00 0\n2027-01-10T12:00 100\n2027-01-10T18:00 97.5\n2027-01-20T18:00 120\n2027-03-01T12:00 130", "0", "own"},
		{"put back and counted on", "10", nil, "2026-11-30T12:00 0\n2027-01-10T12:00 6000\n2027-01-10T18:00 5900\n2027-01-20T18:00 6001\n2027-03-01T12:00 6500", "160", ""}, // 100, and 6 h × 10 kW
		{"a dip, by the way back", "1", nil, "2026-11-30T12:00 0\n2027-01-10T12:00 100\n2027-01-10T18:00 1\n2027-01-10T19:00 101\n2027-03-01T12:00 130", "0", ""},
		{"no meter for a day", "10", func(p *Project) {
			n := func(v string) *Number { return &Number{num(v)} }
			p.Meters[1].Records = []MeterRecord{
				{Serial: "A", Installed: inst("2026-11-01T00:00:00+07:00"), Removed: inst("2027-01-10T00:00:00+07:00"), RemovedKWh: n("500"), Evidence: "p"},
				{Serial: "B", Installed: inst("2027-01-11T00:00:00+07:00"), InstalledKWh: n("7"), Evidence: "p"},
			}
		}, "2026-11-30T12:00 0\n2027-01-09T12:00 490\n2027-01-12T12:00 17\n2027-03-01T12:00 30", "240", ""},
		{"no value held", "10", func(p *Project) { p.Meters[1].Hold = 2 * time.Hour }, // 2 kWh and 18 kWh a day, but for 10 h; and the last day after 22:00
			"2026-12-01T00:00 2\n2026-12-01T01:00 2\n2026-12-01T13:00 1\n2026-12-01T14:00 bad\n2026-12-01T15:00 1\n2026-12-01T16:00 0\n2026-12-01T17:00 0", "110", ""},
	} {
		p, m, curve := ownUse(t, func(p *Project) {
			if tt.rated != "" {
				rated(1, tt.rated)(p)
			}
			if tt.edit != nil {
				tt.edit(p)
			}
			if tt.name == "no value held" {
				p.Periods = []Span{{day("2026-12-01"), day("2026-12-01")}}
			}
		}, map[string]string{"site-1/pv/Wh": pvRead, "site-1/own/Wh": tt.own})
		r, err := p.Report(m, 0, curve)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		k := r.Meters["own"]
		if tt.name == "no value held" { // from 17:00 on it is unread
			k.ClaimableKWh = k.ClaimableKWh.Sub(num("70"))
		}
		for _, d := range r.Deductions { // TestNoGapMovesEnergy has those
			if d.Meter == "own" && d.Cause == CauseEnd {
				k.ClaimableKWh = k.ClaimableKWh.Add(d.KWh)
			}
		}
		if got := k.ClaimableKWh.Sub(k.MeasuredKWh); !got.Equal(num(tt.added)) {
			t.Errorf("%s: %v kWh added, want %s\n%+v", tt.name, got, tt.added, r.Deductions)
		}
		err = p.CanSeal(m, r, inst("2027-04-01T00:00:00+07:00").Time)
		if (err == nil) != (tt.refused == "") || err != nil && (!strings.Contains(err.Error(), "meter "+tt.refused) || !strings.Contains(err.Error(), "rated_kW") || !strings.Contains(err.Error(), "2027-01-")) {
			t.Errorf("%s: CanSeal: %v, want %q", tt.name, err, tt.refused)
		}
	}
}

// TestMeterThatRaisesIsNotBounded: what a meter that raises ER did not measure is
// claimed by nobody, however large it was.
func TestMeterThatRaisesIsNotBounded(t *testing.T) {
	p, m, curve := ownUse(t, func(*Project) {}, map[string]string{
		"site-1/pv/Wh":  "2026-11-30T12:00 0\n2027-01-10T12:00 500000\n2027-01-10T18:00 100\n2027-03-01T12:00 200",
		"site-1/own/Wh": "2026-11-30T12:00 0\n2027-03-01T12:00 130"})
	r, err := p.Report(m, 0, curve)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CanSeal(m, r, inst("2027-04-01T00:00:00+07:00").Time); err != nil {
		t.Error(err)
	}
}

// TestOverTheEnd: what reaches over the end of a period or a year shows on both sides
// of it, with what is known of it there, and takes nothing twice.
func TestOverTheEnd(t *testing.T) {
	p, m, curve := ownUse(t, func(p *Project) { rated(0, "1000")(p); rated(1, "10")(p) }, map[string]string{
		// fell on 30 January, back in February; a jump over the turn of the year, a gap over the end of February
		"site-1/pv/Wh": "2026-11-30T12:00 0\n2026-12-31T23:00 400000\n2027-01-01T01:00 500000\n2027-01-30T12:00 600000\n2027-01-30T13:00 0\n2027-02-05T12:00 0\n2027-02-05T13:00 600001\n2027-02-28T12:00 600002\n2027-03-02T12:00 600003\n",
		// exchanged over the turn of the year: 3 h before it, 1 h after; exchanged again over the end of January
		"site-1/own/Wh": "2026-11-30T12:00 0\n2026-12-31T21:00 5000\n2027-01-01T01:00 1\n2027-01-01T09:00 3\n2027-01-02T12:00 20\n2027-01-03T12:00 40\n" +
			"2027-01-31T22:00 3000\n2027-02-01T02:00 1\n2027-02-01T09:00 3\n2027-02-02T12:00 20\n2027-02-03T12:00 40\n2027-02-28T23:50 50\n2027-03-02T12:00 60\n"})
	var lines, events [2]string
	for i := range 2 {
		r, err := p.Report(m, i, curve)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range r.Deductions {
			lines[i] += fmt.Sprintf("%s %s %d %s..%s %v\n", d.Meter, d.Cause, d.year, local(d.From, zone(t, p.Zone))[5:16], local(d.To, zone(t, p.Zone))[5:16], d.KWh)
		}
		for _, e := range r.Meters["pv"].Events {
			if e.Cause != CauseGap || strings.Contains(e.Note, "over the end") {
				events[i] += fmt.Sprintf("%s %s..%s %v over %v\n", e.Cause, local(e.From, zone(t, p.Zone))[5:16], local(e.To, zone(t, p.Zone))[5:16], e.KWh, strings.Contains(e.Note, "over the end"))
			}
		}
	}
	if want := "pv start 2026 11-30 12:00..12-01 00:00 12000\npv jump 2027 12-31 23:00..01-01 01:00 98000\n" +
		"own restart 2026 12-31 21:00..01-01 00:00 -30\nown restart 2027 01-01 00:00..01-01 01:00 -10\nown restart 2027 01-31 22:00..02-01 00:00 -20\n"; lines[0] != want {
		t.Errorf("lines of the first period:\n%swant\n%s", lines[0], want)
	}
	if want := "pv start 2027 01-30 12:00..02-01 00:00 1\nown restart 2027 02-01 00:00..02-01 02:00 -20\nown end 2027 02-28 23:50..03-01 00:00 -1.666666\n"; lines[1] != want {
		t.Errorf("lines of the second period:\n%swant\n%s", lines[1], want)
	}
	if want := "dip 01-30 12:00..02-05 13:00 0 over true\ngap 01-30 13:00..02-05 12:00 0 over true\n"; events[0] != want {
		t.Errorf("events of the first period:\n%swant\n%s", events[0], want)
	}
	if want := "dip 01-30 12:00..02-05 13:00 1 over false\ngap 02-28 12:00..03-02 12:00 0 over true\n"; events[1] != want {
		t.Errorf("events of the second period:\n%swant\n%s", events[1], want)
	}
}

// TestNoGapMovesEnergy: what a register counted over the start of a period is held back of
// a meter that raises ER, and what it counted over the end is added to one that lowers it,
// as far as rated power makes it there.
func TestNoGapMovesEnergy(t *testing.T) {
	read := func(lines ...string) string { return strings.Join(lines, "\n") }
	for _, tt := range []struct {
		name, pv, own string
		rated         string // kW of both, none without
		want          string
	}{
		{"gap over the start", read("2026-11-21T00:00 0", "2026-12-05T00:00 31200", "2027-02-01T00:00 40000"), read("2026-12-01T00:00 0", "2027-02-01T00:00 5"), "50",
			"pv start 2026 12000\nown end 2026 -5\n"}, // 240 of 336 h, 50 kW
		{"gap over the start, no rated power", read("2026-11-21T00:00 0", "2026-12-05T00:00 31200", "2027-02-01T00:00 40000"), read("2026-12-01T00:00 0", "2027-02-01T00:00 5"), "",
			"pv start 2026 31200\nown end 2026 -5\n"}, // no more than the register rose
		{"gap over the end", read("2026-12-01T00:00 0", "2027-02-01T00:00 9"), read("2026-12-01T00:00 0", "2026-12-31T23:59 10", "2027-01-01T00:00 10", "2027-01-31T20:00 20", "2027-02-03T00:00 3380"), "100",
			"own end 2027 -400\n"},
		{"stuck over the end", read("2026-12-01T00:00 0", "2027-02-01T00:00 9"), read("2026-12-01T00:00 0", "2027-01-01T00:00 10", "2027-01-31T20:00 10", "2027-01-31T23:50 10", "2027-02-03T00:00 10", "2027-02-03T00:10 90"), "100",
			"own end 2027 -80\n"},
		{"at 0 over the end", read("2026-12-01T00:00 0", "2027-02-01T00:00 9"), read("2026-12-01T00:00 0", "2027-01-01T00:00 10", "2027-01-31T20:00 20", "2027-01-31T21:00 0", "2027-02-01T09:00 0", "2027-02-01T10:00 200"), "100",
			"own end 2027 -180\n"},
	} {
		p, m, curve := ownUse(t, func(p *Project) {
			p.Periods = p.Periods[:1]
			if tt.rated != "" {
				rated(0, tt.rated)(p)
				rated(1, tt.rated)(p)
			}
		}, map[string]string{"site-1/pv/Wh": tt.pv, "site-1/own/Wh": tt.own})
		r, err := p.Report(m, 0, curve)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, d := range r.Deductions {
			if d.Cause == CauseStart || d.Cause == CauseEnd {
				got += fmt.Sprintf("%s %s %d %v\n", d.Meter, d.Cause, d.year, d.KWh)
			}
		}
		if got != tt.want {
			t.Errorf("%s:\n%swant\n%s", tt.name, got, tt.want)
		}
	}
}

// TestGapIsNotCalibrated: days without a certificate that were not read count with the
// reading that brings what was made on them, and so does the meter that was taken away on
// the day on which its successor came.
func TestGapIsNotCalibrated(t *testing.T) {
	record := func(serial, installed, removed string, from, through string) MeterRecord {
		r := MeterRecord{Serial: serial, MPE: Number{num("2")}, MPESource: "invented", Installed: inst(installed), Evidence: "p"}
		if removed != "" {
			r.Removed, r.RemovedKWh = inst(removed), &Number{num("3000")}
		}
		if from != "" {
			r.Calibrations = []Calibration{{From: day(from), Through: day(through), Certificate: "p"}}
		}
		return r
	}
	for _, tt := range []struct {
		name    string
		records []MeterRecord
		pv      string
		want    string
	}{
		{"a gap that ends on a covered day", []MeterRecord{record("A", "2026-11-01T00:00:00+07:00", "", "2027-01-20", "2027-12-31")},
			"2026-12-01T00:00 0\n2027-01-01T00:00 100\n2027-01-20T12:00 1100\n2027-01-21T12:00 1200\n2027-02-01T00:00 1300", "2026 2\n2027 20\n"},
		{"exchanged on a covered day", []MeterRecord{record("A", "2026-11-01T00:00:00+07:00", "2027-01-20T23:30:00+07:00", "", ""), func() MeterRecord {
			r := record("B", "2027-01-20T23:30:00+07:00", "", "2027-01-20", "2027-12-31")
			r.InstalledKWh = &Number{num("0")}
			return r
		}()}, "2026-12-01T00:00 0\n2027-01-01T00:00 100\n2027-01-21T00:00 10\n2027-02-01T00:00 100", "2026 2\n2027 58.2\n"}, // of 2900 of A and 10 of B
	} {
		p, m, curve := ownUse(t, func(p *Project) { p.Periods, p.Meters[0].Records = p.Periods[:1], tt.records },
			map[string]string{"site-1/pv/Wh": tt.pv, "site-1/own/Wh": "2026-12-01T00:00 0\n2027-02-01T00:00 0"})
		r, err := p.Report(m, 0, curve)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, d := range r.Deductions {
			if d.Cause == CauseCalibration {
				got += fmt.Sprintf("%d %v\n", d.year, d.KWh)
			}
		}
		if got != tt.want {
			t.Errorf("%s:\n%swant\n%s", tt.name, got, tt.want)
		}
	}
}
