package calc

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/shopspring/decimal"
)

// Curve is the accepted course of one counter on a local calendar. It takes
// samples in the order of their time; adding one costs the same however many
// went before. It is not safe for concurrent use while it is added to.
type Curve struct {
	spec  Register
	zone  *time.Location
	rated uint64 // power, 10^-6 kW; 0 when not known
	slack micro  // most that rule 7 lets a register lag behind
	gap   int64  // ms
	days  []Closing
	order []int32 // ordinals of the days, to find one fast
	end   int64   // ms UTC at which the last day ends
	first Reading
	next  int   // changes of the spec that are done
	noted []int // which days have events, ascending
	dirty Date  // first day changed since Clean; the zero Date for none
	until Date  // last one; the zero Date for all after dirty
	fresh bool  // nothing was changed before Rewind

	unit   string          // of the last value, where a Base is counted
	inBase decimal.Decimal // what such values are multiplied by
	fits   bool            // whether they can be
}

var (
	// ErrLate is returned for a sample before the newest one: the curve must be
	// rewound to its day and given the samples from there on again, in order.
	ErrLate = errors.New("earlier than the newest sample")
	// ErrConflict is returned for a second sample of equal time and other value.
	// It changed nothing: the first one counts.
	ErrConflict = errors.New("equal time, other value")
)

// The time a reading may have: 1970-01-02 to 2199, UTC. What
// lies outside comes from a broken clock.
const (
	earliest = int64(86_400_000)
	latest   = int64(7_258_118_400_000)
)

// NewCurve returns the curve of a register without any sample.
func NewCurve(spec Register, zone *time.Location) *Curve {
	c := &Curve{spec: spec, zone: zone, gap: gapMs}
	if spec.RatedKW.IsPositive() {
		c.rated = uint64(spec.RatedKW.Shift(6).IntPart())
		c.slack = min(endless, c.possible(lagMs)+microDown(spec.StepKWh))
	}
	if spec.GapMs > 0 {
		c.gap = spec.GapMs
	}
	return c
}

// RestoreCurve returns the curve that had these closings, all of them, ascending.
// It goes on exactly as that one would have.
func RestoreCurve(spec Register, zone *time.Location, closings []Closing) (*Curve, error) {
	c := NewCurve(spec, zone)
	for i := range closings {
		k := &closings[i]
		switch {
		case k.Rules != RulesVersion:
			return nil, fmt.Errorf("closing of %s was made by version %d of the counter rules, this program has version %d", k.Day, k.Rules, RulesVersion)
		case i > 0 && !closings[i-1].Day.Before(k.Day):
			return nil, fmt.Errorf("closing of %s comes after that of %s", k.Day, closings[i-1].Day)
		case i == 0 && k.Prev != Date{} || i > 0 && k.Prev != (Date{}) && k.Prev != closings[i-1].Day:
			return nil, fmt.Errorf("closing of %s, before that of %s, is missing", k.Prev, k.Day)
		case k.Newest.At < earliest || ClosingDay(k.Newest.At, zone) != k.Day:
			return nil, fmt.Errorf("closing of %s holds a sample of another day in %v", k.Day, zone)
		}
	}
	c.days = clone(closings)
	c.settleEnd()
	return c, nil
}

// clone copies closings with everything in them that may change.
func clone(closings []Closing) []Closing {
	out := slices.Clone(closings)
	for i := range out {
		k := &out[i]
		k.Events = slices.Clone(k.Events)
		k.Fall, k.Leap, k.Power, k.Opening = copied(k.Fall), copied(k.Leap), copied(k.Power), copied(k.Opening)
	}
	return out
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// settleEnd finds again what follows from the closings.
func (c *Curve) settleEnd() {
	c.first, c.next, c.noted, c.order = Reading{}, 0, c.noted[:0], c.order[:0]
	for i := range c.days {
		c.order = append(c.order, c.days[i].Day.ordinal())
		if c.first.At == 0 {
			c.first = c.days[i].First
		}
		if len(c.days[i].Events) > 0 {
			c.noted = append(c.noted, i)
		}
	}
	if len(c.days) > 0 {
		c.end = c.last().Day.Next().startMs(c.zone)
		newest := c.last().Newest.At
		c.next = sort.Search(len(c.spec.Changes), func(i int) bool { return c.spec.Changes[i].At > newest })
	}
}

func (c *Curve) last() *Closing { return &c.days[len(c.days)-1] }

// Spec returns what the curve was made for.
func (c *Curve) Spec() Register { return c.spec }

// Closings returns the closings from a day to another, both included, ascending;
// to the one that is still running when to is no day. The result is the caller's.
func (c *Curve) Closings(from, to Date) []Closing {
	end := len(c.days)
	if to != (Date{}) {
		end = c.index(to.Next())
	}
	out := clone(c.days[c.index(from):end])
	if out == nil {
		return []Closing{}
	}
	return out
}

// index returns the place of the first closing not before a day.
func (c *Curve) index(day Date) int {
	i, _ := slices.BinarySearch(c.order, day.ordinal())
	return i
}

// Tail is what Rewind has taken off a curve.
type Tail []Closing

// Rewind forgets everything from a day on, and further back what was decided by
// readings of that day or later. It returns the day from which samples must be
// given again, and what it took off, for Rejoin.
func (c *Curve) Rewind(day Date) (Date, Tail) {
	i := c.index(day)
	for i > 0 && !c.days[i-1].KnownBy.Before(day) {
		i--
		day = c.days[i].Day
	}
	tail := Tail(slices.Clone(c.days[i:]))
	clear(c.days[i:])
	c.days = c.days[:i]
	c.settleEnd()
	c.fresh = c.dirty == Date{}
	c.touch(day)
	return day, tail
}

// Rejoin takes back what Rewind took off after the day that the curve has come
// to, if the curve stands there as it did before: then the samples after it would
// change nothing. It reports whether it did. No day must be half given, and no
// new sample may be of a day after last.
func (c *Curve) Rejoin(t Tail, last Date) bool {
	if len(c.days) == 0 || c.last().Day.Before(last) {
		return false
	}
	k := c.last()
	i, ok := slices.BinarySearchFunc(t, k.Day, func(k Closing, d Date) int { return k.Day.Compare(d) })
	if !ok || t[i].KnownBy != (Date{}) || k.Newest.At != t[i].Newest.At || !equalState(&k.State, &t[i].State) || c.first.At == 0 {
		return false
	}
	if c.fresh {
		c.until = k.Day
	}
	c.days = append(c.days, t[i+1:]...)
	c.settleEnd()
	return true
}

func (c *Curve) touch(day Date) {
	c.until = Date{}
	if c.dirty == (Date{}) || day.Before(c.dirty) {
		c.dirty = day
	}
}

// Dirty returns the first day whose closing has changed since Clean, if any has,
// and the last one, or no day when all after the first may have.
func (c *Curve) Dirty() (from, to Date, ok bool) { return c.dirty, c.until, c.dirty != Date{} }

// Clean says that all closings are kept as they are now.
func (c *Curve) Clean() { c.dirty, c.until = Date{}, Date{} }

// Add takes the next sample. It returns an error that wraps ErrLate or
// ErrConflict, and then it has changed nothing.
func (c *Curve) Add(s Sample) error {
	if s.At < earliest || s.At > latest {
		return nil
	}
	r, good, known := Reading{At: s.At}, s.Good, true
	if good {
		if r.KWh, known = c.convert(&s); !known {
			r.KWh, good = decimal.Decimal{}, false
		}
	}
	if len(c.days) > 0 && s.At < c.last().Newest.At {
		return fmt.Errorf("sample at %s: %w at %s", stamp(s.At), ErrLate, stamp(c.last().Newest.At))
	}
	if c.next < len(c.spec.Changes) {
		c.change(s.At)
	}
	if len(c.days) > 0 {
		if k := c.last(); s.At == k.Newest.At {
			if good == !k.Bad && r.KWh.Equal(k.Newest.KWh) {
				return nil
			}
			return fmt.Errorf("sample at %s: %w", stamp(s.At), ErrConflict)
		}
	}
	k := c.day(s.At)
	k.Newest, k.Bad = r, !good
	good = good && !c.refused(k, r)
	if c.spec.HoldMs > 0 {
		r.KWh = c.integrate(k, r, good)
	}
	switch {
	case good:
		k.Readings++
		if s.Imported {
			k.Imported++
		}
		c.reading(k, r)
	case !known:
		c.note(k, Event{Cause: CauseUnit, From: s.At, To: s.At, Count: 1, Detail: s.Unit})
	}
	return nil
}

// day returns the closing that an instant belongs to, a new one if need be.
func (c *Curve) day(at int64) *Closing {
	if len(c.days) > 0 && at <= c.end {
		k := c.last()
		if c.dirty == (Date{}) || c.until != (Date{}) {
			c.touch(k.Day)
		}
		return k
	}
	next := Closing{Rules: RulesVersion, Day: ClosingDay(at, c.zone)}
	if len(c.days) > 0 {
		next.State, next.Prev = c.last().State, c.last().Day
		next.Fall, next.Leap, next.Power, next.Opening = copied(next.Fall), copied(next.Leap), copied(next.Power), copied(next.Opening)
	} else {
		next.Out = !c.spec.Installed && len(c.spec.Changes) > 0
	}
	c.days, c.order = append(c.days, next), append(c.order, next.Day.ordinal())
	c.end = next.Day.Next().startMs(c.zone)
	c.touch(next.Day)
	return c.last()
}

// maxEvents is how many events of a cause a day itemises; further ones are
// added to the last, so that a register gone mad does not fill the disk.
const maxEvents = 96

// note adds an event to a day. One that goes on where the last of its cause
// ended is added to that.
func (c *Curve) note(k *Closing, e Event) {
	n, last := 0, -1
	for i := range k.Events {
		if k.Events[i].Cause == e.Cause && (e.Cause == CauseUnit || k.Events[i].Detail == e.Detail) {
			n, last = n+1, i
		}
	}
	counted := e.Cause == CauseUnit || e.Cause == CauseOut || e.Cause == CauseExcluded
	apart := !counted && n < maxEvents && last >= 0 && (k.Events[last].To != e.From || k.opens(e.From))
	if last >= 0 && !apart {
		l := &k.Events[last]
		l.To, l.After, l.Held, l.Again, l.Count = e.To, e.After, l.Held.Add(e.Held), l.Again.Add(e.Again), l.Count+1
		return
	}
	k.Events = append(k.Events, e)
	i := c.index(k.Day)
	if at, ok := slices.BinarySearch(c.noted, i); !ok {
		c.noted = slices.Insert(c.noted, at, i)
	}
}

// opens reports whether a jump from an instant is the one that may turn out to be
// a spike: its event must stay apart, to be taken back alone.
func (k *Closing) opens(from int64) bool { return k.Leap != nil && k.Leap.Before.At == from }

// First returns the first reading, from which on energy is measured.
func (c *Curve) First() Reading { return c.first }

// Last returns the newest accepted reading.
func (c *Curve) Last() Reading {
	if len(c.days) == 0 {
		return Reading{}
	}
	return c.last().InForce
}

// Pending returns the fall that was open at the end of a day and still is, as it
// is now; nil when there is none.
func (c *Curve) Pending(day Date) *Fall {
	_, now := c.pending(day)
	return now
}

// pending is Pending with the fall as it was at the end of the day.
func (c *Curve) pending(day Date) (then, now *Fall) {
	i := c.index(day.Next())
	if i == 0 || c.days[i-1].Fall == nil || c.last().Fall == nil || c.days[i-1].Fall.From.At != c.last().Fall.From.At {
		return nil, nil
	}
	return c.days[i-1].Fall, c.last().Fall
}

// InForce returns the reading in force where a day begins: the newest accepted
// one at or before that instant, the first one if there is none before.
func (c *Curve) InForce(day Date) Reading {
	if s := c.state(day); s != nil {
		return s.InForce
	}
	return c.first
}

// state returns how the register stands where a day begins, nil before its first reading.
func (c *Curve) state(day Date) *State {
	if i := c.index(day); i > 0 && c.days[i-1].InForce.At != 0 {
		return &c.days[i-1].State
	}
	return nil
}

// Total returns the count that goes on over exchanged registers where a day begins, kWh.
func (c *Curve) Total(day Date) decimal.Decimal {
	if s := c.state(day); s != nil {
		return s.Total()
	}
	return c.first.KWh
}

// Energy returns what was measured from the beginning of a day to the beginning
// of another, kWh: the difference of the readings in force, so that parts add up.
func (c *Curve) Energy(from, to Date) decimal.Decimal { return c.Total(to).Sub(c.Total(from)) }

// Events calls fn for the events of the days of a span, in order.
func (c *Curve) Events(s Span, fn func(Date, *Event)) {
	from := c.index(s.Start)
	at, _ := slices.BinarySearch(c.noted, from)
	for _, i := range c.noted[at:] {
		if s.End.Before(c.days[i].Day) {
			return
		}
		for j := range c.days[i].Events {
			fn(c.days[i].Day, &c.days[i].Events[j])
		}
	}
}

// Days calls fn for the closings of a span, in order. fn must not keep them.
func (c *Curve) Days(s Span, fn func(*Closing)) {
	for i := c.index(s.Start); i < len(c.days) && !s.End.Before(c.days[i].Day); i++ {
		fn(&c.days[i])
	}
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }
