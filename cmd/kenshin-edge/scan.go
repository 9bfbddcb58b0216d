package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"kenshin/edge"
	"kenshin/edge/device"
	"kenshin/edge/modbus"
	"kenshin/edge/wire"
)

// find is a device that was found.
type find struct {
	unit     uint8
	match    device.Match
	others   []device.Match // what else it may be
	profile  string
	device   edge.Device // with its declaration
	alike    []uint8     // further units that give the same device
	print    string      // its fingerprint, "" when nothing tells it from others
	readings []device.Observation
}

// prober looks for devices on one endpoint.
type prober struct {
	link     modbus.Config
	bus      *modbus.Bus
	all      []known
	plain    []device.Profile // of all
	told     *device.Profile  // what units are by --profile, nil to find out
	out, err io.Writer
	tick     func(format string, a ...any) // progress, on a terminal
	names    map[string]bool               // ids given so far, on all endpoints

	finds   []find
	dumb    []uint8 // units that answer and are nothing known
	reached bool    // there was a connection
	garbled bool    // something came that is no Modbus
	absent  bool    // a gateway said that a unit is not there
}

// probe asks the units of ids and says what was found. What was found before ctx
// ended stays.
func (q *prober) probe(ctx context.Context, ids []uint8) error {
	fmt.Fprintf(q.out, "%s, units %s\n\n", q.link.Endpoint, list(ids))
	if most := time.Duration(len(ids)) * q.silence(); most > 10*time.Second {
		fmt.Fprintf(q.err, "A unit that is not there costs %v, so this takes up to %v, and seconds more for each that is. Fewer --units or a shorter --timeout make it shorter; Ctrl-C ends it and keeps what was found.\n", q.silence(), most.Round(time.Second))
	}
	asked, err := q.scan(ctx, ids)
	q.tick("")
	for i := range q.finds {
		if f := &q.finds[i]; len(f.alike) > 0 {
			fmt.Fprintf(q.out, "%s answers as unit %s too.\n\n", f.device.ID, list(f.alike))
		}
	}
	if len(q.dumb) > 0 {
		fmt.Fprintf(q.out, "Units %s answer and are nothing known here: write a profile for them, see configs/profiles.\n\n", list(q.dumb))
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: stopped; units %s were not asked", q.link.Endpoint, list(ids[asked:]))
	case err != nil:
		return err
	case len(q.finds) == 0:
		return fmt.Errorf("%s: %s", q.link.Endpoint, q.nothing())
	}
	return nil
}

// silence returns what a unit costs at most that is not there: on a serial line
// it is asked by both functions, and after each silence the line rests as long.
func (q *prober) silence() time.Duration {
	if q.serial() {
		once := q.link.Estimate(modbus.Request{Unit: 1, Function: 3, Count: 1})[0].Time
		return (4*q.link.Timeout + 2*once).Round(time.Millisecond)
	}
	return q.link.Timeout + q.link.ConnectDelay + q.link.Gap
}

// nothing says what to look at when nothing was found.
func (q *prober) nothing() string {
	switch {
	case len(q.dumb) > 0:
		return "no device that is known here"
	case q.absent:
		return "a gateway answers, and says that none of these units is behind it; check unit ids, and the wiring, speed and parity of the line behind it"
	case q.garbled && q.serial():
		return "what answers is garbled; check speed and parity, termination, and that no two devices have the same unit id"
	case q.garbled:
		return "what answers there does not speak Modbus TCP; check the port, and try rtutcp:// if it is a serial converter"
	case q.serial():
		return "no unit answers; check wiring (A and B swapped?), speed and parity, unit ids, or give it more --timeout"
	}
	return "the connection is taken, and no unit answers; check that Modbus is switched on in the device, port and unit ids, try rtutcp:// if it is a serial converter, or give it more --timeout"
}

// serial tells whether RTU is spoken, directly or through a converter.
func (q *prober) serial() bool { return strings.HasPrefix(q.link.Endpoint, "rtu") }

// scan asks every unit whether it is there, and those that are what they are. It
// returns how many of ids were asked.
func (q *prober) scan(ctx context.Context, ids []uint8) (int, error) {
	same := 0
	for i, u := range ids {
		left := time.Duration(len(ids)-i) * q.silence()
		q.tick("unit %d (%d of %d), %d found, up to %v to go", u, i+1, len(ids), len(q.finds), left.Round(time.Second))
		there, err := q.there(ctx, u)
		if err != nil {
			return i, err
		}
		if !there {
			continue
		}
		fresh, err := q.identify(ctx, u)
		if err != nil {
			return i, err
		}
		if same++; fresh {
			same = 0
		}
		if same >= 3 && !q.serial() && i+1 < len(ids) {
			fmt.Fprintf(q.out, "It answers every unit alike; units %s were not asked.\n\n", list(ids[i+1:]))
			return i + 1, nil
		}
	}
	return len(ids), nil
}

// there asks a unit for one register. An exception is an answer, unless a gateway
// says by it that nobody is behind it.
func (q *prober) there(ctx context.Context, u uint8) (bool, error) {
	for _, function := range []uint8{3, 4} {
		err := q.ask(ctx, u, function)
		var refused *modbus.ExceptionError
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case errors.As(err, &refused) && edge.Absent(refused.Code):
			q.absent = true
			return false, nil
		case err == nil || errors.As(err, &refused):
			return true, nil
		case errors.Is(err, modbus.ErrUnreachable):
			return false, fmt.Errorf("%w; check address, cable and whether another program has the device: many take one connection only", err)
		case errors.Is(err, modbus.ErrMalformed):
			q.garbled = true
		}
		if !q.serial() {
			break // one silence is enough where it takes a connection
		}
	}
	return false, nil
}

// ask reads one register. A device that was there and has hung up is given time
// to take a connection again.
func (q *prober) ask(ctx context.Context, u, function uint8) error {
	for tries := 0; ; tries++ {
		_, err := q.bus.Read(ctx, u, function, 0, 1)
		if !errors.Is(err, modbus.ErrUnreachable) {
			q.reached = true
			return err
		}
		if !q.reached || tries == 2 || edge.RealClock().Sleep(ctx, time.Second) != nil {
			return err
		}
	}
}

// usualBase is where a SunSpec map is looked for first anyway.
const usualBase = 40000

// identify finds out what a unit is. It reports whether that is something new.
func (q *prober) identify(ctx context.Context, u uint8) (fresh bool, err error) {
	var matches []device.Match
	if q.told != nil {
		matches = []device.Match{{Profile: q.told, Guess: true, Why: "taken for " + q.told.Title + " because --profile says so"}}
	} else {
		matches, err = device.Identify(ctx, q.bus, u, q.plain)
	}
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case errors.Is(err, device.ErrSilent):
		return true, nil
	case err != nil:
		fmt.Fprintf(q.out, "unit %d answers, and fails when asked what it is: %v\n\n", u, err)
		return true, nil
	case len(matches) == 0:
		q.dumb = append(q.dumb, u)
		return true, nil
	}
	var found []find
	if matches[0].Chain != nil {
		for _, m := range matches {
			if m.Chain != nil {
				found = append(found, find{unit: u, match: m, profile: sunspec})
			}
		}
	} else {
		found = []find{{unit: u, match: matches[0], others: matches[1:], profile: matches[0].Profile.Name}}
	}
	for _, f := range found {
		d, err := q.declare(&f)
		if err != nil {
			fmt.Fprintf(q.out, "unit %d: %s; it cannot be polled: %v\n\n", u, f.match.Why, err)
			continue
		}
		f.device = edge.Device{Unit: u, Declaration: d}
		if p := f.match.Profile; p != nil {
			var own modbus.Unit
			keepTo(&own, p.Limits, q.link.Gap)
			if err := q.bus.Adapt(ctx, u, own); err != nil {
				return false, err
			}
		}
		if c := f.match.Chain; c != nil {
			f.device.Sub = c.Sub
			if c.Base != usualBase {
				f.device.Bases = []uint16{c.Base}
			}
		}
		f.device.ID = q.name(&f, d)
		if f.print, err = q.fingerprint(ctx, &f); err != nil {
			return false, err
		}
		if k := q.seen(&f); k != nil {
			k.alike = append(k.alike, u)
			continue
		}
		if err := q.show(ctx, &f); err != nil {
			return false, err
		}
		q.names[f.device.ID] = true
		q.finds, fresh = append(q.finds, f), true
	}
	return fresh, nil
}

// declare says what will be read of a find.
func (q *prober) declare(f *find) (*wire.Declaration, error) {
	if c := f.match.Chain; c != nil {
		d, err := c.Declare("probe", f.unit)
		return &d, err
	}
	bridge, err := modbus.Bridge(q.link.Endpoint)
	if err != nil {
		return nil, err
	}
	for _, k := range q.all {
		if k.profile.Name == f.profile {
			d, err := k.profile.Declare("probe", f.unit, k.hash, bridge)
			return &d, err
		}
	}
	return nil, fmt.Errorf("there is no profile %q", f.profile)
}

// fingerprint returns what tells a device from others of its kind: its serial
// number, or else its labels and what its counter shows. A serial number such as 0 is
// none.
func (q *prober) fingerprint(ctx context.Context, f *find) (string, error) {
	if q.serial() {
		return "", nil // a device on a line answers for its unit only, whatever serial number it was left with
	}
	d := f.device.Declaration
	blank := d.Serial != "" && strings.Trim(strings.ToLower(d.Serial), " 0.-_x?f/na") == "" // the maker, or an installer, put nothing in
	if d.Serial != "" && !blank {
		return fmt.Sprintf("%s %s %s %d", d.Manufacturer, d.Model, d.Serial, f.device.Sub), nil
	}
	out, counts := "", false
	edge.Once(ctx, edge.RealClock(), &edge.Bus{Reader: q.bus, Devices: []edge.Device{f.device}}, func(a edge.Answer) {
		if a.Record.Reading == nil {
			return
		}
		for i, v := range a.Declaration.Values(a.Record.Reading) {
			k := &a.Declaration.Points[i]
			if v.Quality == wire.Good && (k.Kind == wire.Label || k.Kind == wire.Counter && !v.Number.IsZero()) {
				out += fmt.Sprintf("%s %s%s ", k.Name, v.Text, v.Number)
				counts = counts || k.Kind == wire.Counter
			}
		}
	})
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if blank && !counts {
		return "", nil // labels alone are those of every such device
	}
	return out, nil
}

// seen returns the find with the same fingerprint: a device that does not look
// at the unit id.
func (q *prober) seen(f *find) *find {
	for i := range q.finds {
		if o := &q.finds[i]; f.print != "" && f.profile == o.profile && f.print == o.print {
			return o
		}
	}
	return nil
}

// name makes an id for a find that none before has: its model, or else its
// profile, and its unit.
func (q *prober) name(f *find, d *wire.Declaration) string {
	base := f.profile
	if f.match.Chain != nil && d.Model != "" {
		base = d.Model
	}
	var b strings.Builder
	for _, r := range strings.ToLower(base) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	id := strings.Trim(b.String(), "-")
	if id == "" {
		id = "device"
	}
	id = fmt.Sprintf("%s-%d", id, f.unit)
	if f.device.Sub > 0 {
		id = fmt.Sprintf("%s-sub%d", id, f.device.Sub)
	}
	for n, first := 2, id; q.names[id]; n++ {
		id = fmt.Sprintf("%s-%d", first, n) // on another endpoint
	}
	return id
}
