package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"kenshin/edge/wire"
)

// Kind says what a record of the book is. Never renumbered.
type Kind uint8

const (
	Batch    Kind = 1 // an edge's signed envelope, as received
	Decision Kind = 2 // what a person or a configuration put in force
	Import   Kind = 3 // readings from before the agent, as an operator brought them in

	// Quarantined stands in place of a record that is damaged and was set aside;
	// it is never on disk. Whoever reads the book goes on behind it.
	Quarantined Kind = 255
)

const (
	format      = 1
	maxSubject  = 256
	maxEnvelope = 16 << 20 // of one record, far above any limit of ingest
)

// Record is one entry of the book.
type Record struct {
	Index    uint64 // position in the book and leaf of the tree, from 0
	Kind     Kind
	Received int64  // ms UTC on the collector's clock
	Subject  string // Batch: the edge; Decision: what it decides, "project", "methodology", "edge"; Import: the register
	Epoch    wire.Epoch
	First    uint64 // Batch: sequence numbers, both included; Import: rows of the file
	Last     uint64
	Payload  []byte // exactly as received
}

// errRecord is wrapped when stored bytes are not a record.
var errRecord = errors.New("not a record of the book")

// errPayload is wrapped when a payload is not the one its leaf names.
var errPayload = errors.New("the payload is not the one that was recorded")

// leaf returns the bytes whose hash is the record's leaf: everything but the
// payload, which it names by SHA-256. So the tree can be shown to anybody while
// the readings stay private.
func (r *Record) leaf(b []byte) []byte {
	b = append(b, format, byte(r.Kind))
	b = binary.AppendVarint(b, r.Received)
	b = binary.AppendUvarint(b, uint64(len(r.Subject)))
	b = append(b, r.Subject...)
	b = append(b, r.Epoch[:]...)
	b = binary.AppendUvarint(b, r.First)
	b = binary.AppendUvarint(b, r.Last)
	sum := sha256.Sum256(r.Payload)
	return append(b, sum[:]...)
}

// LeafHash returns the hash by which the record stands in the tree.
func (r *Record) LeafHash() tlog.Hash { return tlog.RecordHash(r.leaf(nil)) }

// encode returns the journal entry: length of the leaf, leaf, payload.
func (r *Record) encode() (entry, leaf []byte) {
	leaf = r.leaf(make([]byte, 0, 128))
	entry = binary.AppendUvarint(make([]byte, 0, len(leaf)+len(r.Payload)+4), uint64(len(leaf)))
	entry = append(entry, leaf...)
	return append(entry, r.Payload...), leaf
}

func (r *Record) check() error {
	if r.Kind < Batch || r.Kind > Import {
		return fmt.Errorf("kind %d is unknown", r.Kind)
	}
	if len(r.Subject) > maxSubject || len(r.Payload) > maxEnvelope {
		return fmt.Errorf("subject of %d and payload of %d bytes, at most %d and %d", len(r.Subject), len(r.Payload), maxSubject, maxEnvelope)
	}
	return nil
}

// decode reads a journal entry. With verify it also hashes the payload, which
// costs most of the time of a scan; the journal has checked its CRC already.
func decode(index uint64, entry []byte, verify bool) (Record, []byte, error) {
	n, k := binary.Uvarint(entry)
	if k <= 0 || n > uint64(len(entry)-k) {
		return Record{}, nil, fmt.Errorf("record %d: %w: leaf cut short", index, errRecord)
	}
	leaf := entry[k : k+int(n)]
	r, err := parse(index, leaf, entry[k+int(n):], verify)
	return r, leaf, err
}

// parse reads a leaf with its payload.
func parse(index uint64, leaf, payload []byte, verify bool) (Record, error) {
	r := Record{Index: index, Payload: payload}
	b := leaf
	if len(b) < 2 || b[0] != format {
		return Record{}, fmt.Errorf("record %d: %w: unknown format", index, errRecord)
	}
	r.Kind = Kind(b[1])
	if r.Kind < Batch || r.Kind > Import {
		return Record{}, fmt.Errorf("record %d: %w: kind %d, this program reads %d to %d", index, errRecord, r.Kind, Batch, Import)
	}
	b = b[2:]
	var bad bool
	uvarint := func() uint64 {
		v, k := binary.Uvarint(b)
		if k <= 0 {
			bad = true
			return 0
		}
		b = b[k:]
		return v
	}
	z := uvarint()
	r.Received = int64(z>>1) ^ -int64(z&1)
	if n := uvarint(); n <= uint64(len(b)) && n <= maxSubject {
		r.Subject, b = string(b[:n]), b[n:]
	} else {
		bad = true
	}
	if len(b) >= len(r.Epoch) {
		copy(r.Epoch[:], b)
		b = b[len(r.Epoch):]
	} else {
		bad = true
	}
	r.First, r.Last = uvarint(), uvarint()
	if bad || len(b) != sha256.Size {
		return Record{}, fmt.Errorf("record %d: %w: leaf of %d bytes", index, errRecord, len(leaf))
	}
	if verify && sha256.Sum256(payload) != [sha256.Size]byte(b) {
		return Record{}, fmt.Errorf("record %d of %s, sequence numbers %d to %d: %w", index, r.Subject, r.First, r.Last, errPayload)
	}
	return r, nil
}
