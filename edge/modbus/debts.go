package modbus

import (
	"slices"
	"time"

	"github.com/goburrow/modbus"
)

// debts is the book of answers that may still come from units on an RTU line: to
// requests that were sent and got none, and copies of answers that came.
type debts struct {
	owed   map[uint8][]debt    // by unit, each shape once, the one asked last at the end
	came   map[uint8][]debt    // by unit, each shape once: answers that may come again
	most   map[question]uint16 // blocks: how many registers a device gives from their first on, where that is known
	silent map[question]int    // blocks: how often in a row asking for more got no answer
}

// debt is an answer that may come, by what is seen of its request in it.
type debt struct {
	function uint8
	count    uint16
	address  uint16    // is not seen in it
	since    time.Time // the request was given up, or answered
	slight   bool      // something came for it: a refusal, or bytes that are no answer
}

const (
	// debtsMost is how many answers are remembered for a unit.
	debtsMost = 16
	// debtTimeouts is how many timeouts an answer is reckoned with at least. After
	// them one that came to a later request shows that it will not come any more.
	debtTimeouts = 10
	// longerMost is how many registers more than wanted are asked for at most.
	longerMost = 7
	// quiet is how long an answer of a length that came is not asked for again.
	// Repeaters and converters that say an answer twice do so within a frame or two.
	quiet = 250 * time.Millisecond
)

func newDebts() debts {
	return debts{owed: make(map[uint8][]debt), came: make(map[uint8][]debt), most: make(map[question]uint16), silent: make(map[question]int)}
}

// find returns where an answer of this shape stands in a list, -1 when it does not.
func find(list []debt, function uint8, count uint16) int {
	return slices.IndexFunc(list, func(o debt) bool { return o.function == function && o.count == count })
}

// plea is how a block is to be asked for.
type plea struct {
	count uint16    // of registers
	free  time.Time // not before
	doubt bool      // an answer to another request that looks the same may come instead
}

// ask returns how to ask for q, for most registers at most, so that the answer is
// none that may still come: for as many as wanted or a few more. Where there is
// no such length it is that of an answer that came and may come again, and was
// asked for longest ago. It is not ok, and q must not be asked for, while every
// length is one that is owed since less than ten timeouts.
func (d *debts) ask(q question, most uint16, timeout time.Duration, now time.Time) (p plea, ok bool) {
	d.came[q.unit] = slices.DeleteFunc(d.came[q.unit], func(o debt) bool { return now.Sub(o.since) > timeout })
	end := min(int(q.count)+longerMost, int(most), 1<<16-int(q.address))
	if known, ok := d.most[q]; ok {
		end = min(end, int(known))
	}
	for n := q.count; n == q.count || int(n) <= end; n++ {
		try := plea{count: n}
		if i := find(d.came[q.unit], q.function, n); i >= 0 {
			o := d.came[q.unit][i]
			try.free, try.doubt = o.since.Add(min(quiet, timeout)), o.address != q.address
		}
		if i := find(d.owed[q.unit], q.function, n); i >= 0 {
			o := d.owed[q.unit][i]
			wait := timeout
			if !o.slight {
				wait *= debtTimeouts
			}
			if o.since.Add(wait).After(now) && !o.slight {
				continue
			}
			try.free, try.doubt = later(try.free, o.since.Add(wait)), true
		}
		if try.free.IsZero() {
			return try, true
		}
		if !ok || try.free.Before(p.free) {
			p, ok = try, true
		}
	}
	return p, ok
}

// owe notes that q was given up.
func (d *debts) owe(q question, now time.Time, slight bool) {
	d.move(q, debt{function: q.function, count: q.count, address: q.address, since: now, slight: slight})
}

// move puts a debt for the answer to q at the end, in place of one that is there.
func (d *debts) move(q question, last debt) { d.owed[q.unit] = moved(d.owed[q.unit], last) }

func moved(list []debt, last debt) []debt {
	if i := find(list, last.function, last.count); i >= 0 {
		list = slices.Delete(list, i, i+1)
	} else if len(list) == debtsMost {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, last)
}

// answered notes that the answer to q came, which may come once more. Where one
// like it was owed it may have been that one, and then this one is owed. Others
// are not waited for any more when they are owed since before.
func (d *debts) answered(q question, now, before time.Time) {
	d.came[q.unit] = moved(d.came[q.unit], debt{function: q.function, count: q.count, address: q.address, since: now})
	if len(d.owed[q.unit]) == 0 {
		return
	}
	if i := find(d.owed[q.unit], q.function, q.count); i >= 0 {
		d.move(q, d.owed[q.unit][i])
	}
	d.forget(before, q)
}

// forget drops what is owed since before, but for the answer to one like q.
func (d *debts) forget(before time.Time, q question) {
	d.owed[q.unit] = slices.DeleteFunc(d.owed[q.unit], func(o debt) bool {
		return o.since.Before(before) && (o.function != q.function || o.count != q.count)
	})
}

// refused notes that a refusal came while q waited for its answer. It shows no
// count: it may be the late answer to an earlier request, and then the one to q
// is owed. A device that is only busy may answer q all the same.
func (d *debts) refused(q question, code uint8, now, before time.Time) {
	d.forget(before, question{unit: q.unit})
	owed := d.owed[q.unit]
	switch {
	case slices.ContainsFunc(owed, func(o debt) bool { return !o.slight }):
		d.owe(q, now, false)
	case len(owed) > 0 || code > modbus.ExceptionCodeIllegalDataValue:
		d.owe(q, now, true)
	}
}

// short notes that a device refuses to give count registers where fewer are wanted.
func (d *debts) short(wanted question, count uint16) { d.most[wanted] = count - 1 }

// longer notes what became of a request for count registers where fewer are
// wanted, on a line where no answer was owed. A device may be silent instead of
// refusing.
func (d *debts) longer(wanted question, count uint16, answered bool) {
	if answered {
		delete(d.silent, wanted)
		return
	}
	if d.silent[wanted]++; d.silent[wanted] > 1 {
		d.short(wanted, count)
		delete(d.silent, wanted)
	}
}

// late reports whether a frame like this may come from a unit: an answer of a
// function with n bytes of registers, or a refusal. It returns how many registers
// that was asked for.
func (d *debts) late(unit, function uint8, n int) (count uint16, ok bool) {
	for _, o := range d.owed[unit] {
		if function == o.function|0x80 || function == o.function && n == 2*int(o.count) {
			return o.count, true
		}
	}
	return uint16(n / 2), n%2 == 0 && find(d.came[unit], function, uint16(n/2)) >= 0
}

// paid notes that a late answer came.
func (d *debts) paid(unit, function uint8, count uint16) {
	if i := find(d.owed[unit], function&^0x80, count); i >= 0 {
		d.owed[unit] = slices.Delete(d.owed[unit], i, i+1)
	}
}
