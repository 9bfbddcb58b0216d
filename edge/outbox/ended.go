package outbox

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"kenshin/edge/wire"
)

// endedEpoch is the folder of an epoch that ended: everything in it was acked, or
// went on into the next, or could not be read. It is kept, for whoever wants to
// look, until its space is needed.
type endedEpoch struct {
	dir   string
	bytes int64
}

// epochs returns the epochs that have a folder in an outbox, in lexical order.
func epochs(names []string) (out []wire.Epoch) {
	for _, name := range names {
		var e wire.Epoch
		if len(name) == hex.EncodedLen(len(e)) && e.UnmarshalText([]byte(name)) == nil {
			out = append(out, e)
		}
	}
	return out
}

// findEnded finds the folders of ended epochs. What went on from them is among
// the records of now, since an epoch ends only while an outbox is opened.
func (b *Outbox) findEnded() error {
	names, err := b.fs.ReadDir(b.dir)
	if err != nil {
		return err
	}
	b.needed = b.Last()
	for _, e := range epochs(names) {
		if e == b.epoch {
			continue
		}
		x := endedEpoch{dir: filepath.Join(b.dir, e.String())}
		files, err := b.fs.ReadDir(x.dir)
		if err != nil {
			return err
		}
		for _, name := range files {
			n, err := b.fileBytes(filepath.Join(x.dir, name))
			if err != nil {
				return err
			}
			x.bytes += n
		}
		b.ended = append(b.ended, x)
	}
	return nil
}

func (b *Outbox) fileBytes(path string) (int64, error) {
	f, err := b.fs.Open(path, 0)
	if err != nil {
		return 0, err
	}
	n, err := f.Size()
	return n, errors.Join(err, f.Close())
}

// endedBytes returns what dropping the ended epochs would free: nothing while
// something of them is still to be delivered.
func (b *Outbox) endedBytes() (n int64) {
	if b.mark().through < b.needed {
		return 0
	}
	for _, e := range b.ended {
		n += e.bytes
	}
	return n
}

// dropEnded removes the folder of one ended epoch, if all that went on from it is
// acked. A crash in between leaves a folder with fewer files.
func (b *Outbox) dropEnded() (bool, error) {
	if len(b.ended) == 0 || b.mark().through < b.needed {
		return false, nil
	}
	e := b.ended[0]
	names, err := b.fs.ReadDir(e.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	for _, name := range names {
		if err := b.fs.Remove(filepath.Join(e.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
	}
	if err := b.fs.SyncDir(e.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	if err := b.fs.Remove(e.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	if err := b.fs.SyncDir(b.dir); err != nil {
		return false, err
	}
	b.ended = b.ended[1:]
	return true, nil
}
