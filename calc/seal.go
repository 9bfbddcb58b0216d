package calc

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// States of a monitoring period. What is computed goes on following the book in each
// of them; a seal is beside it, and says what was handed over.
const (
	StateOpen    = "open"    // its last day is not read to its end
	StateClosing = "closing" // it is, and nobody has sealed it
	StateSealed  = "sealed"
	StateRevised = "revised" // sealed more than once
)

// Figures are what a seal holds of a report.
type Figures struct {
	MeasuredKWh  decimal.Decimal              `json:"measured_kWh"`
	ClaimableKWh decimal.Decimal              `json:"claimable_kWh"`
	ER           string                       `json:"ER_tCO2"`
	Vintages     map[string]map[string]string `json:"vintages"`
	Meters       map[string]MeterFigures      `json:"meters"`
	Counters     map[string]CounterFigures    `json:"counters,omitempty"`
}

// MeterFigures are those of one meter.
type MeterFigures struct {
	MeasuredKWh  decimal.Decimal `json:"measured_kWh"`
	ClaimableKWh decimal.Decimal `json:"claimable_kWh"`
}

// CounterFigures are those of a meter that counts something else than kWh.
type CounterFigures struct {
	Unit      string          `json:"unit"`
	Measured  decimal.Decimal `json:"measured"`
	Claimable decimal.Decimal `json:"claimable"`
}

// Seal is the record of figures that were handed over: who stands for them, by what
// rules they were made and on which records of the book they rest. It is never
// taken back; what came later makes another revision.
type Seal struct {
	Period      Span    `json:"period"`
	Revision    int     `json:"revision"` // from 1
	Who         string  `json:"who"`
	Why         string  `json:"why"`
	At          int64   `json:"at"`                 // ms UTC
	Methodology string  `json:"methodology"`        // "number version"
	Hash        string  `json:"methodology_sha256"` // Methodology.Hash
	Rules       int     `json:"counter_rules"`
	Records     uint64  `json:"records"`    // of the book, from its first
	Checkpoint  string  `json:"checkpoint"` // signed note of the book at that size
	Report      string  `json:"report_sha256"`
	Figures     Figures `json:"figures"`
	// Below95 is the completeness of meters of which less than 95 % of the readings came, percent by key.
	Below95 map[string]string `json:"below_95_percent,omitempty"`
	Late    []Late            `json:"late,omitempty"` // what came since the revision before and concerns the period
}

// Late names records of the book.
type Late struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"` // included
	What  string `json:"what"` // readings, import, or the kind of a decision
}

// String names the records and what they are.
func (l Late) String() string {
	if l.First == l.Last {
		return fmt.Sprintf("record %d, %s", l.First, l.What)
	}
	return fmt.Sprintf("records %d to %d, %s", l.First, l.Last, l.What)
}

// Difference is a figure that is not as it was sealed.
type Difference struct {
	Figure string `json:"figure"` // ER_tCO2, 2026 EG_MWh, meter inv-1 measured_kWh
	Sealed string `json:"sealed"`
	Now    string `json:"now"`
}

// Figures returns what a seal holds of the report.
func (r *Report) Figures() Figures {
	f := Figures{MeasuredKWh: r.MeasuredKWh, ClaimableKWh: r.ClaimableKWh, ER: r.ER, Vintages: r.Vintages, Meters: make(map[string]MeterFigures)}
	for key := range r.Meters {
		m := r.Meters[key]
		f.Meters[key] = MeterFigures{m.MeasuredKWh, m.ClaimableKWh}
	}
	for key := range r.Counters {
		if f.Counters == nil {
			f.Counters = make(map[string]CounterFigures)
		}
		c := r.Counters[key]
		f.Counters[key] = CounterFigures{c.Unit, c.Measured, c.Claimable}
	}
	return f
}

// Below95 returns the completeness of the meters that have less than 95 %, by key.
func (r *Report) Below95() map[string]string {
	out := make(map[string]string)
	add := func(key string, q *Completeness) {
		if q == nil {
			return
		}
		if d, err := decimal.NewFromString(q.Percent); err == nil && d.LessThan(decimal.New(95, 0)) {
			out[key] = q.Percent
		}
	}
	for key := range r.Meters {
		add(key, r.Meters[key].Completeness)
	}
	for key := range r.Counters {
		add(key, r.Counters[key].Completeness)
	}
	return out
}

// SHA256 names a report with everything in it.
func (r *Report) SHA256() (string, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// Sealed returns the newest seal of a period, nil when there is none.
func (p *Project) Sealed(period Span) *Seal {
	var newest *Seal
	for i := range p.Decided.Seals {
		if s := &p.Decided.Seals[i]; s.Period == period && (newest == nil || newest.Revision < s.Revision) {
			newest = s
		}
	}
	return newest
}

// CanSeal reports why the figures of a report cannot be handed over as final; now is
// when somebody wants to.
func (p *Project) CanSeal(m *Methodology, r *Report, now time.Time) error {
	if err := m.Sealable(); err != nil {
		return err
	}
	if err := p.evidenced(); err != nil {
		return err
	}
	zone, err := p.Location()
	if err != nil {
		return err
	}
	switch end := r.Period.End.Next().Start(zone); {
	case now.Before(end):
		return fmt.Errorf("period %v runs until %s: a period that is not over cannot be sealed", r.Period, end.Format(time.RFC3339))
	case r.State == StateOpen && len(p.Meters) > 0:
		return fmt.Errorf("no meter was read since the end of period %v: its last readings may be on their way; wait for them, or end the records of meters that are gone", r.Period)
	case len(r.NotGiven) > 0:
		year := slices.Min(slices.Collect(maps.Keys(r.NotGiven)))
		return fmt.Errorf("nobody gave an amount of %s in %s: put it in, an amount of 0 with its document where there was none", strings.Join(r.NotGiven[year], ", "), year)
	}
	for i := range r.Inputs {
		if x := &r.Inputs[i]; x.Role == RoleCounts && x.Counts == "" {
			return fmt.Errorf("input %s of %s counts nowhere: %s", x.ID, x.Parameter, x.Note)
		}
	}
	return r.bounded(zone)
}

// bounded reports energy that may be missing and lowers ER, of which nobody can say how
// much it is at most.
func (r *Report) bounded(zone *time.Location) error {
	var first *Deduction
	more := 0
	for i := range r.Deductions {
		switch d := &r.Deductions[i]; {
		case d.Unbounded && first == nil:
			first = d
		case d.Unbounded:
			more++
		}
	}
	if first == nil {
		return nil
	}
	text := fmt.Sprintf("meter %s, %s from %s to %s: more of it means less ER, and without its rated power nobody can say how much was not measured at most; give rated_kW (rated_per_h) and rated_source in the project's file",
		first.Meter, first.Cause, local(first.From, zone), local(first.To, zone))
	if first.Cause == CauseUnread || first.Cause == CauseUnheld {
		text += ", or bring in its readings of that time with `kenshin-collector import`"
	} else {
		text += ", or rule on it with `kenshin-collector rule`, with what the register showed"
	}
	if more > 0 {
		text += fmt.Sprintf(" (and %d more lines like it, marked unbounded)", more)
	}
	return errors.New(text)
}

// ChangedSince reports whether anything that a report shows is not as it was when its
// period was sealed the last time.
func (p *Project) ChangedSince(r *Report) (bool, error) {
	if len(r.Differences) > 0 {
		return true, nil
	}
	was := *r // with the state that it had then
	was.Seal, was.State = nil, StateClosing
	if len(p.Meters) == 0 {
		was.State = StateOpen
	}
	for i := range p.Decided.Seals {
		if s := &p.Decided.Seals[i]; s.Period == r.Period && s.Revision == r.Seal.Revision-1 {
			was.Seal, was.State, was.Differences = s, StateSealed, s.Differences(r)
			if s.Revision > 1 {
				was.State = StateRevised
			}
		}
	}
	sum, err := was.SHA256()
	return sum != r.Seal.Report, err
}

// seal fills in the state of the period, and what is not as it was sealed.
func (b *builder) seal() {
	r := b.report
	r.State = StateOpen
	if b.newest >= b.end() {
		r.State = StateClosing
	}
	s := b.project.Sealed(r.Period)
	if s == nil {
		return
	}
	r.Seal, r.State = s, StateSealed
	if s.Revision > 1 {
		r.State = StateRevised
	}
	r.Differences = s.Differences(r)
}

// Differences compares a report with what was sealed of it.
func (s *Seal) Differences(r *Report) (out []Difference) {
	add := func(figure, sealed, now string) {
		if sealed != now {
			out = append(out, Difference{figure, sealed, now})
		}
	}
	now := r.Figures()
	add("methodology", s.Methodology, r.Methodology)
	add("methodology_sha256", s.Hash, r.Hash)
	add("counter_rules", strconv.Itoa(s.Rules), strconv.Itoa(r.Rules))
	add("ER_tCO2", s.Figures.ER, now.ER)
	add("measured_kWh", s.Figures.MeasuredKWh.String(), now.MeasuredKWh.String())
	add("claimable_kWh", s.Figures.ClaimableKWh.String(), now.ClaimableKWh.String())
	for _, year := range keysOf(s.Figures.Vintages, now.Vintages) {
		for _, figure := range keysOf(s.Figures.Vintages[year], now.Vintages[year]) {
			add(year+" "+figure, s.Figures.Vintages[year][figure], now.Vintages[year][figure])
		}
	}
	for _, key := range keysOf(s.Figures.Meters, now.Meters) {
		was, is := s.Figures.Meters[key], now.Meters[key]
		add("meter "+key+" measured_kWh", was.MeasuredKWh.String(), is.MeasuredKWh.String())
		add("meter "+key+" claimable_kWh", was.ClaimableKWh.String(), is.ClaimableKWh.String())
	}
	for _, key := range keysOf(s.Figures.Counters, now.Counters) {
		was, is := s.Figures.Counters[key], now.Counters[key]
		add("meter "+key+" measured", was.Measured.String()+" "+was.Unit, is.Measured.String()+" "+is.Unit)
		add("meter "+key+" claimable", was.Claimable.String()+" "+was.Unit, is.Claimable.String()+" "+is.Unit)
	}
	return out
}

// keysOf returns the keys of two maps, each once, in order.
func keysOf[V any](a, b map[string]V) []string {
	all := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(all)
	return slices.Compact(all)
}
