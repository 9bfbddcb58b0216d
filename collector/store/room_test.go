package store

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"kenshin/edge/journal"
	"kenshin/edge/journal/simfs"
)

// TestOpenWithoutRoom: a book that cannot be opened because the disk is full says
// what to do, and is as it was once there is room.
func TestOpenWithoutRoom(t *testing.T) {
	f := simFS{simfs.New(journal.ErrLocked)}
	for _, full := range []bool{false, true, false} {
		f.Fault = func(_ int, op, file string) simfs.Fault {
			if full && strings.HasSuffix(file, generationFile+".new") {
				return simfs.Fault{Err: syscall.ENOSPC}
			}
			return simfs.Fault{}
		}
		s, _, err := openBook("book", newSigner(options.Origin, options.Key), f, 4<<10, false)
		if full {
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room on the disk of book and start again") {
				t.Errorf("without room: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		fill(t, s, int(s.Size()), int(s.Size())+2)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
