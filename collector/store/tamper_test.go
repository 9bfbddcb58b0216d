package store

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kenshin/edge/journal"
	"kenshin/edge/journal/simfs"
)

var tamperRecords = flag.Int("tamper", 12, "records in the book of which every byte is flipped; the long rig takes 200")

// simFS is a file system in memory as a journal wants it.
type simFS struct{ *simfs.FS }

func (s simFS) Open(name string, flag int) (journal.File, error) {
	h, err := s.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// bookFiles returns the files of a book of n records, with a checkpoint behind
// each third of them, as they are on disk but without the zeros that journals
// prepare.
func bookFiles(t testing.TB, n int) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 3 {
		fill(t, s, n*i/3, n*(i+1)/3)
		if _, err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	files := make(map[string][]byte)
	for _, glob := range []string{"*", "*/*.seg"} {
		names, err := filepath.Glob(filepath.Join(dir, glob))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				continue // a folder
			}
			rel, _ := filepath.Rel(dir, name)
			files[filepath.Join("book", rel)] = b[:min(len(b), len(bytes.TrimRight(b, "\x00"))+24)]
		}
	}
	return files
}

// findings opens a book to read it, scrubs it, and returns what either says.
func findings(files map[string][]byte) (problems []Problem, report Report, err error) {
	fsys := simFS{simfs.Of(journal.ErrLocked, files)}
	s, report, err := OpenReader("book", Reader{Origin: options.Origin, Key: newSigner(options.Origin, options.Key).public, fs: fsys})
	if err != nil {
		return nil, report, err
	}
	_, err = s.Scrub(context.Background(), nil, func(p Problem) { problems = append(problems, p) })
	return problems, report, errors.Join(err, s.Close())
}

// TestTamper flips every byte of every file of a book, one at a time, and asks a
// scrub of it which records are concerned. No flip may pass: of a frame's byte
// the very record must be named, of a hash one under it, of a checkpoint that
// checkpoint. FORMAT.md names the bytes on which nothing rests.
func TestTamper(t *testing.T) {
	n := *tamperRecords
	files := bookFiles(t, n)
	if p, report, err := findings(files); len(p) > 0 || !report.Clean() || err != nil {
		t.Fatalf("untouched: %v, %v, %v", p, report, err)
	}
	flips := 0
	for file, content := range files {
		if filepath.Base(file) == generationFile {
			continue // a number that was made another: no figure depends on it
		}
		owner := owners(t, file, content, n)
		for at := range content {
			for _, bit := range []byte{0x01, 0x80} {
				flips++
				content[at] ^= bit
				problems, report, err := findings(files)
				content[at] ^= bit
				if why := missed(owner(at), file, problems, report, err); why != "" {
					t.Errorf("%s byte %d ^ %#x: %s", file, at, bit, why)
				}
			}
		}
	}
	t.Logf("%d records, %d flips, all found", n, flips)
}

// owners returns the function that says which record's frame a byte of a file is
// in; -1 for none.
func owners(t *testing.T, file string, content []byte, n int) func(at int) int {
	if !strings.Contains(file, recordsDir) {
		return func(int) int { return -1 }
	}
	var ends []int
	at := 32 // a segment's header
	for i := range n {
		e, _ := record(i).encode()
		at += (16 + len(e) + 7) &^ 7
		ends = append(ends, at)
	}
	if at > len(content) {
		t.Fatalf("%s has %d bytes, want %d at least", file, len(content), at)
	}
	return func(at int) int {
		if at < 32 {
			return -1
		}
		for i, end := range ends {
			if at < end {
				return i
			}
		}
		return -1
	}
}

// missed says what was wrong with what was found.
func missed(record int, file string, problems []Problem, report Report, err error) string {
	text := fmt.Sprint(report, problems, err)
	switch {
	case err != nil:
		return fmt.Sprintf("the book cannot be read: %v", err)
	case record >= 0:
		for _, p := range problems {
			if p.First == uint64(record) && p.Last == uint64(record) {
				return ""
			}
		}
		return fmt.Sprintf("record %d is not named: %s", record, text)
	case len(problems) == 0 && report.Clean():
		return "nobody noticed"
	case !strings.Contains(text, filepath.Base(filepath.Dir(file))) && !strings.Contains(text, "tree") && !strings.Contains(text, "checkpoint"):
		return "the file is not named: " + text
	}
	return ""
}

// TestScrubNames is the table of what only a scrub can find: bytes whose
// checksums are right.
func TestScrubNames(t *testing.T) {
	forged := record(4)
	forged.Payload = []byte("more energy")
	entry, leaf := record(5).encode()
	for _, tt := range []struct {
		name  string
		index int
		entry []byte
		want  []string
	}{
		{"a record replaced", 4, first(forged.encode()), []string{"record 4: edge or subject site-1, sequence numbers 41 to 50", "one of them is not the one that was signed"}},
		{"a payload replaced under its leaf", 5, append(entry[:1+len(leaf):1+len(leaf)], "other"...), []string{"record 5 of site-1, sequence numbers 51 to 60: the payload is not"}},
		{"not a record", 6, []byte("x"), []string{"record 6: "}},
	} {
		dir := t.TempDir()
		s := open(t, dir)
		fill(t, s, 0, 12)
		if _, err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		s.Close()
		hashes, err := os.ReadFile(filepath.Join(dir, hashesFile))
		if err != nil {
			t.Fatal(err)
		}
		e := entries(12)
		e[tt.index] = tt.entry
		rewrite(t, dir, e...)
		if err := os.WriteFile(filepath.Join(dir, hashesFile), hashes, 0o644); err != nil {
			t.Fatal(err)
		}
		s, _, err = OpenReader(dir, Reader{Origin: options.Origin})
		if err != nil {
			t.Fatal(err)
		}
		var text string
		done, err := s.Scrub(t.Context(), nil, func(p Problem) { text += p.Error() + "\n" })
		s.Close()
		for _, want := range tt.want {
			if err != nil || !strings.Contains(text, want) {
				t.Errorf("%s: %v, %+v\n%swant %q", tt.name, err, done, text, want)
			}
		}
	}
}

func first(entry, _ []byte) []byte { return entry }

// TestScrubPace: the scrub of a running book is told to wait, and stops with it.
func TestScrubPace(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s, 0, 20)
	paced := 0
	done, err := s.Scrub(t.Context(), func(n int) error {
		paced += n
		if paced == n { // meanwhile the book grows
			fill(t, s, 20, 25)
		}
		return nil
	}, func(p Problem) { t.Error(p) })
	if err != nil || done.Records != 20 || paced < 20*60 || done.Problems != 0 {
		t.Errorf("scrubbed %+v, paced %d, %v", done, paced, err)
	}
	stop := errors.New("stop here")
	if _, err := s.Scrub(t.Context(), func(int) error { return stop }, nil); !errors.Is(err, stop) {
		t.Errorf("Scrub = %v", err)
	}
}
