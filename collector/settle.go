package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"kenshin/calc"
	"kenshin/collector/series"
	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// settle follows the book by a cursor and turns its records into samples and
// totals. Samples, closings and cursor move in one transaction, so a crash at
// any moment only means that some records are settled once more.
type settle struct {
	cfg     *Config
	store   *store.Store
	db      *series.DB
	metrics *metrics
	recent  *recent
	notify  func()
	stalled stall

	mu           sync.RWMutex // guards all below
	cursor       uint64       // records of the book that are settled
	decided      []uint64     // records of the book that are decisions, as far as is known
	rules        *rules
	registers    map[string]*register // by key; only those a project asks for
	declarations map[wire.Hash]*wire.Declaration
	state        settleState
	routes       map[declared][]route // of the points that registers count; empty after a change of registers
	room         []series.Reading     // of the step before, to be used again
	touched      []*register          // since the last transaction
	marked       map[string]bool      // keys of state.Done that have changed since then
}

// register is the accepted course of one counter.
type register struct {
	project string // reference
	spec    calc.Register
	zone    *time.Location
	curve   *calc.Curve
	touched bool // it is among those that may have changed
}

// settleState is what settling keeps beside samples and closings.
type settleState struct {
	// Done are the sequence numbers that are settled, per edge and epoch, as
	// ascending ranges: a record that comes in two batches counts once. They are
	// kept apart, as marks of the series store: there are as many as edges.
	Done map[string][]wire.Range `json:"-"`
	// Again are registers to be settled again from a day on: their late samples
	// are stored, their closings not yet right.
	Again map[string]lateDays `json:"again,omitempty"`
	// Waiting are readings whose declaration has not come yet: it is in a batch
	// that is still on its way.
	Waiting map[wire.Hash]waiting `json:"waiting,omitempty"`
	// Due are those whose declaration has come, nil when there are none.
	Due *due `json:"due,omitempty"`
	// Ahead are readings dated beyond the collector's clock, by edge and UTC day.
	Ahead map[string]waiting `json:"ahead,omitempty"`
	// Serials are the serial numbers that devices told, with when they first did.
	Serials serials `json:"serials,omitempty"`
}

// lateDays are the first and the last day that a register has late samples of.
type lateDays struct {
	From calc.Date `json:"from,omitzero"` // no day: from its first sample, whatever the figures were before
	Last calc.Date `json:"last,omitzero"`
}

const (
	settleSamples = 50_000 // of one transaction, about
	settleRecords = 8192
)

func (s *settle) position() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cursor
}

// recover takes up where the last transaction left off. decisions are the records
// of the book that are decisions, ascending.
func (s *settle) recover(ctx context.Context, decisions []uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	cursor, state, err := s.db.Cursor(ctx)
	if err != nil {
		return err
	}
	if cursor > s.store.Size() {
		return fmt.Errorf("the series store has settled %d records, the book holds %d: the book was restored from a backup; run `kenshin-collector rebuild`", cursor, s.store.Size())
	}
	s.cursor, s.decided = cursor, decisions
	s.state = settleState{Done: make(map[string][]wire.Range), Again: make(map[string]lateDays), Serials: make(serials)}
	if len(state) > 0 {
		if err := json.Unmarshal(state, &s.state); err != nil {
			return fmt.Errorf("state of settling: %w; run `kenshin-collector rebuild`", err)
		}
		if s.state.Again == nil {
			s.state.Again = make(map[string]lateDays)
		}
		if s.state.Serials == nil {
			s.state.Serials = make(serials)
		}
	}
	marks, err := s.db.Marks(ctx)
	if err != nil {
		return err
	}
	for key, text := range marks {
		var done []wire.Range
		if err := json.Unmarshal(text, &done); err != nil {
			return fmt.Errorf("what is settled of %s: %w; run `kenshin-collector rebuild`", key, err)
		}
		s.state.Done[key] = done
	}
	s.routes, s.marked = make(map[declared][]route), make(map[string]bool)
	s.touched = nil
	if s.state.Waiting == nil {
		s.state.Waiting = make(map[wire.Hash]waiting)
	}
	if s.state.Ahead == nil {
		s.state.Ahead = make(map[string]waiting)
	}
	known, err := s.db.Declarations(ctx)
	if err != nil {
		return err
	}
	for _, d := range known {
		s.declarations[d.Hash()] = d
	}
	// Rules in force at the cursor.
	for _, index := range decisions {
		if index >= cursor {
			break
		}
		r, err := s.store.Read(index)
		if err != nil {
			return err
		}
		if _, err := s.rules.take(&r); err != nil {
			return err
		}
	}
	s.rules.serials = s.state.Serials
	for _, p := range s.rules.projects {
		if err := s.restore(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// again goes back to the last transaction: a step that failed has changed what
// is in memory.
func (s *settle) again(ctx context.Context) error {
	s.mu.Lock()
	s.rules, s.registers, s.declarations = newRules(), make(map[string]*register), make(map[wire.Hash]*wire.Declaration)
	s.mu.Unlock()
	return s.recover(ctx, s.decided)
}

var errStop = errors.New("stop")

// restore takes the registers of a project from their closings.
func (s *settle) restore(ctx context.Context, p *calc.Project) error {
	zone, err := p.Location()
	if err != nil {
		return err
	}
	for _, spec := range s.rules.registers(p) {
		closings, err := s.db.Closings(ctx, spec.Key)
		if err != nil {
			return err
		}
		curve, err := calc.RestoreCurve(spec, zone, closings)
		if err != nil {
			return fmt.Errorf("register %s: %w; run `kenshin-collector rebuild`", spec.Key, err)
		}
		s.registers[spec.Key] = &register{project: p.Reference, spec: spec, zone: zone, curve: curve}
		clear(s.routes)
	}
	return nil
}

// A transaction costs time of its own that grows with the number of edges and
// registers. What comes one by one is therefore settled with rests between: for so
// many times as long as it took, of the machine's time, and for so long at most.
const (
	settleRest = 4
	maxRest    = 500 * time.Millisecond
)

// run settles what is in the book and what comes, until ctx ends. While the
// series store cannot be written it tries again and again: the book goes on.
func (s *settle) run(ctx context.Context) error {
	for failures := 0; ; {
		changed, began := s.store.Changed(), time.Now()
		if err := s.catchUp(ctx); err != nil {
			if failures%60 == 0 {
				s.cfg.Log.Error("figures stand still until the series store can be written", zap.Error(err))
			}
			failures++
			s.stalled.begin(s.cfg.Clock.Now(), s.notify)
			if err := s.again(context.WithoutCancel(ctx)); err != nil {
				return err
			}
			if s.cfg.Clock.Sleep(ctx, retry) != nil {
				return nil
			}
			continue
		}
		failures = 0
		s.stalled.end(s.notify)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(settleRest*time.Since(began), maxRest)):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// catchUp settles until the cursor is at the end of the book, or ctx ends. A step
// is never cut short: what it has done to the registers must reach the disk.
func (s *settle) catchUp(ctx context.Context) error {
	for s.position() < s.store.Size() || s.pending() {
		if ctx.Err() != nil {
			return nil
		}
		if err := s.step(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		s.notify()
	}
	return nil
}

func (s *settle) pending() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.state.Again) > 0 || s.state.Due != nil
}

// step settles some records in one transaction.
func (s *settle) step(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := series.Update{Cursor: s.cursor, Readings: s.room[:0]}
	defer func() { clear(u.Readings); s.room = u.Readings }()
	if s.state.Due != nil {
		if err := s.due(&u); err != nil {
			return err
		}
		return s.commit(ctx, u, 0)
	}
	if err := s.resettle(ctx); err != nil {
		return err
	}
	n := 0
	err := s.store.Scan(s.cursor, func(r *store.Record) error {
		if n == settleRecords || samples(&u) >= settleSamples {
			return errStop
		}
		if r.Kind != store.Batch && r.Kind != store.Quarantined && n > 0 {
			return errStop // it gets a step of its own: what it changes must see all samples before it
		}
		if s.arrive(r); s.state.Due != nil {
			return errStop // they come before this record
		}
		if err := s.record(r, &u); err != nil {
			return err
		}
		n++
		u.Cursor = r.Index + 1
		if r.Kind != store.Batch && r.Kind != store.Quarantined || s.state.Due != nil {
			return errStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return fmt.Errorf("settle from record %d: %w", s.cursor, err)
	}
	if u.Cursor == s.cursor && s.state.Due == nil {
		return nil
	}
	return s.commit(ctx, u, n)
}

// commit writes an update and what the registers have become by it.
func (s *settle) commit(ctx context.Context, u series.Update, records int) error {
	u.Closings = make(map[string]series.Closings, len(s.touched))
	for _, r := range s.touched {
		if from, to, ok := r.curve.Dirty(); ok && s.registers[r.spec.Key] == r {
			u.Closings[r.spec.Key] = series.Closings{From: from, To: to, List: r.curve.Closings(from, to)}
		}
	}
	u.Marks = make(map[string][]byte, len(s.marked))
	var err error
	for key := range s.marked {
		if u.Marks[key], err = json.Marshal(s.state.Done[key]); err != nil {
			return err
		}
	}
	if u.State, err = json.Marshal(s.state); err != nil {
		return err
	}
	res, err := s.db.Apply(ctx, u)
	if err != nil {
		return err
	}
	for _, r := range s.touched {
		r.curve.Clean()
		r.touched = false
	}
	s.touched = s.touched[:0]
	clear(s.marked)
	s.cursor = u.Cursor
	s.metrics.settled.Add(float64(records))
	s.metrics.samples.Add(float64(res.Stored))
	s.metrics.conflicts.Add(float64(res.Conflicts))
	if res.Conflicts > 0 {
		s.cfg.Log.Warn("readings of equal time and other value: the first ones count, see the conflicts of the series store", zap.Int("count", res.Conflicts))
	}
	return nil
}

func (s *settle) record(r *store.Record, u *series.Update) error {
	switch r.Kind {
	case store.Decision:
		if n := len(s.decided); n == 0 || s.decided[n-1] < r.Index {
			s.decided = append(s.decided, r.Index)
		}
		return s.decide(r)
	case store.Import:
		return s.imported(r, u)
	case store.Quarantined:
		return nil
	}
	b := s.recent.take(r.Index)
	if b == nil {
		var err error
		if b, err = decodeStored(r); err != nil {
			return err
		}
	}
	key := b.Edge + "/" + b.Epoch.String()
	for i := range b.Records {
		rec := &b.Records[i]
		done, isNew := include(s.state.Done[key], rec.Seq)
		if !isNew {
			continue
		}
		s.state.Done[key], s.marked[key] = done, true
		if day, ahead := aheadDay(b.Edge, r, rec); ahead && rec.Reading != nil {
			s.hold(day, r.Index, rec)
			continue
		}
		switch {
		case rec.Declaration != nil:
			s.declare(rec.Declaration, u)
		case rec.Reading != nil && s.waits(rec.Reading.Declaration):
			s.wait(b.Edge, r.Index, rec.Reading.Declaration)
		case rec.Reading != nil:
			if err := s.reading(b, rec, u); err != nil {
				return err
			}
		}
	}
	return nil
}

// declare makes a declaration known, and the readings due that waited for it.
func (s *settle) declare(d *wire.Declaration, u *series.Update) {
	h := d.Hash()
	if s.declarations[h] != nil {
		return
	}
	s.declarations[h] = d
	u.Declarations = append(u.Declarations, d)
	s.release(h)
}

// reading settles one reading whose declaration is known.
func (s *settle) reading(b *wire.Batch, rec *wire.Record, u *series.Update) error {
	d := s.declarations[rec.Reading.Declaration]
	if s.state.Serials.note(b.Edge+"/"+d.Device, d.Serial, rec.Wall) {
		if err := s.respecify(); err != nil {
			return err
		}
	}
	u.Readings = append(u.Readings, series.Reading{Edge: b.Edge, Epoch: b.Epoch, Seq: rec.Seq, Wall: rec.Wall, Declaration: d, Reading: rec.Reading})
	for _, x := range s.routed(b.Edge, d, rec.Reading.Declaration) {
		p := &d.Points[x.point]
		raw := d.Raw(x.point, x.block, rec.Reading)
		c := calc.Sample{At: rec.Wall + int64(blockDelta(d, p, rec.Reading)), Unit: p.Unit, Good: raw.Quality == wire.Good, Reason: raw.Reason}
		if c.Good && raw.Form != wire.Text {
			c.Value = raw.Number()
		}
		c = x.heat.of(c, d, rec.Reading)
		if err := s.count(x.register, c); err != nil {
			return err
		}
	}
	return nil
}

// maxTime is the end of the year 9999, ms UTC. What lies beyond, or before its
// opposite, is on no calendar; a curve takes much less.
const maxTime = 253_402_300_799_999

// count gives a sample to its register.
func (s *settle) count(r *register, x calc.Sample) error {
	if r == nil || x.At < -maxTime || x.At > maxTime {
		return nil
	}
	s.touch(r)
	switch err := r.curve.Add(x); {
	case err == nil:
	case errors.Is(err, calc.ErrLate):
		day, key := calc.ClosingDay(x.At, r.zone), r.spec.Key
		l, ok := s.state.Again[key]
		if !ok {
			l = lateDays{day, day}
		}
		if day.Before(l.From) {
			l.From = day
		}
		if l.Last.Before(day) {
			l.Last = day
		}
		s.state.Again[key] = l
	case errors.Is(err, calc.ErrConflict):
		// The series store keeps both; the first one counts.
	default:
		return fmt.Errorf("register %s: %w", r.spec.Key, err)
	}
	return nil
}

// touch notes that a register may change.
func (s *settle) touch(r *register) {
	if !r.touched {
		r.touched = true
		s.touched = append(s.touched, r)
	}
}

// curve returns the course of a register, nil when nothing is known of it.
func (s *settle) curve(key string) *calc.Curve {
	if r := s.registers[key]; r != nil {
		return r.curve
	}
	return nil
}

// include adds seq to ascending ranges. It reports false when it was there.
func include(ranges []wire.Range, seq uint64) ([]wire.Range, bool) {
	i := len(ranges)
	for i > 0 && ranges[i-1].From > seq {
		i--
	}
	if i > 0 && seq <= ranges[i-1].To {
		return ranges, false
	}
	joinsPrev := i > 0 && ranges[i-1].To+1 == seq
	joinsNext := i < len(ranges) && ranges[i].From == seq+1
	switch {
	case joinsPrev && joinsNext:
		ranges[i-1].To = ranges[i].To
		ranges = append(ranges[:i], ranges[i+1:]...)
	case joinsPrev:
		ranges[i-1].To = seq
	case joinsNext:
		ranges[i].From = seq
	default:
		ranges = append(ranges, wire.Range{})
		copy(ranges[i+1:], ranges[i:])
		ranges[i] = wire.Range{From: seq, To: seq}
	}
	return ranges, true
}
