package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/tlog"
)

// tree keeps the hashes of the Merkle tree in one file, 32 bytes each, in the
// order of tlog.StoredHashIndex. The file is derived from the records: it may be
// deleted, and what a crash left of it beyond the last checkpoint is not
// believed but made again.
type tree struct {
	f    *os.File
	size int64       // leaves
	tail []tlog.Hash // hashes not yet in the file
	at   int64       // index of tail[0]
}

// writeBehind is how many hashes wait before they are written in one go.
const writeBehind = 512

// openTree opens the file and believes the hashes of the first size leaves.
func openTree(path string, size int64) (*tree, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if tlog.StoredHashCount(size) > info.Size()/tlog.HashSize {
		size = 0 // shorter than its checkpoint: make all of it again
	}
	n := tlog.StoredHashCount(size)
	if err := f.Truncate(n * tlog.HashSize); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &tree{f: f, size: size, at: n}, nil
}

// add appends a leaf.
func (t *tree) add(leaf []byte) error {
	hashes, err := tlog.StoredHashes(t.size, leaf, t)
	if err != nil {
		return fmt.Errorf("hash of record %d: %w", t.size, err)
	}
	t.tail = append(t.tail, hashes...)
	t.size++
	if len(t.tail) >= writeBehind {
		return t.flush()
	}
	return nil
}

func (t *tree) flush() error {
	b := make([]byte, 0, len(t.tail)*tlog.HashSize)
	for _, h := range t.tail {
		b = append(b, h[:]...)
	}
	if _, err := t.f.WriteAt(b, t.at*tlog.HashSize); err != nil {
		return fmt.Errorf("write hashes: %w", err)
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
	return t.f.Sync()
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
		if _, err := t.f.ReadAt(out[i][:], x*tlog.HashSize); err != nil {
			return nil, fmt.Errorf("read hash %d: %w", x, err)
		}
	}
	return out, nil
}

func (t *tree) close() error { return errors.Join(t.flush(), t.f.Close()) }
