//go:build !linux

package plant

import (
	"errors"
	"os"
)

// pty is a pseudo terminal, which this package makes on Linux only.
type pty struct {
	*os.File
	slave, link string
}

func openPTY(string) (*pty, error) {
	return nil, errors.New("pseudo terminals are made on Linux only; use rtutcp instead")
}
