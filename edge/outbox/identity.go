package outbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kenshin/edge/journal"
	"kenshin/edge/wire"
)

const identityFile = "identity"

// identity says whose outbox this is and which life of it. On disk it is text:
// four lines, the last one the CRC-32C of those before.
type identity struct {
	edge  string
	epoch wire.Epoch
}

func newEpoch() (e wire.Epoch) {
	rand.Read(e[:]) // never fails, see crypto/rand
	return e
}

func (id identity) text() string {
	s := fmt.Sprintf("kenshin outbox 1\nedge %s\nepoch %v\n", id.edge, id.epoch)
	return s + fmt.Sprintf("crc %08x\n", crc32.Checksum([]byte(s), crc32.MakeTable(crc32.Castagnoli)))
}

// parseIdentity takes exactly what text writes.
func parseIdentity(text string) (identity, error) {
	var id identity
	lines := strings.Split(text, "\n")
	if strings.HasPrefix(lines[0], "kenshin outbox ") && lines[0] != "kenshin outbox 1" {
		return id, fmt.Errorf("%q is of a later version; use the program that wrote it", lines[0])
	}
	if len(lines) == 5 {
		id.edge = strings.TrimPrefix(lines[1], "edge ")
		if err := id.epoch.UnmarshalText([]byte(strings.TrimPrefix(lines[2], "epoch "))); err == nil && id.text() == text {
			return id, wire.CheckEdgeID(id.edge)
		}
	}
	return id, errors.New("it is damaged: move the file away and a new epoch begins; `kenshin-edge dump` then still prints the records of the old one")
}

// loadIdentity returns the identity of an outbox; found is false when it has none.
func loadIdentity(fsys journal.FS, dir string) (id identity, found bool, err error) {
	path := filepath.Join(dir, identityFile)
	f, err := fsys.Open(path, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, err
	}
	b, err := readAll(f)
	if err = errors.Join(err, f.Close()); err == nil {
		id, err = parseIdentity(string(b))
	}
	if err != nil {
		return id, false, fmt.Errorf("%s: %w", path, err)
	}
	return id, true, nil
}

// readAll reads a small file.
func readAll(f journal.File) ([]byte, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(size, 1<<10)) // more is not what we wrote
	if len(b) > 0 {
		_, err = f.ReadAt(b, 0)
	}
	return b, err
}

// store writes the identity so that a crash leaves the old one or the new:
// write beside, sync, rename, sync the folder.
func (id identity) store(fsys journal.FS, dir string) error {
	path := filepath.Join(dir, identityFile)
	f, err := fsys.Open(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(id.text()), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(path+".new", path); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// identify makes an identity where there is none: of a new outbox, or of one that
// has lost the file. With one epoch there it is that one's; which of several was
// the last nobody can tell, so a new one begins and the report says so.
func (b *Outbox) identify(report *Report) (identity, error) {
	names, err := b.fs.ReadDir(b.dir)
	if err != nil {
		return identity{}, err
	}
	id := identity{edge: b.edge, epoch: newEpoch()}
	there := epochs(names)
	switch len(there) {
	case 0:
	case 1:
		id.epoch = there[0]
		report.Identity = fmt.Sprintf("the file %s was missing and was written again for epoch %v", identityFile, id.epoch)
	default:
		report.Identity = fmt.Sprintf("the file %s is missing and there are %d epochs, so that another was begun: what they have not delivered stays in their folders below %s, where `kenshin-edge dump` prints it", identityFile, len(there), b.dir)
	}
	return id, id.store(b.fs, b.dir)
}
