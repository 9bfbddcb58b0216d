package store

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"kenshin/edge/journal"
	"kenshin/edge/wire"
)

var updateGolden = flag.Bool("update", false, "write the golden files anew")

func key(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

var options = Options{Origin: "kenshin/test", Key: key(1)}

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, report, err := Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if !report.Clean() {
		t.Errorf("report: %v", report)
	}
	return s
}

// record makes the record that belongs at index i of every book of these tests.
func record(i int) *Record {
	r := &Record{Kind: Batch, Received: 1_589_500_800_000 + int64(i), Subject: "site-1", Epoch: wire.Epoch{1, 2}, First: uint64(10*i + 1), Last: uint64(10*i + 10),
		Payload: bytes.Repeat([]byte{byte(i), 0xA5}, i%50)}
	if i%7 == 3 {
		r = &Record{Kind: Decision, Received: -int64(i), Subject: "project", Payload: fmt.Appendf(nil, `{"version":1,"n":%d}`, i)}
	}
	return r
}

func fill(t testing.TB, s *Store, from, to int) {
	t.Helper()
	for i := from; i < to; {
		var group []*Record
		for ; i < to && len(group) < 1+i%5; i++ {
			group = append(group, record(i))
		}
		first, err := s.Append(group...)
		if err != nil || first != group[0].Index || first+uint64(len(group)) != uint64(i) {
			t.Fatalf("Append = %d, %v at %d", first, err, i)
		}
	}
}

// naive is RFC 6962 section 2.1, word for word.
func naive(leaves [][]byte) [32]byte {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, leaves[0]...))
	default:
		k := 1
		for 2*k < n {
			k *= 2
		}
		l, r := naive(leaves[:k]), naive(leaves[k:])
		return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
	}
}

func leaves(n int) (out [][]byte) {
	for i := range n {
		_, leaf := record(i).encode()
		out = append(out, leaf)
	}
	return out
}

// checkBook compares a book with what it must hold.
func checkBook(t *testing.T, s *Store, n int) {
	t.Helper()
	if s.Size() != uint64(n) {
		t.Fatalf("size %d, want %d", s.Size(), n)
	}
	same := func(got *Record, i int) {
		want := record(i)
		want.Index = uint64(i)
		if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", *want) {
			t.Errorf("record %d is %+v, want %+v", i, *got, *want)
		}
	}
	next := 0
	err := s.Scan(0, func(r *Record) error { same(r, next); next++; return nil })
	if err != nil || next != n {
		t.Errorf("Scan: %d records, %v", next, err)
	}
	for i := range n {
		r, err := s.Read(uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		same(&r, i)
	}
	if err := s.Scan(uint64(n), func(*Record) error { return errors.New("called") }); err != nil {
		t.Errorf("Scan at the end: %v", err)
	}
	if _, err := s.Read(uint64(n)); err == nil {
		t.Error("a record behind the end was read")
	}
}

func TestRecordsComeBackAsReceived(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s, 0, 40)
	checkBook(t, s, 40)
	s.Close()
	s = open(t, dir)
	checkBook(t, s, 40)
	fill(t, s, 40, 100)
	checkBook(t, s, 100)
}

func TestRefusedRecords(t *testing.T) {
	s := open(t, t.TempDir())
	for name, r := range map[string]*Record{
		"no kind":      {},
		"kind 4":       {Kind: 4},
		"long subject": {Kind: Batch, Subject: strings.Repeat("x", maxSubject+1)},
		"long payload": {Kind: Batch, Payload: make([]byte, maxEnvelope+1)},
	} {
		if _, err := s.Append(record(0), r); err == nil || s.Size() != 0 {
			t.Errorf("%s: %v, %d records; want an error and none", name, err, s.Size())
		}
	}
	fill(t, s, 0, 3)
	checkBook(t, s, 3)
}

func TestChanged(t *testing.T) {
	s := open(t, t.TempDir())
	c := s.Changed()
	select {
	case <-c:
		t.Fatal("changed before anything was")
	default:
	}
	fill(t, s, 0, 1)
	<-c
	select {
	case <-s.Changed():
		t.Error("changed again without an Append")
	default:
	}
}

func TestTreeIsThatOfRFC6962(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	const n = 75
	all := leaves(n)
	vkey, err := s.VerifierKey()
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1; size <= n; size++ {
		fill(t, s, size-1, size)
		if size%10 == 0 { // also across openings, with and without a checkpoint
			s.Close()
			s = open(t, dir)
		}
		if size%3 != 0 {
			continue
		}
		text, err := s.Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		signed, err := note.Open([]byte(text), note.VerifierList(verifier))
		if err != nil {
			t.Fatalf("checkpoint does not verify: %v\n%s", err, text)
		}
		want := naive(all[:size])
		tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + strings.TrimPrefix(signed.Text, "kenshin/test\n")))
		if err != nil || tree.N != int64(size) || tree.Hash != tlog.Hash(want) {
			t.Errorf("checkpoint says %d %v, want %d %v (%v)", tree.N, tree.Hash, size, tlog.Hash(want), err)
		}
		if again, err := s.Checkpoint(); err != nil || again != text || s.LastCheckpoint() != text {
			t.Errorf("the same book has another checkpoint:\n%s\n%s (%v)", text, again, err)
		}
	}
	for size := 1; size <= n; size++ {
		root := tlog.Hash(naive(all[:size]))
		for i := range size {
			p, err := s.Prove(uint64(size), uint64(i))
			if err == nil {
				err = tlog.CheckRecord(p, int64(size), root, int64(i), tlog.RecordHash(all[i]))
			}
			if err != nil {
				t.Fatalf("record %d in %d: %v", i, size, err)
			}
		}
		g, err := s.ProveGrowth(n, uint64(size))
		if err == nil {
			err = tlog.CheckTree(g, n, tlog.Hash(naive(all)), int64(size), root)
		}
		if err != nil {
			t.Fatalf("growth from %d to %d: %v", size, n, err)
		}
	}
	for _, f := range []func() error{
		func() error { _, err := s.Prove(n, n); return err },
		func() error { _, err := s.Prove(n+1, 0); return err },
		func() error { _, err := s.Prove(3, 3); return err },
		func() error { _, err := s.ProveGrowth(n+1, 1); return err },
		func() error { _, err := s.ProveGrowth(2, 3); return err },
		func() error { _, err := s.ProveGrowth(2, 0); return err },
		func() error { _, err := s.LeafHash(n); return err },
	} {
		if f() == nil {
			t.Error("something that does not exist was proved")
		}
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, _, err := Open(dir, options); !errors.Is(err, journal.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second Open = %v, want ErrLocked", err)
	}
	fill(t, s, 0, 1)
	s.Close()
	checkBook(t, open(t, dir), 1)
}

func TestGeneration(t *testing.T) {
	dir := t.TempDir()
	for want := uint64(1); want < 5; want++ {
		s := open(t, dir)
		if got := s.Generation(); got != want {
			t.Errorf("generation %d, want %d", got, want)
		}
		s.Close()
	}
	for _, text := range []string{"", "x", "-1", "1.5"} {
		if err := os.WriteFile(filepath.Join(dir, generationFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(dir, options); err == nil || !strings.Contains(err.Error(), "restore it from a backup, higher is safe") {
			t.Errorf("generation %q: %v; want the remedy", text, err)
		}
	}
	if _, _, err := Open(t.TempDir(), Options{Origin: "x"}); err == nil {
		t.Error("a book without a key was opened")
	}
}

func TestGoldenFiles(t *testing.T) {
	entry, _ := (&Record{Kind: Batch, Received: 1_589_500_800_000, Subject: "site-1", Epoch: wire.Epoch{1, 2, 3}, First: 1, Last: 300, Payload: []byte("an envelope")}).encode()
	decision, _ := record(3).encode()
	s := open(t, t.TempDir())
	fill(t, s, 0, 5)
	checkpoint, err := s.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	for file, got := range map[string]string{
		"record.golden":     fmt.Sprintf("%x\n%x\n", entry, decision),
		"checkpoint.golden": checkpoint,
	} {
		file = filepath.Join("testdata", file)
		if *updateGolden {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || got != string(want) {
			t.Errorf("%s: %v; written is\n%swant\n%s", file, err, got, want)
		}
	}
	text, err := os.ReadFile("testdata/record.golden")
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Fields(string(text))[0])
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := decode(7, b, true)
	if err != nil || r.Subject != "site-1" || r.Last != 300 || r.Received != 1_589_500_800_000 || string(r.Payload) != "an envelope" || r.Index != 7 {
		t.Errorf("the golden record reads %+v, %v", r, err)
	}
}

func FuzzDecode(f *testing.F) {
	for i := range 5 {
		entry, _ := record(i).encode()
		f.Add(entry)
	}
	f.Add([]byte{})
	f.Add(binary.AppendUvarint(nil, 1<<63))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, leaf, err := decode(1, b, true)
		if err != nil {
			return // refusing is fine, panicking is not
		}
		entry, again := r.encode()
		if s, _, err := decode(1, entry, true); err != nil || fmt.Sprintf("%+v", s) != fmt.Sprintf("%+v", r) || len(again) > len(leaf) {
			t.Errorf("%x does not survive a round trip: %v", b, err)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	f.Add("kenshin/test\n5\nqUwH+LaTZJhJrZJOpPBPhv+ffeVG4lTA5jXkVVtaPhc=\n")
	f.Add("\n-1\n\n")
	f.Add("\n0\n0000000000000000000000000000000000000000001=\n")
	f.Fuzz(func(t *testing.T, text string) {
		size, root, err := parseCheckpoint(text)
		if err == nil && (size < 0 || !strings.Contains(text, fmt.Sprintf("\n%d\n%v\n", size, root))) {
			t.Errorf("%q reads %d %v", text, size, root)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("%dbatches", n), func(b *testing.B) {
			s := open(b, b.TempDir())
			group := make([]*Record, n)
			for i := range group {
				group[i] = &Record{Kind: Batch, Subject: "site-1", First: 1, Last: 60, Payload: bytes.Repeat([]byte{byte(i)}, 1800)} // 60 readings of 12 points
			}
			b.ReportAllocs()
			b.SetBytes(int64(n) * 1800)
			for b.Loop() {
				if _, err := s.Append(group...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "batches/s")
		})
	}
}

func BenchmarkScan(b *testing.B) {
	s := open(b, b.TempDir())
	payload := bytes.Repeat([]byte{7}, 1800)
	for range 20 {
		group := make([]*Record, 500)
		for i := range group {
			group[i] = &Record{Kind: Batch, Subject: "site-1", First: 1, Last: 60, Payload: payload}
		}
		if _, err := s.Append(group...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.SetBytes(20 * 500 * 1800)
	for b.Loop() {
		if err := s.Scan(0, func(*Record) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
