package store

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"kenshin/edge/journal"
)

// Problem is something a scrub found that is not as it was written.
type Problem struct {
	First, Last uint64 // records concerned, both included
	Cause       error  // names file and byte, or edge and sequence numbers, as far as they can be told
}

// Error names the records.
func (p Problem) Error() string {
	if p.First == p.Last {
		return fmt.Sprintf("record %d: %v", p.First, p.Cause)
	}
	return fmt.Sprintf("records %d to %d: %v", p.First, p.Last, p.Cause)
}

// Scrubbed says what a scrub has read.
type Scrubbed struct {
	Records     uint64
	Bytes       int64 // of payloads
	Checkpoints int
	Quarantined int
	Problems    int
}

// Scrub reads all of the book, from the disk, and compares it: every frame with
// its checksum, every payload and leaf with its hash, every root with every
// checkpoint, every checkpoint with its signature. It calls found for each
// problem and goes on behind it. pace is told of each record's bytes and may
// wait; nil does not. A book that grows meanwhile is read up to where it ended.
func (s *Store) Scrub(ctx context.Context, pace func(bytes int) error, found func(Problem)) (Scrubbed, error) {
	noted := s.notes.Next() // before the size: a checkpoint is signed after its records are here
	c := scrub{s: s, ctx: ctx, pace: pace, found: found, size: s.Size(), noted: noted}
	if err := c.checkpoints(); err != nil {
		return c.done, fmt.Errorf("scrub store %s: %w", s.dir, err)
	}
	if err := c.records(); err != nil {
		return c.done, fmt.Errorf("scrub store %s: %w", s.dir, err)
	}
	return c.done, nil
}

type scrub struct {
	s     *Store
	ctx   context.Context // of the one call
	pace  func(int) error
	found func(Problem)
	size  uint64
	noted uint64

	done   Scrubbed
	roots  []signedRoot // ascending by size
	forest []tlog.Hash  // roots of the complete trees that the leaves so far make up, largest first
	leaves uint64
	signed uint64 // records that a checkpoint has confirmed
}

type signedRoot struct {
	size uint64
	root tlog.Hash
}

func (c *scrub) problem(first, last uint64, cause error) {
	c.done.Problems++
	c.found(Problem{first, last, cause})
}

// checkpoints reads the notes. One that cannot be read or was signed by another
// key is a problem of the records it would have confirmed.
func (c *scrub) checkpoints() error {
	log := c.s.notes
	from := log.First()
	for from < c.noted {
		err := log.Scan(from, func(seq uint64, msg []byte) error {
			if seq >= c.noted {
				return errStop
			}
			from = seq + 1
			c.done.Checkpoints++
			n, err := c.s.signer.open(msg)
			if err == nil {
				err = c.note(n)
			}
			if err != nil {
				c.problem(c.lastSigned(), c.lastSigned(), fmt.Errorf("checkpoint %d: %w", seq, err))
			}
			return nil
		})
		var d *journal.Damage
		if errors.As(err, &d) {
			c.problem(c.lastSigned(), c.lastSigned(), fmt.Errorf("checkpoints %d to %d cannot be read: %w", from, d.To, d))
			from = d.To + 1
			continue
		}
		if err == errStop {
			break
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *scrub) note(n *note.Note) error {
	size, root, err := parseCheckpoint(n.Text)
	if err != nil {
		return err
	}
	if uint64(size) < c.lastSigned() {
		return fmt.Errorf("it speaks of %d records, one before it of %d", size, c.lastSigned())
	}
	c.roots = append(c.roots, signedRoot{uint64(size), root})
	return nil
}

// lastSigned returns how many records the checkpoints so far speak of.
func (c *scrub) lastSigned() uint64 {
	if len(c.roots) == 0 {
		return 0
	}
	return c.roots[len(c.roots)-1].size
}

func (c *scrub) records() error {
	from := uint64(1)
	for from <= c.size {
		err := c.s.log.Scan(from, func(seq uint64, entry []byte) error {
			if seq > c.size {
				return errStop
			}
			from = seq + 1
			return c.record(seq-1, entry)
		})
		var d *journal.Damage
		if errors.As(err, &d) {
			to := min(d.To, c.size)
			for i := from - 1; i < to; i++ {
				if _, ok := c.s.quarantined[i]; ok {
					c.done.Quarantined++
				} else {
					c.problem(i, i, d)
				}
				if err := c.leaf(c.known(i)); err != nil {
					return err
				}
			}
			from = to + 1
			continue
		}
		if err == errStop {
			break
		}
		if err != nil {
			return err
		}
	}
	for _, r := range c.roots {
		if r.size > c.size {
			c.problem(c.size, r.size-1, fmt.Errorf("a checkpoint speaks of %d records, %d are here", r.size, c.size))
		}
	}
	return nil
}

// record compares one entry that its checksum calls whole.
func (c *scrub) record(index uint64, entry []byte) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	leaf := c.known(index)
	if _, ok := c.s.quarantined[index]; ok {
		c.done.Quarantined++
		return c.leaf(leaf)
	}
	r, b, err := decode(index, entry, true)
	if err != nil {
		c.problem(index, index, err)
		return c.leaf(leaf)
	}
	c.done.Records++
	c.done.Bytes += int64(len(r.Payload))
	if got := tlog.RecordHash(b); got != leaf {
		c.problem(index, index, fmt.Errorf("edge or subject %s, sequence numbers %d to %d: its leaf hashes to %v, the tree holds %v", r.Subject, r.First, r.Last, got, leaf))
		leaf = got
	}
	if c.pace != nil {
		if err := c.pace(len(entry)); err != nil {
			return err
		}
	}
	return c.leaf(leaf)
}

// known returns the leaf hash that the tree holds.
func (c *scrub) known(index uint64) tlog.Hash { return c.stored(0, int64(index)) }

// stored returns a hash of the tree.
func (c *scrub) stored(level int, index int64) tlog.Hash {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	h, err := c.s.tree.ReadHashes([]int64{tlog.StoredHashIndex(level, index)})
	if err != nil {
		return unknownLeaf
	}
	return h[0]
}

// leaf adds a leaf to the forest and compares the root with the checkpoints that
// speak of so many records.
func (c *scrub) leaf(h tlog.Hash) error {
	index := int64(c.leaves)
	for level := 1; index&1 == 1; level++ {
		h = tlog.NodeHash(c.forest[len(c.forest)-1], h)
		c.forest = c.forest[:len(c.forest)-1]
		index >>= 1
		if stored := c.stored(level, index); stored != h {
			c.problem(uint64(index<<level), uint64((index+1)<<level-1), fmt.Errorf("they hash to %v, the tree holds %v; %s", h, stored, hashesRemedy))
		}
	}
	c.forest = append(c.forest, h)
	c.leaves++
	for len(c.roots) > 0 && c.roots[0].size <= c.leaves {
		want := c.roots[0]
		c.roots = c.roots[1:]
		if want.size < c.leaves {
			continue
		}
		root := c.forest[len(c.forest)-1]
		for i := len(c.forest) - 2; i >= 0; i-- {
			root = tlog.NodeHash(c.forest[i], root)
		}
		if root != want.root {
			c.problem(min(c.signed, want.size-1), want.size-1, fmt.Errorf("one of them is not the one that was signed: the first %d records hash to %v, the checkpoint says %v", want.size, root, want.root))
		}
		c.signed = want.size
	}
	return nil
}
