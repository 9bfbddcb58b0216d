package plant

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Faulty is a unit with which things can go wrong. Without a fault it answers as
// the unit it wraps. Read shows the faults that are in the registers; those that
// befall an answer on its way are seen only through a [Server].
//
// The same seed, faults and requests make the same bytes. Times of faults are
// the world's, not the plant's: so are the timeouts of those who read it.
type Faulty struct {
	unit Unit
	seed uint64

	mu     sync.Mutex  // guards all below
	faults []*injected // in the order they came
	hits   uint64      // requests that a fault hit, of all time
	known  []Point     // of the unit, once a fault needs them
}

// injected is a fault of a unit and what it has done so far.
type injected struct {
	Fault
	value bool
	begin time.Time

	n     int64             // occurrence that the rest belongs to
	asked int               // requests hit in it
	base  map[int]uint64    // raw counters when first seen in it, by point
	held  map[uint32]uint16 // registers when first seen in it, by function and address
}

// NewFaulty wraps a unit. seed is of the random bytes it sends when told to.
func NewFaulty(u Unit, seed uint64) *Faulty { return &Faulty{unit: u, seed: seed} }

// Inject adds a fault, which counts its times from now. Faults in registers add
// up; of several that befall an answer the last injected is on. It is an error
// when the fault is not valid, or needs to know what registers mean and nobody
// does.
func (f *Faulty) Inject(fault Fault) error {
	if err := fault.Validate(); err != nil {
		return err
	}
	k, err := kindOf(fault.Name)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if k.value && f.known == nil && fault.Name != "frozen" {
		if f.known, err = pointsOf(f.unit); err != nil {
			return err
		}
	}
	f.faults = append(f.faults, &injected{Fault: fault, value: k.value, begin: time.Now(), n: -1})
	return nil
}

// Clear ends all faults of the unit and returns how many there were. What an
// answer on its way has suffered already stays.
func (f *Faulty) Clear() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(time.Now())
	n := len(f.faults)
	f.faults = nil
	return n
}

// Faults returns the faults that are on or still to come, and how many requests
// faults have hit so far.
func (f *Faulty) Faults() ([]Fault, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(time.Now())
	var out []Fault
	for _, i := range f.faults {
		out = append(out, i.Fault)
	}
	return out, f.hits
}

// forget takes out the faults that are over. It wants mu held.
func (f *Faulty) forget(now time.Time) {
	left := f.faults[:0]
	for _, i := range f.faults {
		spent := i.Every == 0 && i.Times > 0 && i.asked >= i.Times
		if !spent && !i.over(now.Sub(i.begin)) {
			left = append(left, i)
		}
	}
	clear(f.faults[len(left):])
	f.faults = left
}

// blow is the fault that befalls one answer on its way.
type blow struct {
	Fault
	first bool      // it is the first of its occurrence
	since time.Time // when the occurrence began
	rng   *rand.Rand
}

// strike returns the faults that one request meets now: those in registers, in
// order, and the one on the way, nil when there is none.
func (f *Faulty) strike() (inside []*injected, way *blow) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(now)
	struck := false
	for _, i := range f.faults {
		n, on, ok := i.occurrence(now.Sub(i.begin))
		if !ok {
			continue
		}
		if n != i.n {
			i.n, i.asked, i.base, i.held = n, 0, make(map[int]uint64), make(map[uint32]uint16)
		}
		if i.Times > 0 && i.asked >= i.Times {
			continue
		}
		i.asked++
		struck = true
		if i.value {
			inside = append(inside, i)
		}
		if !i.value || i.Name == "restart" {
			way = &blow{Fault: i.Fault, first: i.asked == 1, since: now.Add(-on)}
		}
	}
	if struck {
		f.hits++
	}
	if way != nil {
		way.rng = rand.New(rand.NewPCG(f.seed, f.hits))
	}
	return inside, way
}

// Read implements Unit.
func (f *Faulty) Read(function uint8, address, count uint16) ([]uint16, uint8) {
	inside, _ := f.strike()
	return f.read(inside, function, address, count)
}

// read answers as the unit with these faults in its registers.
func (f *Faulty) read(inside []*injected, function uint8, address, count uint16) ([]uint16, uint8) {
	if len(inside) == 0 {
		return f.unit.Read(function, address, count)
	}
	words, exception := f.unit.Read(function, address, count)
	if exception != 0 || len(words) != int(count) {
		return words, exception // what it refuses it refuses with faults too
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	im := f.look(function, address, count)
	for _, i := range inside {
		i.apply(im)
	}
	return im.words(address, count), 0
}

// with is the unit with the faults of one request.
type with struct {
	f      *Faulty
	inside []*injected
}

// Read implements Unit.
func (w with) Read(function uint8, address, count uint16) ([]uint16, uint8) {
	return w.f.read(w.inside, function, address, count)
}
