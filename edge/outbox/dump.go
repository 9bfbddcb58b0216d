package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"kenshin/edge/journal"
	"kenshin/edge/wire"
)

// line is a record as Dump prints it.
type line struct {
	Epoch wire.Epoch `json:"epoch"`
	Seq   uint64     `json:"seq"`
	At    string     `json:"at"` // wall clock of the box, UTC
	Mono  int64      `json:"mono_ms"`
	Clock uint8      `json:"clock"`
	Acked bool       `json:"acked"`
	Kind  string     `json:"kind"`
	Body  any        `json:"body"`
	Chain wire.Hash  `json:"chain"`
}

// hole stands for records that cannot be read.
type hole struct {
	Epoch  wire.Epoch `json:"epoch"`
	From   uint64     `json:"from"`
	To     uint64     `json:"to"`
	Damage string     `json:"damage"`
}

// Dump writes the records in an outbox's folder to w, those of earlier epochs
// too, one a line in JSON. It is for people; what counts are the bytes. It
// changes nothing and may run beside the agent.
func Dump(w io.Writer, dir string) error {
	if err := dump(w, journal.OS(), dir); err != nil {
		return fmt.Errorf("dump outbox %s: %w", dir, err)
	}
	return nil
}

func dump(w io.Writer, fsys journal.FS, dir string) error {
	all, err := listEpochs(fsys, dir)
	if err != nil {
		return err
	}
	for _, e := range all {
		if err := dumpEpoch(json.NewEncoder(w), fsys, filepath.Join(dir, e.String()), e); err != nil {
			return err
		}
	}
	return nil
}

// listEpochs returns the epochs that have a folder in an outbox; none is an error.
func listEpochs(fsys journal.FS, dir string) ([]wire.Epoch, error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := epochs(names)
	if all == nil {
		return nil, errors.New("it is not an outbox: no folder in it is named by an epoch of 32 hexadecimal digits")
	}
	return all, nil
}

func dumpEpoch(out *json.Encoder, fsys journal.FS, dir string, epoch wire.Epoch) error {
	acked, err := readCursor(fsys, dir)
	if err != nil {
		return err
	}
	log, _, err := journal.Open(dir, journal.Options{VerifyFrom: ^uint64(0), Durable: acked.through, ReadOnly: true, FS: fsys})
	if err != nil {
		return err
	}
	defer log.Close()
	from := log.First()
	for from < log.Next() {
		err := log.Scan(from, func(seq uint64, entry []byte) error {
			from = seq + 1
			l, err := newLine(epoch, seq, entry)
			if err != nil {
				return out.Encode(hole{epoch, seq, seq, err.Error()})
			}
			l.Acked = seq <= acked.through
			return out.Encode(l)
		})
		var d *journal.Damage
		if errors.As(err, &d) {
			if err := out.Encode(hole{epoch, from, d.To, d.Error()}); err != nil {
				return err
			}
			from = d.To + 1
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func newLine(epoch wire.Epoch, seq uint64, entry []byte) (line, error) {
	canonical, chain, err := split(entry)
	if err != nil {
		return line{}, err
	}
	r, err := decode(seq, canonical)
	if err != nil {
		return line{}, err
	}
	l := line{Epoch: epoch, Seq: seq, At: time.UnixMilli(r.Wall).UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		Mono: r.Mono, Clock: uint8(r.Clock), Chain: chain}
	switch {
	case r.Declaration != nil:
		l.Kind, l.Body = "declaration", r.Declaration
	case r.Reading != nil:
		l.Kind, l.Body = "reading", r.Reading
	default:
		l.Kind, l.Body = "event", r.Event
	}
	return l, nil
}
