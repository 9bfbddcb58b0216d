package outbox

import (
	"fmt"

	"kenshin/edge/journal"
	"kenshin/edge/wire"
)

const hashBytes = len(wire.Hash{})

// encode returns the journal entries of recs, numbered from first on, and the
// chain hash after them. An entry is the canonical record and the hash after it.
func (b *Outbox) encode(first uint64, recs []wire.Record) ([][]byte, wire.Hash, error) {
	entries, chain := make([][]byte, len(recs)), b.chain
	out, ends := b.out[:0], make([]int, len(recs))
	for i := range recs {
		r := recs[i]
		r.Seq = first + uint64(i)
		if err := r.Validate(); err != nil {
			return nil, chain, fmt.Errorf("record %d of %d: %w", i+1, len(recs), err)
		}
		at := len(out)
		out = r.Append(out)
		chain = wire.Chain(chain, out[at:])
		out = append(out, chain[:]...)
		ends[i] = len(out)
	}
	at := 0
	for i, end := range ends {
		entries[i], at = out[at:end], end
	}
	if b.out = out; cap(out) > 1<<20 {
		b.out = nil // one large Append must not hold memory for ever
	}
	return entries, chain, nil
}

// split cuts an entry into the record and the chain hash after it.
func split(entry []byte) (canonical []byte, after wire.Hash, err error) {
	n := len(entry) - hashBytes
	if n < 0 {
		return nil, after, fmt.Errorf("entry of %d bytes holds no record: %w", len(entry), journal.ErrCorrupt)
	}
	return entry[:n], wire.Hash(entry[n:]), nil
}

// open decodes record seq and checks that it leads from chain hash before to after.
func open(seq uint64, canonical []byte, before, after wire.Hash) (wire.Record, error) {
	if got := wire.Chain(before, canonical); got != after {
		return wire.Record{}, fmt.Errorf("record %d leads to chain hash %.8s, its entry says %.8s: %w", seq, got, after, journal.ErrCorrupt)
	}
	return decode(seq, canonical)
}

func decode(seq uint64, canonical []byte) (wire.Record, error) {
	r, err := wire.DecodeRecord(canonical)
	if err != nil {
		return wire.Record{}, fmt.Errorf("record %d: %w: %w", seq, journal.ErrCorrupt, err)
	}
	if r.Seq != seq {
		return wire.Record{}, fmt.Errorf("record %d says it is %d: %w", seq, r.Seq, journal.ErrCorrupt)
	}
	return r, nil
}
