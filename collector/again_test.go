package collector

import (
	"path/filepath"
	"testing"

	"kenshin/collector/series"
)

// TestFailedStepIsForgotten: a step that could not be written has made a
// declaration known. It must be written when the step is taken again: who starts
// behind it would wait for it for ever.
func TestFailedStepIsForgotten(t *testing.T) {
	a, b := twoSites(4)
	r := newRig(t, a, b)
	r.send(a.all(t))
	if err := r.settle.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	good := r.settle.db
	r.settle.db = must(series.Open(filepath.Join(t.TempDir(), "other")))
	r.settle.db.Close()
	d := meter("m-9")
	a.declare(d)
	a.read(d, 900_000, 7)
	r.send(a.all(t))
	if err := r.settle.catchUp(t.Context()); err == nil {
		t.Fatal("settled without a series store")
	}
	r.settle.db = good
	if err := r.settle.again(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.settle.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	a.read(d, 1_000_000, 8)
	r.send(a.all(t))
	if err := r.settle.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := r.settle.unsettled(); n > 0 {
		t.Errorf("%d readings wait for a declaration that was settled", n)
	}
}
