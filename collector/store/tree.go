package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/tlog"

	"kenshin/edge/journal"
)

// tree keeps the hashes of the Merkle tree in one file, 32 bytes each, in the
// order of tlog.StoredHashIndex. The file is derived from the records: it may be
// deleted, and what a crash left of it beyond the last checkpoint is not
// believed but made again.
type tree struct {
	f      journal.File // nil when there is none and nothing may be written
	size   int64        // leaves
	synced int64        // leaves whose hashes are durable
	tail   []tlog.Hash  // hashes not yet in the file
	at     int64        // index of tail[0]
	broken bool         // a call failed: what is in the file behind synced is not believed
	reads  bool         // nothing is written
}

// writeBehind is how many hashes wait before they are written in one go.
const writeBehind = 512

// openTree opens the file and believes the hashes of the first size leaves. To
// read only, a file that is missing or too short is no error: the hashes are then
// kept in memory.
func openTree(fsys journal.FS, path string, size int64, readOnly bool) (*tree, error) {
	flag := os.O_RDWR | os.O_CREATE
	if readOnly {
		flag = 0
	}
	f, err := fsys.Open(path, flag)
	if readOnly && errors.Is(err, os.ErrNotExist) {
		return &tree{reads: true}, nil
	}
	if err != nil {
		return nil, err
	}
	bytes, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if tlog.StoredHashCount(size) > bytes/tlog.HashSize {
		size = 0 // shorter than its checkpoint: make all of it again
	}
	n := tlog.StoredHashCount(size)
	if !readOnly {
		if err := f.Truncate(n * tlog.HashSize); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return &tree{f: f, size: size, synced: size, at: n, reads: readOnly}, nil
}

// add appends a leaf by its hash. What cannot be written yet stays in memory:
// the record counts, and sync reports it.
func (t *tree) add(leaf tlog.Hash) error {
	hashes, err := tlog.StoredHashesForRecordHash(t.size, leaf, t)
	if err != nil {
		return fmt.Errorf("hash of record %d: %w", t.size, err)
	}
	t.tail = append(t.tail, hashes...)
	t.size++
	if len(t.tail)%writeBehind < len(hashes) && !t.reads {
		_ = t.flush()
	}
	return nil
}

func (t *tree) flush() error {
	b := make([]byte, 0, len(t.tail)*tlog.HashSize)
	for _, h := range t.tail {
		b = append(b, h[:]...)
	}
	if _, err := t.f.WriteAt(b, t.at*tlog.HashSize); err != nil {
		return fmt.Errorf("write hashes: %w", err) // the same bytes are written again
	}
	t.at += int64(len(t.tail))
	t.tail = t.tail[:0]
	return nil
}

// sync makes the hashes durable, before a checkpoint speaks of them.
func (t *tree) sync() error {
	if err := t.flush(); err != nil {
		return err
	}
	if err := t.f.Sync(); err != nil {
		t.broken = true
		return err
	}
	t.synced = t.size
	return nil
}

// ReadHashes implements tlog.HashReader.
func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x >= t.at {
			if x-t.at >= int64(len(t.tail)) {
				return nil, fmt.Errorf("hash %d is beyond the tree", x)
			}
			out[i] = t.tail[x-t.at]
			continue
		}
		if t.f == nil {
			return nil, fmt.Errorf("hash %d is not there", x)
		}
		if _, err := t.f.ReadAt(out[i][:], x*tlog.HashSize); err != nil {
			return nil, fmt.Errorf("read hash %d: %w", x, err)
		}
	}
	return out, nil
}

// close writes what waits. That the hashes are all there is not promised, so
// only closing the file can fail.
func (t *tree) close() error {
	if t.f == nil {
		return nil
	}
	if !t.reads && !t.broken {
		_ = t.flush()
	}
	return t.f.Close()
}
