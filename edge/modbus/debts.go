package modbus

import (
	"slices"
	"time"
)

// debts is the book of answers that units on an RTU line owe: to requests that
// were sent and got none. They may still come.
type debts struct {
	owed   map[uint8][]debt  // by unit, each shape once, the one asked last at the end
	beyond map[question]bool // blocks a device has refused: they reach beyond its registers
}

// debt is an answer that is owed, by what is seen of its request in it.
type debt struct {
	function uint8
	count    uint16
	since    time.Time // the request was given up
}

const (
	// debtsMost is how many answers are remembered for a unit.
	debtsMost = 16
	// debtTimeouts is how many timeouts an answer is reckoned with at least. After
	// them one that came to a later request shows that it will not come any more.
	debtTimeouts = 10
)

func newDebts() debts {
	return debts{owed: make(map[uint8][]debt), beyond: make(map[question]bool)}
}

// find returns where an answer with count registers stands in the book, -1 when
// it is not owed.
func (d *debts) find(unit, function uint8, count uint16) int {
	return slices.IndexFunc(d.owed[unit], func(o debt) bool { return o.function == function && o.count == count })
}

// ask returns how many registers to ask for, so that the answer to q is none that
// is owed: q.count, or one more. Where both are owed it is the one not asked for
// longer.
func (d *debts) ask(q question) uint16 {
	plain := d.find(q.unit, q.function, q.count)
	longer := q
	longer.count++
	if plain < 0 || longer.count > maxCount || int(q.address)+int(longer.count) > 1<<16 || d.beyond[longer] {
		return q.count
	}
	if d.find(q.unit, q.function, longer.count) < plain {
		return longer.count
	}
	return q.count
}

// owe notes that q was given up.
func (d *debts) owe(q question, now time.Time) {
	d.move(q, debt{q.function, q.count, now})
}

// move puts a debt for the answer to q at the end, in place of one that is there.
func (d *debts) move(q question, last debt) {
	owed := d.owed[q.unit]
	if i := d.find(q.unit, q.function, q.count); i >= 0 {
		owed = slices.Delete(owed, i, i+1)
	} else if len(owed) == debtsMost {
		owed = slices.Delete(owed, 0, 1)
	}
	d.owed[q.unit] = append(owed, last)
}

// answered notes that the answer to q came. Where one like it was owed it may
// have been that one, and then this one is owed. Others are not waited for any
// more when they are owed since before.
func (d *debts) answered(q question, before time.Time) {
	if len(d.owed[q.unit]) == 0 {
		return
	}
	if i := d.find(q.unit, q.function, q.count); i >= 0 {
		d.move(q, d.owed[q.unit][i])
	}
	d.owed[q.unit] = slices.DeleteFunc(d.owed[q.unit], func(o debt) bool {
		return o.since.Before(before) && (o.function != q.function || o.count != q.count)
	})
}

// refused notes that a refusal came while q waited for its answer. It shows no
// count: it may be the late answer to an earlier request, and then the one to q
// is owed.
func (d *debts) refused(q question, now time.Time) {
	if len(d.owed[q.unit]) > 0 {
		d.owe(q, now)
	}
}

// late reports whether a unit owes a frame like this: an answer of a function
// with n bytes of registers, or a refusal. It returns how many registers that was
// asked for.
func (d *debts) late(unit, function uint8, n int) (count uint16, ok bool) {
	for _, o := range d.owed[unit] {
		if function == o.function|0x80 || function == o.function && n == 2*int(o.count) {
			return o.count, true
		}
	}
	return 0, false
}

// paid notes that a late answer came.
func (d *debts) paid(unit, function uint8, count uint16) {
	if i := d.find(unit, function&^0x80, count); i >= 0 {
		d.owed[unit] = slices.Delete(d.owed[unit], i, i+1)
	}
}
