package main

import (
	"errors"
	"fmt"
	"io"

	"kenshin/configs"
	"kenshin/edge/journal"
	"kenshin/edge/outbox"
)

// outboxCmd is a command on an outbox that needs no agent. It works beside a
// running one unless its help says otherwise.
type outboxCmd interface {
	run(config string, w io.Writer) error
}

// outbox returns the command if it is one on an outbox.
func (c *cli) outbox(command string) (outboxCmd, bool) {
	b, ok := map[string]outboxCmd{
		"dump": &c.Dump, "stat": &c.Stat, "verify": &c.Verify, "repair": &c.Repair,
	}[command]
	return b, ok
}

// place is the folder of an outbox.
type place struct {
	Dir string `arg:"" optional:"" help:"Folder of an outbox; that of the configuration when left out." type:"existingdir"`
}

func (p *place) find(config string) (string, error) {
	if p.Dir != "" {
		return p.Dir, nil
	}
	cfg, err := load(config)
	if err != nil {
		return "", configs.Setup(err)
	}
	return cfg.outboxDir(), nil
}

type dumpCmd struct{ place }

func (d *dumpCmd) run(config string, w io.Writer) error {
	dir, err := d.find(config)
	if err != nil {
		return err
	}
	return outbox.Dump(w, dir)
}

type statCmd struct{ place }

func (s *statCmd) run(config string, w io.Writer) error {
	_, err := s.inspect(config, false, w)
	return err
}

// inspect prints what is there and returns how many problems that showed.
func (p *place) inspect(config string, verify bool, w io.Writer) (problems int, err error) {
	dir, err := p.find(config)
	if err != nil {
		return 0, err
	}
	state, err := outbox.Inspect(dir, verify)
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(w, "outbox of edge %s\n", state.Edge)
	for _, e := range state.Epochs {
		kind := "ended"
		if e.InForce {
			kind = "in force"
		}
		fmt.Fprintf(w, "epoch %v, %s: records %d to %d, acked up to %d, %d files of %d bytes\n", e.Epoch, kind, e.First, e.Last, e.Acked, e.Files, e.Bytes)
		for _, text := range e.Problems {
			fmt.Fprintf(w, "  %s\n", text)
		}
		problems += len(e.Problems)
	}
	if state.Held > 0 {
		fmt.Fprintf(w, "at least %d readings wait in the agent's memory for the disk; if no agent runs they are lost, and the next one tells\n", state.Held)
	}
	return problems, nil
}

type verifyCmd struct{ place }

func (v *verifyCmd) run(config string, w io.Writer) error {
	n, err := v.inspect(config, true, w)
	if err == nil && n > 0 {
		err = fmt.Errorf("the outbox is not as it was written: %s", count(n, "problem", "problems"))
	}
	return err
}

type repairCmd struct{ place }

func (r *repairCmd) run(config string, w io.Writer) error {
	dir, err := r.find(config)
	if err != nil {
		return err
	}
	report, err := outbox.Repair(dir)
	if errors.Is(err, journal.ErrLocked) {
		return configs.Setup(fmt.Errorf("%w; stop the agent first", err))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, report)
	return err
}
