package collector

import (
	"context"
	"fmt"
	"io"

	"kenshin/calc"
	"kenshin/edge/wire"
)

// Samples calls fn for each sample of a register from an instant to before
// another, ms UTC, in order of time; imported says that an operator brought it in.
func (c *Collector) Samples(ctx context.Context, register string, from, to int64, fn func(x wire.Sample, imported bool) error) error {
	return c.db.Scan(ctx, register, from, to, func(x wire.Sample) error { return fn(x, isImport(x.Epoch)) })
}

// Project returns a project in force with what people have decided of it, and
// its methodology.
func (c *Collector) Project(reference string) (*calc.Project, *calc.Methodology, error) {
	c.settle.mu.RLock()
	defer c.settle.mu.RUnlock()
	p := c.settle.rules.project(reference)
	if p == nil {
		return nil, nil, fmt.Errorf("project %q: %w", reference, ErrUnknown)
	}
	m, err := c.settle.rules.methodology(p.Methodology)
	if err != nil {
		return nil, nil, fmt.Errorf("project %q: methodology %w", reference, err)
	}
	if m == nil {
		return nil, nil, fmt.Errorf("project %q: methodology %v: %w", reference, p.Methodology, ErrUnknown)
	}
	return p, m, nil
}

// Explain writes how the figures of a period come about; period counts from 0.
func (c *Collector) Explain(w io.Writer, reference string, period int) error {
	p, m, err := c.Project(reference)
	if err != nil {
		return err
	}
	if period < 0 || period >= len(p.Periods) {
		return fmt.Errorf("project %q has no period %d: %w", reference, period+1, ErrUnknown)
	}
	c.settle.mu.RLock()
	defer c.settle.mu.RUnlock()
	return p.Explain(w, m, period, c.settle.curve)
}

// Recent is Report without events and without the days before one.
func (c *Collector) Recent(_ context.Context, project string, period int, from calc.Date) (*calc.Report, error) {
	p, m, err := c.Project(project)
	if err != nil {
		return nil, err
	}
	c.settle.mu.RLock()
	defer c.settle.mu.RUnlock()
	return p.Recent(m, period, from, c.settle.curve)
}

// Totals is Report without days and events; it costs a fraction.
func (c *Collector) Totals(_ context.Context, project string, period int) (*calc.Report, error) {
	p, m, err := c.Project(project)
	if err != nil {
		return nil, err
	}
	c.settle.mu.RLock()
	defer c.settle.mu.RUnlock()
	return p.Totals(m, period, c.settle.curve)
}
