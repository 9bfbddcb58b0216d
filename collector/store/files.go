package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kenshin/edge/journal"
)

// nextGeneration adds one to the number kept in path and makes it durable.
func nextGeneration(fsys journal.FS, path string) (uint64, error) {
	n, err := loadGeneration(fsys, path)
	if err != nil {
		return 0, err
	}
	return n + 1, saveGeneration(fsys, path, n+1)
}

func saveGeneration(fsys journal.FS, path string, n uint64) error {
	return replace(fsys, path, []byte(strconv.FormatUint(n, 10)+"\n"))
}

func loadGeneration(fsys journal.FS, path string) (uint64, error) {
	text, err := readFile(fsys, path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: want a number; restore it from a backup, higher is safe: %w", path, err)
	}
	return n, nil
}

func readFile(fsys journal.FS, path string) ([]byte, error) {
	f, err := fsys.Open(path, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	b := make([]byte, size)
	if err == nil && size > 0 {
		_, err = f.ReadAt(b, 0)
	}
	return b, errors.Join(err, f.Close())
}

// replace writes a small file so that after a crash it holds the old text or
// the new: write beside, sync, rename, sync the folder.
func replace(fsys journal.FS, path string, text []byte) error {
	f, err := fsys.Open(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(path+".new", path); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}
