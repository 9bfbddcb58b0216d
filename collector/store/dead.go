package store

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"

	"kenshin/edge/journal"
)

// DeadLetter is a message that was not taken into the book, kept with the reason.
type DeadLetter struct {
	At     int64  `json:"at"` // ms UTC on the collector's clock
	Topic  string `json:"topic"`
	Reason string `json:"reason"` // one of a fixed set
	Detail string `json:"detail"` // for people
	Bytes  []byte `json:"bytes"`  // as received, base64 in JSON; of a very long message the first MiB
	Size   int    `json:"size"`   // bytes of the message; Add sets it
}

// DeadLetters keeps refused messages in a journal beside the book, the oldest
// leaving when there are too many. The same bytes are kept once while they are
// among the recent ones: an edge that cannot get rid of a batch sends it again
// and again. One goroutine at a time may use it.
type DeadLetters struct {
	log    *journal.Log
	most   int64 // bytes on disk, about
	recent map[[sha256.Size]byte]bool
}

const (
	deadBytes  = 64 << 20
	deadRecent = 4096
	deadLetter = 1 << 20 // bytes kept of one message
)

// OpenDeadLetters opens the dead letters in dir, which no other process may have open.
func OpenDeadLetters(dir string) (*DeadLetters, error) {
	log, _, err := journal.Open(filepath.Join(dir, deadDir), journal.Options{})
	if err != nil {
		return nil, fmt.Errorf("open dead letters: %w", err)
	}
	return &DeadLetters{log: log, most: deadBytes, recent: make(map[[sha256.Size]byte]bool)}, nil
}

// ReadDeadLetters calls fn for each letter in dir, oldest first, beside the
// collector that may be adding to them.
func ReadDeadLetters(dir string, fn func(DeadLetter) error) error {
	log, _, err := journal.Open(filepath.Join(dir, deadDir), journal.Options{VerifyFrom: math.MaxUint64, ReadOnly: true})
	if errors.Is(err, os.ErrNotExist) {
		return nil // no collector has run yet
	}
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	d := DeadLetters{log: log}
	return errors.Join(d.Scan(fn), d.Close())
}

// Add keeps letters; they are durable when it returns.
func (d *DeadLetters) Add(letters []DeadLetter) error {
	var entries [][]byte
	adding := make(map[[sha256.Size]byte]bool)
	for _, l := range letters {
		sum := sha256.Sum256(l.Bytes)
		if d.recent[sum] || adding[sum] {
			continue
		}
		adding[sum] = true
		l.Size, l.Bytes = len(l.Bytes), l.Bytes[:min(len(l.Bytes), deadLetter)]
		b, err := json.Marshal(l)
		if err != nil {
			return fmt.Errorf("dead letter: %w", err)
		}
		entries = append(entries, b)
	}
	if len(entries) == 0 {
		return nil
	}
	if _, err := d.log.Append(entries...); err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	if len(d.recent)+len(adding) > deadRecent {
		clear(d.recent)
	}
	maps.Copy(d.recent, adding) // only now: what is not kept must be kept when it comes again
	return d.trim()
}

// trim drops the oldest letters until there is room again. The newest stay.
func (d *DeadLetters) trim() error {
	for segs := d.log.Segments(); len(segs) > 1 && d.log.Size() > d.most; segs = segs[1:] {
		if _, err := d.log.DropBefore(segs[1].First); err != nil {
			return fmt.Errorf("dead letters: %w", err)
		}
	}
	return nil
}

// Scan calls fn for each letter that is still kept, oldest first.
func (d *DeadLetters) Scan(fn func(DeadLetter) error) error {
	return d.log.Scan(d.log.First(), func(_ uint64, b []byte) error {
		var l DeadLetter
		if err := json.Unmarshal(b, &l); err != nil {
			return fmt.Errorf("dead letter: %w", err)
		}
		return fn(l)
	})
}

// Close releases the journal.
func (d *DeadLetters) Close() error { return d.log.Close() }
