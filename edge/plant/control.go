package plant

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Control is where faults are injected by the names of units. Add all of them
// before the first is used.
type Control struct {
	seed    uint64
	targets []target
}

type target struct {
	name, endpoint string
	unit           uint8
	faulty         *Faulty
}

// NewControl returns a Control of no units. seed is of their random bytes.
func NewControl(seed uint64) *Control { return &Control{seed: seed} }

// Add wraps a unit so that faults can be injected by its name, and returns what
// to serve in its place. A name that is taken, or that is not one word without
// "=", or only digits, is an error.
func (c *Control) Add(name, endpoint string, unit uint8, u Unit) (*Faulty, error) {
	if name == "" || strings.ContainsAny(name, " \t\r\n=") || name == "all" || name == "unit" {
		return nil, fmt.Errorf("unit id %q: want one word without '=', and not \"all\" or \"unit\"", name)
	}
	if _, err := strconv.Atoi(name); err == nil {
		return nil, fmt.Errorf("unit id %q: want at least a letter, so that it is not taken for a unit number", name)
	}
	if i := slices.IndexFunc(c.targets, func(t target) bool { return t.name == name }); i >= 0 {
		return nil, fmt.Errorf("unit id %q is also unit %d at %s; want another", name, c.targets[i].unit, c.targets[i].endpoint)
	}
	f := NewFaulty(u, c.seed+uint64(len(c.targets)))
	c.targets = append(c.targets, target{name, endpoint, unit, f})
	return f, nil
}

// find returns the units that a name means: an id, "all", the name of an
// endpoint, or a unit number that only one endpoint has.
func (c *Control) find(name string) ([]target, error) {
	var found []target
	number, err := strconv.ParseUint(name, 10, 8)
	for _, t := range c.targets {
		if name == "all" || t.name == name || t.endpoint == name || err == nil && t.unit == uint8(number) {
			found = append(found, t)
		}
	}
	if err == nil && len(found) > 1 {
		return nil, fmt.Errorf("unit %s is %s and %s; give the id of the one that is meant", name, found[0].name, found[1].name)
	}
	if len(found) == 0 {
		var names []string
		for _, t := range c.targets {
			names = append(names, t.name)
		}
		return nil, fmt.Errorf("no unit %q; want one of %s, or all", name, strings.Join(names, ", "))
	}
	return found, nil
}

// Check tells whether the text is a fault of a unit that is here, as ParseFault
// reads it. Nothing is injected.
func (c *Control) Check(text string) error {
	name, _, err := ParseFault(text)
	if err == nil {
		_, err = c.find(name)
	}
	return err
}

// Inject injects a fault given as text, see ParseFault, and returns the ids of
// the units that have it.
func (c *Control) Inject(text string) ([]string, error) {
	name, fault, err := ParseFault(text)
	if err != nil {
		return nil, err
	}
	units, err := c.find(name)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range units {
		if err := t.faulty.Inject(fault); err != nil {
			return names, fmt.Errorf("%s: %w", t.name, err)
		}
		names = append(names, t.name)
	}
	return names, nil
}

// Clear ends the faults of the units a name means and returns how many.
func (c *Control) Clear(name string) (int, error) {
	units, err := c.find(name)
	n := 0
	for _, t := range units {
		n += t.faulty.Clear()
	}
	return n, err
}

// List returns a line for each unit: its id, endpoint and number, how many
// requests were hit, and its faults.
func (c *Control) List() []string {
	var out []string
	for _, t := range c.targets {
		faults, hits := t.faulty.Faults()
		line := fmt.Sprintf("%-16s %-14s unit %-3d hit %-6d", t.name, t.endpoint, t.unit, hits)
		for i, f := range faults {
			if i > 0 {
				line += ";"
			}
			line += " " + f.String()
		}
		out = append(out, strings.TrimRight(line, " "))
	}
	return out
}

// maxCommand bounds a command to the control, in bytes.
const maxCommand = 512

// ServeControl takes commands until ctx ends, which is no error, or the listener
// fails. The listener is closed when it returns. Commands are lines of text;
// the answer is any number of lines and then one that is "ok" or begins with
// "error ":
//
//	fault <unit> <fault> [<value>] [after <time>] [for <time>] [every <time>] [times <n>]
//	clear [<unit>]
//	list
//
// A connection may give any number of commands.
func ServeControl(ctx context.Context, ln net.Listener, c *Control) error {
	talk := func(_ context.Context, conn net.Conn) { takeCommands(conn, c) }
	if err := serveConns(ctx, ln, maxConnections, talk); err != nil {
		return fmt.Errorf("serve the control on %s: %w", ln.Addr(), err)
	}
	return nil
}

func takeCommands(conn net.Conn, c *Control) {
	in := bufio.NewScanner(conn)
	in.Buffer(make([]byte, 0, maxCommand), maxCommand)
	for {
		if conn.SetDeadline(time.Now().Add(idleLimit)) != nil || !in.Scan() {
			return
		}
		lines, err := c.do(in.Text())
		last := "ok"
		if err != nil {
			last = "error " + err.Error()
		}
		if _, err := conn.Write([]byte(strings.Join(append(lines, last), "\n") + "\n")); err != nil {
			return
		}
	}
}

// do does what one line asks for and returns what there is to say.
func (c *Control) do(line string) ([]string, error) {
	command, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	rest = strings.TrimSpace(rest)
	switch command {
	case "fault":
		names, err := c.Inject(rest)
		if err != nil {
			return nil, err
		}
		return []string{strings.Join(names, ", ") + ": fault injected"}, nil
	case "clear":
		if rest == "" {
			rest = "all"
		}
		n, err := c.Clear(rest)
		if err != nil {
			return nil, err
		}
		return []string{fmt.Sprintf("%d faults ended", n)}, nil
	case "list":
		return c.List(), nil
	}
	return nil, fmt.Errorf("%q: want fault, clear or list", command)
}
