// Package store is the book: everything that can change a figure, in the order
// it was received, as it was received.
//
// A record is durable once Append returns, is never changed and never removed.
// The records are the leaves of a Merkle tree (RFC 6962 hashes, as in
// golang.org/x/mod/sumdb/tlog); a checkpoint is a signed note of the tree's
// size and root, so that whoever holds one can tell whether the book was
// rewritten since. The store does not judge what it keeps: identity, signature
// and chain of a batch are checked before it comes here.
package store

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"kenshin/edge/journal"
)

// Report says what opening a book had to repair, and what cannot be repaired.
type Report struct {
	Records     journal.Report
	Checkpoints journal.Report
	Hashes      bool // the hashes of the tree were not those of the records and were made again
	// Altered says why the records are not the ones that were signed, "" when they
	// are. A book that is opened to be written is then refused.
	Altered string
}

// Clean says whether everything was as it should be.
func (r Report) Clean() bool {
	return r.Records.Clean() && r.Checkpoints.Clean() && !r.Hashes && r.Altered == ""
}

// String says for people what was found and done.
func (r Report) String() string {
	var parts []string
	for _, j := range []journal.Report{r.Records, r.Checkpoints} {
		if !j.Clean() {
			parts = append(parts, j.String())
		}
	}
	if r.Hashes {
		parts = append(parts, "the hashes of the tree were damaged and have been made again from the records")
	}
	if r.Altered != "" {
		parts = append(parts, r.Altered)
	}
	if len(parts) == 0 {
		return "everything is as it should be"
	}
	return strings.Join(parts, "; ")
}

// Names of what is in the folder of a book.
const (
	// BookDir is the folder of the book in the folder of a collector.
	BookDir = "book"

	deadDir        = "dead"
	recordsDir     = "records"
	notesDir       = "checkpoints"
	hashesFile     = "hashes"
	quarantineFile = "quarantine"
	generationFile = "generation"

	recordSegment = 64 << 20 // bytes
	noteSegment   = 1 << 20
)

// Options names what a store needs.
type Options struct {
	Origin string             // name of the book in its checkpoints, e.g. "kenshin/tokyo-1"
	Key    ed25519.PrivateKey // signs checkpoints
}

// Store is an open book. Its methods may be called from several goroutines.
type Store struct {
	dir         string
	fs          journal.FS
	segment     int64 // bytes of a segment of records
	readOnly    bool
	log         *journal.Log
	notes       *journal.Log // checkpoints, one a record
	signer      signer
	generation  uint64
	quarantined quarantine

	mu      sync.Mutex // guards the fields below
	tree    *tree
	changed chan struct{}
	noted   uint64 // number of the checkpoint behind the one that signed is of
	signed  int64  // records that it speaks of
}

// Open opens the book in dir, or starts one in an empty folder. Only one
// process can have it open. The report says what had to be repaired; a repair
// never removes a record whose Append had returned.
//
// What the last checkpoint covers is not read: Scrub finds damage there, and so
// does whoever reads it.
func Open(dir string, o Options) (*Store, Report, error) {
	if o.Origin == "" || len(o.Key) != ed25519.PrivateKeySize {
		return nil, Report{}, fmt.Errorf("open store %s: a book needs an origin and a key", dir)
	}
	return openBook(dir, newSigner(o.Origin, o.Key), journal.OS(), recordSegment, false)
}

// Reader names what reading a book needs.
type Reader struct {
	Origin string
	Key    ed25519.PublicKey // nil: signatures of checkpoints are not checked

	fs journal.FS // nil: the machine's own
}

// OpenReader opens the book in dir to be read: nothing is changed, and a
// collector may be writing it. What it is just appending may be seen, or not.
func OpenReader(dir string, r Reader) (*Store, Report, error) {
	if r.fs == nil {
		r.fs = journal.OS()
	}
	return openBook(dir, newVerifier(r.Origin, r.Key), r.fs, recordSegment, true)
}

func openBook(dir string, key signer, fsys journal.FS, segment int64, readOnly bool) (*Store, Report, error) {
	s := &Store{dir: dir, fs: fsys, segment: segment, readOnly: readOnly, signer: key, changed: make(chan struct{})}
	var report Report
	if err := s.open(&report); err != nil {
		if journal.NoSpace(err) {
			err = fmt.Errorf("%w; make room on the disk of %s and start again: the book is as it was, and edges keep what was not acked", err, dir)
		}
		return nil, report, fmt.Errorf("open store %s: %w", dir, errors.Join(err, s.Close()))
	}
	return s, report, nil
}

func (s *Store) open(report *Report) error {
	var err error
	notes := journal.Options{SegmentBytes: min(s.segment, noteSegment), ReadOnly: s.readOnly, FS: s.fs}
	if s.notes, report.Checkpoints, err = journal.Open(filepath.Join(s.dir, notesDir), notes); err != nil {
		return err
	}
	text, size, root, err := s.lastNote()
	if err != nil && s.readOnly {
		text, size, err = "", 0, nil // Scrub says so; whoever reads wants the rest
	}
	if err != nil {
		return err
	}
	records := journal.Options{SegmentBytes: s.segment, VerifyFrom: uint64(size) + 1, Durable: uint64(size), ReadOnly: s.readOnly, FS: s.fs}
	if s.log, report.Records, err = journal.Open(filepath.Join(s.dir, recordsDir), records); err != nil {
		return err
	}
	if s.quarantined, err = loadQuarantine(s.fs, filepath.Join(s.dir, quarantineFile)); err != nil {
		return err
	}
	err = s.plant(size)
	if err == nil {
		err = s.checkAgainstNote(text, size, root)
	}
	if errors.Is(err, errAltered) { // or only the hashes are: the records decide
		if err = errors.Join(s.tree.close(), s.plant(0)); err == nil {
			err = s.checkAgainstNote(text, size, root)
		}
		report.Hashes = err == nil
	}
	if err != nil && s.tree != nil && s.readOnly { // Scrub tells which record it is
		report.Altered, err = err.Error(), nil
	}
	if err != nil || s.readOnly {
		return err
	}
	s.generation, err = nextGeneration(s.fs, filepath.Join(s.dir, generationFile))
	return err
}

// plant opens the tree, believes the hashes of the first size records and makes
// those of the others.
func (s *Store) plant(size int64) error {
	var err error
	if s.tree, err = openTree(s.fs, filepath.Join(s.dir, hashesFile), min(size, int64(s.log.Next()-1)), s.readOnly); err != nil {
		return err
	}
	for {
		err := s.grow(s.log.Next())
		var d *journal.Damage
		if s.readOnly && errors.As(err, &d) { // who reads wants the rest
			for uint64(s.tree.size) < d.To {
				if add := s.tree.add(unknownLeaf); add != nil {
					return add
				}
			}
			continue
		}
		if errors.As(err, &d) {
			return fmt.Errorf("hash the records: %w; run `kenshin-collector repair`", err)
		}
		if err != nil {
			return fmt.Errorf("hash the records: %w", err)
		}
		return nil
	}
}

// unknownLeaf stands for a record that is damaged and whose hash is not known.
var unknownLeaf = tlog.RecordHash(nil)

// catchUp makes the tree that of all records; s.mu is held. An Append whose
// record could not be hashed, or a sync that failed, left it behind.
func (s *Store) catchUp() error {
	if s.tree.broken { // the file behind what was synced is not believed
		if err := errors.Join(s.tree.close(), s.plant(s.tree.synced)); err != nil {
			return err
		}
	}
	return s.grow(s.log.Next())
}

// grow adds the records before journal entry end that are not in the tree yet.
func (s *Store) grow(end uint64) error {
	return s.entries(uint64(s.tree.size)+1, func(seq uint64, entry []byte) error {
		if seq >= end {
			return errStop
		}
		if entry == nil {
			return s.tree.add(s.quarantined[seq-1].leaf)
		}
		_, leaf, err := decode(seq-1, entry, false)
		if err != nil {
			return err
		}
		return s.tree.add(tlog.RecordHash(leaf))
	})
}

// errStop ends a walk.
var errStop = errors.New("stop")

// entries calls fn for the journal entries from seq from on; for one that is
// quarantined entry is nil.
func (s *Store) entries(from uint64, fn func(seq uint64, entry []byte) error) error {
	for {
		var failed error
		err := s.log.Scan(from, func(seq uint64, entry []byte) error {
			if _, ok := s.quarantined[seq-1]; ok {
				entry = nil
			}
			failed = fn(seq, entry)
			from = seq + 1
			return failed
		})
		var d *journal.Damage
		switch {
		case failed == errStop:
			return nil
		case failed != nil || !errors.As(err, &d) || !s.quarantined.holds(from-1, d.To-1):
			return err
		}
		for ; from <= d.To; from++ {
			if err := fn(from, nil); err == errStop {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
}

// Generation is a number that rises at every opening: an ack of a lower
// generation comes from a process that no longer holds the book.
func (s *Store) Generation() uint64 { return s.generation }

// Size returns how many records are durable.
func (s *Store) Size() uint64 { return s.log.Next() - 1 }

// Files returns how many files hold the records, and their bytes.
func (s *Store) Files() (files int, bytes int64) { return len(s.log.Segments()), s.log.Size() }

// Changed returns a channel that is closed when the book grows next. Take it
// before looking.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Append writes recs, in order, and returns the index of the first. They are
// durable when it returns without an error; then Index of each is set. After an
// error none is in the book; only a crash before the next Append may bring them
// back, whole.
func (s *Store) Append(recs ...*Record) (first uint64, err error) {
	if s.readOnly {
		return 0, fmt.Errorf("append to store %s: %w", s.dir, journal.ErrReadOnly)
	}
	entries, hashes := make([][]byte, len(recs)), make([]tlog.Hash, len(recs))
	for i, r := range recs {
		if err := r.check(); err != nil {
			return 0, fmt.Errorf("append to store %s: %w", s.dir, err)
		}
		var leaf []byte
		entries[i], leaf = r.encode()
		hashes[i] = tlog.RecordHash(leaf)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seq, err := s.log.Append(entries...)
	if err != nil {
		return 0, fmt.Errorf("append to store %s: %w", s.dir, err)
	}
	for i, r := range recs {
		r.Index = seq - 1 + uint64(i)
		if s.tree.size == int64(r.Index) {
			_ = s.tree.add(hashes[i]) // the record counts; whoever needs the tree makes up for it
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return seq - 1, nil
}

// Read returns record index, its payload checked against the leaf.
func (s *Store) Read(index uint64) (Record, error) {
	if q, ok := s.quarantined[index]; ok {
		return Record{}, fmt.Errorf("read record %d of store %s: %w since it was found damaged: %s", index, s.dir, ErrQuarantined, q.cause)
	}
	entry, err := s.log.Read(index + 1)
	if err != nil {
		return Record{}, fmt.Errorf("read record %d of store %s: %w", index, s.dir, err)
	}
	r, _, err := decode(index, entry, true)
	return r, err
}

// Scan calls fn for each record from index on, in order, up to what is durable
// when it is called. The payload is valid during fn only. Of a record that is
// quarantined only index and kind are known.
func (s *Store) Scan(index uint64, fn func(*Record) error) error { return s.scan(index, true, fn) }

// Skim is Scan that does not compare payloads with their hashes, only frames with
// their checksums: for what has to read a whole book before it can begin.
func (s *Store) Skim(index uint64, fn func(*Record) error) error { return s.scan(index, false, fn) }

func (s *Store) scan(index uint64, verify bool, fn func(*Record) error) error {
	return s.entries(index+1, func(seq uint64, entry []byte) error {
		if entry == nil {
			return fn(&Record{Index: seq - 1, Kind: Quarantined})
		}
		r, _, err := decode(seq-1, entry, verify)
		if err != nil {
			return err
		}
		return fn(&r)
	})
}

// Close releases the book. The hashes of the tree are derived and are made
// durable by the checkpoints only.
func (s *Store) Close() error {
	var errs []error
	if s.tree != nil {
		errs = append(errs, s.tree.close())
	}
	if s.notes != nil {
		errs = append(errs, s.notes.Close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	return errors.Join(errs...)
}

// Prove returns the proof that record index is in the tree of the given size.
// It has been checked.
func (s *Store) Prove(size, index uint64) (tlog.RecordProof, error) {
	fail := func(err error) (tlog.RecordProof, error) {
		return nil, fmt.Errorf("prove record %d in %d of store %s: %w", index, size, s.dir, err)
	}
	leaf, err := s.LeafHash(index)
	if err != nil {
		return fail(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	root, err := s.root(size)
	if err != nil {
		return fail(err)
	}
	if index >= size {
		return fail(errors.New("the record is not among them"))
	}
	p, err := tlog.ProveRecord(int64(size), int64(index), s.tree)
	if err == nil {
		err = tlog.CheckRecord(p, int64(size), root, int64(index), leaf)
	}
	if err != nil {
		return fail(fmt.Errorf("%w; %s", err, hashesRemedy))
	}
	return p, nil
}

// ProveGrowth returns the proof that the tree of size now begins with the tree
// of size before. It has been checked.
func (s *Store) ProveGrowth(now, before uint64) (tlog.TreeProof, error) {
	fail := func(err error) (tlog.TreeProof, error) {
		return nil, fmt.Errorf("prove that the first %d records of store %s begin with the first %d: %w", now, s.dir, before, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	new, err := s.root(now)
	if err != nil {
		return fail(err)
	}
	if before == 0 || before > now {
		return fail(errors.New("want 0 < before <= now"))
	}
	old, err := s.root(before)
	if err != nil {
		return fail(err)
	}
	p, err := tlog.ProveTree(int64(now), int64(before), s.tree)
	if err == nil {
		err = tlog.CheckTree(p, int64(now), new, int64(before), old)
	}
	if err != nil {
		return fail(fmt.Errorf("%w; %s", err, hashesRemedy))
	}
	return p, nil
}

const hashesRemedy = "if the file `hashes` is damaged, delete it and start the collector again"

// root returns the root of the tree of the first size records; s.mu is held.
func (s *Store) root(size uint64) (tlog.Hash, error) {
	if err := s.catchUp(); err != nil {
		return tlog.Hash{}, err
	}
	if size > uint64(s.tree.size) {
		return tlog.Hash{}, fmt.Errorf("the book has %d records", s.tree.size)
	}
	return tlog.TreeHash(int64(size), s.tree)
}

// LeafHash returns the hash by which record index stands in the tree, made from
// the record itself.
func (s *Store) LeafHash(index uint64) (tlog.Hash, error) {
	entry, err := s.log.Read(index + 1)
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("read record %d of store %s: %w", index, s.dir, err)
	}
	_, leaf, err := decode(index, entry, true)
	if err != nil {
		return tlog.Hash{}, err
	}
	return tlog.RecordHash(leaf), nil
}
