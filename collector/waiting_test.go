package collector

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// value returns a metric of the collector by its name.
func (r *rig) value(name string) float64 {
	r.t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(r.Metrics()...)
	all, err := reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == "kenshin_collector_"+name {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	r.t.Fatalf("no metric %s", name)
	return 0
}

// Readings that wait cost no more state the more they are, are counted and said
// once, and come in by steps, across a restart, to the same totals.
func TestManyReadingsWait(t *testing.T) {
	const n = 1600 // two samples each: more than a step
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	d := meter("m-1")
	a.declare(d)
	for i := range int64(n) {
		a.read(d, i*60_000+1, uint32(1000+i))
	}
	core, logs := observer.New(zap.WarnLevel)
	r := newRig(t, a, b)
	r.Close()
	r.cfg.Log = zap.New(core)
	r.open()
	for first := uint64(3); first < n; first += 200 {
		r.send(a.batch(t, first, min(first+199, n)))
		r.catchUp()
	}
	_, state, err := r.db.Cursor(t.Context())
	if err != nil || len(state) > 1000 {
		t.Errorf("%d bytes of state for %d waiting readings, %v", len(state), n, err)
	}
	if got := r.value("unsettled_readings"); got != n-2 {
		t.Errorf("%v readings unsettled, want %d", got, n-2)
	}
	if logs.Len() != 1 {
		t.Errorf("said %d times, want once: %v", logs.Len(), logs.All())
	}
	r.send(a.batch(t, n+1, n+1), a.batch(t, 1, 2))
	for range 10 { // until the first step of what waited is done
		if err := r.settle.step(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r.settle.state.Due != nil && r.settle.state.Due.Next > 0 {
			break
		}
	}
	r.reopen()
	if got := r.measured("one"); got != "15.99" {
		t.Errorf("measured %s kWh, want 15.99", got)
	}
	if got := r.value("unsettled_readings"); got != 0 {
		t.Errorf("%v readings unsettled, want none", got)
	}
}

// The lag is never below zero: a position that is read after a size may be beyond it.
func TestSettleLag(t *testing.T) {
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	a.declare(meter("m-1"))
	r := newRig(t, a, b)
	r.send(a.all(t))
	if got := r.value("settle_lag_records"); got != 1 {
		t.Errorf("lag %v, want 1", got)
	}
	r.catchUp()
	if got := r.value("settle_lag_records"); got != 0 {
		t.Errorf("lag %v, want 0", got)
	}
}

// A reading dated years ahead is kept, counted and said, and disturbs nothing:
// what follows is not late, the newest reading is one that was taken. When its
// day is over by the collector's clock it takes its place.
func TestReadingsDatedAhead(t *testing.T) {
	const hour, day = 3_600_000, 24 * 3_600_000
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	d := meter("m-1")
	a.declare(d)
	a.read(d, 60_000, 1000)
	a.read(d, 5*day, 9000)              // ahead by five days
	a.read(d, 10*60_000+4*60_000, 1100) // four minutes ahead: clocks differ so much
	for i := range int64(20) {
		a.read(d, hour+i*60_000, uint32(1200+i))
	}
	core, logs := observer.New(zap.WarnLevel)
	r := newRig(t, a, b)
	r.Close()
	r.cfg.Log, r.cfg.Clock = zap.New(core), clock{start + 10*60_000}
	r.open()
	r.send(a.batch(t, 1, 4))
	r.catchUp()
	r.Collector.cfg.Clock = clock{start + 2*hour}
	for seq := uint64(5); seq <= 24; seq++ {
		r.send(a.batch(t, seq, seq))
		r.catchUp()
	}
	if n := r.value("resettled_total"); n != 0 {
		t.Errorf("%v registers settled again", n)
	}
	latest, err := r.Latest(t.Context())
	if err != nil || len(latest) != 2 || latest[0].At != start+hour+19*60_000 {
		t.Errorf("latest %v, %v; want that of the last reading", latest, err)
	}
	if got := r.measured("one"); got != "2.19" {
		t.Errorf("measured %s kWh, want 2.19", got)
	}
	if n := r.value("readings_ahead"); n != 1 || logs.Len() != 1 {
		t.Errorf("%v held, said %d times; want 1 and once", n, logs.Len())
	}
	r.reopen()
	r.Collector.cfg.Clock = clock{start + 7*day}
	a.read(d, 6*day+hour, 9100) // after the period
	r.send(a.batch(t, 25, 25))
	if got := r.measured("one"); got != "80" {
		t.Errorf("when its day is over: measured %s kWh, want 80", got)
	}
	if n := r.value("readings_ahead"); n != 0 {
		t.Errorf("%v still held", n)
	}
}
