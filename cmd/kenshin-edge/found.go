package main

import (
	"context"
	"fmt"
	"strings"

	"kenshin/edge"
)

// show reads what was found once and prints it. It fails when ctx ends before.
func (q *prober) show(ctx context.Context, f *find) error {
	failed := context.Cause(ctx)
	q.tick("")
	edge.Once(ctx, edge.RealClock(), &edge.Bus{Reader: q.bus, Devices: []edge.Device{f.device}}, func(a edge.Answer) {
		if failed = context.Cause(ctx); a.Record.Reading == nil {
			return
		}
		f.device.Declaration = a.Declaration // its blocks may have been split
		o := decode("", &a)
		fmt.Fprintf(q.out, "%s, unit %d: %s\n", f.device.ID, f.unit, printable(f.match.Why))
		failed = o.table(q.out)
		if o.Error != "" {
			fmt.Fprintf(q.out, "  %s\n", o.Error)
		}
		for _, line := range f.remarks() {
			fmt.Fprintf(q.out, "  %s\n", line)
		}
		fmt.Fprintln(q.out)
	})
	return failed
}

// remarks says what of a find is not certain.
func (f *find) remarks() []string {
	var out []string
	if f.device.Declaration.Energy != "" {
		out = append(out, "* counts its energy.")
	}
	var others []string
	for _, m := range f.others {
		if m.Profile != nil {
			others = append(others, m.Profile.Name)
		}
	}
	if len(others) > 0 {
		out = append(out, "It may also be "+strings.Join(others, ", ")+".")
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
