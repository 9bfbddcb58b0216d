package influx

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// TestExact follows numbers at the edges of their types into the server and back.
func TestExact(t *testing.T) {
	db := emptyBucket(t)
	s := newSite("site-1", 1)
	d := meter("m-1")
	s.declare(d)
	all := []numbers{
		{energy: 1, power: 1, signed: math.MaxInt64, unsigned: math.MaxInt64 + 1, scaled: math.MaxUint64 - 1, float: math.MaxFloat32, text: `a"\b`},
		{energy: 2, power: 0, signed: math.MinInt64 + 1, unsigned: math.MaxUint64 - 1, scaled: 1<<53 + 1, float: math.SmallestNonzeroFloat32, text: "two\nl"},
		{energy: math.MaxUint32 - 1, power: math.MaxUint16 - 1, signed: 1<<53 + 1, unsigned: 1 << 62, scaled: 12345, float: 1.1, text: "on"},
	}
	for i, n := range all {
		s.read(d, int64(i)*1000, n)
	}
	s.fail(d, 3000)
	r := newRig(t, s)
	r.take(s)
	p := r.project(db)
	if err := p.CatchUp(t.Context(), func(uint64) {}); err != nil {
		t.Fatal(err)
	}
	r.same(p)
	for _, tt := range []struct {
		field string
		want  string
	}{
		{"energy", "map[kenshin_float:[0.01 0.02 4.294967294e+07] kenshin_quality:[timeout]]"},
		{"power", "map[kenshin_int:[1 0 65534] kenshin_quality:[timeout]]"},
		{"signed", "map[kenshin_exact:[9223372036854775807 -9223372036854775807 9007199254740993] kenshin_int:[9223372036854775807 -9223372036854775807 9007199254740993] kenshin_quality:[timeout]]"},
		{"unsigned", "map[kenshin_exact:[18446744073709551614] kenshin_float:[9.223372036854776e+18 1.8446744073709552e+19] kenshin_int:[4611686018427387904] kenshin_quality:[timeout]]"},
		{"scaled", "map[kenshin_exact:[18446744073709551.614 9007199254740.993] kenshin_float:[1.844674407370955e+16 9.007199254740992e+12 12.345] kenshin_quality:[timeout]]"},
		{"float", "map[kenshin_float:[3.4028234663852886e+38 1.401298464324817e-45 1.100000023841858] kenshin_quality:[timeout]]"},
		{"text", "map[kenshin_quality:[timeout] kenshin_text:[a\"\\b two\nl on]]"},
		{"odd, name=x", "map[kenshin_int:[7 7 7] kenshin_quality:[timeout]]"},
	} {
		if got := fmt.Sprint(r.values(p, "m-1", tt.field)); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.field, got, tt.want)
		}
	}
}

// TestLate has readings that come months late, those of a day ahead of the clock,
// those whose declaration comes behind them, and two values of one time: the server
// has what the series store has.
func TestLate(t *testing.T) {
	db := emptyBucket(t)
	a, b := newSite("site-1", 1), newSite("site-1", 2) // the second is the same box with a new memory
	d := meter("m-1")
	a.declare(d)
	a.minutes(d, 0, 50)
	b.declare(d)
	b.minutes(d, -100_000, -99_980)
	b.read(d, 60_000, numbers{energy: 99}) // another value than a has of that time
	r := newRig(t, a)
	b.key = a.key
	p := r.project(db)
	r.run(p)
	r.take(a)
	r.caughtUp(p)
	r.take(b)
	r.caughtUp(p, -69, -70)
	if got := fmt.Sprint(r.values(p, "m-1", "energy")["kenshin_float"][20:22]); got != "[0 0.01]" {
		t.Errorf("energy is %s; the first of two values counts", got)
	}
	c := newSite("site-1", 3)
	c.key = a.key
	other := meter("m-2")
	c.read(other, 90_000, numbers{energy: 5})
	r.take(c)
	until(t, "it is owed", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.state.Owed) == 1 })
	c.declare(other)
	r.take(c)
	until(t, "it is paid", func() bool {
		_ = p.pay(t.Context())
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.state.Owed) == 0
	})
	r.caughtUp(p)
	if got := fmt.Sprint(r.values(p, "m-2", "energy")); got != "map[kenshin_float:[0.05]]" {
		t.Errorf("m-2 is %s", got)
	}
	ahead := newSite("site-1", 4)
	ahead.key = a.key
	ahead.declare(d)
	ahead.read(d, time.Now().Add(48*time.Hour).UnixMilli()-start, numbers{energy: 7})
	r.take(ahead)
	until(t, "it is held back", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.state.Owed) == 1 })
	if got := len(r.values(p, "m-1", "energy")["kenshin_float"]); got != 70 {
		t.Errorf("%d values of m-1, want 70: what settling holds back is not written", got)
	}
}

// TestCompare finds and repairs what somebody else did to the server.
func TestCompare(t *testing.T) {
	db := emptyBucket(t)
	s := newSite("site-1", 1)
	d := meter("m-1")
	s.declare(d)
	s.minutes(d, 0, 30)
	r := newRig(t, s)
	r.take(s)
	p := r.project(db)
	if err := p.CatchUp(t.Context(), func(uint64) {}); err != nil {
		t.Fatal(err)
	}
	r.same(p)
	wrong := []line{{fmt.Sprintf("kenshin_int,edge=site-1,device=m-1 power=77i %d", start+60_000), 1}}
	if err := p.link.send(t.Context(), wrong); err != nil {
		t.Fatal(err)
	}
	if err := p.compareDue(t.Context(), utcDay(start)); err != nil || len(p.state.Days) != 1 {
		t.Errorf("a day that is not over was compared: %v, %v", p.state.Days, err)
	}
	if err := p.compareDue(t.Context(), utcDay(start)+1); err != nil {
		t.Fatal(err)
	}
	if len(p.state.Days) != 0 {
		t.Errorf("%v are still to be compared", p.state.Days)
	}
	if r.logs.count("is not what it should be") != 1 || r.logs.count("still differs") != 0 {
		t.Errorf("the log: %s", &r.logs.buf)
	}
	r.same(p)
}

// TestState has days and what is owed put into the state and taken out again.
func TestState(t *testing.T) {
	var s state
	for _, d := range []int64{5, 7, 6, 1, 9, 5, -3} {
		s.touch("e", d)
	}
	if got := fmt.Sprint(s.Days); got != "map[e:[[-3 -3] [1 1] [5 7] [9 9]]]" {
		t.Errorf("days are %s", got)
	}
	for _, d := range []int64{6, 1, -3, 9, 5, 8} {
		s.compared("e", d)
	}
	if got := fmt.Sprint(s.Days); got != "map[e:[[7 7]]]" {
		t.Errorf("days are %s", got)
	}
	if utcDay(-1) != -1 || utcDay(0) != 0 || utcDay(dayMs) != 1 {
		t.Error("utcDay")
	}
}
