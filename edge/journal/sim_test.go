package journal

import (
	"path/filepath"

	"kenshin/edge/journal/simfs"
)

// simFS is a file system in memory as a journal wants it.
type simFS struct{ *simfs.FS }

func (s simFS) Open(name string, flag int) (File, error) {
	h, err := s.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return h, nil
}

func newSimFS() simFS { return simFS{simfs.New(ErrLocked)} }

// simOf returns a file system with these files in the folder log, on disk.
func simOf(files map[string][]byte) simFS {
	in := make(map[string][]byte)
	for name, b := range files {
		in[filepath.Join("log", name)] = b
	}
	return simFS{simfs.Of(ErrLocked, in)}
}
