package series

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"kenshin/edge/wire"
)

// What waits to be merged comes back as it came: any number, text, time, epoch and
// order of them, read at once or bit by bit, in one stream or in two that were joined.
func TestStreamsComeBack(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	points := []point{{"a", "", wire.Gauge}, {"b", "", wire.Gauge}, {"c", "", wire.Label}}
	extremes := []int64{math.MinInt64, -1, 0, 1, math.MaxInt64}
	for range 20 {
		want := &table{points: points}
		one, first, second := &stream{points: points}, &stream{points: points}, &stream{points: points}
		n := random.IntN(60)
		for i := range n {
			at, epoch, seq := random.Int64N(1000)-500, wire.Epoch{byte(random.IntN(3))}, random.Uint64()>>random.IntN(64)
			cells := []cell{
				{code: code(classInt, int32(random.IntN(2))), num: extremes[random.IntN(len(extremes))]},
				{code: code(classDouble, 0), num: int64(random.Uint64())},
				{code: classLabel, text: fmt.Sprint(random.IntN(5))}}
			if random.IntN(4) == 0 {
				cells[0] = cell{code: classBad | uint16(wire.NoAnswer)<<3, text: "no answer"}
			}
			want.begin(at, epoch, seq)
			for _, c := range cells {
				want.put(c)
			}
			one.add(at, epoch, seq, cells)
			if i < n/2 {
				first.add(at, epoch, seq, cells)
			} else {
				second.add(at, epoch, seq, cells)
			}
			if random.IntN(10) == 0 {
				if got := show([]*table{one.look()}); got != show([]*table{want}) {
					t.Fatalf("after %d rows:\n%s", i, got)
				}
			}
		}
		first.join(second)
		for _, got := range []*table{one.table(nil), one.table(first.table(nil)), first.table(nil), one.look()} {
			if show([]*table{got}) != show([]*table{want}) {
				t.Fatalf("%swant\n%s", show([]*table{got}), show([]*table{want}))
			}
			for i := range want.rows() {
				if got.at[i] != want.at[i] || got.seq[i] != want.seq[i] || got.epochs[got.epoch[i]] != want.epochs[want.epoch[i]] {
					t.Fatalf("row %d is of %d, record %d", i, got.at[i], got.seq[i])
				}
			}
		}
	}
}

// A reading of ten points takes less than 4 bytes a value while it waits, with all
// that is kept beside it: a fleet's tail has to fit into memory.
func TestStreamIsSmall(t *testing.T) {
	f := newFleet(10)
	db := open(t, temp(t))
	for m := range int64(200) {
		if _, err := db.Apply(t.Context(), Update{Readings: f.minute(0, 10, m)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := float64(db.names.bytes) / float64(db.names.points); n > 4 || n < 1 {
		t.Errorf("%.1f bytes a value", n)
	}
	if err := db.Merge(t.Context()); err != nil || db.names.bytes != 0 || db.names.points != 0 {
		t.Errorf("%d bytes and %d values are counted when all is merged, %v", db.names.bytes, db.names.points, err)
	}
}
