package modbus

import (
	"testing"
	"time"
)

// upTo returns q with counts from one to another.
func upTo(q question, from, to uint16) (out []question) {
	for q.count = from; q.count <= to; q.count++ {
		out = append(out, q)
	}
	return out
}

// TestDebts asks for as many registers as wanted, or a few more, whatever was given up.
func TestDebts(t *testing.T) {
	now := time.Unix(1000, 0)
	q := question{1, 3, 100, 4}
	with := func(f func(q *question)) question { c := q; f(&c); return c }
	for _, tt := range []struct {
		name  string
		given []question // up, one a second
		q     question
		want  uint16
	}{
		{"nothing", nil, q, 4},
		{"the same", []question{q}, q, 5},
		{"another block of that length", []question{with(func(q *question) { q.address = 9 })}, q, 5},
		{"another length", []question{with(func(q *question) { q.count = 5 })}, q, 4},
		{"another unit", []question{with(func(q *question) { q.unit = 2 })}, q, 4},
		{"the other function", []question{with(func(q *question) { q.function = 4 })}, q, 4},
		{"both lengths", []question{q, with(func(q *question) { q.count = 5 })}, q, 6},
		{"all lengths", upTo(q, 4, 11), q, 4},
		{"all lengths, the first again", append(upTo(q, 4, 11), q), q, 5},
		{"125", []question{{1, 3, 100, 125}}, question{1, 3, 100, 125}, 125},
		{"124", []question{{1, 3, 100, 124}}, question{1, 3, 100, 124}, 125},
		{"the last register", []question{{1, 3, 65532, 4}}, question{1, 3, 65532, 4}, 4},
		{"the last but one", []question{{1, 3, 65531, 4}}, question{1, 3, 65531, 4}, 5},
	} {
		d := newDebts()
		for i, q := range tt.given {
			d.owe(q, now.Add(time.Duration(i)*time.Second), false)
		}
		got, ok := d.ask(tt.q, maxCount, time.Second, now.Add(time.Minute))
		if got.count != tt.want || !ok {
			t.Errorf("%s: asks for %d, want %d", tt.name, got.count, tt.want)
		}
	}

	// The book does not grow without end.
	d := newDebts()
	for count := range uint16(100) {
		d.owe(question{1, 3, 0, count + 1}, now, false)
	}
	if n := len(d.owed[1]); n != debtsMost || find(d.owed[1], 3, 100) < 0 {
		t.Errorf("%d answers are remembered, want the last %d", n, debtsMost)
	}
	// One answer after long clears it.
	d.answered(question{1, 3, 0, 7}, now.Add(time.Second), now.Add(time.Second))
	if n := len(d.owed[1]); n != 0 {
		t.Errorf("%d answers are reckoned with after all", n)
	}
}
