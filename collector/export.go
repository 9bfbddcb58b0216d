package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kenshin/calc"
	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// ExportWish says which records of the book somebody wants to have. With the
// batches of an edge always go the decisions on its keys.
type ExportWish struct {
	Records []store.Run // positions in the book
	Edges   []string    // all batches of these
	Project string      // what the figures of one of its periods rest on; "" for none
	Period  int         // from 0
}

// PlanExport chooses the records of a wish, up to the checkpoint of o.
func PlanExport(ctx context.Context, book *store.Store, w ExportWish, o store.ExportOptions) (*store.Plan, error) {
	fail := func(err error) (*store.Plan, error) { return nil, fmt.Errorf("choose records: %w", err) }
	size, err := book.SignedSize(o.Size)
	if err != nil {
		return fail(err)
	}
	c := &choice{wish: w, keys: make(map[string]bool), decisions: make(map[uint64]bool), streams: make(map[stream]wire.Range), declared: make(map[uint64]bool), registers: make(map[string]bool)}
	for _, e := range w.Edges {
		c.keys[e] = true
	}
	for _, r := range w.Records {
		err := book.Skim(r.First, func(rec *store.Record) error {
			if rec.Index > min(r.Last, size-1) {
				return errStop
			}
			if rec.Kind == store.Batch {
				c.keys[rec.Subject] = true
			}
			return ctx.Err()
		})
		if err != nil && !errors.Is(err, errStop) {
			return fail(err)
		}
	}
	if w.Project != "" {
		if err := c.period(ctx, book, size); err != nil {
			return fail(err)
		}
	}
	o.Size, o.Ranges, o.Pick = size, w.Records, c.pick
	p, err := book.PlanExport(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, e := range w.Edges {
		if !slices.ContainsFunc(p.Statement.Streams, func(s store.Stream) bool { return s.Edge == e }) {
			return fail(fmt.Errorf("edge %q: no batch of it is among the first %d records: %w", e, size, ErrUnknown))
		}
	}
	if p.Statement.Records == 0 {
		return fail(fmt.Errorf("no record fits: %w", ErrUnknown))
	}
	return p, nil
}

// choice is the records that fit a wish beside its ranges.
type choice struct {
	wish      ExportWish
	keys      map[string]bool       // edges whose key decisions are wanted
	decisions map[uint64]bool       // positions of those of a project
	registers map[string]bool       // of a project
	streams   map[stream]wire.Range // sequence numbers a period rests on
	declared  map[uint64]bool       // positions of the declarations of their readings
}

func (c *choice) pick(r *store.Record) (bool, error) {
	switch r.Kind {
	case store.Batch:
		s, ok := c.streams[stream{r.Subject, r.Epoch}]
		return slices.Contains(c.wish.Edges, r.Subject) || c.declared[r.Index] || ok && r.First <= s.To && s.From <= r.Last, nil
	case store.Import:
		return c.registers[r.Subject], nil
	}
	switch r.Subject {
	case decideEdge, decideKey, decideKeyEnd:
		var d decision
		if err := json.Unmarshal(r.Payload, &d); err != nil {
			return false, fmt.Errorf("decision in record %d: %w", r.Index, err)
		}
		return c.keys[d.Name], nil
	}
	return c.decisions[r.Index], nil
}

// period finds what the figures of a period rest on: the decisions of the project
// and on methodologies, and of each device the readings from the last complete one
// at or before the period to the first behind it, with all that the edge numbered
// in between, and what declares them.
func (c *choice) period(ctx context.Context, book *store.Store, size uint64) error {
	p, err := c.project(ctx, book, size)
	if err != nil {
		return err
	}
	if c.wish.Period < 0 || c.wish.Period >= len(p.Periods) {
		return fmt.Errorf("project %s has no period %d; it has %d: %w", p.Reference, c.wish.Period+1, len(p.Periods), ErrUnknown)
	}
	zone, err := p.Location()
	if err != nil {
		return err
	}
	span := p.Periods[c.wish.Period]
	f := finder{from: span.Start.Start(zone).UnixMilli(), to: span.End.Next().Start(zone).UnixMilli(), uses: make(map[useID]*use), devices: make(map[declared]string)}
	edges, devices := make(map[string]bool), make(map[string]bool)
	for _, spec := range newRules().registers(p) {
		c.registers[spec.Key] = true
		edge, _, _ := strings.Cut(spec.Key, "/")
		edges[edge], c.keys[edge], devices[deviceOf(spec.Key)] = true, true, true
	}
	err = scan(ctx, book.Skim, size, func(r *store.Record) error {
		if r.Kind != store.Batch || !edges[r.Subject] {
			return nil
		}
		return f.batch(r)
	})
	if err != nil {
		return err
	}
	f.choose(c, devices)
	return nil
}

// project reads the decisions, and notes those that a project has to do with.
func (c *choice) project(ctx context.Context, book *store.Store, size uint64) (*calc.Project, error) {
	rules, files := newRules(), make(map[string]bool)
	err := scan(ctx, book.Skim, size, func(r *store.Record) error {
		if r.Kind != store.Decision {
			return nil
		}
		var d decision
		if err := json.Unmarshal(r.Payload, &d); err != nil {
			return fmt.Errorf("decision in record %d: %w", r.Index, err)
		}
		changed, err := rules.take(r)
		if err != nil {
			return err
		}
		switch d.Kind {
		case decideMethodology:
			c.decisions[r.Index] = true
		case decideProject:
			ours := changed != nil && changed.Reference == c.wish.Project
			if ours || d.Text == "" && files[d.Name] {
				c.decisions[r.Index] = true
			}
			files[d.Name] = ours
		case decideRuling, decideInput, decideSplit, decideSeal:
			if strings.HasPrefix(d.Name, c.wish.Project+" ") {
				c.decisions[r.Index] = true
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p := rules.project(c.wish.Project)
	if p == nil {
		return nil, fmt.Errorf("project %q: %w", c.wish.Project, ErrUnknown)
	}
	return p, nil
}

// finder looks for the readings that a span of time rests on.
type finder struct {
	from, to int64 // ms UTC
	uses     map[useID]*use
	devices  map[declared]string // edge/device
}

type useID struct {
	stream
	hash wire.Hash
}

// use is what one declaration was used for in one epoch.
type use struct {
	declared      uint64 // position of a batch that has it
	known         bool
	before, after *moment    // last complete reading at or before the span, first behind it
	within        wire.Range // sequence numbers of readings in the span, none when To is 0
}

type moment struct {
	wall int64
	seq  uint64
}

func (f *finder) batch(r *store.Record) error {
	b, err := decodeStored(r)
	if err != nil {
		return err
	}
	for i := range b.Records {
		rec := &b.Records[i]
		switch {
		case rec.Declaration != nil:
			h := rec.Declaration.Hash()
			f.devices[declared{b.Edge, h}] = b.Edge + "/" + rec.Declaration.Device
			if u := f.use(b, h); !u.known {
				u.declared, u.known = r.Index, true
			}
		case rec.Reading != nil:
			f.reading(f.use(b, rec.Reading.Declaration), rec)
		}
	}
	return nil
}

func (f *finder) use(b *wire.Batch, h wire.Hash) *use {
	id := useID{stream{b.Edge, b.Epoch}, h}
	if f.uses[id] == nil {
		f.uses[id] = &use{}
	}
	return f.uses[id]
}

func (f *finder) reading(u *use, rec *wire.Record) {
	whole := !slices.ContainsFunc(rec.Reading.Blocks, func(b wire.BlockResult) bool { return b.Status != wire.OK })
	switch {
	case rec.Wall <= f.from && whole && (u.before == nil || u.before.wall <= rec.Wall):
		u.before = &moment{rec.Wall, rec.Seq}
	case rec.Wall >= f.to && whole && (u.after == nil || u.after.wall > rec.Wall):
		u.after = &moment{rec.Wall, rec.Seq}
	case rec.Wall > f.from && rec.Wall < f.to && u.within.To == 0:
		u.within = wire.Range{From: rec.Seq, To: rec.Seq}
	case rec.Wall > f.from && rec.Wall < f.to:
		u.within = wire.Range{From: min(u.within.From, rec.Seq), To: max(u.within.To, rec.Seq)}
	}
}

// choose notes the sequence numbers and declarations of some devices.
func (f *finder) choose(c *choice, devices map[string]bool) {
	last, next := make(map[string]*moment), make(map[string]*moment)
	for id, u := range f.uses {
		d := f.devices[declared{id.edge, id.hash}]
		if u.before != nil && (last[d] == nil || last[d].wall < u.before.wall) {
			last[d] = u.before
		}
		if u.after != nil && (next[d] == nil || next[d].wall > u.after.wall) {
			next[d] = u.after
		}
	}
	for id, u := range f.uses {
		d := f.devices[declared{id.edge, id.hash}]
		if !devices[d] {
			continue
		}
		need := []wire.Range{u.within}
		if u.before != nil && u.before == last[d] {
			need = append(need, wire.Range{From: u.before.seq, To: u.before.seq})
		}
		if u.after != nil && u.after == next[d] {
			need = append(need, wire.Range{From: u.after.seq, To: u.after.seq})
		}
		for _, r := range need {
			if r.To == 0 {
				continue
			}
			if s, ok := c.streams[id.stream]; ok {
				r = wire.Range{From: min(s.From, r.From), To: max(s.To, r.To)}
			}
			c.streams[id.stream] = r
			if u.known {
				c.declared[u.declared] = true
			}
		}
	}
}
