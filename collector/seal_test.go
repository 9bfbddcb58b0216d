package collector

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"kenshin/calc"
)

// sealed is a rig with a period of 10 MWh that is over and read to its end.
func sealed(t *testing.T) (*rig, *site) {
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	d := meter("m-1")
	b.declare(d)
	b.read(d, 0, 0)
	b.read(d, day, 1_000_000)
	b.read(d, 7*day, 1_000_000)
	r := newRig(t, a, b)
	r.send(b.all(t))
	r.catchUp()
	return r, b
}

// TestSealHolds: a sealed figure stays what it was, whatever comes later; what comes is
// shown beside it, becomes a revision only when a person says so, and each of them can be
// recomputed from the records of the book that it rests on.
func TestSealHolds(t *testing.T) {
	r, b := sealed(t)
	before, err := r.Report(t.Context(), "plant", 0)
	if err != nil {
		t.Fatal(err)
	}
	size := r.store.Size()
	s, err := r.Seal("plant", 0, "K. Sato", "handed to the verifier")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := before.SHA256()
	if err != nil {
		t.Fatal(err)
	}
	if s.Revision != 1 || s.Records != size || s.Figures.ER != "5" || s.Report != sum || s.Hash != before.Hash || s.Rules != calc.RulesVersion ||
		!strings.Contains(s.Checkpoint, fmt.Sprintf("\n%d\n", size)) || before.State != calc.StateClosing {
		t.Fatalf("sealed %+v of a period that was %s", s, before.State)
	}
	r.reopen()
	rep, err := r.Report(t.Context(), "plant", 0)
	if err != nil {
		t.Fatal(err)
	}
	if rep.State != calc.StateSealed || rep.Seal == nil || len(rep.Differences) != 0 {
		t.Errorf("after a new start: %s, %+v, differences %v", rep.State, rep.Seal, rep.Differences)
	}
	if _, err := r.Seal("plant", 0, "K. Sato", "again"); err == nil || !strings.Contains(err.Error(), "nothing has changed since") {
		t.Errorf("sealed twice: %v", err)
	}
	// A reading of within the period comes late, and one of long after it.
	d := meter("m-1")
	b.read(d, 5*day, 1_200_000)
	r.send(b.batch(t, uint64(len(b.recs)), uint64(len(b.recs))))
	r.catchUp()
	late := r.store.Size() - 1
	b.read(d, 90*day, 1_300_000)
	r.send(b.batch(t, uint64(len(b.recs)), uint64(len(b.recs))))
	r.catchUp()
	rep, err = r.Report(t.Context(), "plant", 0)
	if err != nil {
		t.Fatal(err)
	}
	if rep.ER != "6" || rep.Seal.Figures.ER != "5" || rep.State != calc.StateSealed || len(rep.Differences) == 0 || rep.Differences[0] != (calc.Difference{Figure: "ER_tCO2", Sealed: "5", Now: "6"}) {
		t.Errorf("a late reading: now %s, sealed %s, %s, differences %v", rep.ER, rep.Seal.Figures.ER, rep.State, rep.Differences)
	}
	check := func(revision int) {
		t.Helper()
		s, differences, same, err := r.CheckSeal(t.Context(), "plant", 0)
		if err != nil || s.Revision != revision || len(differences) != 0 || !same {
			t.Errorf("recomputed at the seal: revision %d, %v, same %v, %v; want revision %d as it was sealed", s.Revision, differences, same, err, revision)
		}
	}
	check(1)
	if s, err = r.Seal("plant", 0, "K. Sato", "a reading came late"); err != nil {
		t.Fatal(err)
	}
	if s.Revision != 2 || s.Figures.ER != "6" || len(s.Late) != 1 || s.Late[0] != (calc.Late{First: late, Last: late, What: "readings"}) {
		t.Errorf("revision %+v; want record %d named, and not the reading of later", s, late)
	}
	r.catchUp()
	check(2)
	if rep, err = r.Report(t.Context(), "plant", 0); err != nil || rep.State != calc.StateRevised || len(rep.Differences) != 0 {
		t.Errorf("revised: %s, differences %v, %v", rep.State, rep.Differences, err)
	}
	again, err := Recompute(t.Context(), r.store, "plant", 0)
	if err != nil || again.State != calc.StateRevised || fmt.Sprint(again.Seal) != fmt.Sprint(rep.Seal) {
		t.Errorf("recomputed from the book: %v, %v", again, err)
	}
}

// TestSealRefused: what cannot be final is not sealed, and what is sealed stays in force.
func TestSealRefused(t *testing.T) {
	r, _ := sealed(t)
	refused := func(want string, period int, who, why string) {
		t.Helper()
		size := r.store.Size()
		if _, err := r.Seal("plant", period, who, why); err == nil || !strings.Contains(err.Error(), want) || r.store.Size() != size {
			t.Errorf("%v; want %q and nothing written", err, want)
		}
	}
	refused("say who seals", 0, "", "x")
	refused("no period", 7, "K. Sato", "x")
	refused("no meter was read since the end", 1, "K. Sato", "x") // of the turn of the year
	text := string(r.cfg.Projects[0].Text)
	r.cfg.Clock = clock{start + 3*day}
	r.reopen()
	refused("runs until 2020-05-21T00:00:00+05:30", 0, "K. Sato", "x")
	r.cfg.Clock = clock{}
	method := string(r.cfg.Methodologies[0].Text)
	r.cfg.Methodologies[0].Text = []byte(strings.Replace(method, "status: template", "status: unverified", 1))
	r.reopen()
	refused("written from recall", 0, "K. Sato", "x")
	r.cfg.Methodologies[0].Text = []byte(method)
	r.reopen()
	if _, err := r.Seal("plant", 0, "K. Sato", "x"); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.cfg.Projects[0].Text = []byte(strings.Replace(text, "  - {start: 2020-05-15, end: 2020-05-20}\n", "", 1))
	if c, err := Open(t.Context(), r.cfg); err == nil || !strings.Contains(err.Error(), "a sealed period stays") {
		t.Errorf("the file leaves the sealed period out: %v", errors.Join(err, c.Close()))
	}
	r.cfg.Projects[0].Text = []byte(strings.Replace(text, `value: "0.533"`, `value: "0.6"`, 1)) // a number that was fixed ex ante
	c, err := Open(t.Context(), r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rep, err := c.Report(t.Context(), "plant", 0)
	if err != nil || rep.Seal == nil || rep.Seal.Figures.ER != "5" || len(rep.Differences) == 0 {
		t.Errorf("another factor: %+v, %v; want the sealed figure and the differences", rep, err)
	}
}

// TestSealAgain: what came late and moved no total is handed over by another revision;
// a book that only grew by what does not concern the period is not.
func TestSealAgain(t *testing.T) {
	r, b := sealed(t)
	d := meter("m-1")
	seal := func(want string) {
		t.Helper()
		_, err := r.Seal("plant", 0, "K. Sato", "x")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("sealed: %v, want %q", err, want)
		}
		r.catchUp()
	}
	add := func(at int64) {
		b.read(d, at, 1_000_000)
		r.send(b.batch(t, uint64(len(b.recs)), uint64(len(b.recs))))
		r.catchUp()
	}
	for range 2 {
		seal("")
		seal("nothing has changed since")
		add(90*day + int64(len(b.recs))) // long after
		seal("nothing has changed since")
		add(3*day + int64(len(b.recs))) // within, the register as it was
	}
	seal("")
	seal("nothing has changed since")
}
