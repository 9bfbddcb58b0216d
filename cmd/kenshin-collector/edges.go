package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"kenshin/collector"
	"kenshin/configs"
	"kenshin/edge/wire"
)

type edgesCommands struct {
	List  struct{} `cmd:"" default:"1" help:"List the keys of all edges, and from which record to which they are good."`
	Token struct {
		Edge  string        `arg:"" help:"Id of the edge."`
		Valid time.Duration `help:"How long it may wait to be used; at most 168h." default:"15m"`
		Why   string        `help:"Goes into the book." default:"new edge or new key"`
	} `cmd:"" help:"Print a one-time token for 'kenshin-edge enrol'. For an edge that has a key it admits another."`
	Admit struct {
		Request string `arg:"" help:"File that 'kenshin-edge enrol --request' wrote." type:"existingfile"`
		Reply   string `help:"Where to write the answer; REQUEST.reply when left out." type:"path" placeholder:"FILE"`
		Why     string `help:"Goes into the book." default:"request carried here in a file"`
	} `cmd:"" help:"Admit an edge by a file, and write the answer to be carried back."`
	Revoke struct {
		Edge string `arg:"" help:"Id of the edge."`
		Key  string `help:"Only the key whose fingerprint begins so." placeholder:"HEX"`
		Why  string `help:"Goes into the book." required:""`
	} `cmd:"" help:"End the keys of an edge for good. What they signed stays in the book and good; what comes now is refused."`
	Check struct{} `cmd:"" help:"Check the signature of every batch in the book against the keys that were good where it stands. The collector must be stopped."`
}

func (c *config) edgesCommand(ctx context.Context, cmd *edgesCommands, command string, stdout, stderr io.Writer) error {
	verb, _, _ := strings.Cut(command, " ")
	switch verb {
	case "token":
		a, err := c.order(ctx, order{Do: "token", Edge: cmd.Token.Edge, Valid: cmd.Token.Valid, Who: who(), Why: cmd.Token.Why}, stderr)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(stdout, "On the box, within %v, once:\n\n  kenshin-edge enrol --collector %s --token %s\n", cmd.Token.Valid, cmp.Or(c.publicURL(), "https://THIS-HOST:PORT"), a.Text)
		if strings.HasPrefix(c.publicURL(), "http://") && err == nil {
			_, err = fmt.Fprintf(stdout, "\n%s has no http.tls: this works on this machine alone. From elsewhere carry files: kenshin-edge enrol --request FILE\n", c.file)
		}
		return err
	case "admit":
		return c.admitFile(ctx, cmd.Admit.Request, cmp.Or(cmd.Admit.Reply, cmd.Admit.Request+".reply"), cmd.Admit.Why, stdout, stderr)
	case "revoke":
		a, err := c.order(ctx, order{Do: "revoke", Edge: cmd.Revoke.Edge, Key: cmd.Revoke.Key, Who: who(), Why: cmd.Revoke.Why}, stderr)
		for _, k := range a.Ended {
			fmt.Fprintf(stdout, "edge %s: key %.16s is ended\n", cmd.Revoke.Edge, k)
		}
		if err == nil && c.Broker.URL != "" && len(c.TLS.Names) > 0 {
			_, err = fmt.Fprintln(stdout, "The broker outside still lets its certificate in: `kenshin-collector ca mosquitto DIR` and reload it.")
		}
		return err
	case "check":
		return c.with(ctx, stderr, func(col *collector.Collector) error {
			n, err := collector.CheckSignatures(col.Store())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(stdout, "%d batches in %d records: every signature is good\n", n, col.Store().Size())
			return err
		})
	}
	a, err := c.order(ctx, order{Do: "keys"}, stderr)
	if err != nil {
		return err
	}
	return listKeys(stdout, a.Keys)
}

func (c *config) admitFile(ctx context.Context, request, reply, why string, stdout, stderr io.Writer) error {
	b, err := os.ReadFile(request)
	if err != nil {
		return configs.Setup(err)
	}
	e, err := wire.DecodeEnrolment(b)
	if err != nil {
		return fmt.Errorf("%s: %w; `kenshin-edge enrol --request` writes it", request, err)
	}
	a, err := c.order(ctx, order{Do: "admit", Bytes: b, Who: who(), Why: why}, stderr)
	if err != nil {
		return err
	}
	if err := configs.WriteFile(reply, a.Bytes, 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "edge %s is admitted with key\n  %s\nThe box must have shown the same; if not: kenshin-collector edges revoke %s --key %.16s --why ...\nCarry %s to it: kenshin-edge enrol --reply FILE\n",
		e.Edge, wire.Fingerprint(e.Key), e.Edge, wire.Fingerprint(e.Key), reply)
	return err
}

func listKeys(w io.Writer, keys []collector.EdgeKey) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "EDGE\tKEY\tFROM RECORD\tTO RECORD\tBY")
	for _, k := range keys {
		until, by := "", "enrolment"
		if k.Configured {
			by = "configuration"
		}
		if k.Ended {
			until = fmt.Sprintf("%d: %s", k.Until, k.Why)
		}
		fmt.Fprintf(t, "%s\t%.16s\t%d\t%s\t%s\n", k.Edge, k.Fingerprint, k.From, until, by)
	}
	return t.Flush()
}

// who names the person at the keyboard as far as the system knows.
func who() string {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); err == nil && name == "" {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	return name + "@" + host
}

var errNoAuthority = errors.New("there is no authority: list `tls.names` in the configuration")
