package collector

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/calc"
)

// rule puts a ruling on meter one into the book, ms after start; no cause withdraws it.
func (r *rig) rule(id, cause string, ms int64) {
	r.t.Helper()
	var v *calc.Ruling
	if cause != "" {
		v = &calc.Ruling{Meter: "one", Cause: cause, From: calc.Instant{Time: time.UnixMilli(start + ms)}, Who: "K. Sato", Why: "seen on site"}
		if cause == calc.CauseDip {
			v.To = calc.Instant{Time: time.UnixMilli(start + ms + day/2)}
		}
	}
	if err := r.Rule("plant", id, v, "K. Sato", "seen on site"); err != nil && !errors.Is(err, ErrUnknown) {
		r.t.Fatal(err)
	}
}

// importRows brings in n readings of meter one from before the histories begin.
func (r *rig) importRows(n int) {
	r.t.Helper()
	rows := make([]ImportRow, n)
	for i := range rows {
		v := decimal.New(int64(10*i), 0)
		rows[i] = ImportRow{At: start - int64(n-i)*3_600_000 - 7, Value: &v}
		if i%10 == 3 {
			rows[i].Value = nil
		}
	}
	info := ImportInfo{Project: "plant", Meter: "one", Unit: "kWh", Who: "K. Sato", Why: "logger of the old plant", File: "old.csv", SHA256: "00"}
	if err := r.Import(r.t.Context(), info, rows, func(int) {}); err != nil {
		r.t.Fatal(err)
	}
}

// A ruling moves what is settled, also far back; its withdrawal moves it back, and
// neither is undone by a new start or a configuration that does not know of it.
func TestRulings(t *testing.T) {
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	d := meter("m-1")
	a.declare(d)
	for i, v := range []uint32{100_000, 101_000, 5_000, 6_000, 7_000} {
		a.read(d, int64(i)*3_600_000+1, v)
	}
	r := newRig(t, a, b)
	r.send(a.all(t))
	if got := r.measured("one"); got != "10" {
		t.Fatalf("before: %s kWh, want 10 and the fall pending", got)
	}
	r.rule("r1", calc.CauseRestart, 90*60_000)
	if got := r.measured("one"); got != "30" {
		t.Errorf("ruled a restart: %s kWh, want 30", got)
	}
	r.reopen()
	if got := r.measured("one"); got != "30" {
		t.Errorf("after a new start: %s kWh, want 30", got)
	}
	final, initial := decimal.New(1015, 0), decimal.New(45, 0)
	if err := r.Rule("plant", "r1", &calc.Ruling{Meter: "one", Cause: calc.CauseReplacement, From: calc.Instant{Time: time.UnixMilli(start + 90*60_000)},
		FinalKWh: &final, InitialKWh: &initial, Who: "K. Sato", Why: "protocol"}, "K. Sato", "protocol"); err != nil {
		t.Fatal(err)
	}
	if got := r.measured("one"); got != "40" {
		t.Errorf("with values read on site: %s kWh, want 10 + 5 + 5 + 20", got)
	}
	r.rule("r1", "", 0)
	if got := r.measured("one"); got != "10" {
		t.Errorf("withdrawn: %s kWh, want 10", got)
	}
	below := decimal.New(-1, 0)
	for name, v := range map[string]*calc.Ruling{
		"no meter": {Meter: "zz", Cause: calc.CauseRestart, From: calc.Instant{Time: time.UnixMilli(start)}, Who: "a", Why: "b"},
		"no cause": {Meter: "one", Cause: "eaten", From: calc.Instant{Time: time.UnixMilli(start)}, Who: "a", Why: "b"},
		"no end":   {Meter: "one", Cause: calc.CauseDip, From: calc.Instant{Time: time.UnixMilli(start)}, Who: "a", Why: "b"},
		"nobody":   {Meter: "one", Cause: calc.CauseRestart, From: calc.Instant{Time: time.UnixMilli(start)}, Why: "b"},
		"future":   {Meter: "one", Cause: calc.CauseRestart, From: calc.Instant{Time: clock{}.Now().Add(6 * time.Minute)}, Who: "a", Why: "b"},
		"negative": {Meter: "one", Cause: calc.CauseRestart, From: calc.Instant{Time: time.UnixMilli(start)}, InitialKWh: &below, Who: "a", Why: "b"},
	} {
		size := r.store.Size()
		if err := r.Rule("plant", "bad", v, "a", "b"); err == nil || r.store.Size() != size {
			t.Errorf("%s: %v, book of %d records, was %d", name, err, r.store.Size(), size)
		}
	}
}

// A device that tells another serial number is another meter, whatever it shows.
func TestChangedSerial(t *testing.T) {
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	old, next := meter("m-1"), meter("m-1")
	old.Serial, next.Serial = "A", "B"
	a.declare(old)
	a.read(old, 0, 100_000)
	a.read(old, 3_600_000, 101_000)
	a.declare(next)
	a.read(next, 2*3_600_000, 103_000) // as if it had gone on
	a.read(next, 3*3_600_000, 104_000)
	for name, order := range map[string][][2]uint64{"in order": {{1, 6}}, "the new one first": {{4, 6}, {1, 3}}} {
		r := newRig(t, a, b)
		for _, o := range order {
			r.send(a.batch(t, o[0], o[1]))
			r.catchUp()
		}
		if got := r.measured("one"); got != "20" {
			t.Errorf("%s: %s kWh, want 10 of each", name, got)
		}
		rep, err := r.Report(t.Context(), "plant", 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(rep.Deductions) != 1 || rep.Deductions[0].Cause != calc.CauseReplacement || !strings.Contains(rep.Deductions[0].Note, "serial number: B") {
			t.Errorf("%s: deductions %+v, want the replacement", name, rep.Deductions)
		}
	}
}

// What an operator brings in is marked, counts once, and a file that was cut
// short goes on.
func TestImport(t *testing.T) {
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	r := newRig(t, a, b)
	rows := make([]ImportRow, importRows+10)
	for i := range rows {
		v := decimal.New(int64(i), -2)
		rows[i] = ImportRow{At: start + 1 + int64(i)*1000, Value: &v}
	}
	info := ImportInfo{Project: "plant", Meter: "one", Unit: "kWh", Who: "K. Sato", Why: "logger", File: "old.csv", SHA256: "00"}
	stop := errors.New("stop")
	func() {
		defer func() {
			if recover() != stop {
				t.Fatal("not cut short")
			}
		}()
		r.Import(t.Context(), info, rows, func(int) { panic(stop) })
	}()
	r.reopen()
	var last int
	if err := r.Import(t.Context(), info, rows, func(n int) { last = n }); err != nil || last != len(rows) {
		t.Fatalf("went on to %d of %d: %v", last, len(rows), err)
	}
	if err := r.Import(t.Context(), info, rows, func(int) {}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second time: %v", err)
	}
	if got, want := r.measured("one"), decimal.New(int64(len(rows)-1), -2).String(); got != want {
		t.Errorf("%s kWh, want %s", got, want)
	}
	rep, err := r.Report(t.Context(), "plant", 0)
	if err != nil {
		t.Fatal(err)
	}
	if m := rep.Meters["one"]; m.Imported != len(rows) || m.Readings != len(rows) {
		t.Errorf("%d readings, %d imported, want %d of each", m.Readings, m.Imported, len(rows))
	}
	ahead := []ImportRow{{At: start, Line: 2}, {At: clock{}.Now().Add(6 * time.Minute).UnixMilli(), Line: 7}}
	size := r.store.Size()
	if err := r.Import(t.Context(), info, ahead, func(int) {}); err == nil || !strings.Contains(err.Error(), "line 7 is of ") || r.store.Size() != size {
		t.Errorf("a reading of the future: %v", err)
	}
	for name, i := range map[string]ImportInfo{"meter": {Project: "plant", Meter: "zz", Who: "a", Why: "b"}, "project": {Project: "zz", Meter: "one", Who: "a", Why: "b"}, "nobody": {Project: "plant", Meter: "one", Why: "b"}} {
		if err := r.Import(t.Context(), i, rows[:1], func(int) {}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A split that does not add up never gets into the book.
func TestSplits(t *testing.T) {
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	d := meter("m-1")
	b.declare(d)
	b.read(d, 0, 0)
	b.read(d, day, 1_000_000) // 10 MWh, 5.33 t
	r := newRig(t, a, b)
	r.cfg.Projects[0].Text = append(r.cfg.Projects[0].Text, "allocation: [{name: Japan, percent: 50}, {name: Host, percent: 50}]\n"...)
	r.reopen()
	r.send(b.all(t))
	r.catchUp()
	period := calc.Span{Start: calc.Date{Year: 2020, Month: 5, Day: 15}, End: calc.Date{Year: 2020, Month: 5, Day: 20}}
	for want, accounts := range map[string]map[string]int64{
		"add up to 6 tCO2, vintage 2020 has 5": {"Japan": 3, "Host": 3},
		`no account "Mars"`:                    {"Japan": 3, "Mars": 2},
		"want 0 or more":                       {"Japan": 6, "Host": -1},
		"":                                     {"Japan": 3, "Host": 2},
	} {
		err := r.Divide("plant", "s", &calc.Split{Period: period, Vintage: 2020, Accounts: accounts, Who: "JC"}, "JC", "decision")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v: %v, want %q", accounts, err, want)
		}
	}
	r.catchUp()
	rep, err := r.Report(t.Context(), "plant", 0)
	if err != nil {
		t.Fatal(err)
	}
	if s := rep.Splits["2020"]; fmt.Sprint(s.Proposal, s.Decided, s.Problem) != "map[Host:2 Japan:3] map[Host:2 Japan:3]" {
		t.Errorf("split %+v", s)
	}
}
