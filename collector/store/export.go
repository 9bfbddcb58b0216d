package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// An export is records of the book, as they were received, each with the proof
// that it stands where it says in the book of one signed checkpoint, in a file
// that is checked without the book. EXPORT.md is its form.

// Names of the parts of an export, in their order; those of the records follow.
const (
	partStatement  = "kenshin-export"
	partCheckpoint = "checkpoint"
	partBefore     = "checkpoint-before"
	partGrowth     = "consistency"
	recordsFolder  = "records/"
)

var headParts = []string{partStatement, partCheckpoint, partBefore, partGrowth}

// recordParts are the suffixes of the parts of a record, in their order.
var recordParts = [...]string{"leaf", "payload", "tlog-proof"}

func recordPart(index uint64, part int) string {
	return fmt.Sprintf("%s%020d.%s", recordsFolder, index, recordParts[part])
}

// ExportOptions says what an export is to hold.
type ExportOptions struct {
	// Size chooses the checkpoint that speaks of so many records; 0 the last one.
	Size uint64
	// Before is a checkpoint that the reader holds already: the export proves that
	// the book has only grown since. nil for none.
	Before []byte
	// Ranges are exported whole, and said to be.
	Ranges []Run
	// Pick chooses further records; the payload is valid during the call only. nil
	// chooses none.
	Pick func(*Record) (bool, error)
	// Progress is told how many records have been looked at, and of how many; nil is not.
	Progress func(done, all uint64)
}

// Plan is an export that was chosen and not yet written.
type Plan struct {
	Statement Statement
	Bytes     int64 // of the export

	s          *Store
	checkpoint []byte
	root       tlog.Hash
	before     []byte
	growth     []byte
	runs       []Run // of positions
	progress   func(done, all uint64)
}

// PlanExport reads the book up to a checkpoint once and chooses the records.
func (s *Store) PlanExport(ctx context.Context, o ExportOptions) (*Plan, error) {
	p := &Plan{s: s, before: o.Before, progress: o.Progress}
	if p.progress == nil {
		p.progress = func(_, _ uint64) {}
	}
	if err := p.find(o.Size); err != nil {
		return nil, fmt.Errorf("export of store %s: %w", s.dir, err)
	}
	if err := p.choose(ctx, o); err != nil {
		return nil, fmt.Errorf("export of store %s: %w", s.dir, err)
	}
	return p, nil
}

// find takes the checkpoint, and proves that the book has grown to it.
func (p *Plan) find(size uint64) error {
	msg, err := p.s.checkpointOf(size)
	if err != nil {
		return err
	}
	n, err := p.s.signer.open(msg)
	if err != nil {
		return err
	}
	signed, root, err := parseCheckpoint(n.Text)
	if err != nil {
		return err
	}
	p.checkpoint, p.root = msg, root
	p.Statement.Origin, _, _ = strings.Cut(n.Text, "\n")
	p.Statement.Size = uint64(signed)
	p.s.mu.Lock()
	held, err := p.s.root(p.Statement.Size)
	p.s.mu.Unlock()
	if err == nil && held != root {
		err = fmt.Errorf("%w: the first %d records hash to %v, the checkpoint says %v; `kenshin-collector verify` names the record", errAltered, signed, held, root)
	}
	if err != nil || p.before == nil {
		return err
	}
	return p.grown()
}

// grown proves that the book began with what an earlier checkpoint says.
func (p *Plan) grown() error {
	fail := func(err error) error { return fmt.Errorf("the checkpoint from before: %w", err) }
	n, err := p.s.signer.open(p.before)
	if err != nil {
		return fail(fmt.Errorf("%w: this book did not sign it", err))
	}
	size, root, err := parseCheckpoint(n.Text)
	if err != nil {
		return fail(err)
	}
	if size == 0 || uint64(size) > p.Statement.Size {
		return fail(fmt.Errorf("it speaks of %d records, the one of the export of %d: want a later one for the export, and one of at least 1 record before", size, p.Statement.Size))
	}
	p.s.mu.Lock()
	was, err := p.s.root(uint64(size))
	p.s.mu.Unlock()
	if err != nil {
		return fail(err)
	}
	if was != root {
		return fail(fmt.Errorf("%w: the first %d records hash to %v now, it says %v", errAltered, size, was, root))
	}
	proof, err := p.s.ProveGrowth(p.Statement.Size, uint64(size))
	if err != nil {
		return fail(err)
	}
	p.growth = appendGrowth(nil, uint64(size), proof, p.checkpoint)
	return nil
}

// SignedSize returns of how many records the checkpoint of so many speaks, that
// is the same number if there is one; of the last one for 0.
func (s *Store) SignedSize(size uint64) (uint64, error) {
	msg, err := s.checkpointOf(size)
	if err != nil {
		return 0, err
	}
	n, err := s.signer.open(msg)
	if err != nil {
		return 0, err
	}
	signed, _, err := parseCheckpoint(n.Text)
	return uint64(signed), err
}

// checkpointOf returns the signed note that speaks of size records, the last one for 0.
func (s *Store) checkpointOf(size uint64) (msg []byte, err error) {
	if size == 0 {
		text, _, _, err := s.lastNote()
		if err == nil && text == "" {
			err = errors.New("there is no checkpoint yet: a running collector makes one within the hour, a stopped one has made one")
		}
		return []byte(text), err
	}
	var sizes []int64
	err = s.notes.Scan(s.notes.First(), func(_ uint64, b []byte) error {
		n, err := s.signer.open(b)
		if err != nil {
			return err
		}
		has, _, err := parseCheckpoint(n.Text)
		if err == nil && uint64(has) == size {
			msg, err = bytes.Clone(b), errStop
		}
		sizes = append(sizes[max(len(sizes)-2, 0):], has)
		return err
	})
	if err != nil && err != errStop {
		return nil, fmt.Errorf("checkpoints: %w", err)
	}
	if msg == nil {
		return nil, fmt.Errorf("no checkpoint speaks of %d records; the last ones speak of %d", size, sizes)
	}
	return msg, nil
}

// choose reads the book and notes which records go in.
func (p *Plan) choose(ctx context.Context, o ExportOptions) error {
	st := &p.Statement
	for _, r := range o.Ranges {
		if r.Last < r.First || r.Last >= st.Size {
			return fmt.Errorf("records %d to %d: the checkpoint speaks of records 0 to %d", r.First, r.Last, int64(st.Size)-1)
		}
		st.Ranges = join(st.Ranges, r)
	}
	bytes, ranges, held := int64(0), st.Ranges, make(coverage)
	err := p.s.Skim(0, func(r *Record) (err error) {
		if r.Index >= st.Size {
			return errStop
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.Index%1024 == 0 {
			p.progress(r.Index, st.Size)
		}
		var in bool
		if ranges, in = within(ranges, r.Index); in && r.Kind == Quarantined {
			st.Without = append(st.Without, r.Index)
		}
		if r.Kind == Quarantined {
			return nil
		}
		if !in && o.Pick != nil {
			if in, err = o.Pick(r); err != nil {
				return err
			}
		}
		if in {
			st.Records++
			p.runs = join(p.runs, Run{r.Index, r.Index})
			held.add(r)
			bytes += partBytes(len(r.leaf(nil))) + partBytes(len(r.Payload)) + partBytes(p.proofBytes(r.Index))
		}
		return nil
	})
	if err != nil {
		return err
	}
	st.Streams = held.streams()
	p.Bytes = bytes + endBytes + partBytes(len(st.append(nil))) + partBytes(len(p.checkpoint))
	if p.growth != nil {
		p.Bytes += partBytes(len(p.before)) + partBytes(len(p.growth))
	}
	return nil
}

// proofBytes returns how long the proof of a record is.
func (p *Plan) proofBytes(index uint64) int {
	n, lo, hi := 0, uint64(0), p.Statement.Size // RFC 6962 section 2.1.1: a hash for each split above the leaf
	for hi-lo > 1 {
		k := uint64(1)
		for 2*k < hi-lo {
			k *= 2
		}
		if index < lo+k {
			hi = lo + k
		} else {
			lo += k
		}
		n++
	}
	const line = 45 // a hash in base64 and a line feed
	return len(appendProof(nil, index, nil, p.checkpoint)) + n*line
}

// Write writes the export: the same bytes for the same book, checkpoint and
// choice. It holds one record in memory.
func (p *Plan) Write(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	parts := [][]byte{p.Statement.append(nil), p.checkpoint}
	if p.growth != nil {
		parts = append(parts, p.before, p.growth)
	}
	for i, b := range parts {
		writePart(out, headParts[i], b)
	}
	runs, done := p.runs, uint64(0)
	for before := uint64(0); len(runs) > 0; before = done {
		err := p.s.entries(runs[0].First+1, func(seq uint64, entry []byte) error {
			index := seq - 1
			if index < runs[0].First {
				return ctx.Err()
			}
			p.progress(done, p.Statement.Records)
			done++
			if err := p.record(out, index, entry); err != nil {
				return err
			}
			if index == runs[0].Last {
				if runs = runs[1:]; len(runs) == 0 || runs[0].First-index > farAway {
					return errStop
				}
			}
			return ctx.Err()
		})
		if err != nil {
			return fmt.Errorf("export of store %s: %w", p.s.dir, err)
		}
		if done == before {
			break
		}
	}
	if done != p.Statement.Records {
		return fmt.Errorf("export of store %s: %d records were chosen, %d are there", p.s.dir, p.Statement.Records, done)
	}
	out.Write(make([]byte, endBytes))
	return out.Flush() // keeps the first error of all writes
}

func (p *Plan) record(w *bufio.Writer, index uint64, entry []byte) error {
	r, leaf, err := decode(index, entry, true)
	if err != nil {
		return fmt.Errorf("%w; `kenshin-collector verify` says more", err)
	}
	size, hash := int64(p.Statement.Size), tlog.RecordHash(leaf)
	p.s.mu.Lock()
	proof, err := tlog.ProveRecord(size, int64(index), p.s.tree)
	p.s.mu.Unlock()
	if err == nil {
		err = tlog.CheckRecord(proof, size, p.root, int64(index), hash)
	}
	if err != nil {
		return fmt.Errorf("record %d: %w; %s", index, err, hashesRemedy)
	}
	for part, b := range [...][]byte{leaf, r.Payload, appendProof(nil, index, proof, p.checkpoint)} {
		writePart(w, recordPart(index, part), b)
	}
	return nil
}

// farAway is how many records a walk passes over rather than begin anew, which
// costs it the way to the record within a segment.
const farAway = 10_000

const (
	blockBytes = 512
	endBytes   = 2 * blockBytes
)

// partBytes returns what a part of n bytes takes.
func partBytes(n int) int64 { return blockBytes + (int64(n)+blockBytes-1)&^(blockBytes-1) }

func writePart(w *bufio.Writer, name string, b []byte) {
	h := header(name, int64(len(b)))
	w.Write(h[:])
	w.Write(b)
	w.Write(make([]byte, partBytes(len(b))-blockBytes-int64(len(b))))
}

// header returns the header of a file in a tar archive, POSIX.1-1988 ustar: mode
// 0444, everything else that tar keeps is nobody's and of no time.
func header(name string, size int64) (h [blockBytes]byte) {
	copy(h[:], name)
	copy(h[100:], "0000444\x000000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00%011o\x00        0", size, 0))
	copy(h[257:], "ustar\x0000")
	copy(h[329:], "0000000\x000000000\x00")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// parseHeader reads what header wrote; false for anything else.
func parseHeader(h *[blockBytes]byte) (name string, size int64, ok bool) {
	text, _, _ := bytes.Cut(h[:100], []byte{0})
	if i := slices.IndexFunc(h[124:135], func(b byte) bool { return b < '0' || b > '7' }); i >= 0 {
		return "", 0, false
	}
	for _, b := range h[124:135] {
		size = size<<3 | int64(b-'0')
	}
	return string(text), size, header(string(text), size) == *h
}
