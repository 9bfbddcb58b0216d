package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kenshin/edge/journal"
)

var reader = Reader{Origin: options.Origin, Key: newSigner(options.Origin, options.Key).public}

// TestBackupBesideTheWriter backs up a book that grows, again and again, and
// restores what it got last.
func TestBackupBesideTheWriter(t *testing.T) {
	data, to := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	s := open(t, filepath.Join(data, BookDir))
	dead := openDead(t, data)
	for i := range 5 {
		fill(t, s, 20*i, 20*i+20)
		if i != 2 {
			if _, err := s.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
		fill(t, s, 20*i+20, 20*i+20) // and some that no checkpoint covers
		if err := dead.Add([]DeadLetter{{Reason: "malformed", Bytes: []byte{byte(i)}}}); err != nil {
			t.Fatal(err)
		}
		done, err := Backup(t.Context(), data, to, reader)
		if err != nil || done.Records != uint64(20*i+20) {
			t.Fatalf("backup %d: %+v, %v", i, done, err)
		}
	}
	generation := s.Generation()
	back := t.TempDir()
	now := time.Unix(1_600_000_000, 0)
	if _, err := Restore(t.Context(), to, back, reader, now); err != nil {
		t.Fatal(err)
	}
	restored := open(t, filepath.Join(back, BookDir))
	checkBook(t, restored, 100)
	if restored.LastCheckpoint() != s.LastCheckpoint() || restored.Generation() <= generation || restored.Generation() <= uint64(now.Unix()) {
		t.Errorf("restored: generation %d, was %d\n%s", restored.Generation(), generation, restored.LastCheckpoint())
	}
	if got := letters(t, openDead(t, back)); len(got) != 5 {
		t.Errorf("%d dead letters restored, want 5", len(got))
	}
	if _, err := Restore(t.Context(), to, back, reader, now); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("Restore over a book = %v", err)
	}
}

// TestBackupRefuses what would spoil a good backup, and says when it is not good.
func TestBackupRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		harm func(t *testing.T, data, to string)
		want string
	}{
		{"the book damaged where it would be copied", func(t *testing.T, data, _ string) { spoil(t, filepath.Join(data, BookDir), 7) }, "repair it first"},
		{"the backup damaged", func(t *testing.T, _, to string) { spoil(t, filepath.Join(to, BookDir), 7) }, ""}, // made good by copying again
		{"another book", func(t *testing.T, _, to string) {
			if err := os.RemoveAll(to); err != nil {
				t.Fatal(err)
			}
			s := open(t, filepath.Join(to, BookDir))
			if _, err := s.Append(record(8)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			s.Close()
		}, "the backup of another book"},
		{"a book that went back", func(t *testing.T, data, _ string) {
			if err := os.RemoveAll(data); err != nil {
				t.Fatal(err)
			}
			s := open(t, filepath.Join(data, BookDir))
			fill(t, s, 0, 5)
			s.Close()
		}, "the backup of another book, or this book was rewritten"},
	} {
		data, to := t.TempDir(), filepath.Join(t.TempDir(), "backup")
		s := open(t, filepath.Join(data, BookDir))
		fill(t, s, 0, 20)
		if _, err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, err := Backup(t.Context(), data, to, reader); err != nil {
			t.Fatal(err)
		}
		tt.harm(t, data, to)
		_, err := Backup(t.Context(), data, to, reader)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Backup = %v, want %q", tt.name, err, tt.want)
		}
	}
}

// spoil changes a byte in the payload of record i.
func spoil(t *testing.T, book string, i int) {
	t.Helper()
	entry, _ := record(i).encode()
	edit(t, filepath.Join(book, recordsDir, "00000000000000000001.seg"), func(b []byte) []byte {
		at := bytes.Index(b, entry)
		if at < 0 {
			t.Fatalf("record %d is not there", i)
		}
		b[at+len(entry)-1] ^= 4
		return b
	})
}

// TestRepair heals a book from its backup, or sets aside what nobody has.
func TestRepair(t *testing.T) {
	for _, tt := range []struct {
		name       string
		spoil      []int // records
		inBackup   []int
		backup     bool
		aside      bool
		hashesGone bool
		want       Repaired
	}{
		{"healed", []int{3, 8}, nil, true, false, false, Repaired{Healed: 2}},
		{"healed without the hashes", []int{3, 8}, nil, true, false, true, Repaired{Healed: 2}},
		{"the last record", []int{19}, nil, true, false, false, Repaired{Healed: 1}},
		{"one is gone for good", []int{3, 8}, []int{8}, true, true, false, Repaired{Healed: 0, Aside: 2}},
		{"no backup", []int{19, 4}, nil, false, true, false, Repaired{Aside: 2}},
		{"only looking", []int{4}, nil, false, false, false, Repaired{Left: make([]Problem, 1)}},
		{"nothing to do", nil, nil, true, true, false, Repaired{}},
	} {
		data, to := t.TempDir(), filepath.Join(t.TempDir(), "backup")
		book := filepath.Join(data, BookDir)
		s := open(t, book)
		fill(t, s, 0, 20)
		if _, err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, err := Backup(t.Context(), data, to, reader); err != nil {
			t.Fatal(err)
		}
		for _, i := range tt.spoil {
			spoil(t, book, i)
		}
		for _, i := range tt.inBackup {
			spoil(t, filepath.Join(to, BookDir), i)
		}
		if tt.hashesGone {
			if err := os.Remove(filepath.Join(book, hashesFile)); err != nil {
				t.Fatal(err)
			}
		}
		from := to
		if !tt.backup {
			from = ""
		}
		got, err := Repair(t.Context(), book, from, tt.aside, reader)
		if err != nil || got.Healed != tt.want.Healed || got.Aside != tt.want.Aside || len(got.Left) != len(tt.want.Left) {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
			continue
		}
		if got.Aside == 0 && len(got.Left) == 0 {
			checkBook(t, open(t, book), 20)
			continue
		}
		if got.Aside > 0 {
			checkAside(t, tt.name, book, tt.spoil)
		}
	}
}

// checkAside: a book with quarantined records goes on, says which they are, and
// proves what it proved before.
func checkAside(t *testing.T, name, book string, gone []int) {
	t.Helper()
	s, _, err := Open(book, options)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer s.Close()
	aside := make(map[int]bool)
	n := 0
	err = s.Scan(0, func(r *Record) error {
		if r.Kind == Quarantined {
			aside[int(r.Index)] = true
		}
		if r.Index != uint64(n) {
			return fmt.Errorf("record %d where %d is due", r.Index, n)
		}
		n++
		return nil
	})
	if err != nil || n != 20 || len(aside) != len(gone) {
		t.Errorf("%s: %d records, %v aside, %v", name, n, aside, err)
	}
	for _, i := range gone {
		if _, err := s.Read(uint64(i)); !aside[i] || !errors.Is(err, ErrQuarantined) {
			t.Errorf("%s: record %d: %v", name, i, err)
		}
	}
	fill(t, s, 20, 40)
	if _, err := s.Checkpoint(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	for _, i := range []uint64{0, 7, 39} {
		if _, err := s.Prove(40, i); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.ProveGrowth(40, 20); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	done, err := s.Scrub(t.Context(), nil, func(p Problem) { t.Errorf("%s: %v", name, p) })
	if err != nil || done.Quarantined != len(gone) {
		t.Errorf("%s: scrubbed %+v, %v", name, done, err)
	}
}

// A book whose record behind the last checkpoint is damaged does not open to be
// written, says what to do, and opens once that is done.
func TestDamageBehindTheCheckpoint(t *testing.T) {
	book := t.TempDir()
	s := open(t, book)
	fill(t, s, 0, 20)
	s.Close()
	spoil(t, book, 5)
	if _, _, err := Open(book, options); !errors.Is(err, journal.ErrCorrupt) || !strings.Contains(err.Error(), "kenshin-collector repair") {
		t.Errorf("Open = %v", err)
	}
	if got, err := Repair(t.Context(), book, "", true, reader); err != nil || got.Aside != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	checkAside(t, "behind the checkpoint", book, []int{5})
}

func FuzzQuarantine(f *testing.F) {
	f.Add([]byte(quarantine{3: {unknownLeaf, "why"}, 9: {unknownLeaf, ""}}.text()))
	f.Add([]byte(quarantineHead + "\n1 x\ncrc 00000000\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := parseQuarantine(b)
		if err == nil && !bytes.Equal(q.text(), b) {
			t.Errorf("%q reads as %q", b, q.text())
		}
	})
}
