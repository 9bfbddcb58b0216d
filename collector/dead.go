package collector

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"

	"kenshin/edge/journal"
)

// Reasons a message is not taken. They are the label of a counter, so there is
// a fixed set of them.
const (
	reasonTopic     = "topic"
	reasonIdentity  = "identity"
	reasonSignature = "signature"
	reasonMalformed = "malformed"
	reasonChain     = "chain"
	reasonFork      = "fork"
)

var reasons = []string{reasonTopic, reasonIdentity, reasonSignature, reasonMalformed, reasonChain, reasonFork}

// DeadLetter is a message that was not taken, kept with the reason.
type DeadLetter struct {
	At     int64  `json:"at"` // ms UTC on the collector's clock
	Topic  string `json:"topic"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
	Bytes  []byte `json:"bytes"` // as received
}

// deadLetters keeps refused messages in a journal beside the book, the oldest
// leaving when there are too many. The same bytes are kept once while they are
// among the recent ones: an edge that cannot get rid of a batch sends it again
// and again.
type deadLetters struct {
	log    *journal.Log
	recent map[[sha256.Size]byte]bool
}

const (
	deadBytes  = 64 << 20
	deadRecent = 4096
)

func openDead(dir string) (*deadLetters, error) {
	log, _, err := journal.Open(filepath.Join(dir, "dead"), journal.Options{})
	if err != nil {
		return nil, err
	}
	return &deadLetters{log: log, recent: make(map[[sha256.Size]byte]bool)}, nil
}

func (d *deadLetters) add(letters []DeadLetter) error {
	var entries [][]byte
	for _, l := range letters {
		sum := sha256.Sum256(l.Bytes)
		if d.recent[sum] {
			continue
		}
		if len(d.recent) >= deadRecent {
			clear(d.recent)
		}
		d.recent[sum] = true
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
	if segs := d.log.Segments(); len(segs) > 1 && d.log.Size() > deadBytes {
		_, err := d.log.DropBefore(segs[1].First)
		return err
	}
	return nil
}

// DeadLetters calls fn for each message that was refused and is still kept,
// oldest first.
func (c *Collector) DeadLetters(fn func(DeadLetter) error) error {
	return c.dead.log.Scan(c.dead.log.First(), func(_ uint64, b []byte) error {
		var l DeadLetter
		if err := json.Unmarshal(b, &l); err != nil {
			return fmt.Errorf("dead letter: %w", err)
		}
		return fn(l)
	})
}
