package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"kenshin/configs"
	"kenshin/edge"
	"kenshin/edge/device"
	"kenshin/edge/modbus"
	"kenshin/edge/wire"
)

type probeCmd struct {
	Target string `arg:"" help:"HOST, HOST:PORT, a serial line such as /dev/ttyUSB0, or an endpoint such as rtutcp://HOST:PORT?baud=9600."`

	Units    string        `help:"Units to ask, such as 1-10,126,240." default:"1-247"`
	Timeout  time.Duration `help:"How long a unit may take to answer." default:"500ms"`
	Delay    time.Duration `help:"Wait after each connect; some dongles need 1s." default:"0s"`
	Gap      time.Duration `help:"Wait between requests." default:"0s"`
	Baud     int           `help:"Of a serial line." default:"9600"`
	Parity   string        `help:"Of a serial line: none, even or odd." default:"none"`
	Profiles string        `help:"Folder with profiles of your own, beside those of the program." placeholder:"DIR"`
	For      time.Duration `help:"Compare energy counters with integrated power for so long; 10m under load tells." placeholder:"10m"`
	Every    time.Duration `help:"How often to read for that." default:"2s"`
	Write    string        `help:"Write a configuration with what was found; check-config accepts it." type:"path" placeholder:"FILE"`
	Force    bool          `help:"Let --write replace a file that is there."`
	Edge     string        `help:"Id of this box for --write." default:"site-1"`
}

// endpoint returns what a target names.
func (p *probeCmd) endpoint() string {
	switch {
	case strings.Contains(p.Target, "://"):
		return p.Target
	case strings.HasPrefix(p.Target, "/"):
		return fmt.Sprintf("rtu://%s?baud=%d&parity=%s", p.Target, p.Baud, p.Parity)
	}
	if _, _, err := net.SplitHostPort(p.Target); err == nil {
		return "tcp://" + p.Target
	}
	return "tcp://" + net.JoinHostPort(strings.Trim(p.Target, "[]"), "502")
}

// units reads a list such as 1-10,126,240.
func units(list string) ([]uint8, error) {
	var out []uint8
	seen := make(map[uint8]bool)
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.ParseUint(from, 10, 8)
		b, errB := strconv.ParseUint(to, 10, 8)
		if errA != nil || errB != nil || a > b {
			return nil, fmt.Errorf("--units %q: %q is no unit from 0 to 255 and no range; want 1-10,126,240", list, part)
		}
		for u := a; u <= b; u++ {
			if !seen[uint8(u)] {
				seen[uint8(u)] = true
				out = append(out, uint8(u))
			}
		}
	}
	return out, nil
}

// find is a device that was found.
type find struct {
	unit    uint8
	match   device.Match
	others  []device.Match // what else it may be
	profile string
	device  edge.Device // with its declaration
	alike   []uint8     // further units that give the same device
	print   string      // its fingerprint, "" when nothing tells it from others
}

// prober looks for devices on one endpoint.
type prober struct {
	cmd   *probeCmd
	link  modbus.Config
	bus   *modbus.Bus
	all   []known
	plain []device.Profile // of all
	out   io.Writer
	tick  func(format string, a ...any) // progress, on a terminal
	finds []find
	dumb  []uint8 // units that answer and are nothing known
}

// run finds the devices and says what they are.
func (p *probeCmd) run(ctx context.Context, stdout, stderr io.Writer) error {
	ids, err := units(p.Units)
	if err != nil {
		return configs.Setup(err)
	}
	if err := wire.CheckEdgeID(p.Edge); err != nil {
		return configs.Setup(fmt.Errorf("--edge: %w", err))
	}
	if p.Write != "" && !p.Force {
		if _, err := os.Stat(p.Write); err == nil {
			return configs.Setup(fmt.Errorf("--write: %s is there; name another file, or say --force", p.Write))
		}
	}
	q := &prober{cmd: p, out: stdout, tick: progress(stderr),
		link: modbus.Config{Endpoint: p.endpoint(), Timeout: p.Timeout, ConnectDelay: p.Delay, Gap: p.Gap}}
	if q.all, err = allProfiles(p.Profiles); err != nil {
		return configs.Setup(err)
	}
	for _, k := range q.all {
		q.plain = append(q.plain, k.profile)
	}
	if q.bus, err = modbus.New(q.link); err != nil {
		return configs.Setup(err)
	}
	defer q.bus.Close()
	fmt.Fprintf(stdout, "%s, units %s\n\n", q.link.Endpoint, p.Units)
	if err := q.scan(ctx, ids); err != nil {
		return err
	}
	if err := q.show(ctx); err != nil {
		return err
	}
	return q.conclude(ctx)
}

// progress returns a function that rewrites one line of a terminal, and does
// nothing where there is none.
func progress(w io.Writer) func(format string, a ...any) {
	f, ok := w.(*os.File)
	if !ok {
		return func(string, ...any) {}
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func(string, ...any) {}
	}
	return func(format string, a ...any) { fmt.Fprintf(f, "\r\x1b[K"+format, a...) }
}

// scan asks every unit whether it is there, and those that are what they are.
func (q *prober) scan(ctx context.Context, ids []uint8) error {
	defer q.tick("")
	same := 0
	for i, u := range ids {
		q.tick("unit %d (%d of %d), %d found", u, i+1, len(ids), len(q.finds))
		there, err := q.there(ctx, u)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		fresh, err := q.identify(ctx, u)
		if err != nil {
			return err
		}
		if same++; fresh {
			same = 0
		}
		if same >= 3 && !isSerial(q.link.Endpoint) {
			fmt.Fprintf(q.out, "It answers every unit alike; units from %d on were not asked.\n\n", u+1)
			break
		}
	}
	return nil
}

func isSerial(endpoint string) bool { return strings.HasPrefix(endpoint, "rtu") }

// there asks a unit for one register. An exception is an answer; those by which
// a gateway says that nobody is behind it are none.
func (q *prober) there(ctx context.Context, u uint8) (bool, error) {
	for _, function := range []uint8{3, 4} {
		err := q.ask(ctx, u, function)
		var refused *modbus.ExceptionError
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case err == nil:
			return true, nil
		case errors.As(err, &refused):
			return refused.Code != gatewayPath && refused.Code != gatewayTarget, nil
		case errors.Is(err, modbus.ErrUnreachable):
			return false, fmt.Errorf("%w; check address, cable and whether another program has the device: many take one connection only", err)
		}
		if !isSerial(q.link.Endpoint) {
			break // one silence is enough where it takes a connection
		}
	}
	return false, nil
}

// The exceptions of a gateway behind which a unit is not.
// Source: MODBUS Application Protocol V1.1b3, 7.
const (
	gatewayPath   = 10
	gatewayTarget = 11
)

// ask reads one register. A device that has just hung up is given time to take a
// connection again.
func (q *prober) ask(ctx context.Context, u, function uint8) error {
	var err error
	for range 3 {
		if _, err = q.bus.Read(ctx, u, function, 0, 1); !errors.Is(err, modbus.ErrUnreachable) {
			return err
		}
		if edge.RealClock().Sleep(ctx, time.Second) != nil {
			break
		}
	}
	return err
}

// identify finds out what a unit is. It reports whether that is something new.
func (q *prober) identify(ctx context.Context, u uint8) (fresh bool, err error) {
	matches, err := device.Identify(ctx, q.bus, u, q.plain)
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
		f.device = edge.Device{ID: q.name(&f, d), Unit: u, Declaration: d}
		if f.match.Chain != nil {
			f.device.Sub = f.match.Chain.Sub
		}
		if f.print, err = q.fingerprint(ctx, &f); err != nil {
			return false, err
		}
		if k := q.seen(&f); k != nil {
			k.alike = append(k.alike, u)
			continue
		}
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
// number, or else its labels and what its counter shows.
func (q *prober) fingerprint(ctx context.Context, f *find) (string, error) {
	d := f.device.Declaration
	if d.Serial != "" {
		return fmt.Sprintf("%s %s %s %d", d.Manufacturer, d.Model, d.Serial, f.device.Sub), nil
	}
	if isSerial(q.link.Endpoint) {
		return "", nil // a device on a line answers for its unit only
	}
	out := ""
	edge.Once(ctx, edge.RealClock(), &edge.Bus{Reader: q.bus, Devices: []edge.Device{f.device}}, func(a edge.Answer) {
		if a.Record.Reading == nil {
			return
		}
		for i, v := range a.Declaration.Values(a.Record.Reading) {
			k := &a.Declaration.Points[i]
			if v.Quality == wire.Good && (k.Kind == wire.Label || k.Kind == wire.Counter && !v.Number.IsZero()) {
				out += fmt.Sprintf("%s %s%s ", k.Name, v.Text, v.Number)
			}
		}
	})
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
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

// name makes an id for a find: its model, or else its profile, and its unit.
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
	if f.match.Chain != nil && f.match.Chain.Sub > 0 {
		id = fmt.Sprintf("%s-%d", id, f.match.Chain.Sub)
	}
	return id
}
