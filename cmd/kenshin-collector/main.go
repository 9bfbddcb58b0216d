// Command kenshin-collector is the centre: it takes signed batches from the
// edges, keeps them, and serves samples, totals and the page.
package main

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	_ "time/tzdata" // zones of projects must not depend on what is installed

	"go.uber.org/zap"

	"kenshin/collector"
	"kenshin/configs"
	"kenshin/edge"
)

// version is set when a release is built; otherwise the build information speaks.
var version = ""

func main() { configs.Main("kenshin-collector", run) }

type cli struct {
	Config string `help:"Configuration file; configs/collector.example.yaml explains every line." default:"/etc/kenshin/collector.yaml" type:"path" placeholder:"FILE"`

	Run         struct{} `cmd:"" default:"1" help:"Receive, keep, settle and serve until stopped. This is the default."`
	CheckConfig struct{} `cmd:"" help:"Check the configuration, run the examples of every methodology and say what is configured. Nothing is opened or written."`
	Identity    struct{} `cmd:"" help:"Print the public key for the edges' configurations; the key is made when there is none."`
	Totals      struct {
		Project   string `arg:"" help:"Reference of the project."`
		Period    int    `help:"Monitoring period, counted from 1 in the order of the project's file." default:"1" placeholder:"N"`
		Recompute bool   `help:"Recompute from the book alone and compare; exit 1 if a digit differs."`
		Sealed    bool   `help:"Recompute what was sealed from the records of the book that the seal rests on; exit 1 if a figure differs."`
		Explain   bool   `help:"Print how the figures come about, to be followed with a pocket calculator, instead of JSON."`
	} `cmd:"" help:"Print the totals of a monitoring period as JSON. The collector must be stopped."`
	Edges       edgesCommands       `cmd:"" help:"Admit edges and end their keys; works beside a running collector."`
	CA          caCommands          `cmd:"" name:"ca" help:"The collector's own certificate authority."`
	Methodology methodologyCommands `cmd:"" help:"Check, show or explain methodology files."`
	Series      seriesCommands      `cmd:"" help:"Print, check or measure the series store."`

	Import  importFlags `cmd:"" help:"Bring in readings from before the agent, from a CSV file. The collector must be stopped."`
	Export  exportFlags `cmd:"" help:"Print samples, days or totals as CSV. The collector must be stopped."`
	Input   inputFlags  `cmd:"" help:"Put an amount that no meter gave into the book, with its evidence; works beside a running collector."`
	Rule    ruleFlags   `cmd:"" help:"Put a person's ruling on a counter into the book; works beside a running collector."`
	Split   splitFlags  `cmd:"" help:"Put the division of a vintage between the accounts into the book; works beside a running collector."`
	Seal    sealFlags   `cmd:"" help:"Put into the book that the figures of a period are final, and on what they rest; once more after something came makes the next revision. Works beside a running collector."`
	Rebuild struct{}    `cmd:"" help:"Drop the series store and settle the book from its first record. The collector must be stopped."`
	Replay  struct{}    `cmd:"" help:"Offer the messages that were refused once more, such as those of an edge that is registered now. The collector must be stopped."`

	Dead    deadCmd    `cmd:"" help:"List the messages that were refused, with the reasons, as JSON lines."`
	Dump    dumpCmd    `cmd:"" help:"Print the records of the book as JSON lines."`
	Stat    statCmd    `cmd:"" help:"Say what the book holds."`
	Verify  verifyCmd  `cmd:"" help:"Read all of the book and compare it with its checksums, its tree and its checkpoints. Exit 1 names the records that are not as they were written."`
	Backup  backupCmd  `cmd:"" help:"Bring a backup up to date, then read all of it. The collector's private key is not in it: keep that apart."`
	Restore restoreCmd `cmd:"" help:"Make the book of a backup that of the configuration. The edges then send what is missing."`
	Repair  repairCmd  `cmd:"" help:"Give a damaged book its records back from a backup, or set them aside. The collector must be stopped."`

	Prove        proveCmd        `cmd:"" help:"Write records of the book as they were received, with the proof that each is in it, to a file that others check without us. Works beside a running collector."`
	VerifyExport verifyExportCmd `cmd:"" help:"Check such a file, offline: signatures, proofs, chains, and that nothing that it says to hold is missing. Exit 1 names the records and bytes that are wrong."`
	DumpExport   dumpExportCmd   `cmd:"" help:"Print the records of such a file as JSON lines."`

	Influx influxCommands `cmd:"" help:"The copy of the samples in InfluxDB or another server of its line protocol. The collector must be stopped."`

	Version struct{} `cmd:"" help:"Print the version."`
}

const description = "Keeps what edges deliver and turns it into emission reductions. Start with `kenshin-collector check-config`."

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c cli
	command, done, err := configs.Parse("kenshin-collector", description, &c, args, stdout, stderr)
	if done || err != nil {
		return err
	}
	if command == "version" {
		_, err := fmt.Fprintln(stdout, "kenshin-collector", configs.Version(version))
		return err
	}
	if rest, ok := strings.CutPrefix(command, "methodology "); ok {
		return c.methodology(ctx, rest, stdout, stderr)
	}
	if b, ok := c.book(command); ok {
		return b.run(ctx, c.Config, stdout)
	}
	switch command {
	case "prove", "prove <dir>":
		return c.Prove.run(ctx, c.Config, stdout, stderr)
	case "verify-export <file>":
		return c.VerifyExport.run(stdout)
	case "dump-export <file>":
		return c.DumpExport.run(stdout, stderr)
	}
	cfg, err := load(c.Config)
	if err != nil {
		return configs.Setup(err)
	}
	switch command {
	case "check-config":
		var text bytes.Buffer
		if err := cfg.describe(&text); err != nil {
			return configs.Setup(err)
		}
		_, err := text.WriteTo(stdout)
		return err
	case "identity":
		key, err := cfg.key()
		if err != nil {
			return configs.Setup(err)
		}
		_, err = fmt.Fprintf(stdout, "collector:\n  key: %s\n", configs.PublicText(key))
		return err
	case "totals <project>":
		return cfg.with(ctx, stderr, func(col *collector.Collector) error {
			if c.Totals.Sealed {
				return checkSeal(ctx, col, stdout, c.Totals.Project, c.Totals.Period-1)
			}
			if c.Totals.Explain {
				return setupUnknown(col.Explain(stdout, c.Totals.Project, c.Totals.Period-1))
			}
			return totals(ctx, col, stdout, c.Totals.Project, c.Totals.Period-1, c.Totals.Recompute)
		})
	case "import <file>":
		return cfg.with(ctx, stderr, func(col *collector.Collector) error { return c.Import.run(ctx, col, stdout, stderr) })
	case "export <what>":
		return cfg.with(ctx, stderr, func(col *collector.Collector) error { return c.Export.run(ctx, col, stdout, stderr) })
	case "input <project> <id>":
		return c.Input.run(ctx, cfg, stdout, stderr)
	case "rule <project> <id>":
		return c.Rule.run(ctx, cfg, stdout, stderr)
	case "split <project> <id>":
		return c.Split.run(ctx, cfg, stdout, stderr)
	case "seal <project>":
		return c.Seal.run(ctx, cfg, stdout, stderr)
	case "rebuild":
		return cfg.rebuild(ctx, stdout, stderr)
	case "replay":
		return cfg.with(ctx, stderr, func(col *collector.Collector) error {
			r, err := col.Replay()
			if err == nil {
				_, err = fmt.Fprintf(stdout, "%d taken into the book, %d were there already, %d still refused, %d not kept whole\n", r.Stored, r.Repeated, r.Refused, r.Cut)
			}
			return err
		})
	}
	switch verb, rest, _ := strings.Cut(command, " "); verb {
	case "edges":
		return cfg.edgesCommand(ctx, &c.Edges, rest, stdout, stderr)
	case "influx":
		return cfg.influxCommand(ctx, &c.Influx, rest, stdout, stderr)
	case "ca":
		return cfg.caCommand(ctx, &c.CA, rest, stdout, stderr)
	}
	return cfg.serve(ctx, stderr)
}

type opener func(context.Context, collector.Config) (*collector.Collector, error)

// nobody takes acks while a command works on a stopped collector.
type nobody struct{}

func (nobody) Publish(string, []byte, bool) error { return nil }

// open opens the collector of a configuration, by collector.Open or collector.Begin.
// Every error is one of setup.
func (c *config) open(ctx context.Context, open opener, acks collector.AckSender, log *zap.Logger) (*collector.Collector, error) {
	key, err := c.key()
	if err != nil {
		return nil, configs.Setup(err)
	}
	edges, err := c.edges()
	if err != nil {
		return nil, configs.Setup(err)
	}
	methodologies, projects, err := c.texts()
	if err != nil {
		return nil, configs.Setup(err)
	}
	col, err := open(ctx, collector.Config{
		Name: c.Name, Dir: c.Data, Key: key, Root: c.Broker.Root, Edges: edges, Methodologies: methodologies, Projects: projects,
		Limits: collector.DefaultLimits, KeepDays: c.Series.KeepDays, Acks: acks, Clock: edge.RealClock(), Log: log,
	})
	if err != nil {
		return nil, configs.Setup(c.dirError(err))
	}
	return col, nil
}

// with gives a stopped collector to f.
func (c *config) with(ctx context.Context, stderr io.Writer, f func(*collector.Collector) error) error {
	log, err := c.Log.Logger(stderr)
	if err != nil {
		return configs.Setup(err)
	}
	col, err := c.open(ctx, collector.Open, nobody{}, log)
	if err != nil {
		return err
	}
	return errors.Join(f(col), col.Close())
}

func totals(ctx context.Context, col *collector.Collector, w io.Writer, project string, period int, recompute bool) error {
	settled, err := col.Report(ctx, project, period)
	if err != nil {
		return configs.Setup(err)
	}
	text, err := json.MarshalIndent(settled, "", "  ")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "%s\n", text); err != nil || !recompute {
		return err
	}
	again, err := collector.Recompute(ctx, col.Store(), project, period)
	if err != nil {
		return err
	}
	other, err := json.MarshalIndent(again, "", "  ")
	if err != nil {
		return err
	}
	if string(other) != string(text) {
		fmt.Fprintf(w, "%s\n", other)
		return errors.New("the totals recomputed from the book differ from the settled ones, both are above; run `kenshin-collector rebuild` and report this")
	}
	return nil
}

// checkSeal recomputes a sealed period from what it rests on.
func checkSeal(ctx context.Context, col *collector.Collector, w io.Writer, project string, period int) error {
	s, differences, same, err := col.CheckSeal(ctx, project, period)
	if err != nil {
		return setupUnknown(err)
	}
	fmt.Fprintf(w, "period %v of project %s, revision %d, sealed %s by %s: %s\n", s.Period, project, s.Revision, time.UnixMilli(s.At).UTC().Format(time.RFC3339), s.Who, s.Why)
	if len(differences) > 0 {
		for _, d := range differences {
			fmt.Fprintf(w, "  %s: sealed %s, recomputed %s\n", d.Figure, d.Sealed, d.Now)
		}
		return fmt.Errorf("the first %d records of the book do not give what was sealed: the book was changed, or this program computes otherwise than the one that sealed it", s.Records)
	}
	fmt.Fprintf(w, "%s tCO2 and every other sealed figure come out of the first %d records of the book\n", s.Figures.ER, s.Records)
	if !same {
		fmt.Fprintln(w, "this version of the program lays its report out otherwise than the one that sealed it; the figures are the same")
	}
	return nil
}

// rebuild makes the series store anew from the book.
func (c *config) rebuild(ctx context.Context, stdout, stderr io.Writer) error {
	if err := dropSeries(c.Data); err != nil {
		return configs.Setup(c.dirError(err))
	}
	return c.with(ctx, stderr, func(col *collector.Collector) error {
		_, err := fmt.Fprintf(stdout, "%d records of %s settled again\n", col.Store().Size(), filepath.Join(c.Data, "book"))
		return err
	})
}

// dropSeries removes the series store, which the book makes again. Removed, not
// emptied: then a file that is damaged goes too.
func dropSeries(data string) error {
	for _, name := range collector.SeriesFiles(data) {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// equal compares secrets without telling by its time where they differ.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
