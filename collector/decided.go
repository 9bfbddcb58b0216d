package collector

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"kenshin/calc"
)

// applyDecided puts a ruling, input, split or seal in force, or takes it out, and
// returns the project that it is of.
func (r *rules) applyDecided(d decision) (*calc.Project, error) {
	reference, id, ok := strings.Cut(d.Name, " ")
	if !ok || reference == "" || id == "" {
		return nil, fmt.Errorf("%s %q: want the project's reference, a blank and an id", d.Kind, d.Name)
	}
	if d.Text == "" {
		delete(r.texts, d.key())
	} else {
		r.texts[d.key()] = d.Text
	}
	p := r.project(reference)
	if p == nil {
		return nil, nil // its file may come back
	}
	q := *p // others may be reading the one in force
	var err error
	if q.Decided, err = r.decided(reference); err != nil {
		return nil, err
	}
	r.put(&q)
	return &q, nil
}

// decided returns what people have decided of a project, in the order of the ids.
func (r *rules) decided(reference string) (out calc.Decided, err error) {
	for _, key := range slices.Sorted(maps.Keys(r.texts)) {
		kind, name, _ := strings.Cut(key, " ")
		if of, _, _ := strings.Cut(name, " "); of != reference {
			continue
		}
		text := []byte(r.texts[key])
		switch kind {
		case decideRuling:
			out.Rulings, err = appendJSON(out.Rulings, text)
		case decideInput:
			out.Inputs, err = appendJSON(out.Inputs, text)
		case decideSplit:
			out.Splits, err = appendJSON(out.Splits, text)
		case decideSeal:
			out.Seals, err = appendJSON(out.Seals, text)
		}
		if err != nil {
			return out, fmt.Errorf("%s: %w", key, err)
		}
	}
	return out, nil
}

func appendJSON[T any](list []T, text []byte) ([]T, error) {
	var v T
	err := json.Unmarshal(text, &v)
	return append(list, v), err
}

// registers returns the counters of a project with all that is known of them,
// what their devices told included.
func (r *rules) registers(p *calc.Project) []calc.Register {
	q := *p
	q.Decided.Serials = r.serials.list()
	return q.Registers()
}

// serials are the serial numbers that devices told: by device (edge/device) and
// serial number, the time of the first reading under it, ms UTC.
type serials map[string]map[string]int64

// note takes down that a device told a serial number at a time. It reports
// whether that changes where one meter ends and another begins.
func (s serials) note(device, serial string, at int64) bool {
	if serial == "" || at < 86_400_000 || at > maxTime { // "" tells nothing, and a broken clock dates nothing
		return false
	}
	known := s[device]
	if known == nil {
		known = make(map[string]int64)
		s[device] = known
	}
	first, ok := known[serial]
	if ok && first <= at {
		return false
	}
	known[serial] = at
	return len(known) > 1
}

// list returns the changes of all devices, ascending by device and time.
func (s serials) list() (out []calc.SerialChange) {
	for _, device := range slices.Sorted(maps.Keys(s)) {
		n := len(out)
		for serial, at := range s[device] {
			out = append(out, calc.SerialChange{Device: device, At: at, Serial: serial})
		}
		slices.SortFunc(out[n:], func(a, b calc.SerialChange) int {
			return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Serial, b.Serial))
		})
	}
	return out
}

// Rule puts a ruling on a counter into the book under an id, in place of an
// earlier one of that id. nil withdraws it.
func (c *Collector) Rule(project, id string, r *calc.Ruling, who, why string) error {
	return decideOne(c, decideRuling, project, id, r, who, why, func(p *calc.Project) error { return p.CheckRuling(r, c.soon()) })
}

// Enter puts a dated input into the book, in place of an earlier one of its id.
// nil withdraws it.
func (c *Collector) Enter(project, id string, x *calc.Input, who, why string) error {
	return decideOne(c, decideInput, project, id, x, who, why, func(p *calc.Project) error { return p.CheckInput(x, c.soon()) })
}

// Divide puts the split of a vintage into the book, in place of an earlier one.
// nil withdraws it. What does not add up to the reductions of the vintage is refused.
func (c *Collector) Divide(project, id string, s *calc.Split, who, why string) error {
	if s != nil {
		p, m, err := c.Project(project)
		if err != nil {
			return err
		}
		period := slices.Index(p.Periods, s.Period)
		if period < 0 {
			return fmt.Errorf("project %s has no period %v: %w", project, s.Period, ErrUnknown)
		}
		c.settle.mu.RLock()
		r, err := p.Totals(m, period, c.settle.curve)
		c.settle.mu.RUnlock()
		if err != nil {
			return err
		}
		vintages := r.Vintages
		if r.Seal != nil {
			vintages = r.Seal.Figures.Vintages // what was handed over is what is divided
		}
		sum := int64(0)
		for _, n := range s.Accounts {
			sum += n
		}
		if er := vintages[strconv.Itoa(s.Vintage)]["ER_tCO2"]; strconv.FormatInt(sum, 10) != er {
			return fmt.Errorf("the accounts add up to %d tCO2, vintage %d has %s; every tonne goes to one account", sum, s.Vintage, cmp.Or(er, "none"))
		}
	}
	return decideOne(c, decideSplit, project, id, s, who, why, nil)
}

// soon is the latest time that something of the present may have: the collector's clock
// may be slow.
func (c *Collector) soon() time.Time { return c.cfg.Clock.Now().Add(aheadMs * time.Millisecond) }

// decideOne tries a decision on the rules in force, writes it and settles it. check is
// given the project with it.
func decideOne[T any](c *Collector, kind, project, id string, v *T, who, why string, check func(*calc.Project) error) error {
	if strings.ContainsAny(id, " \t\n") || id == "" {
		return fmt.Errorf("id %q: want a word without blanks", id)
	}
	if calc.Blank(who) || calc.Blank(why) {
		return errors.New("say who decides and why")
	}
	d := decision{Kind: kind, Name: project + " " + id, Who: who, Why: why}
	if v != nil {
		text, err := marshal(v)
		if err != nil {
			return err
		}
		d.Text = string(text)
	}
	c.ingest.book.Lock()
	defer c.ingest.book.Unlock()
	in := c.ingest.rules
	if v == nil && in.texts[d.key()] == "" {
		return fmt.Errorf("%s %q of project %s: %w", kind, id, project, ErrUnknown)
	}
	trial := *in
	trial.texts, trial.projects = maps.Clone(in.texts), slices.Clone(in.projects)
	p, err := trial.apply(d)
	if err != nil {
		return err
	}
	if p == nil {
		return fmt.Errorf("project %q: %w", project, ErrUnknown)
	}
	m, err := trial.methodology(p.Methodology)
	if err != nil {
		return err
	}
	if v == nil { // what is left was good before
		return c.ingest.decide(d)
	}
	if m != nil {
		if err := p.CheckDecided(m); err != nil {
			return err
		}
	}
	if check != nil {
		if err := check(p); err != nil {
			return err
		}
	}
	return c.ingest.decide(d)
}

// Settle brings the figures up to the end of the book. It must not run beside Run.
func (c *Collector) Settle(ctx context.Context) error { return c.settle.catchUp(ctx) }
