package outbox

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"kenshin/edge/journal"
	"kenshin/edge/wire"
)

// State says what an outbox's folder holds.
type State struct {
	Edge   string
	Epochs []EpochState // the one in force last
	Held   uint64       // readings, at least, that are in the memory of the agent only, or were when it ended
}

// EpochState is what is kept of one epoch.
type EpochState struct {
	Epoch       wire.Epoch
	InForce     bool
	First, Last uint64 // records that are kept; none when First > Last
	Acked       uint64
	Files       int
	Bytes       int64
	Problems    []string // what verifying found, for people
}

// Inspect says what is in an outbox's folder, and with verify reads all of it and
// compares every record with its checksum, its form and the chain. It changes
// nothing and may run beside the agent.
func Inspect(dir string, verify bool) (State, error) {
	s, err := inspect(journal.OS(), dir, verify)
	if err != nil {
		return s, fmt.Errorf("inspect outbox %s: %w", dir, err)
	}
	return s, nil
}

func inspect(fsys journal.FS, dir string, verify bool) (State, error) {
	var s State
	all, err := listEpochs(fsys, dir)
	if err != nil {
		return s, err
	}
	id, found, err := loadIdentity(fsys, dir)
	if err != nil {
		return s, err
	}
	if !found {
		return s, errors.New("it has no file `identity`")
	}
	s.Edge = id.edge
	held, err := readSlots(fsys, dir, heldFile)
	if err != nil {
		return s, err
	}
	s.Held = held.through
	var last []EpochState
	for _, e := range all {
		x, err := inspectEpoch(fsys, filepath.Join(dir, e.String()), e, verify)
		if err != nil {
			return s, err
		}
		if x.InForce = e == id.epoch; x.InForce {
			last = append(last, x)
		} else {
			s.Epochs = append(s.Epochs, x)
		}
	}
	s.Epochs = append(s.Epochs, last...)
	return s, nil
}

func inspectEpoch(fsys journal.FS, dir string, epoch wire.Epoch, verify bool) (EpochState, error) {
	x := EpochState{Epoch: epoch}
	acked, err := readCursor(fsys, dir)
	if err != nil {
		return x, err
	}
	log, report, err := journal.Open(dir, journal.Options{VerifyFrom: math.MaxUint64, Durable: acked.through, ReadOnly: true, FS: fsys})
	if err != nil {
		return x, err
	}
	defer log.Close()
	x.First, x.Last, x.Acked, x.Files, x.Bytes = log.First(), log.Next()-1, acked.through, len(log.Segments()), log.Size()
	if report.Cut > 0 {
		x.Problems = append(x.Problems, report.String())
	}
	if !verify {
		return x, nil
	}
	if acked.through > x.Last { // not a segment is left
		x.Problems = append(x.Problems, fmt.Sprintf("record %d was acked, the last one here is %d", acked.through, x.Last))
	}
	v := verifier{log: log, acked: acked, problem: func(text string) { x.Problems = append(x.Problems, text) }}
	return x, v.run()
}

// verifier reads the records of an epoch in order.
type verifier struct {
	log     *journal.Log
	acked   mark
	problem func(string)

	chain wire.Hash // after the record before, if known
	known bool
}

func (v *verifier) run() error {
	from := v.log.First()
	v.known = from == 1
	for from < v.log.Next() {
		err := v.log.Scan(from, func(seq uint64, entry []byte) error {
			from = seq + 1
			v.record(seq, entry)
			return nil
		})
		var d *journal.Damage
		if errors.As(err, &d) {
			v.problem(d.Error())
			from, v.known = d.To+1, false
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) record(seq uint64, entry []byte) {
	canonical, after, err := split(entry)
	switch {
	case err != nil:
	case v.known:
		_, err = open(seq, canonical, v.chain, after)
	default:
		_, err = decode(seq, canonical)
	}
	if err != nil {
		v.problem(err.Error())
	}
	if seq == v.acked.through && after != v.acked.chain {
		v.problem(fmt.Sprintf("record %d is not the one that was acked: its chain hash is %.8s, the cursor says %.8s", seq, after, v.acked.chain))
	}
	v.chain, v.known = after, err == nil
}

// Repair does to the outbox in dir what an agent does on starting: what a crash
// left is cut off, and where records that are not acked cannot be read, a new
// epoch takes the others along. The agent must be stopped.
func Repair(dir string) (Report, error) {
	id, found, err := loadIdentity(journal.OS(), dir)
	if err == nil && !found {
		err = errors.New("it has no file `identity`: it is no outbox")
	}
	if err != nil {
		return Report{}, fmt.Errorf("repair outbox %s: %w", dir, err)
	}
	b, report, err := Open(dir, Options{Edge: id.edge, MaxBytes: math.MaxInt64, verify: true})
	if err != nil {
		return report, err
	}
	return report, b.Close()
}
