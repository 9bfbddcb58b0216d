package series

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"kenshin/edge/wire"
)

// Whatever comes, in whatever order, in parts, twice, days late, and merged in
// between or not: what is there afterwards is what came first of each.
func TestAnyOrderWithMerges(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 9))
		path := temp(t)
		db := open(t, path)
		want := make(map[string]map[int64]wire.Sample)
		conflicts := 0
		for n := range 60 {
			var in []wire.Sample
			for range r.IntN(120) {
				s := sample(fmt.Sprint("p", r.IntN(3)), 1_588_200_000_000+r.Int64N(4)*86_400_000+r.Int64N(200)*1000, uint64(n), fmt.Sprint(r.IntN(3)))
				s.Device = fmt.Sprint("d", r.IntN(3))
				in = append(in, s)
			}
			found := 0
			lost := make(map[string]bool)
			for _, s := range in {
				if want[s.Key()] == nil {
					want[s.Key()] = make(map[int64]wire.Sample)
				}
				old, ok := want[s.Key()][s.At]
				switch {
				case !ok:
					want[s.Key()][s.At] = s
				case !same(&old, &s) && !lost[s.Key()+fmt.Sprint(s.At)]:
					lost[s.Key()+fmt.Sprint(s.At)] = true
					found++
				}
			}
			if res := apply(t, db, uint64(n), in...); res.Conflicts != found {
				t.Fatalf("seed %d, update %d: %d conflicts, want %d", seed, n, res.Conflicts, found)
			}
			conflicts += found
			switch r.IntN(6) {
			case 0:
				if err := db.Merge(t.Context()); err != nil {
					t.Fatal(err)
				}
			case 1:
				db.Close()
				db = open(t, path)
			}
		}
		db.Merge(t.Context())
		if _, err := db.Check(t.Context(), func(text string) { t.Error(text) }); err != nil {
			t.Fatal(err)
		}
		for key, times := range want {
			got := scan(t, db, key, math.MinInt64, math.MaxInt64)
			if len(got) != len(times) {
				t.Errorf("seed %d: %s: %d samples, want %d", seed, key, len(got), len(times))
			}
			for _, s := range got {
				if text(s) != text(times[s.At]) {
					t.Fatalf("seed %d: %s, want %s", seed, text(s), text(times[s.At]))
				}
			}
		}
		if conflicts == 0 {
			t.Error("no conflicts were made")
		}
	}
}

// A day has a few chunks while it runs and one when it is over.
func TestChunksOfADay(t *testing.T) {
	path := temp(t)
	db := open(t, path)
	count := func() (chunks int) {
		files, err := db.Size(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			chunks += f.Chunks
		}
		return chunks
	}
	const day = 1_589_500_800_000
	most := 0
	for i := range int64(60) {
		apply(t, db, uint64(i), sample("e", day+60_000*i, uint64(i), fmt.Sprint(i)))
		db.Merge(t.Context())
		most = max(most, count())
	}
	if most < 5 || most > mostParts {
		t.Errorf("up to %d chunks, want at most %d", most, mostParts)
	}
	apply(t, db, 99, sample("e", day+86_400_000, 99, "99"))
	db.Merge(t.Context())
	if n := count(); n != 2 {
		t.Errorf("%d chunks of two days, want one each", n)
	}
	apply(t, db, 100, sample("e", day+30_000, 100, "100")) // late
	db.Merge(t.Context())
	if n, got := count(), scan(t, db, "site-1/inv-1/e", 0, math.MaxInt64); n != 2 || len(got) != 62 {
		t.Errorf("%d chunks and %d samples after a late one, want 2 and 62", n, len(got))
	}
}

// A merge that cannot write its month loses nothing, stops no update, and the next
// one goes on.
func TestMergeThatFails(t *testing.T) {
	path := temp(t)
	db := open(t, path)
	apply(t, db, 1, sample("e", 1_589_500_800_000, 1, "1"))
	blocker := monthFile(path, "2020-05")
	if err := os.Mkdir(blocker, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := db.Merge(t.Context()); err == nil {
		t.Error("a month was written into a folder")
	}
	apply(t, db, 2, sample("e", 1_589_500_801_000, 2, "2"), sample("e", 1_589_500_800_000, 2, "1"))
	if got := scan(t, db, "site-1/inv-1/e", 0, math.MaxInt64); len(got) != 2 {
		t.Errorf("%d samples, want 2", len(got))
	}
	os.Remove(blocker)
	if err := db.Merge(t.Context()); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if got := scan(t, open(t, path), "site-1/inv-1/e", 0, math.MaxInt64); len(got) != 2 {
		t.Errorf("%d samples after the merge, want 2", len(got))
	}
}

// A month whose file a crash left before it was laid out is one without chunks.
func TestMonthThatIsEmpty(t *testing.T) {
	path := temp(t)
	open(t, path).Close()
	if err := os.WriteFile(monthFile(path, "2020-05"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	db := open(t, path)
	for i := range int64(2) {
		apply(t, db, 1, sample("e", 1_589_500_800_000-i, 1, "1")) // the second one is late
		if got := scan(t, db, "site-1/inv-1/e", 0, math.MaxInt64); len(got) != int(i)+1 {
			t.Errorf("%d samples, want %d", len(got), i+1)
		}
		db.Retain(t.Context(), 0)
		if _, err := db.Check(t.Context(), func(text string) { t.Error(text) }); err != nil {
			t.Error(err)
		}
	}
	if err := db.Merge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := scan(t, db, "site-1/inv-1/e", 0, math.MaxInt64); len(got) != 2 {
		t.Errorf("%d samples after a merge, want 2", len(got))
	}
}

// Damage in a month's file is an error that names it, from reading and from Check.
func TestDamagedChunk(t *testing.T) {
	path := temp(t)
	db := open(t, path)
	apply(t, db, 1, sample("e", 1_589_500_800_000, 1, "1"), sample("f", 1_589_500_800_000, 1, "1"))
	db.Merge(t.Context())
	edit(t, monthFile(path, "2020-05"), `UPDATE chunks SET day = day + 1`)
	err := db.Scan(t.Context(), "site-1/inv-1/e", 0, math.MaxInt64, func(s wire.Sample) error { t.Error(text(s)); return nil })
	var problems []string
	if _, err := db.Check(t.Context(), func(text string) { problems = append(problems, text) }); err != nil {
		t.Fatal(err)
	}
	for _, got := range append(problems, fmt.Sprint(err)) {
		if !strings.Contains(got, "series-2020-05.db") || !strings.Contains(got, "site-1/inv-1") {
			t.Errorf("%s", got)
		}
	}
	if !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), "rebuild") || len(problems) != 1 {
		t.Errorf("%v, %q", err, problems)
	}
	edit(t, monthFile(path, "2020-05"), `PRAGMA user_version = 9`)
	db.Close()
	db = open(t, path)
	if err := db.Scan(t.Context(), "site-1/inv-1/e", 0, math.MaxInt64, func(wire.Sample) error { return nil }); !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("a newer month: %v", err)
	}
}

// Retention drops what is no counter and old, from the file too; what is late
// and old goes with the next one.
func TestRetain(t *testing.T) {
	path := temp(t)
	db := open(t, path)
	const day = 1_588_204_800_000 // 2020-04-30
	gauge := func(point string, at int64) wire.Sample {
		s := sample(point, at, 1, fmt.Sprint(at))
		s.Kind = wire.Gauge
		return s
	}
	for i := range int64(4) {
		at := day + 86_400_000*i
		other := gauge("only", at+1)
		other.Device = "thermometer"
		apply(t, db, 1, sample("e", at, 1, fmt.Sprint(i)), gauge("w", at), other)
	}
	db.Merge(t.Context())
	keys := func() (out []string) {
		for _, key := range []string{"site-1/inv-1/e", "site-1/inv-1/w", "site-1/thermometer/only"} {
			out = append(out, fmt.Sprint(len(scan(t, db, key, 0, math.MaxInt64))))
		}
		return out
	}
	for _, want := range []int{6, 0} {
		if n, err := db.Retain(t.Context(), day+3*86_400_000+5); n != want || err != nil {
			t.Errorf("Retain = %d, %v; want %d", n, err, want)
		}
		if got := keys(); !slices.Equal(got, []string{"4", "1", "1"}) {
			t.Errorf("samples left %q, want all of the counter and one of the others", got)
		}
	}
	if res := apply(t, db, 2, gauge("w", day+7), sample("e", day, 9, "0"), sample("e", day+86_400_000, 9, "7")); res.Stored != 1 || res.Conflicts != 1 {
		t.Errorf("late samples of a trimmed day: %+v, want 1 stored and 1 conflict", res)
	}
	db.Merge(t.Context())
	if n, err := db.Retain(t.Context(), day+3*86_400_000); n != 1 || err != nil {
		t.Errorf("Retain of the late one = %d, %v", n, err)
	}
	if _, err := db.Check(t.Context(), func(text string) { t.Error(text) }); err != nil {
		t.Error(err)
	}
	if got := keys(); got[0] != "4" {
		t.Errorf("counter samples left %q, want 4", got)
	}
}

// Readings are what their values are as samples, whatever blocks they come in.
func TestReadingsAreSamples(t *testing.T) {
	d := &wire.Declaration{Device: "m", Blocks: []wire.Block{{Function: 3, Count: 8}, {Function: 4, Address: 10, Count: 2}}, Points: []wire.Point{
		{Name: "e", Function: 3, Type: wire.Uint64, Words: 4, Scale: -2, ScaleAt: wire.NoScale, Unit: "kWh", Kind: wire.Counter},
		{Name: "w", Function: 4, Address: 10, Type: wire.Int16, Words: 1, ScaleAt: 11, Unit: "W"},
		{Name: "f", Function: 3, Address: 4, Type: wire.Float32, Words: 2, ScaleAt: wire.NoScale},
		{Name: "l", Function: 3, Address: 6, Type: wire.String, Words: 2, ScaleAt: wire.NoScale, Kind: wire.Label}}}
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 3))
	fast, slow := open(t, temp(t)), open(t, temp(t))
	at := int64(1_589_500_800_000)
	for n := range uint64(30) {
		var u, v Update
		u.Cursor, v.Cursor = n, n
		for range 20 {
			at += r.Int64N(90_000) - 10_000 // some are late, some of equal time
			x := Reading{Edge: "site-9", Epoch: wire.Epoch{9}, Seq: r.Uint64(), Wall: at, Declaration: d, Reading: &wire.Reading{Blocks: make([]wire.BlockResult, r.IntN(3))}}
			for k := range x.Blocks {
				b := &x.Blocks[k]
				b.Delta = int32(r.IntN(2) * 1000 * (2*k - 1))
				if b.Status = wire.Status(max(0, r.IntN(9)-5)); b.Status == wire.OK {
					for range d.Blocks[k].Count {
						b.Words = append(b.Words, []uint16{0, 1, uint16(r.Uint32()), 0x7FC0, 0x8000, 3}[r.IntN(6)])
					}
				}
			}
			blocks := make([]int, len(d.Points))
			for i := range blocks {
				blocks[i] = d.BlockOf(&d.Points[i])
			}
			u.Readings, v.Samples = append(u.Readings, x), append(v.Samples, x.samples(blocks)...)
		}
		got, err := fast.Apply(t.Context(), u)
		want, err2 := slow.Apply(t.Context(), v)
		if got != want || err != nil || err2 != nil {
			t.Fatalf("update %d: %+v, %v; as samples %+v, %v", n, got, err, want, err2)
		}
		if n%7 == 6 {
			fast.Merge(t.Context())
		}
	}
	for _, p := range d.Points {
		a, b := scan(t, fast, "site-9/m/"+p.Name, 0, math.MaxInt64), scan(t, slow, "site-9/m/"+p.Name, 0, math.MaxInt64)
		equal(t, p.Name, a, b)
		if len(a) < 100 {
			t.Errorf("%s: only %d samples", p.Name, len(a))
		}
	}
	a, err := fast.Latest(t.Context())
	b, err2 := slow.Latest(t.Context())
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	equal(t, "latest", a, b)
}

// Months of a main file that was removed are of another history.
func TestMonthsWithoutTheirMainFile(t *testing.T) {
	path := temp(t)
	db := open(t, path)
	apply(t, db, 1, sample("e", 1_589_500_800_000, 1, "1"))
	db.Merge(t.Context())
	db.Close()
	for _, f := range Files(path)[:3] {
		os.Remove(f)
	}
	db = open(t, path)
	apply(t, db, 1, sample("e", 1_589_500_800_000, 1, "2"))
	equal(t, "scan", scan(t, db, "site-1/inv-1/e", 0, math.MaxInt64), []wire.Sample{sample("e", 1_589_500_800_000, 1, "2")})
}

// A file of a former version says so, so that its owner can make it anew.
func TestFormerVersion(t *testing.T) {
	path := temp(t)
	open(t, path).Close()
	edit(t, path, "PRAGMA user_version = 2")
	if _, err := Open(path); !errors.Is(err, ErrOlder) || !errors.Is(err, ErrFile) {
		t.Errorf("Open = %v, want ErrOlder", err)
	}
}
