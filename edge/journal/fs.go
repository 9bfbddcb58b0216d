package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ErrLocked is wrapped when another process has the folder open.
var ErrLocked = errors.New("in use by another process")

// FS is what a journal asks of a file system. A rig replaces it to fail calls
// and to forget what was not synced.
type FS interface {
	// MkdirAll makes a folder with those above it, durably.
	MkdirAll(dir string) error
	// ReadDir returns the names in a folder in lexical order.
	ReadDir(dir string) ([]string, error)
	// Open opens a file; flag is 0 for reading, or os.O_RDWR, to which
	// os.O_CREATE and os.O_TRUNC may come. Reading must not need more: a disk
	// that turned read-only can still be read.
	Open(name string, flag int) (File, error)
	// Rename replaces to by from.
	Rename(from, to string) error
	// Remove removes a file.
	Remove(name string) error
	// SyncDir makes what was created, renamed and removed in a folder durable.
	SyncDir(dir string) error
	// Lock takes a file's lock until the result is closed; the error wraps
	// ErrLocked when another process has it.
	Lock(name string) (io.Closer, error)
}

// File is an open file of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes the bytes of the file durable, and its size.
	Sync() error
}

// OS returns the machine's own file system.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) MkdirAll(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := (osFS{}).MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func (osFS) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osFS) Open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o644)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) SyncDir(dir string) error { return syncDir(dir) }

// Lock also writes into the file who has the lock, for the error of the next.
func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	taken, err := tryLock(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	if !taken {
		holder := make([]byte, 200)
		n, _ := f.ReadAt(holder, 0) // it is only a name for the message
		f.Close()
		return nil, fmt.Errorf("%w: %s is held by %s; stop it first", ErrLocked, name, text(holder[:n]))
	}
	me := fmt.Sprintf("process %d (%s)", os.Getpid(), filepath.Base(os.Args[0]))
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(me), 0)
	}
	if err != nil && !NoSpace(err) { // a full disk may not keep anybody from opening what is there
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return f, nil
}

func text(b []byte) string {
	if len(b) == 0 {
		return "a process that left no name"
	}
	return string(b)
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Sync() error { return syncData(f.File) }
