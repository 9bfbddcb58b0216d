package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"kenshin/configs"
	"kenshin/edge/modbus"
	"kenshin/edge/wire"
)

type probeCmd struct {
	Targets []string `arg:"" name:"target" help:"HOST, HOST:PORT, a serial line such as /dev/ttyUSB0, or an endpoint such as rtutcp://HOST:PORT?baud=9600. May be several."`

	Units    string        `help:"Units to ask, such as 1-10,126,240." default:"1-247"`
	Timeout  time.Duration `help:"How long a unit may take to answer." default:"500ms"`
	Delay    time.Duration `help:"Wait after each connect; some dongles need 1s." default:"0s"`
	Gap      time.Duration `help:"Wait between requests." default:"0s"`
	Baud     int           `help:"Of a serial line." default:"9600"`
	Parity   string        `help:"Of a serial line: none, even or odd." default:"none"`
	Profiles string        `help:"Folder with profiles of your own, beside those of the program." type:"path" placeholder:"DIR"`

	Profile string `help:"Take every unit that answers for a device of this profile, as one without identity registers must be." placeholder:"NAME"`

	For   time.Duration `help:"Self-check: compare energy counters with integrated power for so long; 10m under load tells." placeholder:"10m" group:"Self-check"`
	Every time.Duration `help:"How often to read for that." default:"2s" group:"Self-check"`

	Write        string `help:"Write a configuration with what was found; check-config accepts it." placeholder:"FILE" group:"Configuration"`
	Force        bool   `help:"Let --write replace a file that is there." group:"Configuration"`
	Edge         string `help:"Id of this box." default:"site-1" group:"Configuration"`
	Data         string `help:"Folder for the outbox and the key of this box." default:"/var/lib/kenshin-edge" placeholder:"DIR" group:"Configuration"`
	Broker       string `help:"Where the readings go." default:"tcp://127.0.0.1:1883" placeholder:"URL" group:"Configuration"`
	CollectorKey string `help:"What kenshin-collector identity prints; /etc/kenshin/collector.pub is to hold it when not given." placeholder:"KEY" group:"Configuration"`
}

// endpoint returns what a target names.
func (p *probeCmd) endpoint(target string) string {
	switch {
	case strings.Contains(target, "://"):
		return target
	case strings.HasPrefix(target, "/"):
		e := fmt.Sprintf("rtu://%s?baud=%d", target, p.Baud)
		if p.Parity != "none" {
			e += "&parity=" + p.Parity
		}
		return e
	}
	if _, _, err := net.SplitHostPort(target); err == nil {
		return "tcp://" + target
	}
	return "tcp://" + net.JoinHostPort(strings.Trim(target, "[]"), "502")
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

// check finds out what is wrong with the command line, before anything is asked.
func (p *probeCmd) check() error {
	if err := wire.CheckEdgeID(p.Edge); err != nil {
		return fmt.Errorf("--edge: %w", err)
	}
	if p.Write != "" && !p.Force {
		if _, err := os.Stat(p.Write); err == nil {
			return fmt.Errorf("--write: %s is there; name another file, or say --force", p.Write)
		}
	}
	seen := make(map[string]bool)
	for _, target := range p.Targets {
		e := p.endpoint(target)
		if seen[e] {
			return fmt.Errorf("%s is named twice; name each target once", target)
		}
		seen[e] = true
	}
	if p.Write != "" {
		if err := os.WriteFile(p.Write+draftSuffix, nil, 0o644); err != nil {
			return fmt.Errorf("--write: %w; name a file in a folder that is there and may be written to", err)
		}
		if err := os.Remove(p.Write + draftSuffix); err != nil {
			return fmt.Errorf("--write: %w", err)
		}
	}
	if p.For > 0 && p.Every < 100*time.Millisecond {
		return fmt.Errorf("--every %v: want 100ms or more", p.Every)
	}
	return nil
}

// run finds the devices and says what they are.
func (p *probeCmd) run(ctx context.Context, stdout, stderr io.Writer) error {
	ids, err := units(p.Units)
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return configs.Setup(err)
	}
	all, err := allProfiles(p.Profiles)
	if err != nil {
		return configs.Setup(err)
	}
	var lines []*prober
	defer func() {
		for _, q := range lines {
			q.bus.Close()
		}
	}()
	for _, target := range p.Targets {
		q, err := p.prober(target, ids, all)
		if err != nil {
			return configs.Setup(err)
		}
		q.out, q.err, q.tick = stdout, stderr, progress(stderr)
		lines = append(lines, q)
	}
	names := make(map[string]bool)
	var failed []error
	for _, q := range lines {
		q.names = names
		if err := q.probe(ctx, ids); err != nil {
			failed = append(failed, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errors.Join(failed...), p.conclude(ctx, lines))
}

// prober returns what looks for devices at a target.
func (p *probeCmd) prober(target string, ids []uint8, all []known) (*prober, error) {
	q := &prober{all: all, link: modbus.Config{Endpoint: p.endpoint(target), Timeout: p.Timeout, ConnectDelay: p.Delay, Gap: p.Gap}}
	for _, k := range all {
		q.plain = append(q.plain, k.profile)
	}
	if p.Profile != "" {
		k := slices.IndexFunc(all, func(k known) bool { return k.profile.Name == p.Profile })
		if k < 0 {
			return nil, fmt.Errorf("--profile: there is no profile %q; --profiles names the folder of your own", p.Profile)
		}
		q.told = &all[k].profile
	}
	var err error
	if q.bus, err = modbus.New(q.link); err != nil {
		return nil, err
	}
	if q.serial() && slices.ContainsFunc(ids, func(u uint8) bool { return u == 0 || u > 247 }) {
		q.bus.Close()
		return nil, fmt.Errorf("--units %q: a device on a serial line is unit 1 to 247; 0 speaks to all of them", p.Units)
	}
	return q, nil
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

// conclude writes the configuration, and runs the self-check.
func (p *probeCmd) conclude(ctx context.Context, lines []*prober) error {
	found := 0
	for _, q := range lines {
		found += len(q.finds)
	}
	if found == 0 {
		return nil // and why was said
	}
	if p.Write != "" {
		if err := p.write(lines); err != nil {
			return err
		}
		fmt.Fprintf(lines[0].out, "%s written, with %s; next: kenshin-edge check-config --config %s\n", p.Write, count(found, "device", "devices"), p.Write)
	}
	if p.For > 0 && ctx.Err() == nil {
		return p.selfCheck(ctx, lines)
	}
	return nil
}
