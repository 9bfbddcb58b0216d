package journal

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// tryLock takes the lock of a file, which the system gives up with the process.
// It locks a byte far behind the text, which stays readable.
func tryLock(f *os.File) (bool, error) {
	at := &windows.Overlapped{OffsetHigh: 1}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

// syncDir does nothing: the system keeps the entries of a folder in its own log
// and does not let a folder be flushed.
func syncDir(string) error { return nil }

// NoSpace says whether an error means that the disk, or the user's share of it, is full.
func NoSpace(err error) bool { return errors.Is(err, windows.ERROR_DISK_FULL) }
