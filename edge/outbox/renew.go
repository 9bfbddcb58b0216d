package outbox

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"kenshin/edge/journal"
	"kenshin/edge/wire"
)

// Report says what Open found that was not as it should be.
type Report struct {
	Journal journal.Report // of the epoch that was found
	// Identity says what became of an outbox without its identity, "" when it had one.
	Identity string
	// Renewed says why a new epoch was begun, "" when it was not.
	Renewed string
	Old     string // folder of the old epoch, which stays as it is
	Copied  uint64 // records that were not acked and went on into the new epoch
	Lost    uint64 // records that were not acked and can no longer be read
	Held    uint64 // readings, at least, that were in memory only when the process before ended
}

// Clean says whether everything was as it should be.
func (r Report) Clean() bool {
	return r.Journal.Clean() && r.Renewed == "" && r.Identity == "" && r.Held == 0
}

// String says for people what was found and done.
func (r Report) String() string {
	var parts []string
	if r.Identity != "" {
		parts = append(parts, r.Identity)
	}
	if !r.Journal.Clean() {
		parts = append(parts, r.Journal.String())
	}
	if r.Renewed != "" {
		parts = append(parts, fmt.Sprintf("a new epoch was begun because %s: %d records still to be delivered went on into it, %d are lost; %s stays as it was and can be dumped",
			r.Renewed, r.Copied, r.Lost, r.Old))
	}
	if r.Held > 0 {
		parts = append(parts, fmt.Sprintf("at least %d readings were %v when the process before ended and are lost; an event of kind gap will say so", r.Held, ErrHeld))
	}
	if parts == nil {
		return "clean"
	}
	return strings.Join(parts, "; ")
}

func (b *Outbox) journalOptions(verifyFrom, durable uint64) journal.Options {
	return journal.Options{SegmentBytes: min(max(b.max/16, minSegment), maxSegment), VerifyFrom: verifyFrom, Durable: durable, FS: b.fs}
}

// load opens the records of an epoch. why says what makes it impossible to go
// on in that epoch. Opening a full outbox must not keep an agent from polling, so
// only the last segment and the last acked record are read; unless a reader has
// found damage since, which then must be found again.
func (b *Outbox) load(epoch wire.Epoch, report *Report) (why string, err error) {
	dir := filepath.Join(b.dir, epoch.String())
	if err := b.fs.MkdirAll(dir); err != nil {
		return "", err
	}
	cursor, acked, err := openCursor(b.fs, dir)
	if err != nil {
		return "", err
	}
	from := uint64(math.MaxUint64)
	if suspect, err := b.left(dir, suspectFile); err != nil {
		return "", err
	} else if suspect || b.verify {
		from = max(acked.through, 1)
	}
	log, found, err := journal.Open(dir, b.journalOptions(from, acked.through))
	report.Journal = found
	if err != nil {
		return "", err
	}
	b.epoch, b.cursor, b.log = epoch, cursor, log
	b.saved, b.acked = acked.through, acked
	if disowned, err := b.left(dir, disownedFile); err != nil {
		return "", err
	} else if disowned {
		return "the collector has other records under its numbers: this is an older copy of it", nil
	}
	if why = b.judge(found); why != "" {
		return why, nil
	}
	for _, d := range found.Damages {
		if d.To >= d.From {
			b.floor = max(b.floor, d.To+2) // the record behind has no hash before it
		}
	}
	if last := b.Last(); last > 0 {
		if b.chain, err = b.chainAt(last); err != nil {
			return "", err
		}
	}
	// Records leave only after they were acked: without a cursor that much is
	// known, and the rest is sent again.
	if oldest := log.First(); b.acked.through < oldest && oldest > 1 {
		chain, err := b.chainAt(oldest)
		if err != nil {
			return "", err
		}
		b.acked = mark{oldest, chain}
	}
	return "", nil
}

// judge says why records could be given numbers that others had before them, or
// could never be delivered in this epoch: then it has to end.
func (b *Outbox) judge(found journal.Report) string {
	acked, last := b.acked, b.Last()
	if acked.through > last {
		return fmt.Sprintf("record %d was acked and only %d are here: this is an old copy, or records were removed", acked.through, last)
	}
	if found.Moved != "" {
		return "a segment cannot be read"
	}
	for _, d := range found.Damages {
		if d.To >= d.From && d.To == acked.through {
			return fmt.Sprintf("records %d to %d, which were acked, are not here as they were: this is an old copy, or records were removed or damaged", d.From, d.To)
		}
		if d.To >= d.From && d.To > acked.through {
			return fmt.Sprintf("records %d to %d, not all of them acked, cannot be read", d.From, d.To)
		}
	}
	if acked.through == 0 {
		return ""
	}
	if acked.through < b.log.First() {
		return fmt.Sprintf("record %d is not here and record %d was the last acked", b.log.First()-1, acked.through)
	}
	chain, err := b.chainAt(acked.through)
	if errors.Is(err, journal.ErrCorrupt) {
		return fmt.Sprintf("record %d, the last that was acked, cannot be read: %v", acked.through, err)
	}
	if err != nil || chain != acked.chain {
		return fmt.Sprintf("record %d is not the one that was acked: the folder is mixed from two copies", acked.through)
	}
	return ""
}

// leave leaves a word for the next opening in the folder of the epoch.
func (b *Outbox) leave(name string) error {
	dir := filepath.Join(b.dir, b.epoch.String())
	f, err := b.fs.Open(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), b.fs.SyncDir(dir))
}

// left tells whether a word was left.
func (b *Outbox) left(dir, name string) (bool, error) {
	f, err := b.fs.Open(filepath.Join(dir, name), 0)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// chainAt returns the chain hash after record seq.
func (b *Outbox) chainAt(seq uint64) (wire.Hash, error) {
	entry, err := b.log.Read(seq)
	if err != nil {
		return wire.Hash{}, err
	}
	_, chain, err := split(entry)
	return chain, err
}

// renew begins a new epoch and takes along what is still to be delivered. The
// new epoch counts when its identity is on disk; a crash before leaves a folder
// that nothing refers to.
func (b *Outbox) renew(why string, report *Report) error {
	old := b.log
	from := b.acked.through + 1
	report.Renewed, report.Old = why, filepath.Join(b.dir, b.epoch.String())
	id := identity{edge: b.edge, epoch: newEpoch()}
	dir := filepath.Join(b.dir, id.epoch.String())
	if err := b.fs.MkdirAll(dir); err != nil {
		return err
	}
	cursor, _, err := openCursor(b.fs, dir)
	if err != nil {
		return err
	}
	log, _, err := journal.Open(dir, b.journalOptions(0, 0))
	if err != nil {
		return err
	}
	b.log, b.cursor, b.epoch = log, cursor, id.epoch
	b.acked, b.saved, b.floor, b.chain = mark{}, 0, 0, wire.Hash{}
	c := copier{to: b, why: why, report: report}
	err = c.copy(old, max(from, old.First()))
	if err == nil {
		err = id.store(b.fs, b.dir)
	}
	return errors.Join(err, old.Close())
}

// copier takes records from one epoch to the next.
type copier struct {
	to     *Outbox
	why    string
	report *Report

	group []wire.Record
	wall  int64  // of the last record that could be read
	lost  uint64 // since then
}

const copyGroup = 256 // records an Append

// copy takes what can be read of records from on. In place of what cannot
// stands one event that says how many are missing.
func (c *copier) copy(old *journal.Log, from uint64) error {
	end := old.Next()
	for from < end {
		err := old.Scan(from, func(seq uint64, entry []byte) error {
			from = seq + 1
			return c.take(seq, entry)
		})
		var d *journal.Damage
		if errors.As(err, &d) {
			c.lost += d.To - from + 1
			from = d.To + 1
			continue
		}
		if err != nil {
			return err
		}
	}
	if c.lost > 0 {
		c.gap(c.wall)
	}
	return c.flush()
}

func (c *copier) take(seq uint64, entry []byte) error {
	canonical, _, err := split(entry)
	var r wire.Record
	if err == nil {
		r, err = decode(seq, canonical)
	}
	if err != nil {
		c.lost++ // whole on disk and yet no record: nothing that can be delivered
		return nil
	}
	if c.lost > 0 {
		c.gap(r.Wall)
	}
	c.group, c.wall = append(c.group, r), r.Wall
	c.report.Copied++
	if len(c.group) >= copyGroup {
		return c.flush()
	}
	return nil
}

// gap notes that records up to a time are lost. The times are those of the
// records before and behind, as far as there are any.
func (c *copier) gap(to int64) {
	from := c.wall
	if from == 0 {
		from = to
	}
	c.group = append(c.group, wire.Record{Wall: to, Event: &wire.Event{
		Code: wire.EventRepair, Detail: "records lost: " + c.why, From: from, To: to, Count: c.lost,
	}})
	c.report.Lost += c.lost
	c.lost = 0
}

func (c *copier) flush() error {
	if len(c.group) == 0 {
		return nil
	}
	_, err := c.to.append(c.group, math.MaxInt64) // they fitted before
	c.group = c.group[:0]
	return err
}
