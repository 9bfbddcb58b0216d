package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"kenshin/edge/journal"
)

// copyDir returns a copy of a folder.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// edit changes a file.
func edit(t testing.TB, path string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, f(b), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestHashesAreMadeAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s, 0, 600) // more than are written behind
	if _, err := s.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 600, 1300)
	s.Close()
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
		noted  bool // in the report
	}{
		{"nothing", func(b []byte) []byte { return b }, false},
		{"cut to nothing", func([]byte) []byte { return nil }, false},
		{"cut before the checkpoint", func(b []byte) []byte { return b[:1000] }, false},
		{"cut behind the checkpoint", func(b []byte) []byte { return b[:1200*32+7] }, false},
		{"garbage behind the checkpoint", func(b []byte) []byte {
			for i := int(tlog.StoredHashCount(600)) * 32; i < len(b); i++ {
				b[i] ^= 0x55
			}
			return append(b, "more"...)
		}, false},
		{"garbage before the checkpoint", func(b []byte) []byte { return bytes.Repeat([]byte{7}, len(b)) }, true},
	} {
		dir := copyDir(t, dir)
		edit(t, filepath.Join(dir, hashesFile), tt.change)
		s, report, err := Open(dir, options)
		if err != nil || report.Hashes != tt.noted || report.Clean() == tt.noted {
			t.Fatalf("%s: report %v, %v", tt.name, report, err)
		}
		root, err := tlog.TreeHash(1300, s.tree)
		if err != nil || root != tlog.Hash(naive(leaves(1300))) {
			t.Errorf("%s: root %v, %v", tt.name, root, err)
		}
		if _, err := s.Prove(1300, 17); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		s.Close()
	}
	if err := os.Remove(filepath.Join(dir, hashesFile)); err != nil {
		t.Fatal(err)
	}
	checkBook(t, open(t, dir), 1300)
}

// A flipped hash that no root shows is noticed by the proof that would use it.
func TestNoWrongProof(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s, 0, 8)
	if _, err := s.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	edit(t, filepath.Join(dir, hashesFile), func(b []byte) []byte {
		b[tlog.StoredHashIndex(0, 5)*32] ^= 1
		return b
	})
	s = open(t, dir)
	if _, err := s.Prove(8, 4); err == nil || !strings.Contains(err.Error(), "hashes") {
		t.Errorf("Prove = %v; want the file that is damaged", err)
	}
	if _, err := s.Prove(8, 0); err != nil {
		t.Errorf("a proof without that hash: %v", err)
	}
}

// rewrite replaces the records of a book by others, checksums and all, as
// somebody would who has its disk but not its key.
func rewrite(t *testing.T, dir string, entries ...[]byte) {
	t.Helper()
	for _, name := range []string{recordsDir, hashesFile} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	log, _, err := journal.Open(filepath.Join(dir, recordsDir), journal.Options{})
	if err == nil {
		_, err = log.Append(entries...)
	}
	if err = errors.Join(err, log.Close()); err != nil {
		t.Fatal(err)
	}
}

func entries(n int) (out [][]byte) {
	for i := range n {
		e, _ := record(i).encode()
		out = append(out, e)
	}
	return out
}

func TestARewrittenBook(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s, 0, 20)
	if _, err := s.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 20, 25)
	s.Close()
	other := record(4)
	other.Payload = []byte("more energy")
	forged, _ := other.encode()
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, dir string)
		want string
	}{
		{"the same records", func(t *testing.T, dir string) { rewrite(t, dir, entries(25)...) }, ""},
		{"a record replaced", func(t *testing.T, dir string) {
			e := entries(25)
			e[4] = forged
			rewrite(t, dir, e...)
		}, "the book was altered"},
		{"a record replaced, hashes kept", func(t *testing.T, dir string) {
			hashes, err := os.ReadFile(filepath.Join(dir, hashesFile))
			if err != nil {
				t.Fatal(err)
			}
			e := entries(25)
			e[4] = forged
			rewrite(t, dir, e...)
			if err := os.WriteFile(filepath.Join(dir, hashesFile), hashes, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "a wrong record"},
		{"two records exchanged", func(t *testing.T, dir string) {
			e := entries(25)
			e[1], e[2] = e[2], e[1]
			rewrite(t, dir, e...)
		}, "the book was altered"},
		{"the end removed", func(t *testing.T, dir string) { rewrite(t, dir, entries(19)...) }, "entries 20 to 20 cannot be read"},
		{"another key's checkpoint", func(t *testing.T, dir string) {
			e := entries(25)
			e[4] = forged
			rewrite(t, dir, e...)
			if err := os.RemoveAll(filepath.Join(dir, notesDir)); err != nil {
				t.Fatal(err)
			}
			forger, _, err := Open(dir, Options{Origin: options.Origin, Key: key(2)})
			if err == nil {
				_, err = forger.Checkpoint()
			}
			if err = errors.Join(err, forger.Close()); err != nil {
				t.Fatal(err)
			}
		}, "not signed by this collector's key"},
		{"not a record", func(t *testing.T, dir string) { rewrite(t, dir, append(entries(20), []byte("x"))...) }, "not a record"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyDir(t, dir)
			tt.do(t, dir)
			s, _, err := Open(dir, options)
			if err == nil {
				defer s.Close()
			}
			if tt.want == "a wrong record" { // the hashes are believed up to the checkpoint; the records are not in them
				_, err = s.Prove(25, 4)
				if err == nil {
					t.Error("a forged record was proved")
				}
				return
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open = %v, want %q", err, tt.want)
			}
		})
	}
}

// A payload replaced under its leaf is noticed by whoever reads it.
func TestPayloadUnderAnotherLeaf(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).Close()
	entry, leaf := record(1).encode()
	e := append(entry[:1+len(leaf):1+len(leaf)], "another payload"...)
	rewrite(t, dir, e)
	s := open(t, dir)
	if _, err := s.Read(0); err == nil {
		t.Error("Read took it")
	}
	if err := s.Scan(0, func(*Record) error { return nil }); err == nil {
		t.Error("Scan took it")
	}
	if _, err := s.LeafHash(0); err == nil {
		t.Error("LeafHash took it")
	}
}
