package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"golang.org/x/sync/errgroup"

	"kenshin/configs"
	"kenshin/edge/plant"
)

// works is what serves a plant: its endpoints, and the control of its faults.
type works struct {
	control   *plant.Control
	endpoints []endpoint
	servers   []*plant.Server
	commands  net.Listener // nil when there is none
	noControl string       // why there is none
}

func newWorks(seed uint64) *works { return &works{control: plant.NewControl(seed)} }

// wrap makes faults possible on the units of an endpoint, unit 1 having the
// first of the names. A name that cannot be had becomes "unit-N".
func (w *works) wrap(name string, units map[uint8]plant.Unit, names ...string) map[uint8]plant.Unit {
	out := make(map[uint8]plant.Unit, len(units))
	for i := range len(units) {
		n := uint8(i + 1)
		f, err := w.control.Add(names[i], name, n, units[n])
		if err != nil {
			f, err = w.control.Add(fmt.Sprintf("unit-%d", n), name, n, units[n])
		}
		if err != nil { // both names are taken: the unit works, without faults
			out[n] = units[n]
			continue
		}
		out[n] = f
	}
	return out
}

// errChecked ends check-config where a plant that runs would listen.
var errChecked = errors.New("the plant is good")

// open binds the endpoints and the control, or nothing, and injects the faults
// that stand on the command line.
func (w *works) open(c *cli, stdout io.Writer, endpoints []endpoint) error {
	faults, err := c.schedule(w.control)
	if err != nil {
		return err
	}
	if c.check {
		for _, e := range endpoints {
			fmt.Fprintf(stdout, "  %-14s %-22s %s\n", e.name, e.at, e.says)
		}
		fmt.Fprintf(stdout, "the plant is good: %d endpoints\n", len(endpoints))
		return errChecked
	}
	w.endpoints = endpoints
	for _, e := range endpoints {
		s, err := plant.Open(e.at, e.units)
		if err != nil {
			w.close()
			return remedy(err, e.flag)
		}
		w.servers = append(w.servers, s)
	}
	if err := w.listen(c.Control); err != nil {
		w.close()
		return err
	}
	for _, f := range faults {
		if _, err := w.control.Inject(f.text); err != nil {
			w.close()
			return f.wrong(err)
		}
	}
	return nil
}

// usualControl is the default of -control: when another plant has it this one
// goes without.
const usualControl = "127.0.0.1:5029"

func (w *works) listen(addr string) (err error) {
	if addr == "none" {
		w.noControl = "none, as -control says"
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("-control %q: want an address of this machine's loopback such as 127.0.0.1:5029, or none; who reaches it can break the plant", addr)
	}
	w.commands, err = net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) && addr == usualControl {
		w.commands, w.noControl = nil, "none: another program has "+addr+"; give a free one with -control"
		return nil
	}
	if err != nil {
		return remedy(fmt.Errorf("listen for commands on %s: %w", addr, err), "-control")
	}
	return nil
}

func (w *works) close() {
	for _, s := range w.servers {
		s.Close()
	}
	if w.commands != nil {
		w.commands.Close()
	}
}

// show prints where what is served.
func (w *works) show(stdout io.Writer) {
	for i, e := range w.endpoints {
		fmt.Fprintf(stdout, "  %-14s %-22s %s\n", e.name, w.servers[i].Addr(), e.says)
	}
	if w.commands == nil {
		fmt.Fprintf(stdout, "  %-14s %s\n", "control", w.noControl)
		return
	}
	addr := w.commands.Addr().String()
	hint := ""
	if addr != usualControl {
		hint = " -control " + addr
	}
	fmt.Fprintf(stdout, "  %-14s %-22s kenshin-plant fault UNIT FAULT%s; UNITs: kenshin-plant list%s\n", "control", addr, hint, hint)
}

// serve adds all servers to a group whose ctx ends with the first that fails.
func (w *works) serve(ctx context.Context, g *errgroup.Group) {
	for _, s := range w.servers {
		g.Go(func() error { return s.Serve(ctx) })
	}
	if w.commands != nil {
		g.Go(func() error { return plant.ServeControl(ctx, w.commands, w.control) })
	}
}

// scheduled is a fault that was asked for before the plant began, and where.
type scheduled struct {
	text  string
	wrong func(error) error
}

// scenario is the file of configs/scenario.example.yaml, which explains it.
type scenario struct {
	Faults []string `yaml:"faults"`
}

// schedule returns the faults of -fault and -scenario, all of them checked.
func (c *cli) schedule(control *plant.Control) ([]scheduled, error) {
	var out []scheduled
	for _, text := range c.Fault {
		out = append(out, scheduled{text, func(err error) error { return fmt.Errorf("-fault %q: %w", text, err) }})
	}
	if c.Scenario != "" {
		var s scenario
		text, err := configs.Load(c.Scenario, &s)
		if err != nil {
			return nil, err
		}
		out = append(out, listed(c.Scenario, text, s.Faults)...)
	}
	for _, f := range out {
		if err := control.Check(f.text); err != nil {
			return nil, f.wrong(err)
		}
	}
	return out, nil
}

// listed returns the faults of a file's list `faults`.
func listed(file string, text []byte, faults []string) []scheduled {
	var out []scheduled
	for i, fault := range faults {
		out = append(out, scheduled{fault, func(err error) error {
			return configs.At(file, text, fmt.Sprintf("$.faults[%d]", i), err.Error(), "`kenshin-plant faults` lists what there is")
		}})
	}
	return out
}
