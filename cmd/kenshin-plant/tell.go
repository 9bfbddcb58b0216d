package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"kenshin/configs"
	"kenshin/edge/plant"
)

// tell gives a command to a running plant and prints what it says.
func (c *cli) tell(ctx context.Context, stdout io.Writer, command string, words []string) error {
	if command == "fault" && len(words) == 0 {
		return configs.Setup(errors.New("fault: say of which unit, and which: kenshin-plant fault inv-1 late 300ms for 10s; `kenshin-plant faults` lists what there is"))
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.Control)
	if err != nil {
		return configs.Setup(fmt.Errorf("%w; start kenshin-plant, or name its control with -control", err))
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := fmt.Fprintln(conn, strings.Join(append([]string{command}, words...), " ")); err != nil {
		return fmt.Errorf("control %s: %w", c.Control, err)
	}
	in := bufio.NewScanner(conn)
	for in.Scan() {
		if in.Text() == "ok" {
			return nil
		}
		if why, ok := strings.CutPrefix(in.Text(), "error "); ok {
			return configs.Setup(errors.New(why))
		}
		if _, err := fmt.Fprintln(stdout, in.Text()); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("control %s: %w", c.Control, err)
	}
	return fmt.Errorf("control %s: it hung up; is that a kenshin-plant?", c.Control)
}

// explain lists the faults.
func explain(stdout io.Writer) error {
	for _, f := range plant.FaultNames() {
		if _, err := fmt.Fprintf(stdout, "%-18s %s\n", f[0], f[1]); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(stdout, "\nlate, slow and split take a time, exception a code, dip and rollover a count of the register.")
	return err
}
