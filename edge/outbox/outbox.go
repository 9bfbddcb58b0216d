// Package outbox keeps an edge's records on disk until the collector has said
// that they are durable there, and after that for as long as space lasts.
//
// A record is durable once Append returns, numbered from 1 without holes within
// the outbox's epoch and chained by hash to the one before. Only an ack that
// names the chain hash of its last record moves the cursor, so an ack of other
// records, however signed, lets nothing go. What is not acked is never dropped
// to make room. When the records on disk are not, or may not be, those that
// were once numbered so, Open begins a new epoch rather than give a number
// twice.
//
// What a record says is left to edge/wire, how it stays on disk to
// edge/journal, and signing and sending to the agent. FORMAT.md beside this
// file is the form on disk.
package outbox

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"kenshin/edge/journal"
	"kenshin/edge/wire"
)

// ErrOldAck is wrapped when an ack says nothing new.
var ErrOldAck = errors.New("acked already")

// ErrOldCopy is wrapped when the collector has other records under numbers of this
// outbox: it went on from an older copy of itself.
var ErrOldCopy = errors.New("the collector has records that were never here under these numbers: this is an older copy of the outbox that wrote them")

// ErrFull is wrapped when records cannot be kept because everything that takes
// up the space still has to be delivered.
var ErrFull = errors.New("outbox is full of records that are not acked")

const (
	defaultMax  = 1 << 30
	defaultHold = 4 << 20
	minMax      = 256 << 10
	minSegment  = 64 << 10
	maxSegment  = 4 << 20
	saveEvery   = 512 // records acked until the cursor is written
)

// Options names what an outbox needs.
type Options struct {
	Edge string // id of the edge; an outbox belongs to one for ever
	// MaxBytes bounds the records on disk, acked or not, at least 256 KiB;
	// 0 means 1 GiB. To Keep the last sixteenth of it, at least a segment, is
	// reserved for what it thins out.
	MaxBytes int64
	// HoldBytes bounds the records that Keep holds in memory while the disk does
	// not take them; 0 means 4 MiB.
	HoldBytes int

	verify bool       // read everything on opening
	fs     journal.FS // nil: the machine's own
}

// Outbox is an open outbox. Its methods may be called from several goroutines;
// reading does not wait for an Append that is writing.
type Outbox struct {
	dir  string
	fs   journal.FS
	edge string
	max  int64
	most int // bytes held in memory

	verify bool // read everything on opening
	lock   io.Closer

	epoch  wire.Epoch
	log    *journal.Log
	cursor *cursor
	floor  uint64 // records below are damaged, as far as is known
	needed uint64 // acked up to here, nothing of the ended epochs is still to be delivered

	writing sync.Mutex // held by Append, Keep, Ack, Back and Close; guards the fields below
	ended   []endedEpoch
	held    hold
	chain   wire.Hash // after the last record
	saved   uint64    // acked record that the cursor on disk names
	closed  bool
	out     []byte // entries of an Append

	mu      sync.Mutex // guards the fields below; held for moments only
	acked   mark
	changed chan struct{}
}

// mark is a record and the chain hash after it.
type mark struct {
	through uint64
	chain   wire.Hash
}

// Open opens the outbox in dir or begins one, durably, where there is none. It
// fails when the outbox is that of another edge, and with an error that wraps
// journal.ErrLocked when another process has it open. The report says what had
// to be repaired and whether that took a new epoch.
func Open(dir string, o Options) (*Outbox, Report, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMax
	}
	if o.HoldBytes == 0 {
		o.HoldBytes = defaultHold
	}
	if o.fs == nil {
		o.fs = journal.OS()
	}
	b := &Outbox{dir: dir, fs: o.fs, edge: o.Edge, max: o.MaxBytes, most: o.HoldBytes, verify: o.verify, changed: make(chan struct{})}
	report, err := b.open()
	if err != nil {
		return nil, report, fmt.Errorf("open outbox %s: %w", dir, errors.Join(err, b.release()))
	}
	return b, report, nil
}

func (b *Outbox) open() (Report, error) {
	var report Report
	if err := wire.CheckEdgeID(b.edge); err != nil {
		return report, err
	}
	if b.max < minMax {
		return report, fmt.Errorf("at most %d bytes are too few, want at least %d", b.max, minMax)
	}
	if err := b.fs.MkdirAll(b.dir); err != nil {
		return report, err
	}
	var err error
	if b.lock, err = b.fs.Lock(filepath.Join(b.dir, "lock")); err != nil {
		return report, err
	}
	id, found, err := loadIdentity(b.fs, b.dir)
	if err != nil {
		return report, err
	}
	if !found {
		if id, err = b.identify(&report); err != nil {
			return report, err
		}
	}
	if id.edge != b.edge {
		return report, fmt.Errorf("it belongs to edge %s, not to %s: give %s a folder of its own, or move this one away", id.edge, b.edge, b.edge)
	}
	why, err := b.load(id.epoch, &report)
	if err == nil {
		b.recall(&report)
	}
	if err == nil && why != "" {
		err = b.renew(why, &report)
	}
	if err == nil {
		err = b.findEnded()
	}
	if err == nil {
		err = b.dropAcked(b.max)
	}
	return report, err
}

// Append gives recs the next numbers and keeps them, with one sync for all. It
// returns the first number; the Seq that recs come with is not looked at. All
// of them are durable when it returns without an error. Otherwise none is kept,
// and the numbers go to the next ones.
//
// The error wraps ErrFull when MaxBytes, or the disk, holds nothing more that
// could make room.
func (b *Outbox) Append(recs ...wire.Record) (first uint64, err error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.append(recs, b.max)
}

// append is Append within limit bytes; b.writing is held.
func (b *Outbox) append(recs []wire.Record, limit int64) (first uint64, err error) {
	first = b.log.Next()
	entries, chain, err := b.encode(first, recs)
	if err == nil {
		err = b.keep(entries, limit)
	}
	if err != nil {
		return 0, fmt.Errorf("append to outbox %s: %w", b.dir, err)
	}
	b.chain = chain
	if len(recs) > 0 {
		b.mu.Lock()
		b.wake()
		b.mu.Unlock()
	}
	return first, nil
}

// keep writes entries, after dropping what is acked as far as that is needed.
func (b *Outbox) keep(entries [][]byte, limit int64) error {
	growth := b.log.Growth(entries...)
	if err := b.dropAcked(limit - growth); err != nil {
		return err
	}
	if growth > 0 && b.log.Size()+growth > limit {
		return fmt.Errorf("%w: they take %d of %d bytes; deliver them, or allow more", ErrFull, b.log.Size(), limit)
	}
	for {
		_, err := b.log.Append(entries...)
		if err == nil || !journal.NoSpace(err) {
			return err
		}
		dropped, dropErr := b.dropOldest()
		if dropErr != nil {
			return errors.Join(err, dropErr)
		}
		if !dropped {
			return fmt.Errorf("%w, and so is the disk: %w", ErrFull, err)
		}
	}
}

// dropAcked drops what is acked, the oldest first, until it all takes at most
// size bytes or nothing is left to drop.
func (b *Outbox) dropAcked(size int64) error {
	for b.log.Size()+b.endedBytes() > size {
		if dropped, err := b.dropOldest(); err != nil || !dropped {
			return err
		}
	}
	return nil
}

// dropOldest drops the oldest epoch that has ended, or else the oldest segment if
// all of it is acked. The segment of the last acked record stays: what follows is
// chained to it. The cursor on disk goes first, so that it never names a record
// before the first that is kept.
func (b *Outbox) dropOldest() (bool, error) {
	if dropped, err := b.dropEnded(); dropped || err != nil {
		return dropped, err
	}
	segs := b.log.Segments()
	acked := b.mark()
	if len(segs) < 2 || segs[1].First > acked.through {
		return false, nil
	}
	if err := b.save(acked); err != nil {
		return false, err
	}
	n, err := b.log.DropBefore(segs[1].First)
	return n > 0, err
}

// save writes the cursor unless the disk has it.
func (b *Outbox) save(m mark) error {
	if m.through == b.saved {
		return nil
	}
	if err := b.cursor.save(m); err != nil {
		return err
	}
	b.saved = m.through
	return nil
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// Read returns records from seq on: at least one, at most maxRecords, and more
// than one only while their encodings have at most maxBytes together. prev is
// the chain hash before the first, chain the one after the last. That they
// lead from one to the other has been checked. seq is First to Last.
func (b *Outbox) Read(seq uint64, maxRecords, maxBytes int) (recs []wire.Record, prev, chain wire.Hash, err error) {
	fail := func(err error) ([]wire.Record, wire.Hash, wire.Hash, error) {
		return nil, wire.Hash{}, wire.Hash{}, fmt.Errorf("read outbox %s from record %d: %w", b.dir, seq, err)
	}
	first, last := b.First(), b.Last()
	if seq < first || seq > last {
		return fail(fmt.Errorf("it holds records %d to %d", first, last))
	}
	size := 0
	err = b.log.Scan(max(seq-1, 1), func(n uint64, entry []byte) error {
		canonical, after, err := split(entry)
		if err != nil || n < seq {
			prev, chain = after, after
			return err
		}
		size += len(canonical)
		if len(recs) > 0 && (len(recs) >= maxRecords || size > maxBytes) {
			return errEnough
		}
		r, err := open(n, canonical, chain, after)
		if err != nil {
			return err
		}
		recs, chain = append(recs, r), after
		return nil
	})
	if err != nil && err != errEnough {
		var d *journal.Damage
		owed := seq
		if errors.As(err, &d) {
			owed = d.To
		}
		if errors.Is(err, journal.ErrCorrupt) && owed > b.Acked() {
			err = errors.Join(fmt.Errorf("%w; opening the outbox again begins a new epoch with what can be read", err), b.leave(suspectFile))
		}
		return fail(err)
	}
	return recs, prev, chain, nil
}

// Ack notes that everything up to record through is durable at the collector,
// whose chain hash there is chain. An ack that says nothing new is answered
// with ErrOldAck; one of records that were never here, or that are others here,
// with ErrOldCopy, after which Disown is due. Neither changes anything.
//
// The ack counts at once but reaches the disk only every 512 records, on Close,
// and before anything is dropped. A crash in between means that those records
// are sent again, which the collector ignores.
func (b *Outbox) Ack(through uint64, chain wire.Hash) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	acked, last := b.mark().through, b.Last()
	if through <= acked {
		return fmt.Errorf("ack of record %d: %w, up to %d", through, ErrOldAck, acked)
	}
	if through > last {
		return fmt.Errorf("ack of record %d: the last record here is %d: %w", through, last, ErrOldCopy)
	}
	entry, err := b.log.Read(through)
	if err != nil {
		return fmt.Errorf("ack of record %d: %w", through, err)
	}
	_, own, err := split(entry)
	if err != nil {
		return fmt.Errorf("ack of record %d: %w", through, err)
	}
	if own != chain {
		return fmt.Errorf("ack of record %d: the chain hash there is %.8s, the ack says %.8s: %w", through, own, chain, ErrOldCopy)
	}
	m := mark{through, chain}
	b.mu.Lock()
	b.acked = m
	b.wake()
	b.mu.Unlock()
	// The ack holds, whatever the disk says to the rest: that is tried again,
	// and the Append that needs the space reports it.
	if through-b.saved >= saveEvery {
		_ = b.save(m)
	}
	_ = b.dropAcked(b.max)
	return nil
}

// Back notes that the collector has records only up to through, fewer than it
// acked once: it was restored from a backup. What is still here behind through
// counts as not acked again, so that it is neither dropped nor forgotten until
// the collector has it. It returns the first record the collector can still be
// given: what it lacks before that is gone on both sides.
func (b *Outbox) Back(through uint64) (from uint64, err error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	first := b.First()
	m := mark{through: max(through, first-1)}
	if m.through >= b.mark().through {
		return m.through + 1, nil // nothing it ever acked is missing
	}
	if m.through > 0 {
		if m.chain, err = b.chainAt(m.through); err != nil {
			return 0, fmt.Errorf("go back to record %d: %w", m.through, err)
		}
	}
	b.mu.Lock()
	b.acked = m
	b.wake()
	b.mu.Unlock()
	if err := b.save(m); err != nil {
		return 0, fmt.Errorf("go back to record %d: %w", m.through, err)
	}
	return m.through + 1, nil
}

// Disown notes that other records have numbers of this outbox: what is appended
// here can never be delivered. The next Open begins a new epoch with all that is
// not acked.
func (b *Outbox) Disown() error {
	if err := b.leave(disownedFile); err != nil {
		return fmt.Errorf("disown the epoch of outbox %s: %w", b.dir, err)
	}
	return nil
}

// wake tells whoever waits; b.mu is held.
func (b *Outbox) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next Append or Ack. Take it
// before looking.
func (b *Outbox) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

func (b *Outbox) mark() mark {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.acked
}

// First returns the number of the oldest record that is kept with the chain
// hash before it. In an empty outbox it is 1.
func (b *Outbox) First() uint64 {
	first := b.log.First()
	if first > 1 {
		first++ // the oldest entry only tells the chain hash before the next
	}
	return max(first, b.floor)
}

// Last returns the number of the newest record, 0 when there is none.
func (b *Outbox) Last() uint64 { return b.log.Next() - 1 }

// Acked returns the number up to which the collector has everything.
func (b *Outbox) Acked() uint64 { return b.mark().through }

// Epoch returns the name of this life of the outbox.
func (b *Outbox) Epoch() wire.Epoch { return b.epoch }

// Close saves the cursor and releases the outbox. Closing twice is harmless.
func (b *Outbox) Close() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	err := b.unload(b.max)
	if err != nil {
		b.note(true)
		err = fmt.Errorf("%d records that were %w are lost: %w", len(b.held.recs), ErrHeld, err)
	}
	err = errors.Join(err, b.save(b.mark()), b.release())
	if err != nil {
		return fmt.Errorf("close outbox %s: %w", b.dir, err)
	}
	return nil
}

// release closes what is open.
func (b *Outbox) release() error {
	var errs []error
	if b.log != nil {
		errs = append(errs, b.log.Close())
	}
	if b.lock != nil {
		errs = append(errs, b.lock.Close())
	}
	return errors.Join(errs...)
}
