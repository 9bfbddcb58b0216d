package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"kenshin/edge"
	"kenshin/edge/modbus"
	"kenshin/edge/wire"
)

type planCmd struct {
	Offline bool `help:"Ask no device; what a SunSpec device will cost is then assumed."`
}

// assumed is what a SunSpec device is taken to cost that was not asked: the
// models of a three-phase inverter with a 64-bit counter.
var assumed = []wire.Block{{Function: 3, Count: 40}, {Function: 3, Count: 9}}

// cost is what reading a device costs in one cycle.
type cost struct {
	requests, registers, bytes int
	time                       time.Duration
	guess                      bool
}

func (c *cost) add(d cost) {
	c.requests += d.requests
	c.registers += d.registers
	c.bytes += d.bytes
	c.time += d.time
	c.guess = c.guess || d.guess
}

// price returns what reading blocks of a unit costs on a link.
func price(link *modbus.Config, unit uint8, blocks []wire.Block, guess bool) cost {
	c := cost{guess: guess}
	var requests []modbus.Request
	for _, k := range blocks {
		requests = append(requests, modbus.Request{Unit: unit, Function: k.Function, Address: k.Address, Count: k.Count})
	}
	for i, e := range link.Estimate(requests...) {
		c.add(cost{1, int(blocks[i].Count), e.Bytes, e.Time, false})
	}
	return c
}

// run prints what every bus costs. It fails when one cannot keep the interval.
func (p *planCmd) run(ctx context.Context, cfg *config, w io.Writer) error {
	late := 0
	for i := range cfg.plan {
		b := &cfg.plan[i]
		costs, err := p.costs(ctx, b)
		if err != nil {
			return err
		}
		fits, err := printPlan(w, b, costs, cfg.Interval)
		if err != nil {
			return err
		}
		if !fits {
			late++
		}
	}
	if late > 0 {
		return fmt.Errorf("%s cannot be read within the interval of %v", count(late, "bus", "buses"), cfg.Interval)
	}
	return nil
}

// costs returns what each device of a bus costs, asking SunSpec devices what
// they have.
func (p *planCmd) costs(ctx context.Context, b *bus) ([]cost, error) {
	m, err := modbus.New(b.link)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	var out []cost
	for i := range b.devices {
		d := &b.devices[i]
		blocks, guess := assumed, true
		switch {
		case d.Declaration != nil:
			blocks, guess = d.Declaration.Blocks, false
		case !p.Offline:
			if found, err := edge.Discover(ctx, m, d); err == nil {
				blocks, guess = found.Blocks, false
			} else if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
		}
		out = append(out, price(&b.link, d.Unit, blocks, guess))
	}
	return out, nil
}

// printPlan prints the table of a bus and reports whether it fits the interval.
func printPlan(w io.Writer, b *bus, costs []cost, interval time.Duration) (bool, error) {
	fmt.Fprintf(w, "bus %s at %s\n", b.config.Name, b.link.Endpoint)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  DEVICE\tUNIT\tPROFILE\tREQUESTS\tREGISTERS\tBYTES\tBUS TIME")
	var sum cost
	for i, c := range costs {
		d := b.config.Devices[i]
		fmt.Fprintf(t, "  %s\t%d\t%s\t%s\t%s\t%s\t%s\n", d.ID, d.Unit, d.Profile, approx(c.guess, c.requests), approx(c.guess, c.registers), approx(c.guess, c.bytes), approx(c.guess, tidy(c.time)))
		sum.add(c)
	}
	switches := switching(b)
	sum.time += switches
	fmt.Fprintf(t, "  a cycle\t\t\t%s\t%s\t%s\t%s\n", approx(sum.guess, sum.requests), approx(sum.guess, sum.registers), approx(sum.guess, sum.bytes), approx(sum.guess, tidy(sum.time)))
	if err := t.Flush(); err != nil {
		return false, err
	}
	if switches > 0 {
		fmt.Fprintf(w, "  %v of that are pauses between units and for connecting.\n", tidy(switches))
	}
	if sum.guess {
		fmt.Fprintln(w, "  ~ a SunSpec device that did not say what it has is taken for a three-phase inverter.")
	}
	timeout := b.link.Timeout
	if timeout == 0 {
		timeout = 2 * time.Second
	}
	share := 100 * float64(sum.time) / float64(interval)
	fits := sum.time <= interval
	var err error
	switch {
	case !fits:
		_, err = fmt.Fprintf(w, "  DOES NOT FIT: %v a cycle, and the interval is %v. Take an interval of %v or more, a faster line, or a second bus.\n\n", tidy(sum.time), interval, roomy(sum.time))
	case share > 70:
		_, err = fmt.Fprintf(w, "  tight: %.0f %% of the interval of %v. One device that does not answer costs up to %v more, and a cycle may be missed.\n\n", share, interval, timeout)
	default:
		_, err = fmt.Fprintf(w, "  fits: %.1f %% of the interval of %v. A device that does not answer costs up to %v whenever it is tried.\n\n", share, interval, timeout)
	}
	return fits, err
}

// switching is what a cycle waits beyond its requests: from one unit to another,
// and for a connection that is made anew each time.
func switching(b *bus) time.Duration {
	var wait time.Duration
	units := make(map[uint8]bool)
	for _, d := range b.devices {
		units[d.Unit] = true
	}
	for u := range units {
		if len(units) > 1 {
			own := b.link.Units[u]
			wait += max(0, cmp.Or(own.SwitchGap, b.link.SwitchGap)-cmp.Or(own.Gap, b.link.Gap))
		}
	}
	if b.link.CloseAfterPoll {
		wait += b.link.ConnectDelay
	}
	return wait
}

func approx(guess bool, v any) string {
	if guess {
		return fmt.Sprintf("~%v", v)
	}
	return fmt.Sprint(v)
}

// tidy rounds a time to what an estimate can mean.
func tidy(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Millisecond)
}

// roomy returns the shortest round interval that leaves a third of it free.
func roomy(d time.Duration) time.Duration {
	for _, s := range []time.Duration{1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600} {
		if s*time.Second >= d*3/2 {
			return s * time.Second
		}
	}
	return (d * 3 / 2).Round(time.Minute)
}
