package series

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"

	"kenshin/calc"
	"kenshin/edge/wire"
)

func open(t testing.TB, path string) *DB {
	t.Helper()
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func temp(t testing.TB) string { return filepath.Join(t.TempDir(), "series.db") }

func number(text string) decimal.Decimal { return decimal.RequireFromString(text) }

// sample is a counter value of edge site-1, device inv-1.
func sample(point string, at int64, seq uint64, value string) wire.Sample {
	return wire.Sample{Edge: "site-1", Device: "inv-1", Point: point, Unit: "Wh", Kind: wire.Counter, At: at, Number: number(value), Epoch: wire.Epoch{1}, Seq: seq}
}

func bad(point string, at int64, seq uint64, q wire.Quality, reason string) wire.Sample {
	s := sample(point, at, seq, "0")
	s.Number, s.Quality, s.Reason = decimal.Decimal{}, q, reason
	return s
}

func apply(t testing.TB, db *DB, cursor uint64, samples ...wire.Sample) Result {
	t.Helper()
	res, err := db.Apply(t.Context(), Update{Cursor: cursor, Samples: samples})
	if err == nil && mergeAlways {
		err = db.Merge(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// mergeAlways has apply move everything into chunks at once.
var mergeAlways bool

// What holds of the tail holds of chunks.
func TestMerged(t *testing.T) {
	if testing.Short() {
		t.Skip("the tests themselves run")
	}
	mergeAlways = true
	defer func() { mergeAlways = false }()
	for name, fn := range map[string]func(*testing.T){
		"values": TestValuesComeBackExactly, "times": TestTimesAndSequenceNumbersAtTheEdges, "order": TestScanIsHalfOpenAndInOrderOfTime,
		"stop": TestScanStopsAtTheCallersError, "one record": TestOneRecordManyTimes, "conflicts": TestRepeatsAndConflicts,
		"units": TestUnitAndKindStayWithTheSample, "row": TestMergeIntoARow, "latest": TestLatest, "whole or nothing": TestAnUpdateIsWholeOrNothing,
	} {
		t.Run(name, fn)
	}
}

// text is a sample in one line: what has to come back.
func text(s wire.Sample) string {
	return fmt.Sprintf("%s %d %v %d %s %q %q %v/%d", s.Key(), s.At, s.Kind, s.Quality, s.Number.String()+"e"+fmt.Sprint(s.Number.Exponent())+s.Unit, s.Text, s.Reason, s.Epoch, s.Seq)
}

func texts(samples []wire.Sample) []string {
	var out []string
	for _, s := range samples {
		out = append(out, text(s))
	}
	return out
}

func scan(t testing.TB, db *DB, key string, from, to int64) []wire.Sample {
	t.Helper()
	var out []wire.Sample
	if err := db.Scan(t.Context(), key, from, to, func(s wire.Sample) error { out = append(out, s); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func equal(t *testing.T, what string, got, want []wire.Sample) {
	t.Helper()
	if !slices.Equal(texts(got), texts(want)) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(texts(got), "\n"), strings.Join(texts(want), "\n"))
	}
}

func TestValuesComeBackExactly(t *testing.T) {
	numbers := []string{
		"0", "-0.0", "1", "-1", "9223372036854775807", "-9223372036854775808", "18446744073709551615",
		"999999999999999999", "1000000000000000000", "-999999999999999999",
		"1.10000002384185791015625", // float32 1.1, all of it
		"0.000000000000000001", "1e-18", "1e18", "123e15", "123e16", "1e-15", "1e-16", "1.50",
		"4.9406564584124654e-324", "1.7976931348623157e308",
	}
	denormal := decimal.NewFromBigInt(number("5").Pow(decimal.NewFromInt(1074)).BigInt(), -1074) // the smallest float64, exactly
	var in []wire.Sample
	for i, n := range numbers {
		in = append(in, sample(fmt.Sprintf("n%02d", i), 1000, 7, n))
	}
	in = append(in, sample("denormal", 1000, 7, "0"))
	in[len(in)-1].Number = denormal
	in = append(in, wire.Sample{Edge: "site-1", Device: "inv-1", Point: "zero", At: 1000, Epoch: wire.Epoch{1}, Seq: 7}) // a decimal nobody has set
	for i, text := range []string{"", "SN-0815", "検針 \u0000\n", strings.Repeat("x", 256)} {
		in = append(in, wire.Sample{Edge: "site-1", Device: "inv-1", Point: fmt.Sprintf("label%d", i), Kind: wire.Label, Text: text, At: 1000, Epoch: wire.Epoch{1}, Seq: 7})
	}
	for q := wire.NotAvailable; q <= wire.Untimed; q++ {
		in = append(in, bad("q"+q.String(), 1000, 7, q, "0xFFFFFFFF"))
	}
	in = append(in, bad("other", 1000, 7, wire.NoAnswer, "no answer in time"), bad("none", 1000, 7, wire.NoAnswer, ""),
		wire.Sample{Edge: "site-1", Device: "inv-1", Point: "serial", Kind: wire.Label, Quality: wire.Refused, Reason: "exception 2", At: 1000, Epoch: wire.Epoch{1}, Seq: 7})
	path := temp(t)
	db := open(t, path)
	if res := apply(t, db, 1, in...); res != (Result{Stored: len(in)}) {
		t.Fatalf("Apply = %+v, want %d stored", res, len(in))
	}
	check := func(db *DB) {
		t.Helper()
		for _, want := range in {
			equal(t, want.Point, scan(t, db, want.Key(), 1000, 1001), []wire.Sample{want})
		}
	}
	check(db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, path))
}

func TestTimesAndSequenceNumbersAtTheEdges(t *testing.T) {
	db := open(t, temp(t))
	var in []wire.Sample
	for i, at := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt64 - 1} {
		in = append(in, sample("e", at, math.MaxUint64-uint64(i), "5"))
	}
	apply(t, db, math.MaxInt64, in...)
	equal(t, "scan", scan(t, db, "site-1/inv-1/e", math.MinInt64, math.MaxInt64), in)
	if c, _, err := db.Cursor(t.Context()); c != math.MaxInt64 || err != nil {
		t.Errorf("cursor %d, %v", c, err)
	}
}

func TestScanIsHalfOpenAndInOrderOfTime(t *testing.T) {
	db := open(t, temp(t))
	apply(t, db, 1, sample("e", 300, 3, "3"), sample("e", 100, 1, "1"))
	apply(t, db, 2, sample("e", 200, 2, "2"), sample("p", 150, 9, "9")) // late, whatever its age
	apply(t, db, 3, sample("e", 50, 4, "0"))
	one, two, three, zero := sample("e", 100, 1, "1"), sample("e", 200, 2, "2"), sample("e", 300, 3, "3"), sample("e", 50, 4, "0")
	for _, tt := range []struct {
		name     string
		key      string
		from, to int64
		want     []wire.Sample
	}{
		{"all", "site-1/inv-1/e", math.MinInt64, math.MaxInt64, []wire.Sample{zero, one, two, three}},
		{"from is in it, to is not", "site-1/inv-1/e", 100, 300, []wire.Sample{one, two}},
		{"empty span", "site-1/inv-1/e", 100, 100, nil},
		{"another point", "site-1/inv-1/p", 0, 1000, []wire.Sample{sample("p", 150, 9, "9")}},
		{"unknown point", "site-1/inv-1/x", 0, 1000, nil},
		{"unknown device", "site-1/inv-2/e", 0, 1000, nil},
		{"not a key", "e", 0, 1000, nil},
	} {
		equal(t, tt.name, scan(t, db, tt.key, tt.from, tt.to), tt.want)
	}
}

func TestScanStopsAtTheCallersError(t *testing.T) {
	db := open(t, temp(t))
	apply(t, db, 1, sample("e", 1, 1, "1"), sample("e", 2, 2, "2"))
	stop, n := errors.New("enough"), 0
	err := db.Scan(t.Context(), "site-1/inv-1/e", 0, 9, func(wire.Sample) error { n++; return stop })
	if err != stop || n != 1 {
		t.Errorf("Scan = %v after %d calls; want the caller's error after 1", err, n)
	}
}

// A reading whose blocks were read at different times shares rows by time.
func TestOneRecordManyTimes(t *testing.T) {
	db := open(t, temp(t))
	in := []wire.Sample{sample("a", 1000, 5, "1"), sample("b", 1010, 5, "2"), sample("c", 1000, 5, "3"), sample("d", 1020, 5, "4")}
	next := []wire.Sample{sample("a", 1010, 6, "11"), sample("b", 1020, 6, "12"), sample("c", 1010, 6, "13"), sample("d", 1030, 6, "14")}
	if res := apply(t, db, 1, append(slices.Clone(in), next...)...); res != (Result{Stored: 8}) {
		t.Errorf("Apply = %+v, want 8 stored: points of two records may meet at one time", res)
	}
	for i, p := range []string{"a", "b", "c", "d"} {
		equal(t, p, scan(t, db, "site-1/inv-1/"+p, 0, 2000), []wire.Sample{in[i], next[i]})
	}
	latest, err := db.Latest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "latest", latest, next)
}

func TestRepeatsAndConflicts(t *testing.T) {
	label := func(text string, seq uint64) wire.Sample {
		return wire.Sample{Edge: "site-1", Device: "inv-1", Point: "l", Kind: wire.Label, Text: text, At: 100, Epoch: wire.Epoch{1}, Seq: seq}
	}
	unit := sample("e", 100, 2, "5")
	unit.Unit = "kWh"
	elsewhere := sample("e", 100, 2, "6")
	elsewhere.Device = "inv-2"
	for _, tt := range []struct {
		name  string
		first wire.Sample
		then  wire.Sample
		want  Result
	}{
		{"the same record again", sample("e", 100, 1, "5"), sample("e", 100, 1, "5"), Result{}},
		{"equal value in another record", sample("e", 100, 1, "5"), sample("e", 100, 2, "5.00"), Result{}},
		{"other value", sample("e", 100, 1, "5"), sample("e", 100, 2, "6"), Result{Conflicts: 1}},
		{"other unit", sample("e", 100, 1, "5"), unit, Result{Conflicts: 1}},
		{"good, then not", sample("e", 100, 1, "5"), bad("e", 100, 2, wire.NoAnswer, "no answer in time"), Result{Conflicts: 1}},
		{"not good, then good", bad("e", 100, 1, wire.NoAnswer, ""), sample("e", 100, 2, "0"), Result{Conflicts: 1}},
		{"other quality", bad("e", 100, 1, wire.NoAnswer, ""), bad("e", 100, 2, wire.Refused, ""), Result{Conflicts: 1}},
		{"same quality, other words", bad("e", 100, 1, wire.NoAnswer, "a"), bad("e", 100, 2, wire.NoAnswer, "b"), Result{}},
		{"same label", label("x", 1), label("x", 2), Result{}},
		{"other label", label("x", 1), label("y", 2), Result{Conflicts: 1}},
		{"another device", sample("e", 100, 1, "5"), elsewhere, Result{Stored: 1}},
		{"another time", sample("e", 100, 1, "5"), sample("e", 101, 2, "6"), Result{Stored: 1}},
		{"another point of the row", sample("e", 100, 1, "5"), sample("f", 100, 2, "6"), Result{Stored: 1}},
	} {
		db := open(t, temp(t))
		apply(t, db, 1, tt.first)
		if got := apply(t, db, 2, tt.then); got != tt.want {
			t.Errorf("%s: Apply = %+v, want %+v", tt.name, got, tt.want)
		}
		equal(t, tt.name, scan(t, db, tt.first.Key(), 100, 101), []wire.Sample{tt.first}) // the first one stays
		if got := apply(t, db, 3, tt.then, tt.then); got != (Result{}) {
			t.Errorf("%s: Apply again = %+v, want nothing new", tt.name, got)
		}
		both := open(t, temp(t))
		if got := apply(t, both, 1, tt.first, tt.then); got != (Result{Stored: 1 + tt.want.Stored, Conflicts: tt.want.Conflicts}) {
			t.Errorf("%s: Apply of both in one = %+v", tt.name, got)
		}
		equal(t, tt.name+", in one", scan(t, both, tt.first.Key(), 100, 101), []wire.Sample{tt.first})
	}
}

// A device that declares its points anew does not change what was read before.
func TestUnitAndKindStayWithTheSample(t *testing.T) {
	db := open(t, temp(t))
	in := []wire.Sample{sample("e", 100, 1, "5"), sample("e", 200, 2, "5"), sample("e", 300, 3, "5")}
	in[1].Unit, in[2].Kind = "kWh", wire.Gauge
	apply(t, db, 1, in...)
	equal(t, "scan", scan(t, db, "site-1/inv-1/e", 0, 999), in)
}

// A row that has some of the points gets the others and keeps what it had.
func TestMergeIntoARow(t *testing.T) {
	db := open(t, temp(t))
	apply(t, db, 1, sample("a", 100, 1, "1"), sample("b", 100, 1, "2"))
	if res := apply(t, db, 2, sample("b", 100, 2, "7"), sample("c", 100, 2, "3"), sample("a", 100, 2, "1")); res != (Result{Stored: 1, Conflicts: 1}) {
		t.Errorf("Apply = %+v, want 1 stored and 1 conflict", res)
	}
	equal(t, "a", scan(t, db, "site-1/inv-1/a", 0, 200), []wire.Sample{sample("a", 100, 1, "1")})
	equal(t, "b", scan(t, db, "site-1/inv-1/b", 0, 200), []wire.Sample{sample("b", 100, 1, "2")})
	equal(t, "c", scan(t, db, "site-1/inv-1/c", 0, 200), []wire.Sample{sample("c", 100, 2, "3")})
	var out bytes.Buffer
	if err := db.Dump(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	want := `{"key":"site-1/inv-1/a","at":100,"quality":"good","value":"1","unit":"Wh","epoch":"01000000000000000000000000000000","seq":1}
{"key":"site-1/inv-1/b","at":100,"quality":"good","value":"2","unit":"Wh","epoch":"01000000000000000000000000000000","seq":1}
{"key":"site-1/inv-1/c","at":100,"quality":"good","value":"3","unit":"Wh","epoch":"01000000000000000000000000000000","seq":2}
{"key":"site-1/inv-1/b","at":100,"quality":"good","value":"7","unit":"Wh","epoch":"01000000000000000000000000000000","seq":2,"conflict":true}
`
	if out.String() != want {
		t.Errorf("Dump:\n%swant\n%s", out.String(), want)
	}
}

func TestLatest(t *testing.T) {
	db := open(t, temp(t))
	other := sample("e", 50, 1, "9")
	other.Edge = "site-0"
	apply(t, db, 1, sample("e", 200, 2, "2"), sample("gone", 200, 2, "8"), other)
	apply(t, db, 2, sample("e", 100, 1, "1"))                    // late: does not replace
	apply(t, db, 3, bad("e", 300, 3, wire.NoAnswer, "no reply")) // not good, but newer
	apply(t, db, 4, sample("e", 250, 4, "3"), sample("gone", 150, 4, "7"))
	apply(t, db, 5, sample("x", 300, 7, "4"))
	apply(t, db, 6, sample("x", 500, 6, "6"), sample("x", 400, 5, "5")) // out of order in one update
	got, err := db.Latest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "latest", got, []wire.Sample{other, bad("e", 300, 3, wire.NoAnswer, "no reply"), sample("gone", 200, 2, "8"), sample("x", 500, 6, "6")})
	if got, err := open(t, temp(t)).Latest(t.Context()); len(got) != 0 || err != nil {
		t.Errorf("latest of an empty store: %v, %v", got, err)
	}
}

func TestCursorStateAndDeclarations(t *testing.T) {
	path := temp(t)
	db := open(t, path)
	if c, s, err := db.Cursor(t.Context()); c != 0 || s != nil || err != nil {
		t.Errorf("new file: cursor %d, state %q, %v; want 0 and none", c, s, err)
	}
	d := func(device string) *wire.Declaration {
		return &wire.Declaration{Device: device, Serial: "1", Blocks: []wire.Block{{Function: 3, Address: 40000, Count: 4}},
			Points: []wire.Point{{Name: "e", Function: 3, Address: 40000, Type: wire.Uint32, Words: 2, ScaleAt: wire.NoScale, Unit: "Wh", Kind: wire.Counter, Absent: [][]uint16{{1, 2}}}}}
	}
	for i, u := range []Update{
		{Cursor: 5, State: []byte("{}"), Declarations: []*wire.Declaration{d("z"), d("a")}},
		{Cursor: 9, State: []byte("{1}"), Declarations: []*wire.Declaration{d("a"), d("m")}},
	} {
		if _, err := db.Apply(t.Context(), u); err != nil {
			t.Fatalf("update %d: %v", i, err)
		}
	}
	db.Close()
	db = open(t, path)
	if c, s, err := db.Cursor(t.Context()); c != 9 || string(s) != "{1}" || err != nil {
		t.Errorf("cursor %d, state %q, %v; want 9 and {1}", c, s, err)
	}
	got, err := db.Declarations(t.Context())
	if want := []*wire.Declaration{d("z"), d("a"), d("m")}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("declarations %+v, %v; want each once, in the order they came", got, err)
	}
}

func date(text string) calc.Date {
	d, err := calc.ParseDate(text)
	if err != nil {
		panic(err)
	}
	return d
}

func TestClosings(t *testing.T) {
	closing := func(day string, kwh string) calc.Closing {
		return calc.Closing{Rules: calc.RulesVersion, Day: date(day), State: calc.State{InForce: calc.Reading{At: 1, KWh: number(kwh)}}}
	}
	db := open(t, temp(t))
	days := func(register string) (out []string) {
		list, err := db.Closings(t.Context(), register)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			out = append(out, c.Day.String()+" "+c.InForce.KWh.String())
		}
		return out
	}
	for i, tt := range []struct {
		name string
		from string
		list []calc.Closing
		want []string
	}{
		{"first", "0001-01-01", []calc.Closing{closing("2020-05-15", "1.5"), closing("2020-05-16", "2"), closing("2020-12-31", "3")}, []string{"2020-05-15 1.5", "2020-05-16 2", "2020-12-31 3"}},
		{"the running day again", "2020-12-31", []calc.Closing{closing("2020-12-31", "4")}, []string{"2020-05-15 1.5", "2020-05-16 2", "2020-12-31 4"}},
		{"a day goes away", "2020-05-16", []calc.Closing{closing("2021-01-01", "5")}, []string{"2020-05-15 1.5", "2021-01-01 5"}},
		{"nothing is left from a day on", "2020-06-01", nil, []string{"2020-05-15 1.5"}},
		{"earlier than everything", "0001-01-01", []calc.Closing{closing("2020-05-14", "1"), closing("2020-05-15", "2")}, []string{"2020-05-14 1", "2020-05-15 2"}},
		{"all go away", "0001-01-01", []calc.Closing{}, nil},
	} {
		_, err := db.Apply(t.Context(), Update{Cursor: uint64(i), Closings: map[string]Closings{"a": {From: date(tt.from), List: tt.list}, "b": {From: date("2020-01-01"), List: []calc.Closing{closing("2020-01-01", "7")}}}})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := days("a"); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if got := days("b"); !slices.Equal(got, []string{"2020-01-01 7"}) {
			t.Errorf("%s: the other register has %q", tt.name, got)
		}
	}
	for name, list := range map[string][]calc.Closing{
		"before its first day": {closing("2019-12-31", "1")},
		"out of order":         {closing("2020-01-02", "1"), closing("2020-01-01", "1")},
		"a day twice":          {closing("2020-01-02", "1"), closing("2020-01-02", "1")},
	} {
		if _, err := db.Apply(t.Context(), Update{Closings: map[string]Closings{"b": {From: date("2020-01-01"), List: list}}}); err == nil {
			t.Errorf("%s: closings were taken", name)
		}
	}
	if got := days("b"); !slices.Equal(got, []string{"2020-01-01 7"}) {
		t.Errorf("a refused update left %q", got)
	}
}

// After an update that was given up, nothing of it is there, and the ids it
// used may stand for something else.
func TestAnUpdateIsWholeOrNothing(t *testing.T) {
	path := temp(t)
	db := open(t, path)
	apply(t, db, 1, sample("a", 100, 1, "1"))
	refused := Update{Cursor: 2, State: []byte("x"), Samples: []wire.Sample{sample("b", 100, 2, "2"), sample("c", 200, 2, "2")},
		Closings: map[string]Closings{"k": {From: date("2020-01-02"), List: []calc.Closing{{Day: date("2020-01-01")}}}}}
	refused.Samples[1].Device, refused.Samples[1].Epoch = "inv-9", wire.Epoch{9}
	if _, err := db.Apply(t.Context(), refused); err == nil {
		t.Fatal("closings before their first day were taken")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.Apply(cancelled, Update{Cursor: 3}); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply with a cancelled context: %v", err)
	}
	dump := func(db *DB) string {
		var out bytes.Buffer
		if err := db.Dump(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		c, s, err := db.Cursor(t.Context())
		return fmt.Sprintf("%s%d %q %v", out.String(), c, s, err)
	}
	if got := dump(db); strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, `1 "" <nil>`) {
		t.Errorf("a refused update left\n%s", got)
	}
	apply(t, db, 4, sample("z", 200, 4, "4"), sample("a", 200, 4, "5")) // takes the ids that were rolled back
	apply(t, db, 5, sample("b", 300, 5, "5"))                           // as if it were new
	got := dump(db)
	db.Close()
	if again := dump(open(t, path)); again != got {
		t.Errorf("before reopening\n%s\nafter\n%s", got, again)
	}
	if strings.Contains(got, "inv-9") || !strings.Contains(got, `"key":"site-1/inv-1/z"`) {
		t.Errorf("store holds\n%s", got)
	}
}

// A context that ends in the middle of a large update leaves nothing of it.
func TestApplyIsGivenUpInTheMiddle(t *testing.T) {
	db := open(t, temp(t))
	apply(t, db, 1, sample("a", 1, 1, "1"))
	var large []wire.Sample
	for i := range int64(200_000) {
		large = append(large, sample("a", 10+i, uint64(i)+2, "1"))
	}
	other, err := sql.Open("sqlite", db.path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for { // until the file is locked: then the update is under way
			if _, err := other.Exec("BEGIN IMMEDIATE; ROLLBACK"); err != nil {
				return
			}
		}
	}()
	_, err = db.Apply(ctx, Update{Cursor: 2, Samples: large})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Apply = %v", err)
	}
	if got := scan(t, db, "site-1/inv-1/a", math.MinInt64, math.MaxInt64); len(got) != 1 {
		t.Errorf("%d samples, want the one that was there", len(got))
	}
	if c, _, _ := db.Cursor(t.Context()); c != 1 {
		t.Errorf("cursor %d, want 1", c)
	}
	apply(t, db, 2, sample("a", 2, 2, "2")) // the writer goes on
}

// While a reader looks at the store, a writer goes on, and the reader sees one state.
func TestReadersSeeOneState(t *testing.T) {
	db := open(t, temp(t))
	apply(t, db, 1, sample("a", 1, 1, "1"), sample("a", 2, 2, "2"))
	n := 0
	err := db.Scan(t.Context(), "site-1/inv-1/a", 0, 100, func(wire.Sample) error {
		n++
		apply(t, db, uint64(n+1), sample("a", int64(10+n), uint64(10+n), "3"), sample(fmt.Sprint("new", n), int64(10+n), uint64(10+n), "3"))
		return nil
	})
	if n != 2 || err != nil {
		t.Errorf("%d samples, %v; want the 2 that were there when the scan began", n, err)
	}
	if got := scan(t, db, "site-1/inv-1/a", 0, 100); len(got) != 4 {
		t.Errorf("%d samples afterwards, want 4", len(got))
	}
}
