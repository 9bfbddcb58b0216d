package calc

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/shopspring/decimal"
)

// Sample is one value of a counter as it was read.
type Sample struct {
	At     int64           // ms UTC
	Value  decimal.Decimal // in Unit
	Unit   string          // as the device declares it: Wh, kWh, MWh or GWh
	Good   bool            // whether Value may be used
	Reason string          // for people, when not Good
}

// Register is what has to be known of a counter to follow it.
type Register struct {
	Key     string          // "edge/device/point"
	RatedKW decimal.Decimal // most power that can flow through it, at most 10^7 in steps of 10^-6; 0 when not known
	StepKWh decimal.Decimal // one step of its last digit; 0 when it need not be considered
}

// Reading is an accepted value of a counter. A Reading with At 0 is none.
type Reading struct {
	At  int64           `json:"at"` // ms UTC
	KWh decimal.Decimal `json:"kWh"`
}

// What a counter did that is not plain counting.
const (
	CauseJump      = "jump"      // rule 7
	CauseFall      = "fall"      // rule 8, as long as it is pending
	CauseDip       = "dip"       // rule 8, over: the register is back
	CauseRecovered = "recovered" // rule 8, over: the register counted on past its old value
	CauseUnit      = "unit"      // rule 2
)

// Event is something a counter did that a verifier will ask about. Events of
// one cause that follow each other on one day are one event.
type Event struct {
	Cause  string          `json:"cause"`
	From   int64           `json:"from"`             // ms UTC of the reading before
	To     int64           `json:"to"`               // ms UTC of the reading that ended it
	Before decimal.Decimal `json:"before"`           // kWh of the register at From
	After  decimal.Decimal `json:"after"`            // kWh of the register at To
	Held   decimal.Decimal `json:"held,omitzero"`    // kWh held back from what can be claimed
	Count  int             `json:"count"`            // how many, at least 1
	Detail string          `json:"detail,omitempty"` // the unit that is not known
}

// Fall is a register below its value in force. While it is pending the value in
// force stays. A Fall with From.At 0 is none.
type Fall struct {
	From   Reading         `json:"from"`             // first reading below
	Last   Reading         `json:"last"`             // newest reading below
	Low    decimal.Decimal `json:"low"`              // lowest of them, kWh
	Faster bool            `json:"faster,omitempty"` // it has risen faster than rated power since, as no counting register can
}

// Closing is what is known of a register at the end of a local day, or so far
// when the day is still running. It holds everything needed to go on from there.
type Closing struct {
	Rules    int             `json:"rules"` // version of the rules it was made by
	Day      Date            `json:"day"`
	Newest   Reading         `json:"newest"`             // newest sample of any kind; later ones must not be before it
	Bad      bool            `json:"bad,omitempty"`      // the newest sample is no reading
	InForce  Reading         `json:"in_force,omitzero"`  // newest accepted reading
	Spare    decimal.Decimal `json:"spare,omitzero"`     // kWh that rule 7 still allows beyond rated power
	Fall     Fall            `json:"fall,omitzero"`      // pending at the end of the day
	First    Reading         `json:"first,omitzero"`     // the very first reading, if it closes this day
	Readings int             `json:"readings,omitempty"` // of this day, pending ones included
	Events   []Event         `json:"events,omitempty"`   // of this day: those whose To it closes
}

// Curve is the accepted course of one counter on a local calendar. It takes
// samples in the order of their time; adding one costs the same however many
// went before. It is not safe for concurrent use while it is added to.
type Curve struct {
	spec  Register
	zone  *time.Location
	rated uint64          // power, 10^-6 kW; 0 when not known
	slack decimal.Decimal // most that rule 7 lets a register lag behind, kWh
	days  []Closing       // ascending, only days with samples; the last one may be running
	end   int64           // ms UTC at which the last day ends
	first Reading
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
	c := &Curve{spec: spec, zone: zone}
	if spec.RatedKW.IsPositive() {
		c.rated = uint64(spec.RatedKW.Shift(6).IntPart())
		c.slack = c.possible(lagMs).Add(spec.StepKWh)
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
		case k.Newest.At < earliest || ClosingDay(k.Newest.At, zone) != k.Day:
			return nil, fmt.Errorf("closing of %s holds a sample of another day in %v", k.Day, zone)
		}
	}
	c.days = slices.Clone(closings)
	for i := range c.days {
		c.days[i].Events = slices.Clone(c.days[i].Events)
	}
	c.settleEnd()
	return c, nil
}

// settleEnd finds again what follows from the closings.
func (c *Curve) settleEnd() {
	c.first = Reading{}
	if len(c.days) == 0 {
		return
	}
	c.end = c.last().Day.Next().startMs(c.zone)
	for i := range c.days {
		if c.days[i].First.At != 0 {
			c.first = c.days[i].First
			return
		}
	}
}

func (c *Curve) last() *Closing { return &c.days[len(c.days)-1] }

// Spec returns what the curve was made for.
func (c *Curve) Spec() Register { return c.spec }

// Closings returns the closings from a day on, ascending, the day that is still
// running included. The result is the caller's.
func (c *Curve) Closings(from Date) []Closing {
	out := slices.Clone(c.days[c.index(from):])
	for i := range out {
		out[i].Events = slices.Clone(out[i].Events)
	}
	if out == nil {
		return []Closing{}
	}
	return out
}

// index returns the place of the first closing not before a day.
func (c *Curve) index(day Date) int {
	i, _ := slices.BinarySearchFunc(c.days, day, func(k Closing, d Date) int { return k.Day.Compare(d) })
	return i
}

// Rewind forgets everything after the closing of the day before day.
func (c *Curve) Rewind(day Date) {
	i := c.index(day)
	clear(c.days[i:])
	c.days = c.days[:i]
	c.settleEnd()
}

// Add takes the next sample. It returns an error that wraps ErrLate or
// ErrConflict, and then it has changed nothing.
func (c *Curve) Add(s Sample) error {
	if s.At < earliest || s.At > latest {
		return nil
	}
	r, good, known := Reading{At: s.At}, s.Good, true
	if good {
		if r.KWh, known = kWh(s.Value, s.Unit); !known {
			r.KWh, good = decimal.Decimal{}, false
		}
	}
	if len(c.days) > 0 {
		k := c.last()
		if s.At < k.Newest.At {
			return fmt.Errorf("sample at %s: %w at %s", stamp(s.At), ErrLate, stamp(k.Newest.At))
		}
		if s.At == k.Newest.At {
			if good == !k.Bad && r.KWh.Equal(k.Newest.KWh) {
				return nil
			}
			return fmt.Errorf("sample at %s: %w", stamp(s.At), ErrConflict)
		}
	}
	k := c.day(s.At)
	k.Newest, k.Bad = r, !good
	switch {
	case good:
		k.Readings++
		c.take(k, r)
	case !known:
		k.note(Event{Cause: CauseUnit, From: s.At, To: s.At, Count: 1, Detail: s.Unit})
	}
	return nil
}

// day returns the closing that an instant belongs to, a new one if need be.
func (c *Curve) day(at int64) *Closing {
	if len(c.days) > 0 && at <= c.end {
		return c.last()
	}
	next := Closing{Rules: RulesVersion, Day: ClosingDay(at, c.zone)}
	if len(c.days) > 0 {
		l := c.last()
		next.InForce, next.Spare, next.Fall = l.InForce, l.Spare, l.Fall
	}
	c.days = append(c.days, next)
	c.end = next.Day.Next().startMs(c.zone)
	return c.last()
}

// take applies rules 3 and 6 to 8 to a reading that is newer than all others.
func (c *Curve) take(k *Closing, r Reading) {
	if k.InForce.At == 0 {
		k.First, k.InForce, k.Spare = r, r, c.slack
		c.first = r
		return
	}
	if r.KWh.LessThan(k.InForce.KWh) {
		c.fall(k, r)
		return
	}
	if k.Fall.From.At != 0 {
		cause := CauseDip
		if c.rated > 0 && !k.Fall.Faster && !c.faster(k.Fall.Last, r) {
			cause = CauseRecovered
		}
		k.note(Event{Cause: cause, From: k.InForce.At, To: r.At, Before: k.InForce.KWh, After: r.KWh, Count: 1})
		k.Fall = Fall{}
	}
	if c.rated > 0 {
		c.limit(k, r)
	}
	k.InForce = r
}

// fall notes a reading below the value in force, which stays.
func (c *Curve) fall(k *Closing, r Reading) {
	f := &k.Fall
	if f.From.At == 0 {
		*f = Fall{From: r, Last: r, Low: r.KWh}
		return
	}
	f.Faster = f.Faster || c.rated > 0 && c.faster(f.Last, r)
	f.Last = r
	if r.KWh.LessThan(f.Low) {
		f.Low = r.KWh
	}
}

// limit applies rule 7 to a rise from the value in force to r.
func (c *Curve) limit(k *Closing, r Reading) {
	made := c.possible(r.At - k.InForce.At)
	rise := r.KWh.Sub(k.InForce.KWh)
	left := made.Sub(rise).Add(k.Spare)
	switch {
	case left.IsNegative():
		k.note(Event{Cause: CauseJump, From: k.InForce.At, To: r.At, Before: k.InForce.KWh, After: r.KWh, Held: rise.Sub(made), Count: 1})
	case left.GreaterThan(c.slack):
		k.Spare = c.slack
	default:
		k.Spare = left
	}
}

// faster reports whether a register rose from a to b faster than rated power
// allows, the lag of rule 7 granted in full.
func (c *Curve) faster(a, b Reading) bool {
	return b.KWh.Sub(a.KWh).GreaterThan(c.possible(b.At - a.At).Add(c.slack))
}

// possible returns what rated power makes in a time, kWh, rounded down to
// 10^-6 kWh. What is too large for that is as good as no limit.
func (c *Curve) possible(ms int64) decimal.Decimal {
	const msPerHour = 3_600_000
	hi, lo := bits.Mul64(c.rated, uint64(ms))
	if hi >= msPerHour {
		return decimal.New(math.MaxInt64, 0)
	}
	q, _ := bits.Div64(hi, lo, msPerHour)
	return decimal.NewFromUint64(q).Shift(-6)
}

// maxEvents is how many events of a cause a day itemises; further ones are
// added to the last, so that a register gone mad does not fill the disk.
const maxEvents = 96

// note adds an event to a day. One that goes on where the last of its cause
// ended is added to that.
func (k *Closing) note(e Event) {
	n, last := 0, -1
	for i := range k.Events {
		if k.Events[i].Cause == e.Cause {
			n, last = n+1, i
		}
	}
	if last < 0 || e.Cause != CauseUnit && n < maxEvents && k.Events[last].To != e.From {
		k.Events = append(k.Events, e)
		return
	}
	l := &k.Events[last]
	l.To, l.After, l.Held, l.Count = e.To, e.After, l.Held.Add(e.Held), l.Count+1
}

// First returns the first reading, from which on energy is measured.
func (c *Curve) First() Reading { return c.first }

// Last returns the newest accepted reading.
func (c *Curve) Last() Reading {
	if len(c.days) == 0 {
		return Reading{}
	}
	return c.last().InForce
}

// Pending returns the fall that is open now; From.At is 0 when there is none.
func (c *Curve) Pending() Fall {
	if len(c.days) == 0 {
		return Fall{}
	}
	return c.last().Fall
}

// InForce returns the reading in force where a day begins: the newest accepted
// one at or before that instant, the first one if there is none before.
func (c *Curve) InForce(day Date) Reading {
	if i := c.index(day); i > 0 && c.days[i-1].InForce.At != 0 {
		return c.days[i-1].InForce
	}
	return c.first
}

// Energy returns what was measured from the beginning of a day to the beginning
// of another, kWh: the difference of the readings in force, so that parts add up.
func (c *Curve) Energy(from, to Date) decimal.Decimal {
	return c.InForce(to).KWh.Sub(c.InForce(from).KWh)
}

// Events calls fn for the events of the days of a span, in order.
func (c *Curve) Events(s Span, fn func(Date, *Event)) {
	for i := c.index(s.Start); i < len(c.days) && !s.End.Before(c.days[i].Day); i++ {
		for j := range c.days[i].Events {
			fn(c.days[i].Day, &c.days[i].Events[j])
		}
	}
}

// kWh converts a value exactly. It reports false for a unit it does not know.
func kWh(v decimal.Decimal, unit string) (decimal.Decimal, bool) {
	switch unit {
	case "kWh":
		return v, true
	case "Wh":
		return v.Shift(-3), true
	case "MWh":
		return v.Shift(3), true
	case "GWh":
		return v.Shift(6), true
	}
	return v, false
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }
