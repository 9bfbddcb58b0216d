package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kenshin/edge"
	"kenshin/edge/device"
)

// show reads what was found once and prints it.
func (q *prober) show(ctx context.Context) error {
	var errs []error
	i := 0
	edge.Once(ctx, edge.RealClock(), q.found(), func(a edge.Answer) {
		f := &q.finds[i]
		i++
		if a.Record.Reading == nil {
			return
		}
		f.device.Declaration = a.Declaration // its blocks may have been split
		o := decode("", &a)
		o.Device = f.device.ID
		fmt.Fprintf(q.out, "unit %d: %s\n", f.unit, printable(f.match.Why))
		errs = append(errs, o.table(q.out))
		if o.Error != "" {
			fmt.Fprintf(q.out, "  %s\n", o.Error)
		}
		for _, line := range f.remarks() {
			fmt.Fprintf(q.out, "  %s\n", line)
		}
		fmt.Fprintln(q.out)
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(q.dumb) > 0 {
		fmt.Fprintf(q.out, "Units %s answer and are nothing known here: write a profile for them, see configs/profiles.\n\n", list(q.dumb))
	}
	return errors.Join(errs...)
}

// found returns the finds as a bus to be read.
func (q *prober) found() *edge.Bus {
	b := &edge.Bus{Reader: q.bus}
	for i := range q.finds {
		b.Devices = append(b.Devices, q.finds[i].device)
	}
	return b
}

// remarks says what of a find is not certain.
func (f *find) remarks() []string {
	var out []string
	if f.device.Declaration.Energy != "" {
		out = append(out, "* counts its energy.")
	}
	if len(f.alike) > 0 {
		out = append(out, "The same device answers as unit "+list(f.alike)+".")
	}
	for _, m := range f.others {
		if m.Profile != nil && len(out) < 8 {
			out = append(out, "It may also be "+m.Profile.Name+": "+printable(m.Why)+".")
		}
	}
	p := f.match.Profile
	if p == nil {
		return out
	}
	if f.match.Guess {
		out = append(out, "GUESS: do not believe it before its name plate and its display agree; then let the self-check run (--for 10m).")
	}
	if !p.Verified {
		out = append(out, "UNVERIFIED profile "+p.Name+": "+strings.TrimSpace(p.Notes))
	}
	notes := make(map[string][]string)
	var order []string
	for i := range p.Points {
		if v := &p.Points[i]; v.Verified != nil && !*v.Verified {
			if notes[v.Note] == nil {
				order = append(order, v.Note)
			}
			notes[v.Note] = append(notes[v.Note], v.Name)
		}
	}
	for _, note := range order {
		out = append(out, "UNVERIFIED "+strings.Join(notes[note], ", ")+": "+note)
	}
	return out
}

// list writes unit ids as ranges.
func list(units []uint8) string {
	var parts []string
	for i := 0; i < len(units); {
		k := i
		for k+1 < len(units) && units[k+1] == units[k]+1 {
			k++
		}
		if k > i {
			parts = append(parts, fmt.Sprintf("%d-%d", units[i], units[k]))
		} else {
			parts = append(parts, fmt.Sprint(units[i]))
		}
		i = k + 1
	}
	return strings.Join(parts, ", ")
}

// conclude writes the configuration, runs the self-check, and says what is wrong.
func (q *prober) conclude(ctx context.Context) error {
	if len(q.finds) == 0 {
		if len(q.dumb) > 0 {
			return errors.New("no device that is known here")
		}
		return errors.New("no unit answers; check wiring (A and B swapped?), speed and parity, unit ids, or give it more --timeout")
	}
	if q.cmd.Write != "" {
		if err := q.write(); err != nil {
			return err
		}
		fmt.Fprintf(q.out, "%s written: put in broker and collector, then `kenshin-edge check-config --config %s`.\n", q.cmd.Write, q.cmd.Write)
	}
	if q.cmd.For > 0 {
		return q.selfCheck(ctx)
	}
	return nil
}

// selfCheck compares the energy counters with integrated power for a while. An
// end of ctx ends it early, with what was seen.
func (q *prober) selfCheck(ctx context.Context) error {
	seen := make([][]device.Observation, len(q.finds))
	begun := time.Now()
	for end := begun.Add(q.cmd.For); ctx.Err() == nil && time.Now().Before(end); {
		next := time.Now().Add(q.cmd.Every)
		i := 0
		edge.Once(ctx, edge.RealClock(), q.found(), func(a edge.Answer) {
			if a.Record.Reading != nil && a.Err == nil && a.Declaration.Hash() == q.finds[i].device.Declaration.Hash() {
				seen[i] = append(seen[i], device.Observation{At: time.UnixMilli(a.Record.Wall), Values: a.Declaration.Values(a.Record.Reading)})
			}
			i++
		})
		q.tick("self-check: %v of %v", time.Since(begun).Round(time.Second), q.cmd.For)
		if edge.RealClock().Sleep(ctx, time.Until(next)) != nil {
			break
		}
	}
	q.tick("")
	fmt.Fprintf(q.out, "self-check over %v:\n", time.Since(begun).Round(time.Second))
	bad := 0
	for i := range q.finds {
		f := &q.finds[i]
		c := device.SelfCheck(f.device.Declaration, seen[i])
		fmt.Fprintf(q.out, "  unit %d, %s: %s: %s\n", f.unit, f.device.ID, c.Verdict, c.Text)
		if c.Verdict != device.Fits && c.Verdict != device.TooLittle {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%s not to be believed as it is", count(bad, "device is", "devices are"))
	}
	return nil
}
