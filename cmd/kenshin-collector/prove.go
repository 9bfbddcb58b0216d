package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"kenshin/collector"
	"kenshin/collector/store"
	"kenshin/configs"
	"kenshin/edge/wire"
)

type proveCmd struct {
	place
	Records    []string `help:"Records of the book: one, as 12; a range, both included, as 0-4000; or all. May be given several times." placeholder:"N-M"`
	Edge       []string `help:"All batches of an edge. May be given several times." placeholder:"ID"`
	Project    string   `help:"What the figures of a period of this project rest on: its decisions, and the batches from the last complete reading before the period to the first behind it." placeholder:"REF"`
	Period     int      `help:"Monitoring period of the project, counted from 1 in the order of its file." default:"1" placeholder:"N"`
	Checkpoint uint64   `help:"Prove by the checkpoint that speaks of so many records; by the last one when left out." placeholder:"N"`
	Before     string   `help:"File with a checkpoint that the verifier holds already: the book is proven to have only grown since." type:"existingfile" placeholder:"FILE"`
	DryRun     bool     `help:"Say what would be written, and write nothing."`
	Out        string   `help:"File to write, whole or not at all; standard output when left out." type:"path" placeholder:"FILE"`
}

func (p *proveCmd) run(ctx context.Context, config string, stdout, stderr io.Writer) error {
	wish := collector.ExportWish{Edges: p.Edge, Project: p.Project, Period: p.Period - 1}
	if len(p.Records)+len(p.Edge) == 0 && p.Project == "" {
		return configs.Setup(errors.New("name what to prove: --records, --edge or --project"))
	}
	if p.Out == "" && !p.DryRun && terminal(stdout) {
		return configs.Setup(errors.New("name a file with --out, or send the output to one"))
	}
	s, report, unchecked, err := p.read(config)
	if err != nil {
		return err
	}
	defer s.Close()
	if unchecked != "" {
		fmt.Fprintln(stderr, unchecked)
	}
	if report.Altered != "" {
		return fmt.Errorf("%s; `kenshin-collector verify` names the records", report.Altered)
	}
	o := store.ExportOptions{Size: p.Checkpoint, Progress: countdown(stderr)}
	if p.Before != "" {
		if o.Before, err = os.ReadFile(p.Before); err != nil {
			return configs.Setup(err)
		}
	}
	size, err := s.SignedSize(p.Checkpoint)
	if err != nil {
		return configs.Setup(err)
	}
	for _, text := range p.Records {
		r, err := recordRun(text, size)
		if err != nil {
			return configs.Setup(err)
		}
		wish.Records = append(wish.Records, r)
	}
	plan, err := collector.PlanExport(ctx, s, wish, o)
	if errors.Is(err, collector.ErrUnknown) {
		return configs.Setup(err)
	}
	if err != nil {
		return err
	}
	if p.DryRun {
		return describePlan(stdout, plan)
	}
	if err := writeWhole(p.Out, stdout, func(w io.Writer) error { return plan.Write(ctx, w) }); err != nil {
		return err
	}
	return describePlan(stderr, plan)
}

// recordRun reads 12, 0-4000 or all.
func recordRun(text string, size uint64) (r store.Run, err error) {
	if text == "all" {
		return store.Run{Last: max(size, 1) - 1}, nil
	}
	first, last, found := strings.Cut(text, "-")
	if r.First, err = strconv.ParseUint(first, 10, 64); err == nil {
		r.Last = r.First
		if found {
			r.Last, err = strconv.ParseUint(last, 10, 64)
		}
	}
	if err != nil || r.Last < r.First {
		return r, fmt.Errorf("--records %s: want a number, a range such as 0-4000, or all", text)
	}
	if r.Last >= size {
		return r, fmt.Errorf("--records %s: the checkpoint speaks of %d records, 0 to %d; later ones come under the next, within the hour", text, size, int64(size)-1)
	}
	return r, nil
}

func describePlan(w io.Writer, p *store.Plan) error {
	st := &p.Statement
	fmt.Fprintf(w, "%d records of book %s, by its checkpoint of %d records: %d bytes\n", st.Records, st.Origin, st.Size, p.Bytes)
	for _, r := range st.Ranges {
		fmt.Fprintln(w, r.Text(st.Without))
	}
	if n := len(st.Without); n > 0 {
		fmt.Fprintf(w, "without %d that were quarantined: verify-export will say that it is incomplete\n", n)
	}
	for _, s := range st.Streams {
		fmt.Fprintf(w, "edge %s, epoch %v: sequence numbers %d to %d, %d gaps\n", s.Edge, s.Epoch, s.First, s.Last, len(s.Lacks))
	}
	return nil
}

// countdown says once in a while how far a long work is.
func countdown(w io.Writer) func(done, all uint64) {
	next := time.Now().Add(2 * time.Second)
	return func(done, all uint64) {
		if now := time.Now(); now.After(next) {
			fmt.Fprintf(w, "%d of %d records\n", done, all)
			next = now.Add(2 * time.Second)
		}
	}
}

// terminal says whether somebody would see the bytes on a screen.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

type verifyExportCmd struct {
	File   string            `arg:"" help:"File that kenshin-collector prove has written." type:"existingfile"`
	Key    string            `required:"" help:"Public key of the collector, from the collector's operator or from who holds it: in base64, in the form of signed notes, or the name of a file with one of them." placeholder:"KEY"`
	Edge   map[string]string `help:"Public key of an edge in base64, when you have it from elsewhere: then no other key counts for that edge. May be given several times." placeholder:"ID=KEY"`
	Before string            `help:"File with a checkpoint that you hold already: the book must have only grown since." type:"existingfile" placeholder:"FILE"`
}

func (v *verifyExportCmd) run(w io.Writer) error {
	var c collector.ExportCheck
	var err error
	if c.Key, err = collectorKey(v.Key); err != nil {
		return configs.Setup(fmt.Errorf("--key: %w", err))
	}
	for id, text := range v.Edge {
		key, err := configs.PublicKey(text, "")
		if err == nil {
			err = wire.CheckEdgeID(id)
		}
		if err != nil {
			return configs.Setup(fmt.Errorf("--edge %s: %w", id, err))
		}
		c.Edges = append(c.Edges, collector.Edge{ID: id, Key: key})
	}
	if v.Before != "" {
		if c.Before, err = os.ReadFile(v.Before); err != nil {
			return configs.Setup(err)
		}
	}
	f, err := os.Open(v.File)
	if err != nil {
		return configs.Setup(err)
	}
	defer f.Close()
	x, err := collector.CheckExport(f, c, func(f store.Fault) { fmt.Fprintln(w, f) })
	if err != nil {
		return fmt.Errorf("read %s: %w", v.File, err)
	}
	if x.Faults > 0 {
		return fmt.Errorf("%s is not what a collector has proven: %d faults", v.File, x.Faults)
	}
	x.Describe(w)
	if err := x.Incomplete(); err != nil {
		return fmt.Errorf("%s: %w", v.File, err)
	}
	_, err = fmt.Fprintf(w, "%s is good\n", v.File)
	return err
}

// collectorKey reads a key in base64, in the form of signed notes
// (name+hash+base64), or from a file.
func collectorKey(text string) (ed25519.PublicKey, error) {
	if b, err := os.ReadFile(text); err == nil {
		text = strings.TrimSpace(string(b))
	}
	if _, err := note.NewVerifier(text); err == nil { // then this is base64 of one byte and an Ed25519 key
		b, err := base64.StdEncoding.DecodeString(text[strings.LastIndexByte(text, '+')+1:])
		return b[1:], err
	}
	return configs.PublicKey(text, "")
}

type dumpExportCmd struct {
	File string `arg:"" help:"File that kenshin-collector prove has written." type:"existingfile"`
}

func (d *dumpExportCmd) run(w, stderr io.Writer) error {
	f, err := os.Open(d.File)
	if err != nil {
		return configs.Setup(err)
	}
	defer f.Close()
	faults := 0
	err = collector.DumpExport(w, f, func(f store.Fault) {
		faults++
		fmt.Fprintln(stderr, f)
	})
	if err == nil && faults > 0 {
		err = fmt.Errorf("%s has %d faults; `kenshin-collector verify-export` checks signatures too", d.File, faults)
	}
	return err
}
