//go:build !linux

package modbus_test

import (
	"os"
	"testing"
)

type pty struct {
	far  *os.File
	path string
}

func openPTY(t testing.TB) *pty {
	t.Skip("pseudo terminals are made for Linux only")
	return nil
}

func (p *pty) unplug() {}
