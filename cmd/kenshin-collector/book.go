package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"kenshin/collector"
	"kenshin/collector/store"
	"kenshin/configs"
	"kenshin/edge/journal"
)

// bookCmd is a command on a book that needs no collector. It works beside a
// running one unless its help says otherwise.
type bookCmd interface {
	run(ctx context.Context, config string, w io.Writer) error
}

// book returns the command if it is one on a book.
func (c *cli) book(command string) (bookCmd, bool) {
	b, ok := map[string]bookCmd{
		"dead": &c.Dead, "dump": &c.Dump, "stat": &c.Stat, "verify": &c.Verify, "repair": &c.Repair,
		"dead <dir>": &c.Dead, "dump <dir>": &c.Dump, "stat <dir>": &c.Stat, "verify <dir>": &c.Verify, "repair <dir>": &c.Repair,
		"backup <to>": &c.Backup, "restore <from>": &c.Restore,
		"series dump": &c.Series.Dump, "series check": &c.Series.Check, "series size": &c.Series.Size,
		"series dump <dir>": &c.Series.Dump, "series check <dir>": &c.Series.Check, "series size <dir>": &c.Series.Size,
	}[command]
	return b, ok
}

// place is the folder of a collector or of a backup.
type place struct {
	Dir string `arg:"" optional:"" help:"Folder of a collector's data, or a backup; that of the configuration when left out." type:"existingdir"`
}

// open says where the book is and which key its checkpoints are to be signed by.
// note tells what will not be checked, "" for nothing.
func (p *place) open(config string) (data string, r store.Reader, note string, err error) {
	cfg, err := load(config)
	if err != nil && p.Dir == "" {
		return "", r, "", configs.Setup(err)
	}
	data = p.Dir
	if data == "" {
		data = cfg.Data
	}
	var key string
	if err == nil {
		r.Origin, key = "kenshin/"+cfg.Name, filepath.Join(cfg.Data, "collector.pub")
		if r.Key, err = configs.PublicKey("", key); err == nil {
			return data, r, "", nil
		}
	}
	return data, r, fmt.Sprintf("the signatures of the checkpoints are not checked: no configuration names the collector's key (%v)", err), nil
}

// read opens the book to read it.
func (p *place) read(config string) (s *store.Store, report store.Report, note string, err error) {
	data, r, note, err := p.open(config)
	if err == nil {
		s, report, err = store.OpenReader(filepath.Join(data, store.BookDir), r)
		if errors.Is(err, os.ErrNotExist) {
			err = configs.Setup(fmt.Errorf("%w: no collector has run there, and it is no backup", err))
		}
	}
	return s, report, note, err
}

type deadCmd struct{ place }

func (d *deadCmd) run(_ context.Context, config string, w io.Writer) error {
	data, _, _, err := d.open(config)
	if err != nil {
		return err
	}
	e := json.NewEncoder(w)
	return store.ReadDeadLetters(data, func(l store.DeadLetter) error { return e.Encode(l) })
}

type dumpCmd struct{ place }

func (d *dumpCmd) run(_ context.Context, config string, w io.Writer) error {
	s, _, _, err := d.read(config)
	if err != nil {
		return err
	}
	return errors.Join(collector.Dump(w, s), s.Close())
}

type statCmd struct{ place }

func (c *statCmd) run(_ context.Context, config string, w io.Writer) error {
	s, report, _, err := c.read(config)
	if err != nil {
		return err
	}
	files, bytes := s.Files()
	fmt.Fprintf(w, "records %d in %d files of %d bytes\n", s.Size(), files, bytes)
	if c := s.LastCheckpoint(); c != "" {
		fmt.Fprintf(w, "last checkpoint\n%s", c)
	} else {
		fmt.Fprintln(w, "no checkpoint yet")
	}
	if !report.Clean() {
		fmt.Fprintln(w, report)
	}
	return s.Close()
}

type verifyCmd struct{ place }

func (v *verifyCmd) run(ctx context.Context, config string, w io.Writer) error {
	s, report, note, err := v.read(config)
	if err != nil {
		return err
	}
	if note != "" {
		fmt.Fprintln(w, note)
	}
	if !report.Clean() {
		fmt.Fprintln(w, report)
	}
	done, err := s.Scrub(ctx, nil, func(p store.Problem) { fmt.Fprintln(w, p) })
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	fmt.Fprintln(w, scrubbed(done))
	if done.Problems > 0 || report.Altered != "" {
		return fmt.Errorf("the book is not as it was written: %d problems", max(done.Problems, 1))
	}
	return nil
}

func scrubbed(s store.Scrubbed) string {
	return fmt.Sprintf("%d records of %d bytes and %d checkpoints read, %d records quarantined, %d problems", s.Records, s.Bytes, s.Checkpoints, s.Quarantined, s.Problems)
}

type backupCmd struct {
	To string `arg:"" help:"Folder of the backup, on another disk; made when there is none." type:"path"`
}

func (b *backupCmd) run(ctx context.Context, config string, w io.Writer) error {
	data, r, _, err := new(place).open(config)
	if err != nil {
		return err
	}
	done, err := store.Backup(ctx, data, b.To, r)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s is a backup of %s: %s\n", b.To, data, scrubbed(done))
	return err
}

type restoreCmd struct {
	From string `arg:"" help:"Folder of the backup." type:"existingdir"`
}

func (c *restoreCmd) run(ctx context.Context, config string, w io.Writer) error {
	data, r, _, err := new(place).open(config)
	if err != nil {
		return err
	}
	done, err := store.Restore(ctx, c.From, data, r, time.Now())
	if err != nil {
		return err
	}
	if err := dropSeries(data); err != nil { // it may have settled records that are not in the backup
		return err
	}
	_, err = fmt.Fprintf(w, "%s holds the book of %s: %s; start the collector, the edges send what is missing\n", data, c.From, scrubbed(done))
	return err
}

type repairCmd struct {
	place
	From       string `help:"Folder of a backup to take damaged records from." type:"existingdir" placeholder:"BACKUP"`
	Quarantine bool   `help:"Set aside what does not come back, so that the collector can go on without it; edges send it again if they still have it."`
}

func (c *repairCmd) run(ctx context.Context, config string, w io.Writer) error {
	data, r, _, err := c.open(config)
	if err != nil {
		return err
	}
	done, err := store.Repair(ctx, filepath.Join(data, store.BookDir), c.From, c.Quarantine, r)
	if errors.Is(err, journal.ErrLocked) {
		return configs.Setup(fmt.Errorf("%w; stop the collector first", err))
	}
	if err != nil {
		return err
	}
	if done.Aside > 0 {
		if err := dropSeries(data); err != nil {
			return err
		}
	}
	for _, p := range done.Left {
		fmt.Fprintln(w, p)
	}
	fmt.Fprintf(w, "%d records healed, %d quarantined, %d problems left\n", done.Healed, done.Aside, len(done.Left))
	if len(done.Left) > 0 {
		return errors.New("the book is still damaged: name a backup with --from, or set the records aside with --quarantine")
	}
	return nil
}
