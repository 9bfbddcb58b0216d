package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"kenshin/edge/journal"
)

const (
	cursorFile    = "acked"
	suspectFile   = "suspect"
	disownedFile  = "disowned"
	slotBytes     = 64
	slotDistance  = 4096 // so that no sector, and no page, holds both
	cursorVersion = 1
)

// cursor keeps a mark in two slots that are written in turn: whatever happens
// to one while it is written, the other still holds the mark before.
type cursor struct {
	fs   journal.FS
	path string
	turn uint64 // of the newest slot
}

func appendSlot(b []byte, turn uint64, m mark) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, cursorVersion)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, turn)
	b = binary.LittleEndian.AppendUint64(b, m.through)
	b = append(b, m.chain[:]...)
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], crc32.MakeTable(crc32.Castagnoli)))
}

// parseSlot returns what a slot holds; whole is false when it holds nothing.
func parseSlot(b []byte) (turn uint64, m mark, whole bool, err error) {
	const crcAt = slotBytes - 4
	if len(b) != slotBytes || crc32.Checksum(b[:crcAt], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(b[crcAt:]) {
		return 0, mark{}, false, nil
	}
	if v := binary.LittleEndian.Uint32(b); v != cursorVersion {
		return 0, mark{}, false, fmt.Errorf("version %d, this program reads %d; use the program that wrote it", v, cursorVersion)
	}
	turn, m.through = binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	copy(m.chain[:], b[24:])
	return turn, m, true, nil
}

// openCursor reads the cursor in dir, and makes its file where there is none.
func openCursor(fsys journal.FS, dir string) (*cursor, mark, error) {
	return openSlots(fsys, dir, cursorFile)
}

// openSlots reads a file of slots, and makes it where there is none. It has all
// its bytes from the beginning: a cursor must be written on a full disk too, since
// that is what lets anything be dropped.
func openSlots(fsys journal.FS, dir, name string) (*cursor, mark, error) {
	c := &cursor{fs: fsys, path: filepath.Join(dir, name)}
	f, err := fsys.Open(c.path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, mark{}, err
	}
	m, err := c.load(f)
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		return nil, mark{}, fmt.Errorf("%s: %w", c.path, err)
	}
	return c, m, nil
}

// readCursor reads the cursor in dir and changes nothing.
func readCursor(fsys journal.FS, dir string) (mark, error) {
	return readSlots(fsys, dir, cursorFile)
}

func readSlots(fsys journal.FS, dir, name string) (mark, error) {
	f, err := fsys.Open(filepath.Join(dir, name), 0)
	if errors.Is(err, os.ErrNotExist) {
		return mark{}, nil
	}
	if err != nil {
		return mark{}, err
	}
	m, err := new(cursor).slots(f)
	return m, errors.Join(err, f.Close())
}

func (c *cursor) load(f journal.File) (newest mark, err error) {
	const whole = slotDistance + slotBytes
	size, err := f.Size()
	if err != nil {
		return newest, err
	}
	if size < whole {
		if _, err := f.WriteAt(make([]byte, whole-size), size); err != nil {
			return newest, err
		}
		return newest, f.Sync()
	}
	return c.slots(f)
}

// slots returns the mark of the newest whole slot.
func (c *cursor) slots(f journal.File) (newest mark, err error) {
	for i := range int64(2) {
		b := make([]byte, slotBytes)
		if _, err := f.ReadAt(b, i*slotDistance); err == io.EOF {
			continue // a file that was not finished
		} else if err != nil {
			return newest, err
		}
		turn, m, ok, err := parseSlot(b)
		if err != nil {
			return newest, err
		}
		if ok && turn > c.turn {
			c.turn, newest = turn, m
		}
	}
	return newest, nil
}

// save makes m durable. The file is opened for each: after a failed sync a
// handle must not be used again.
func (c *cursor) save(m mark) error {
	f, err := c.fs.Open(c.path, os.O_RDWR)
	if err != nil {
		return err
	}
	turn := c.turn + 1
	_, err = f.WriteAt(appendSlot(nil, turn, m), int64(turn%2)*slotDistance)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", c.path, err)
	}
	c.turn = turn
	return nil
}
