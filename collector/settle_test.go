package collector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"kenshin/calc"
	"kenshin/collector/series"
	"kenshin/collector/store"
	"kenshin/edge/wire"
)

const day = 86_400_000

func TestTotals(t *testing.T) {
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	d := meter("m-1")
	a.declare(d)
	b.declare(d)
	// Two days of site-1: 3.05 kWh up to midnight, which is still the first day's, then 1.95.
	a.read(d, 3_600_000, 10_000)
	a.read(d, day, 10_305)
	a.read(d, day+3_600_000, 10_500)
	a.fail(d, day+7_200_000)
	// One of site-2, in the vintages 2020 and 2021.
	b.read(d, 0, 1_000_000)
	b.read(d, 230*day, 1_000_150)   // 2020-12-31 00:00; these 1.5 kWh may be from before the second period
	b.read(d, 231*day, 1_500_150)   // 2021-01-01 00:00
	b.read(d, 232*day+1, 2_500_150) // 2021-01-02
	r := newRig(t, a, b)
	r.send(a.all(t), b.all(t))
	r.totals("plant", 2)
	first, err := r.Report(t.Context(), "plant", 0)
	if err != nil {
		t.Fatal(err)
	}
	one := first.Meters["one"]
	if got := fmt.Sprint(one.MeasuredKWh, one.Days); got != "5 map[2020-05-15:3.05 2020-05-16:1.95]" {
		t.Errorf("one in the first period: %s", got)
	}
	second, err := r.Report(t.Context(), "plant", 1)
	if err != nil {
		t.Fatal(err)
	}
	if v := second.Vintages; v["2020"]["EG_MWh"] != "5" || v["2020"]["ER_tCO2"] != "2" || v["2021"]["EG_MWh"] != "10" || v["2021"]["RE_tCO2"] != "5.33" || v["2021"]["ER_tCO2"] != "5" {
		t.Errorf("vintages of the second period: %v", v)
	}
	for _, tt := range []struct {
		project string
		period  int
	}{{"plant", 2}, {"plant", -1}, {"other", 0}} {
		if _, err := r.Report(t.Context(), tt.project, tt.period); !errors.Is(err, ErrUnknown) {
			t.Errorf("report of %s %d: %v", tt.project, tt.period, err)
		}
		if _, err := Recompute(t.Context(), r.Store(), tt.project, tt.period); !errors.Is(err, ErrUnknown) {
			t.Errorf("recompute %s %d: %v", tt.project, tt.period, err)
		}
	}
	latest, err := r.Latest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range latest {
		got = append(got, fmt.Sprint(s.Key(), " ", s.At-start, " ", s.Quality, " ", s.Number, " ", s.Reason))
	}
	want := []string{
		"site-1/m-1/energy 93600000 timeout 0 no answer in time", "site-1/m-1/power 93600000 timeout 0 not asked after failures",
		"site-2/m-1/energy 20044800001 good 25001.5 ", fmt.Sprintf("site-2/m-1/power 20044800041 good %d ", uint16((232*day+1)&0xFFFF)),
	}
	if !slices.Equal(got, want) {
		t.Errorf("latest\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A declaration may come after the readings that name it.
func TestReadingsWaitForTheirDeclaration(t *testing.T) {
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	d := meter("m-1")
	a.declare(d)
	a.read(d, 60_000, 1000)
	a.read(d, 120_000, 1100)
	a.read(d, 180_000, 1300)
	r := newRig(t, a, b)
	r.send(a.batch(t, 3, 3))
	r.send(a.batch(t, 4, 4))
	r.catchUp()
	if latest, err := r.Latest(t.Context()); err != nil || len(latest) != 0 {
		t.Errorf("%v, %v: samples of a device that nothing is known of", latest, err)
	}
	if got := r.measured("one"); got != "0" {
		t.Errorf("measured %s kWh", got)
	}
	r.reopen() // what waits is not forgotten
	r.send(a.batch(t, 1, 2))
	if got := r.measured("one"); got != "3" {
		t.Errorf("measured %s kWh, want 3", got)
	}
	if n := len(r.settle.state.Waiting); n != 0 {
		t.Errorf("%d readings still wait", n)
	}
}

// Of two readings of one time the first in the book counts, also when the first
// has to wait for its declaration and the second has not.
func TestConflictWithAWaitingReading(t *testing.T) {
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	old, now := meter("m-1"), meter("m-1")
	now.Firmware = "2"
	a.declare(old)
	a.read(old, 60_000, 1000)
	a.declare(now)
	a.read(now, 120_000, 1100)
	a.read(old, 120_000, 1200)
	r := newRig(t, a, b)
	r.send(a.batch(t, 4, 4)) // waits
	r.send(a.batch(t, 5, 5)) // waits
	r.send(a.batch(t, 1, 2)) // settles 5
	r.send(a.batch(t, 3, 3)) // settles 4, too late
	if got := r.measured("one"); got != "2" {
		t.Errorf("measured %s kWh, want 2", got)
	}
	// Power is equal in both; energy is not.
	if n := testutil.ToFloat64(r.settle.metrics.conflicts); n != 1 {
		t.Errorf("%v conflicts, want 1", n)
	}
}

func TestLateReadingsAreSettledAgain(t *testing.T) {
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	d := meter("m-1")
	a.declare(d)
	for i := range int64(96) { // four days by the hour
		a.read(d, i*3_600_000+1, uint32(1000+100*i))
	}
	r := newRig(t, a, b)
	r.send(a.batch(t, 1, 10), a.batch(t, 60, 97)) // a link that was gone for two days
	days := func() map[string]string {
		t.Helper()
		r.totals("plant", 2)
		rep, err := r.Report(t.Context(), "plant", 0)
		if err != nil {
			t.Fatal(err)
		}
		out := make(map[string]string)
		for day, kWh := range rep.Meters["one"].Days {
			out[day] = kWh.String()
		}
		return out
	}
	if got, want := days(), map[string]string{"2020-05-15": "8", "2020-05-16": "0", "2020-05-17": "63", "2020-05-18": "24"}; !maps.Equal(got, want) {
		t.Errorf("days %v, want %v", got, want)
	}
	r.send(a.batch(t, 11, 59))
	r.reopen() // in between
	if got, want := days(), map[string]string{"2020-05-15": "23", "2020-05-16": "24", "2020-05-17": "24", "2020-05-18": "24"}; !maps.Equal(got, want) {
		t.Errorf("days %v, want %v", got, want)
	}
	if n := testutil.ToFloat64(r.settle.metrics.late); n == 0 {
		t.Error("nothing was counted as late")
	}
}

// A crash between the book and the figures, and one that loses the figures, make
// no difference.
func TestCrashBeforeSettling(t *testing.T) {
	a, b := twoSites(300)
	whole := newRig(t, a, b)
	whole.send(a.all(t), b.all(t))
	want := whole.totals("plant", 2)
	for _, lose := range []bool{false, true} {
		r := newRig(t, a, b)
		for first := uint64(1); first <= 301; first += 50 {
			r.send(a.batch(t, first, min(first+49, 301)), b.batch(t, first, min(first+49, 301)))
			if first == 101 {
				r.catchUp()
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if lose {
				for _, f := range SeriesFiles(r.cfg.Dir) {
					if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
						t.Fatal(err)
					}
				}
			}
			r.open()
		}
		if got := r.totals("plant", 2); got != want {
			t.Errorf("series lost: %v; totals\n%s\nwant\n%s", lose, got, want)
		}
	}
}

// When the figures cannot be written, nothing is settled twice or not at all.
func TestSeriesThatCannotBeWritten(t *testing.T) {
	a, b := twoSites(30)
	r := newRig(t, a, b)
	r.send(a.all(t))
	r.db.Close()
	if err := r.settle.catchUp(t.Context()); err == nil || r.Settled() {
		t.Fatalf("catchUp = %v without a series store", err)
	}
	r.reopen()
	if got := r.measured("one"); got != "11.6" {
		t.Errorf("measured %s kWh, want 11.6", got)
	}

	// And without a new start: what the failed step did in memory is undone.
	good := r.settle.db
	r.settle.db = must(series.Open(filepath.Join(t.TempDir(), "other")))
	r.settle.db.Close()
	d := meter("m-1")
	for i := range 5 {
		a.read(d, int64(i+40)*60_000, uint32(5000+i*40))
	}
	r.send(a.all(t))
	if err := r.settle.catchUp(t.Context()); err == nil || r.Settled() {
		t.Fatalf("catchUp = %v without a series store", err)
	}
	r.settle.db = good
	if err := r.settle.again(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rep := must(r.Report(t.Context(), "plant", 0)); rep.Meters["one"].MeasuredKWh.String() != "11.6" {
		t.Errorf("before it is settled: measured %v kWh, want 11.6", rep.Meters["one"].MeasuredKWh)
	}
	if got := r.measured("one"); got != "41.6" {
		t.Errorf("measured %s kWh, want 41.6", got)
	}
}

func TestSeriesAheadOfTheBook(t *testing.T) {
	a, b := twoSites(3)
	r := newRig(t, a, b)
	r.Close()
	if err := os.CopyFS(filepath.Join(r.cfg.Dir, "copy"), os.DirFS(filepath.Join(r.cfg.Dir, "book"))); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.send(a.all(t))
	r.catchUp()
	r.Close()
	if err := errors.Join(os.RemoveAll(filepath.Join(r.cfg.Dir, "book")), os.Rename(filepath.Join(r.cfg.Dir, "copy"), filepath.Join(r.cfg.Dir, "book"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), r.cfg); err == nil || !strings.Contains(err.Error(), "kenshin-collector rebuild") {
		t.Errorf("Open = %v, want the remedy", err)
	}
	for _, f := range SeriesFiles(r.cfg.Dir) {
		os.Remove(f)
	}
	r.open()
}

// decisions returns what the book decided, in short.
func (r *rig) decisions() (out []string) {
	r.t.Helper()
	err := r.store.Scan(0, func(rec *store.Record) error {
		if rec.Kind != store.Decision {
			return nil
		}
		var d decision
		if err := json.Unmarshal(rec.Payload, &d); err != nil {
			return err
		}
		if d.Who == "" || d.Why == "" || d.Version != 1 || rec.Subject != d.Kind {
			return fmt.Errorf("decision %+v", d)
		}
		what := "in"
		if d.Text == "" {
			what = "out"
		}
		out = append(out, d.Kind+" "+d.Name+" "+what)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func TestConfigurationIsDecidedOnce(t *testing.T) {
	a, b := twoSites(30)
	r := newRig(t, a, b)
	r.send(a.all(t), b.all(t))
	before := r.totals("plant", 2)
	r.reopen()
	want := []string{"edge site-1 in", "edge site-2 in", "methodology t-1.yaml in", "project plant.yaml in"}
	if got := r.decisions(); !slices.Equal(got, want) {
		t.Errorf("decisions %q, want %q", got, want)
	}
	if got := r.totals("plant", 2); got != before {
		t.Errorf("totals changed by a new start:\n%s\nwas\n%s", got, before)
	}

	// A change of the project settles its registers again, in its own zone.
	r.cfg.Projects[0].Text = []byte(strings.Replace(strings.Replace(projectYAML, "Asia/Kolkata", "America/New_York", 1), "0.533", "0.4", 1))
	r.reopen()
	if got := r.decisions()[4:]; !slices.Equal(got, []string{"project plant.yaml in"}) {
		t.Errorf("decisions %q", got)
	}
	if got := r.totals("plant", 2); got == before || !strings.Contains(got, `"2020-05-14"`) && !strings.Contains(got, "America/New_York") {
		t.Errorf("totals after the change\n%s", got)
	}
	for key, c := range map[string]int{"site-1/m-1/energy": 1, "site-2/m-1/energy": 1} {
		list, err := r.db.Closings(t.Context(), key)
		if err != nil || len(list) != c || list[0].Day.String() != "2020-05-14" {
			t.Errorf("closings of %s: %+v, %v; want one of 2020-05-14 and none of the zone before", key, list, err)
		}
	}
	r.reopen()
	r.totals("plant", 2)

	// Without its file the project is out of force, and so is an edge.
	r.cfg.Projects, r.cfg.Edges = nil, r.cfg.Edges[:1]
	r.reopen()
	if got := r.decisions()[5:]; !slices.Equal(got, []string{"edge site-2 out", "project plant.yaml out"}) {
		t.Errorf("decisions %q", got)
	}
	if _, err := r.Report(t.Context(), "plant", 0); !errors.Is(err, ErrUnknown) {
		t.Errorf("report of a project that is gone: %v", err)
	}
	if p, err := r.Projects(t.Context()); len(p) != 0 || err != nil {
		t.Errorf("projects %v, %v", p, err)
	}
	r.send(b.batch(t, 1, 2))
	if got := r.counts(); got != "0 stored 0 repeated 1 revoked" {
		t.Errorf("a batch of an edge that is gone: %s", got)
	}
	a.read(meter("m-1"), 7_200_000, 5000)
	r.send(a.batch(t, 32, 32))
	r.reopen()

	// Back in force, with what came meanwhile.
	r.cfg.Projects = []File{{"plant.yaml", []byte(projectYAML)}}
	r.cfg.Edges = []Edge{{a.id, a.public()}, {b.id, b.public()}}
	r.reopen()
	if got := r.measured("one"); got != "40" {
		t.Errorf("measured %s kWh, want 40", got)
	}
	r.reopen()
	r.totals("plant", 2)
}

func TestAFileThatHoldsAnotherProject(t *testing.T) {
	a, b := twoSites(30)
	r := newRig(t, a, b)
	r.send(a.all(t))
	r.catchUp()
	r.cfg.Projects[0].Text = []byte(strings.Replace(projectYAML, "reference: plant", "reference: renamed", 1))
	r.reopen()
	for range 2 {
		p, err := r.Projects(t.Context())
		if err != nil || len(p) != 1 || p[0].Reference != "renamed" {
			t.Errorf("projects %v, %v; want the one of the file", p, err)
		}
		r.totals("renamed", 2)
		r.reopen()
	}
	r.cfg.Projects = []File{{"moved.yaml", []byte(projectYAML)}}
	r.reopen()
	r.totals("plant", 2)
	if p, err := r.Projects(t.Context()); len(p) != 1 || err != nil {
		t.Errorf("projects %v, %v", p, err)
	}
}

// A configuration that does not hold changes nothing.
func TestConfigurationsThatDoNotHold(t *testing.T) {
	a, b := twoSites(3)
	r := newRig(t, a, b)
	r.Close()
	good := r.cfg
	second := strings.Replace(projectYAML, "reference: plant", "reference: other", 1)
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"unknown key", func(c *Config) { c.Projects = []File{{"p.yaml", []byte("refrence: x\n" + projectYAML)}} }, "p.yaml:1: key \"refrence\" is unknown"},
		{"no such zone", func(c *Config) {
			c.Projects = []File{{"p.yaml", []byte(strings.Replace(projectYAML, "Asia/Kolkata", "Asia/Kolkatta", 1))}}
		}, "Asia/Kolkatta"},
		{"empty", func(c *Config) { c.Projects = []File{{"p.yaml", nil}} }, "p.yaml"},
		{"no methodology", func(c *Config) { c.Methodologies = nil }, "methodology T-1 1.0 is not among"},
		{"another version of it", func(c *Config) {
			c.Projects = []File{{"p.yaml", []byte(strings.Replace(projectYAML, `version: "1.0"`, `version: "2.0"`, 1))}}
		}, "T-1 2.0 is not among"},
		{"a parameter it does not have", func(c *Config) {
			c.Projects = []File{{"p.yaml", []byte(strings.Replace(projectYAML, "{EF:", "{XF:", 1))}}
		}, "XF"},
		{"an example that does not come out", func(c *Config) {
			c.Methodologies = []File{{"m.yaml", []byte(strings.Replace(methodologyYAML, `ER: "5"`, `ER: "6"`, 1))}}
		}, "m.yaml"},
		{"a project twice", func(c *Config) { c.Projects = append(c.Projects, File{"again.yaml", []byte(projectYAML)}) }, "again.yaml: another file is of project plant"},
		{"a file twice", func(c *Config) { c.Projects = append(c.Projects, File{"plant.yaml", []byte(second)}) }, "plant.yaml stands twice"},
		{"an edge twice", func(c *Config) { c.Edges = append(c.Edges, Edge{"site-1", b.public()}) }, "site-1 stands twice"},
		{"an edge without a key", func(c *Config) { c.Edges = []Edge{{"site-1", nil}} }, "site-1"},
		{"a counter of two projects", func(c *Config) { c.Projects = append(c.Projects, File{"other.yaml", []byte(second)}) }, "site-1/m-1/energy is in project plant and in project other"},
	} {
		cfg := good
		cfg.Edges, cfg.Projects, cfg.Methodologies = slices.Clone(good.Edges), slices.Clone(good.Projects), slices.Clone(good.Methodologies)
		tt.change(&cfg)
		c, err := Open(t.Context(), cfg)
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Open = %v, want %q", tt.name, err, tt.want)
		}
	}
	r.open()
	if got := r.decisions(); len(got) != 4 {
		t.Errorf("decisions %q: a configuration that was refused left something", got)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	r.Close()
	if _, err := Open(cancelled, good); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a context that has ended: %v", err)
	}
	r.open() // nothing was left open
}

// countdown is a context that ends when it has been asked a number of times.
type countdown struct {
	context.Context
	left atomic.Int64 // the database asks from goroutines of its own
}

func (c *countdown) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// Wherever an opening is given up, nothing is shown that is not settled, and the
// next one finds everything in order.
func TestOpeningIsGivenUp(t *testing.T) {
	a, b := twoSites(30)
	r := newRig(t, a, b)
	want := ""
	for n, given := 0, 0; ; n++ {
		r.send(a.batch(t, uint64(n+1), uint64(n+3)))
		r.Close()
		ctx := &countdown{Context: t.Context()}
		ctx.left.Store(int64(n))
		c, err := Open(ctx, r.cfg)
		if err == nil {
			if !c.Settled() {
				t.Errorf("after %d questions Open returned what is not settled", n)
			}
			c.Close()
			r.open()
			if given < 3 {
				t.Errorf("given up %d times only", given)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		given++
		r.open()
		want = r.totals("plant", 2)
	}
	r.reopen()
	if want == "" || r.counts() == "" {
		t.Error("nothing was tried")
	}
	r.totals("plant", 2)
}

// A clock that is out of its mind costs the reading, not the collector.
func TestTimesThatCannotBe(t *testing.T) {
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	d := meter("m-1")
	a.declare(d)
	a.read(d, 60_000, 1000)
	for _, wall := range []int64{0, -1, math.MaxInt64, math.MinInt64, math.MaxInt64 - 20, 1 << 62} {
		a.read(d, wall-start, 99_999)
		a.recs[len(a.recs)-1].Wall = wall
		a.after[len(a.recs)] = wire.Chain(a.after[len(a.recs)-1], a.recs[len(a.recs)-1].Encode())
	}
	a.read(d, 120_000, 1100)
	r := newRig(t, a, b)
	r.send(a.all(t))
	for range 2 {
		if got := r.measured("one"); got != "1" {
			t.Errorf("measured %s kWh, want 1", got)
		}
		r.reopen()
	}
	// A project that comes later sees the same.
	r.cfg.Projects[0].Text = []byte(strings.Replace(projectYAML, "title: a plant", "title: the plant", 1))
	r.reopen()
	if got := r.measured("one"); got != "1" {
		t.Errorf("measured %s kWh, want 1", got)
	}
}

// The first reading a curve takes is settled in time and again alike.
func TestTheFirstReadingThatCounts(t *testing.T) {
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	d := meter("m-1")
	a.declare(d)
	a.read(d, day-1-start, 900)
	a.read(d, day-start, 1000) // 1970-01-02 in UTC, the day before in New York
	a.read(d, 60_000, 1100)
	r := newRig(t, a, b)
	r.cfg.Projects[0].Text = []byte(strings.Replace(strings.Replace(projectYAML, "Asia/Kolkata", "America/New_York", 1), "start: 2020-05-15", "start: 1970-01-01", 1))
	r.reopen()
	r.send(a.all(t))
	want := r.measured("one")
	r.cfg.Projects[0].Text = append(r.cfg.Projects[0].Text, '\n')
	r.reopen() // all is settled from the first sample
	if got := r.measured("one"); got != want || want != "1" {
		t.Errorf("measured %s kWh, before %s; want 1", got, want)
	}
}

// chaos makes a history with everything that happens to counters: falls, jumps,
// steps of the clock, failures, restarts of a device. With conflicts, some
// readings are of equal time and other value.
func chaos(id string, n byte, rnd *rand.Rand, conflicts bool) *site {
	s := newSite(id, n)
	d := meter("m-1")
	s.declare(d)
	at, value := int64(0), uint32(1_000_000)
	used := map[int64]bool{}
	for range 150 + rnd.IntN(150) {
		switch rnd.IntN(14) {
		case 6:
			value = uint32(rnd.IntN(500)) // begins anew
		case 7:
			s.read(d, at+50, value+5_000_000) // once

		case 0:
			at += rnd.Int64N(2 * day) // a gap
		case 1:
			at -= rnd.Int64N(day) // the clock steps back
		case 2:
			value -= uint32(rnd.IntN(500)) // a dip, or a restart
		case 3:
			value += uint32(rnd.IntN(100_000)) // a jump
		case 4:
			at = at / day * day // exactly midnight
		case 5:
			d = meter("m-1") // declared anew
			d.Firmware = fmt.Sprint(rnd.IntN(3))
			d.Serial = []string{"", "A", "A", "B"}[rnd.IntN(4)]
			s.declare(d)
		default:
			at += 900_000
			value += uint32(rnd.IntN(1000))
		}
		// Power is read 40 ms later: with times 100 ms apart no two rows meet unless they are meant to.
		for !conflicts && used[at] {
			at += 100
		}
		used[at] = true
		if rnd.IntN(10) == 0 {
			s.fail(d, at)
		} else {
			s.read(d, at, value)
		}
	}
	return s
}

// deliver sends a history in random batches that overlap, come again and come in
// any order, with starts in between, until all of it is there.
func deliver(t *testing.T, r *rig, rnd *rand.Rand, sites ...*site) {
	t.Helper()
	var all []Message
	for _, s := range sites {
		last := uint64(len(s.recs))
		for first := uint64(1); first <= last; {
			end := min(first+uint64(rnd.IntN(40)), last)
			all = append(all, s.batch(t, first-min(first-1, uint64(rnd.IntN(5))), end))
			if rnd.IntN(4) == 0 {
				all = append(all, s.batch(t, first, end))
			}
			first = end + 1
		}
	}
	rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for len(all) > 0 {
		n := min(1+rnd.IntN(6), len(all))
		r.send(all[:n]...)
		all = all[n:]
		switch rnd.IntN(6) {
		case 3:
			r.rule(fmt.Sprint("x", rnd.IntN(2)), []string{calc.CauseDip, calc.CauseRestart, ""}[rnd.IntN(3)], rnd.Int64N(6*day))
		case 0:
			r.reopen()
		case 1:
			r.totals("plant", 2)
		case 2:
			r.catchUp()
		}
	}
}

// TestTotalsEqualTheBook is the promise: whatever order things come in, the
// settled figures are those of the book to the last digit; and when no two
// readings contradict each other, they do not depend on the order at all.
func TestTotalsEqualTheBook(t *testing.T) {
	runs := uint64(12)
	if testing.Short() {
		runs = 3
	}
	for seed := range runs {
		for _, conflicts := range []bool{false, true} {
			rnd := rand.New(rand.NewPCG(seed, 7))
			a, b := chaos("site-1", 1, rnd, conflicts), chaos("site-2", 2, rnd, conflicts)
			r, plain := newRig(t, a, b), newRig(t, a, b)
			plain.send(a.all(t), b.all(t))
			deliver(t, r, rnd, a, b)
			ruled := rnd.Int64N(6 * day)
			for _, r := range []*rig{r, plain} {
				r.rule("x0", "", 0)
				r.rule("x1", "", 0)
				r.rule("x2", calc.CauseReplacement, ruled)
				r.importRows(100)
			}
			got := r.totals("plant", 2)
			if c := r.counts(); strings.Contains(c, "chain") || strings.Contains(c, "fork") || strings.Contains(c, "malformed") {
				t.Errorf("seed %d: %s", seed, c)
			}
			r.reopen()
			if again := r.totals("plant", 2); again != got {
				t.Errorf("seed %d: after a new start\n%s\nwas\n%s", seed, again, got)
			}
			if conflicts {
				continue
			}
			if want := plain.totals("plant", 2); got != want {
				t.Errorf("seed %d: in any order\n%s\nin order\n%s", seed, got, want)
			}
		}
	}
}

func TestDump(t *testing.T) {
	a, b := twoSites(2)
	r := newRig(t, a, b)
	r.send(a.all(t))
	var out bytes.Buffer
	if err := Dump(&out, r.Store()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 5 {
		t.Fatalf("%d lines, want one a record:\n%s", len(lines), out.String())
	}
	for i, l := range lines {
		var x struct {
			Index uint64
			Kind  string
			Leaf  string
			Body  struct{ Edge, Name string }
		}
		if err := json.Unmarshal([]byte(l), &x); err != nil {
			t.Fatal(err)
		}
		leaf, err := r.store.LeafHash(uint64(i))
		if err != nil || x.Index != uint64(i) || x.Leaf != leaf.String() || (x.Kind == "batch") != (i == 4) || x.Body.Edge+x.Body.Name == "" {
			t.Errorf("line %d: %s", i, l)
		}
	}
}

func TestInclude(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var ranges []wire.Range
		have := make(map[uint64]bool)
		for range 60 {
			seq := 1 + rnd.Uint64N(30)
			out, isNew := include(ranges, seq)
			if isNew == have[seq] {
				t.Fatalf("%d in %v: new %v", seq, ranges, isNew)
			}
			ranges, have[seq] = out, true
		}
		var want []wire.Range
		for seq := range uint64(32) {
			switch {
			case !have[seq]:
			case len(want) > 0 && want[len(want)-1].To+1 == seq:
				want[len(want)-1].To = seq
			default:
				want = append(want, wire.Range{From: seq, To: seq})
			}
		}
		if !slices.Equal(ranges, want) {
			t.Fatalf("%v, want %v", ranges, want)
		}
	}
}

// BenchmarkSettle is the way from the book to figures: batches of 60 readings
// of a counter with its power.
func BenchmarkSettle(b *testing.B) {
	const readings = 6000
	x, y := newSite("site-1", 1), newSite("site-2", 2)
	d := meter("m-1")
	x.declare(d)
	for i := range int64(readings) {
		x.read(d, i*900_000, uint32(1000+5*i))
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		r := newRig(b, x, y)
		for first := uint64(1); first <= readings; first += 60 {
			r.send(x.batch(b, first, first+59))
		}
		b.StartTimer()
		r.catchUp()
		b.StopTimer()
		r.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N*readings)/b.Elapsed().Seconds(), "readings/s")
}

// BenchmarkIngest is the way from a message to its ack, fsync included: groups
// of 100 batches of 60 readings.
func BenchmarkIngest(b *testing.B) {
	const groups, size, batches = 10, 60, 100
	x, y := newSite("site-1", 1), newSite("site-2", 2)
	d := meter("m-1")
	x.declare(d)
	for i := range int64(groups * size * batches) {
		x.read(d, i*900_000, uint32(1000+5*i))
	}
	var msgs []Message
	for first := uint64(1); first <= groups*size*batches; first += size {
		msgs = append(msgs, x.batch(b, first, first+size-1))
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		r := newRig(b, x, y)
		b.StartTimer()
		for g := range groups {
			r.send(msgs[g*batches : (g+1)*batches]...)
		}
		b.StopTimer()
		r.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N*groups*batches)/b.Elapsed().Seconds(), "batches/s")
}
