package collector

import (
	"sync"

	"kenshin/edge/wire"
)

// recent hands batches that were just taken into the book to settling, which need
// not read them once more. It holds few: what settling is far behind of it reads.
type recent struct {
	mu      sync.Mutex // guards all below
	batches map[uint64]*wire.Batch
	records int
	taken   uint64 // settling is there; it goes forward, but for readings that waited
}

const recentRecords = 100_000 // held at most, of about 300 bytes each

// put holds a batch. When there is no room it is left out: settling comes to the
// ones that are held first.
func (r *recent) put(index uint64, b *wire.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.records+len(b.Records) > recentRecords {
		for i, old := range r.batches { // those that settling has read by itself
			if i < r.taken {
				r.records -= len(old.Records)
				delete(r.batches, i)
			}
		}
	}
	if r.records+len(b.Records) > recentRecords {
		return
	}
	if r.batches == nil {
		r.batches = make(map[uint64]*wire.Batch)
	}
	r.batches[index] = b
	r.records += len(b.Records)
}

// take returns the batch in a record, nil when it is not held.
func (r *recent) take(index uint64) *wire.Batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken = max(r.taken, index)
	b := r.batches[index]
	if b != nil {
		delete(r.batches, index)
		r.records -= len(b.Records)
	}
	return b
}
