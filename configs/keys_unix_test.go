//go:build unix

package configs

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFilesBelongToTheFoldersOwner: what root writes into a service's folder, the
// service can read.
func TestFilesBelongToTheFoldersOwner(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root to give a folder away; CI runs as root")
		}
		t.Skip("needs root to give a folder away; run it with sudo")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(dir, "enrolled")
	for range 2 {
		if err := Folder(inner, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := WriteFile(filepath.Join(inner, "tls.pem"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{inner, filepath.Join(inner, "tls.pem")} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 12345 || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s belongs to %d with mode %v", path, uid, info.Mode())
		}
	}
}
