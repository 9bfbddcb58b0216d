package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"kenshin/edge/journal"
)

// Backup brings the folder to up to date with the book and the dead letters in
// data, a collector's folder, beside the collector that may be writing them. It
// costs what is new; then all of the backup is read and compared, since a backup
// that was not read is only a hope. Damage in the book is never copied over what
// the backup has.
func Backup(ctx context.Context, data, to string, r Reader) (Scrubbed, error) {
	if err := backup(data, to, r); err != nil {
		return Scrubbed{}, fmt.Errorf("back up %s to %s: %w", data, to, err)
	}
	done, err := check(ctx, filepath.Join(to, BookDir), r)
	if err != nil {
		return done, fmt.Errorf("the backup %s is not good: %w", to, err)
	}
	return done, nil
}

func backup(data, to string, r Reader) error {
	s, found, err := OpenReader(filepath.Join(data, BookDir), r)
	if err != nil {
		return err
	}
	defer s.Close()
	if found.Altered != "" {
		return errors.New(found.Altered)
	}
	_, signed, _, err := s.lastNote()
	if err != nil {
		return err
	}
	from, err := s.earlier(filepath.Join(to, BookDir), r)
	if err != nil {
		return err
	}
	log, report, err := journal.Open(filepath.Join(s.dir, recordsDir), journal.Options{VerifyFrom: from, Durable: uint64(signed), ReadOnly: true})
	if err != nil {
		return err
	}
	defer log.Close()
	for i := range report.Damages {
		if d := &report.Damages[i]; d.To >= d.From && !s.quarantined.holds(d.From-1, d.To-1) {
			return fmt.Errorf("the book is damaged, repair it first: %w", d)
		}
	}
	// In this order, so that a backup cut short has no checkpoint beyond its records.
	if err := log.Copy(filepath.Join(to, BookDir, recordsDir)); err != nil {
		return err
	}
	if err := s.notes.Copy(filepath.Join(to, BookDir, notesDir)); err != nil {
		return err
	}
	if len(s.quarantined) > 0 {
		if err := replace(s.fs, filepath.Join(to, BookDir, quarantineFile), s.quarantined.text()); err != nil {
			return err
		}
	}
	n, err := loadGeneration(s.fs, filepath.Join(s.dir, generationFile))
	if err == nil {
		err = saveGeneration(s.fs, filepath.Join(to, BookDir, generationFile), n)
	}
	if err != nil {
		return err
	}
	return copyDead(data, to)
}

// copyDead copies the refused messages, if there is a folder of them.
func copyDead(from, to string) error {
	dead, _, err := journal.Open(filepath.Join(from, deadDir), journal.Options{VerifyFrom: math.MaxUint64, ReadOnly: true})
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(dead.Copy(filepath.Join(to, deadDir)), dead.Close())
}

// earlier says from which record on a backup has to be brought up to date, after
// seeing that it is one of this book: its last checkpoint must be one of ours.
func (s *Store) earlier(dir string, r Reader) (from uint64, err error) {
	old, _, err := OpenReader(dir, r)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("the backup that is there: %w; move it away and begin another", err)
	}
	defer old.Close()
	_, size, root, err := old.lastNote()
	if err != nil || size == 0 {
		return 0, err
	}
	if own, err := s.root(uint64(size)); err != nil || own != root {
		return 0, fmt.Errorf("%s is the backup of another book, or this book was rewritten: its first %d records are not those there (%v)", dir, size, err)
	}
	if segs := old.log.Segments(); len(segs) > 0 {
		from = segs[len(segs)-1].First // it is copied again
	}
	return from, nil
}

// check reads a whole book and returns its first problem as an error.
func check(ctx context.Context, dir string, r Reader) (Scrubbed, error) {
	s, _, err := OpenReader(dir, r)
	if err != nil {
		return Scrubbed{}, err
	}
	var first error
	done, err := s.Scrub(ctx, nil, func(p Problem) {
		if first == nil {
			first = p
		}
	})
	return done, errors.Join(err, first, s.Close())
}

// Restore makes the book and the dead letters of a backup those of data, a
// collector's folder that has no book. The book gets a generation that is higher
// than any it may have had since the backup, now in seconds: edges ignore the acks
// of a lower one, and a collector that went back must be heard. They then see
// that it has less than it once acked and send the rest again, as far as they
// have kept it.
func Restore(ctx context.Context, from, data string, r Reader, now time.Time) (Scrubbed, error) {
	done, err := restore(ctx, from, data, r, now)
	if err != nil {
		return done, fmt.Errorf("restore %s from %s: %w", data, from, err)
	}
	return done, nil
}

func restore(ctx context.Context, from, data string, r Reader, now time.Time) (Scrubbed, error) {
	var none Scrubbed
	book := filepath.Join(data, BookDir)
	if _, err := os.Lstat(book); !errors.Is(err, os.ErrNotExist) {
		return none, errors.Join(fmt.Errorf("%s is there: move it away and keep it", book), err)
	}
	done, err := check(ctx, filepath.Join(from, BookDir), r)
	if err != nil {
		return done, fmt.Errorf("the backup is not good: %w", err)
	}
	making := book + ".restoring"
	if err := os.RemoveAll(making); err != nil {
		return none, err
	}
	s, _, err := OpenReader(filepath.Join(from, BookDir), r)
	if err != nil {
		return none, err
	}
	defer s.Close()
	if err := s.log.Copy(filepath.Join(making, recordsDir)); err != nil {
		return none, err
	}
	if err := s.notes.Copy(filepath.Join(making, notesDir)); err != nil {
		return none, err
	}
	if len(s.quarantined) > 0 {
		if err := replace(s.fs, filepath.Join(making, quarantineFile), s.quarantined.text()); err != nil {
			return none, err
		}
	}
	n, err := loadGeneration(s.fs, filepath.Join(s.dir, generationFile))
	if err == nil {
		err = saveGeneration(s.fs, filepath.Join(making, generationFile), max(n+1, uint64(max(now.Unix(), 0))))
	}
	if err != nil {
		return none, err
	}
	if err := copyDead(from, data); err != nil {
		return none, err
	}
	if err := os.Rename(making, book); err != nil {
		return none, err
	}
	return done, s.fs.SyncDir(data)
}

// Repaired says what a repair did and what is left.
type Repaired struct {
	Healed uint64    // records that came back from the backup
	Aside  int       // records that were quarantined
	Left   []Problem // what is still wrong
}

// Repair gives the book in dir back, from a backup's folder if one is named, the
// records that are damaged. With setAside those that do not come back are
// quarantined: the book goes on without them, the tree keeps their hashes, and
// edges are asked to send them again. The collector must be stopped, and its
// series store is to be made again when something was quarantined.
func Repair(ctx context.Context, dir, from string, setAside bool, r Reader) (Repaired, error) {
	done, err := repair(ctx, dir, from, setAside, r)
	if err != nil {
		return done, fmt.Errorf("repair store %s: %w", dir, err)
	}
	return done, nil
}

func repair(ctx context.Context, dir, from string, setAside bool, r Reader) (done Repaired, err error) {
	lock, err := journal.OS().Lock(filepath.Join(dir, recordsDir, "lock"))
	if err == nil {
		err = lock.Close()
	}
	if err != nil {
		return done, err
	}
	if from != "" {
		if done.Healed, err = heal(dir, filepath.Join(from, BookDir), r); err != nil {
			return done, err
		}
	}
	s, _, err := OpenReader(dir, r)
	if err != nil {
		return done, err
	}
	defer s.Close()
	q := make(quarantine)
	for i, a := range s.quarantined {
		q[i] = a
	}
	c := scrub{s: s, ctx: ctx, size: s.Size()}
	c.found = func(p Problem) {
		var d *journal.Damage
		if !setAside || p.First != p.Last || !(errors.As(p.Cause, &d) || errors.Is(p.Cause, errPayload) || errors.Is(p.Cause, errRecord)) {
			done.Left = append(done.Left, p)
			return
		}
		done.Aside++
		q[p.First] = aside{c.known(p.First), p.Cause.Error()}
	}
	if err = c.checkpoints(); err == nil {
		err = c.records()
	}
	if err != nil || done.Aside == 0 {
		return done, err
	}
	return done, replace(s.fs, filepath.Join(dir, quarantineFile), q.text())
}

// heal takes records from a backup. Each must have the leaf that the tree holds.
func heal(dir, from string, r Reader) (uint64, error) {
	s, _, err := OpenReader(dir, r)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	c := scrub{s: s}
	healed, _, err := journal.Heal(filepath.Join(dir, recordsDir), filepath.Join(from, recordsDir), func(seq uint64, entry []byte) error {
		rec, leaf, err := decode(seq-1, entry, true)
		if err != nil {
			return fmt.Errorf("the backup: %w", err)
		}
		if want, got := c.known(seq-1), tlog.RecordHash(leaf); want != unknownLeaf && got != want {
			return fmt.Errorf("the backup's record %d of %s is another one: it hashes to %v, the tree holds %v", seq-1, rec.Subject, got, want)
		}
		return nil
	}, journal.Options{SegmentBytes: recordSegment, Durable: s.log.Next() - 1})
	return healed, err
}
