package store

import (
	"bytes"
	"errors"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// finish judges the record whose parts have come.
func (x *exportReader) finish() {
	c := x.cur
	if c == nil {
		return
	}
	whole := piece{record: c.index, rank: len(recordParts), from: c.where[0].from, to: max(c.where[0].to, c.where[1].to, c.where[2].to)}
	if c.next < len(recordParts) && !c.bad {
		x.fault(whole, "its %s is missing", recordParts[c.next])
		c.bad = true
	}
	switch {
	case c.index == x.last:
		x.fault(whole, "it stands there once more")
		return
	case c.index < x.last:
		x.fault(whole, "it stands behind record %d: twice, or out of order", x.last)
		return
	}
	x.last = c.index
	x.count++
	x.seen = join(x.seen, Run{uint64(c.index), uint64(c.index)})
	if !c.bad {
		x.judge(c)
	}
}

func (x *exportReader) judge(c *arriving) {
	leaf, payload, proof := c.where[0], c.where[1], c.where[2]
	for _, p := range []*piece{&leaf, &payload, &proof} {
		p.from += blockBytes
	}
	index, hashes, msg, err := parseProof(c.parts[2])
	switch {
	case err != nil:
		x.fault(proof, "%w", err)
		return
	case index != uint64(c.index):
		x.fault(proof, "it is that of record %d", index)
		return
	}
	if x.msg != nil { // else nothing can be proven, and that was said
		if !bytes.Equal(msg, x.msg) {
			x.fault(proof, "it is of another checkpoint than that of the export")
			return
		}
		if c.index >= int64(x.out.Statement.Size) {
			x.fault(proof, "the checkpoint speaks of %d records", x.out.Statement.Size)
			return
		}
		if err := tlog.CheckRecord(hashes, int64(x.out.Statement.Size), x.root, c.index, tlog.RecordHash(c.parts[0])); err != nil {
			p := leaf
			p.to = proof.to
			x.fault(p, "the leaf, or the proof that it is in the book: %w", err)
			return
		}
	}
	r, err := parse(uint64(c.index), c.parts[0], c.parts[1], true)
	if err != nil {
		at := leaf
		if errors.Is(err, errPayload) {
			at = payload
		}
		x.fault(at, "%w", err)
		return
	}
	x.held.add(&r)
	if x.check.Each != nil {
		if err := x.check.Each(&r); err != nil {
			x.fault(payload, "%w", err)
		}
	}
}

// end compares what was there with what the export says of itself.
func (x *exportReader) end() {
	x.finish()
	file := piece{record: -1, from: 0, to: x.at}
	if x.check.Before != nil && !bytes.Equal(x.check.Before, x.before) && !bytes.Equal(x.check.Before, x.msg) {
		x.fault(file, "it does not prove that the book has grown from the checkpoint that was given; ask for an export made with it")
	}
	for ; x.rank < 2; x.rank++ {
		x.fault(file, "%s is missing", headParts[x.rank])
	}
	if x.before != nil && x.rank < 4 {
		x.fault(file, "%s is missing", partGrowth)
	}
	if x.statement {
		x.compare(file)
	}
}

func (x *exportReader) compare(file piece) {
	st := &x.out.Statement
	if x.count != st.Records {
		x.fault(file, "%d records are there, the export says %d", x.count, st.Records)
	}
	here := slices.Clone(x.seen)
	for _, i := range st.Without {
		here = join(here, Run{i, i})
	}
	for _, lack := range lacking(st.Ranges, here) {
		p := file
		p.record, p.rank = int64(lack.First), len(recordParts)
		x.fault(p, "records %d to %d are missing", lack.First, lack.Last)
	}
	for _, i := range st.Without {
		if _, here := within(x.seen, i); here {
			x.fault(file, "record %d is there, the export says that the book has lost it", i)
		}
	}
	said := make(map[streamID]Stream)
	for _, s := range st.Streams {
		said[streamID{s.Edge, s.Epoch}] = s
	}
	for _, s := range x.held.streams() {
		id := streamID{s.Edge, s.Epoch}
		for _, lack := range lacking(said[id].runs(), s.runs()) {
			x.fault(file, "sequence numbers %d to %d of edge %s, epoch %v, are missing", lack.First, lack.Last, s.Edge, s.Epoch)
		}
		for _, more := range lacking(s.runs(), said[id].runs()) {
			x.fault(file, "sequence numbers %d to %d of edge %s, epoch %v, are there and not in the statement", more.First, more.Last, s.Edge, s.Epoch)
		}
		delete(said, id)
	}
	for _, s := range st.Streams {
		if _, left := said[streamID{s.Edge, s.Epoch}]; left {
			x.fault(file, "sequence numbers %d to %d of edge %s, epoch %v, are missing", s.First, s.Last, s.Edge, s.Epoch)
		}
	}
}
