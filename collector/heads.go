package collector

import (
	"fmt"
	"slices"

	"kenshin/edge/wire"
)

// stream names one life of an edge's outbox.
type stream struct {
	edge  string
	epoch wire.Epoch
}

// span is a run of records that are in the book without a hole.
type span struct {
	from, to    uint64
	prev, chain wire.Hash // before from, after to
}

// mark says which record of the book holds a run of sequence numbers.
type mark struct{ first, last, index uint64 }

// maxMarks bounds the marks of a stream. Of older ones only some are kept; what
// lies between them is looked for in the book.
const maxMarks = 512

// place says where in the book a sequence number is: in record index, or, when
// that is not known any more, probably behind it.
type place struct {
	index uint64
	exact bool
}

// head is what the book holds of one stream: spans in ascending order, never
// touching one another.
type head struct {
	spans []span
	marks []mark
	kept  uint64 // the oldest record the edge still has, as its signed batches say
}

// clone returns a copy that can be added to while h is no more: both share the
// marks that are there, and room behind them.
func (h *head) clone() *head {
	if h == nil {
		return &head{}
	}
	return &head{slices.Clone(h.spans), h.marks, h.kept}
}

// verdict is what a batch means to its stream.
type verdict int

const (
	fresh    verdict = iota // at least one record is new
	repeated                // every record is in the book with the same hash
)

// offer compares b with what the book holds. The chain hash stands for
// everything before it, so one equal hash at a shared position shows that all
// earlier shared records are equal too.
//
// An error means that b contradicts the book: it continues another history
// (broken chain) or claims a sequence number for other bytes (fork).
func (h *head) offer(b *wire.Batch, chainAt func(p place, seq uint64) (wire.Hash, error)) (verdict, error) {
	for _, s := range h.spans {
		if s.to+1 < b.First || b.Last+1 < s.from {
			continue
		}
		if got, ok := b.ChainAfter(s.to); ok && got != s.chain {
			return 0, mismatch(s.to, b.First)
		}
		if got, ok := b.ChainAfter(s.from - 1); ok && got != s.prev {
			return 0, mismatch(s.from-1, b.First)
		}
		if s.from <= b.First && b.Last <= s.to {
			if s.to == b.Last {
				return repeated, nil // compared above
			}
			return repeated, h.compare(b, chainAt)
		}
	}
	return fresh, nil
}

// compare checks a batch that lies wholly inside what is there against the
// stored record that holds its last sequence number.
func (h *head) compare(b *wire.Batch, chainAt func(p place, seq uint64) (wire.Hash, error)) error {
	stored, err := chainAt(h.find(b.Last), b.Last)
	if err != nil {
		return err
	}
	if stored != b.Chain {
		return mismatch(b.Last, b.First)
	}
	return nil
}

// find returns where seq is.
func (h *head) find(seq uint64) (p place) {
	for _, m := range h.marks {
		if m.first <= seq && seq <= m.last {
			return place{m.index, true}
		}
		if m.last < seq {
			p.index = max(p.index, m.index)
		}
	}
	return p
}

func mismatch(seq, first uint64) error {
	if seq+1 == first {
		return fmt.Errorf("%w: the record before %d is another one in the book", errBrokenChain, first)
	}
	return fmt.Errorf("%w: sequence number %d stands for other bytes in the book", errFork, seq)
}

// add notes that the book holds [first, last] in record index, and joins spans.
func (h *head) add(first, last uint64, prev, chain wire.Hash, index uint64) {
	if len(h.marks) >= maxMarks {
		h.marks = thin(h.marks)
	}
	h.marks = append(h.marks, mark{first, last, index})
	n := span{first, last, prev, chain}
	at := 0
	for at < len(h.spans) && h.spans[at].to+1 < n.from {
		at++
	}
	end := at
	for end < len(h.spans) && h.spans[end].from <= n.to+1 {
		s := h.spans[end]
		if s.from <= n.from {
			n.from, n.prev = s.from, s.prev
		}
		if s.to >= n.to {
			n.to, n.chain = s.to, s.chain
		}
		end++
	}
	h.spans = slices.Replace(h.spans, at, end, n)
}

// thin leaves out every second mark of the older half.
func thin(marks []mark) []mark {
	out := make([]mark, 0, maxMarks)
	for i, m := range marks {
		if i >= len(marks)/2 || i%2 == 0 {
			out = append(out, m)
		}
	}
	return out
}

// through returns the last record of the run from 1 on, and the chain hash there.
// The run goes over holes that nobody can fill any more: else a collector that was
// restored from a backup older than what an edge still has would be sent the rest
// for ever, and never let it go.
func (h *head) through() (last uint64, chain wire.Hash) {
	for _, s := range h.spans {
		if s.from > max(last+1, h.kept) {
			break
		}
		last, chain = s.to, s.chain
	}
	return last, chain
}

// want returns the holes before the last record that the edge can still fill.
func (h *head) want() []wire.Range {
	var out []wire.Range
	next := uint64(1)
	for _, s := range h.spans {
		if next = max(next, h.kept); s.from > next {
			out = append(out, wire.Range{From: next, To: s.from - 1})
		}
		next = s.to + 1
	}
	return out
}

// have returns what is there behind the first hole, at most n runs: the lowest
// ones and the highest, which the newest records go to.
func (h *head) have(n int) []wire.Range {
	through, _ := h.through()
	at := 0
	for at < len(h.spans) && h.spans[at].to <= through {
		at++
	}
	var out []wire.Range
	for i, s := range h.spans[at:] {
		if i < n-1 || at+i == len(h.spans)-1 {
			out = append(out, wire.Range{From: s.from, To: s.to})
		}
	}
	return out
}

// gone returns how many records are in no span and can never come.
func (h *head) gone() (n uint64) {
	next := uint64(1)
	for _, s := range h.spans {
		if end := min(s.from, h.kept); end > next {
			n += end - next
		}
		next = s.to + 1
	}
	return n
}

// gone returns how many records of all streams can never come.
func (in *ingest) gone() (n uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, h := range in.heads {
		n += h.gone()
	}
	return n
}
