package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"kenshin/calc"
	"kenshin/collector/store"
)

// Seal puts into the book that the figures of a period are handed over as they are:
// who stands for them, by what rules they were made, and the checkpoint of the book
// they rest on. period counts from 0. Sealing a period again, after something came
// that concerns it, makes the next revision, which names what came. Nothing of the
// book may be unsettled.
func (c *Collector) Seal(project string, period int, who, why string) (*calc.Seal, error) {
	if calc.Blank(who) || calc.Blank(why) {
		return nil, errors.New("say who seals and why")
	}
	c.ingest.book.Lock() // it stands still
	defer c.ingest.book.Unlock()
	c.settle.mu.RLock()
	defer c.settle.mu.RUnlock()
	size := c.store.Size()
	switch waiting := len(c.settle.state.Waiting); {
	case c.settle.cursor != size || len(c.settle.state.Again) > 0 || c.settle.state.Due != nil:
		return nil, errors.New("what has just come is being settled; try again in a moment")
	case waiting > 0:
		return nil, fmt.Errorf("readings of %d devices wait for a declaration that is still on its way; wait for it, so that nothing is missing from what is sealed", waiting)
	}
	r, err := report(c.settle.rules, project, period, c.settle.curve)
	if err != nil {
		return nil, err
	}
	p := c.settle.rules.project(project)
	m, err := c.settle.rules.methodology(p.Methodology)
	if err != nil {
		return nil, err
	}
	now := c.cfg.Clock.Now()
	if err := p.CanSeal(m, r, now); err != nil {
		return nil, err
	}
	s := &calc.Seal{Period: r.Period, Revision: 1, Who: who, Why: why, At: now.UnixMilli(), Methodology: r.Methodology, Hash: r.Hash, Rules: r.Rules, Records: size, Figures: r.Figures(), Below95: r.Below95()}
	if s.Report, err = r.SHA256(); err != nil {
		return nil, err
	}
	if r.Seal != nil {
		s.Revision = r.Seal.Revision + 1
		if s.Late, err = c.settle.late(p, r.Seal); err != nil {
			return nil, err
		}
		// A later version of this program may say more in a report; something must have come too.
		changed, err := p.ChangedSince(r)
		if err != nil {
			return nil, err
		}
		if !changed || len(s.Late) == 0 && len(r.Differences) == 0 {
			return nil, fmt.Errorf("period %v is sealed as revision %d by %s, and nothing has changed since", r.Period, r.Seal.Revision, r.Seal.Who)
		}
	}
	if s.Checkpoint, err = c.store.Checkpoint(); err != nil {
		return nil, err
	}
	text, err := marshal(s)
	if err != nil {
		return nil, err
	}
	return s, c.ingest.decide(decision{Kind: decideSeal, Name: fmt.Sprintf("%s %v/%d", project, s.Period, s.Revision), Who: who, Why: why, Text: string(text)})
}

// late names the records since a seal that concern its period. The book stands
// still and is settled.
func (s *settle) late(p *calc.Project, seal *calc.Seal) (out []calc.Late, err error) {
	zone, err := p.Location()
	if err != nil {
		return nil, err
	}
	end := seal.Period.End.Next().Start(zone).UnixMilli()
	registers, devices := make(map[string]bool), make(map[string]bool)
	for i := range p.Meters {
		registers[p.Meters[i].Register], devices[deviceOf(p.Meters[i].Register)] = true, true
	}
	what := func(r *store.Record) (string, error) {
		switch r.Kind {
		case store.Import:
			if registers[r.Subject] {
				return "import", nil
			}
			return "", nil
		case store.Decision:
			var d decision
			if err := json.Unmarshal(r.Payload, &d); err != nil {
				return "", err
			}
			of, _, _ := strings.Cut(d.Name, " ")
			switch d.Kind {
			case decideRuling, decideInput, decideSplit:
				if of != p.Reference {
					return "", nil
				}
			case decideProject:
				if s.rules.names[p.Reference] != d.Name {
					return "", nil
				}
			case decideMethodology:
				if o := s.rules.origins[methodologyKey(p.Methodology.Number, p.Methodology.Version)]; o.Name != d.Name {
					return "", nil
				}
			default:
				return "", nil
			}
			return d.Kind, nil
		case store.Quarantined:
			return "", nil
		}
		b, err := decodeStored(r)
		if err != nil {
			return "", err
		}
		for i := range b.Records {
			x := &b.Records[i]
			if x.Reading == nil || x.Wall > end {
				continue
			}
			if d := s.declarations[x.Reading.Declaration]; d != nil && devices[b.Edge+"/"+d.Device] {
				return "readings", nil
			}
		}
		return "", nil
	}
	err = s.store.Scan(seal.Records, func(r *store.Record) error {
		w, err := what(r)
		if err != nil || w == "" {
			return err
		}
		if n := len(out); n > 0 && out[n-1].What == w && out[n-1].Last+1 == r.Index {
			out[n-1].Last = r.Index
			return nil
		}
		out = append(out, calc.Late{First: r.Index, Last: r.Index, What: w})
		return nil
	})
	return out, err
}

// CheckSeal recomputes a sealed period from the records of the book that its newest
// seal rests on. It returns the seal, the figures that come out otherwise, and
// whether the whole report is the same to the byte: a later version of this program
// may say more in a report than the one that sealed it.
func (c *Collector) CheckSeal(ctx context.Context, project string, period int) (s *calc.Seal, differences []calc.Difference, same bool, err error) {
	p, _, err := c.Project(project)
	if err != nil {
		return nil, nil, false, err
	}
	if period < 0 || period >= len(p.Periods) {
		return nil, nil, false, fmt.Errorf("project %q has no period %d: %w", project, period+1, ErrUnknown)
	}
	if s = p.Sealed(p.Periods[period]); s == nil {
		return nil, nil, false, fmt.Errorf("period %v of project %s is not sealed: %w", p.Periods[period], project, ErrUnknown)
	}
	r, err := RecomputeAt(ctx, c.store, s.Records, project, s.Period)
	if err != nil {
		return s, nil, false, err
	}
	got, err := r.SHA256()
	return s, s.Differences(r), got == s.Report, err
}

// keepsSealed reports a project file that leaves out a period which is sealed.
func (r *rules) keepsSealed(p *calc.Project) error {
	d, err := r.decided(p.Reference)
	if err != nil {
		return err
	}
	kept := make(map[calc.Span]bool)
	for _, s := range p.Periods {
		kept[s] = true
	}
	for i := range d.Seals {
		if s := &d.Seals[i]; !kept[s.Period] {
			return fmt.Errorf("project %s: period %v was sealed by %s and is not among its periods any more; put it back, a sealed period stays", p.Reference, s.Period, s.Who)
		}
	}
	return nil
}
