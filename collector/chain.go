package collector

import (
	"errors"
	"fmt"

	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// chainAt returns the chain hash after seq of the stream of a batch, whose record
// is at p or among pending.
func (in *ingest) chainAt(p place, seq uint64, like *wire.Batch, pending []*wire.Batch) (wire.Hash, error) {
	for _, b := range pending {
		if h, ok := b.ChainAfter(seq); ok && b.Edge == like.Edge && b.Epoch == like.Epoch {
			return h, nil
		}
	}
	if p.exact {
		r, err := in.store.Read(p.index)
		if err != nil {
			return wire.Hash{}, err
		}
		return chainIn(&r, seq)
	}
	h, err := in.lookFor(min(p.index, in.store.Size()), seq, like) // what is behind the end is only pending
	if errors.Is(err, errNowhere) && p.index > 0 {
		h, err = in.lookFor(0, seq, like)
	}
	return h, err
}

var errNowhere = errors.New("it is in no record of the book")

// lookFor searches the book from a record on for seq of the stream of a batch.
func (in *ingest) lookFor(from, seq uint64, like *wire.Batch) (h wire.Hash, err error) {
	found := false
	err = in.store.Scan(from, func(r *store.Record) (err error) {
		if r.Kind != store.Batch || r.Subject != like.Edge || r.Epoch != like.Epoch || seq < r.First || seq > r.Last {
			return nil
		}
		found = true
		if h, err = chainIn(r, seq); err == nil {
			err = errStop
		}
		return err
	})
	switch {
	case errors.Is(err, errStop):
		return h, nil
	case err == nil && !found:
		return h, fmt.Errorf("sequence number %d of %s: %w", seq, like.Edge, errNowhere)
	}
	return h, err
}

// chainIn returns the chain hash after seq in a record of the book.
func chainIn(r *store.Record, seq uint64) (wire.Hash, error) {
	b, err := decodeStored(r)
	if err != nil {
		return wire.Hash{}, fmt.Errorf("compare with the book: %v", err) // not the message's fault: no wire error shall show
	}
	h, ok := b.ChainAfter(seq)
	if !ok {
		return wire.Hash{}, fmt.Errorf("record %d does not hold sequence number %d", r.Index, seq)
	}
	return h, nil
}

// decodeStored reads the batch of a record of the book.
func decodeStored(r *store.Record) (*wire.Batch, error) {
	payload, err := wire.Payload(wire.BatchType, r.Payload)
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", r.Index, err)
	}
	b, err := wire.DecodeBatch(payload, storedLimits)
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", r.Index, err)
	}
	return b, nil
}

// storedLimits are wide: what is in the book was within the limits of its day.
var storedLimits = wire.Limits{Payload: 16 << 20, Body: 64 << 20, Records: 1 << 20}
