package store

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// exported returns an export of a book of n records with a checkpoint behind the
// first third, which the export has grown from, and one behind the last.
func exported(t testing.TB, n int, o ExportOptions) ([]byte, *Plan) {
	t.Helper()
	s := open(t, t.TempDir())
	fill(t, s, 0, n/3)
	before, err := s.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s, n/3, n)
	if _, err := s.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	fill(t, s, n, n+3) // beyond the checkpoint
	if o.Before != nil {
		o.Before = []byte(before)
	}
	p, err := s.PlanExport(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := p.Write(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if int64(b.Len()) != p.Bytes {
		t.Errorf("the plan said %d bytes, they are %d", p.Bytes, b.Len())
	}
	return b.Bytes(), p
}

var exportKey = newSigner(options.Origin, options.Key).public

// faults reads an export.
func faults(t testing.TB, b []byte, before []byte) (out []Fault, x Exported) {
	t.Helper()
	x, err := ReadExport(bytes.NewReader(b), ExportCheck{Key: exportKey, Before: before}, func(f Fault) { out = append(out, f) })
	if err != nil {
		t.Fatal(err)
	}
	return out, x
}

// some is an export of two ranges, one record more, and the growth.
func some(t testing.TB) ([]byte, *Plan) {
	return exported(t, 24, ExportOptions{Before: []byte{}, Ranges: []Run{{2, 5}, {8, 9}}, Pick: func(r *Record) (bool, error) { return r.Index == 18, nil }})
}

// TestExport: what was chosen comes out, byte for byte, twice the same; other
// programs read the archive and each proof in it.
func TestExport(t *testing.T) {
	b, p := some(t)
	again := new(bytes.Buffer)
	if err := p.Write(t.Context(), again); err != nil || !bytes.Equal(again.Bytes(), b) {
		t.Errorf("written again it is another one, %v", err)
	}
	var got []uint64
	x, err := ReadExport(bytes.NewReader(b), ExportCheck{Key: exportKey, Each: func(r *Record) error {
		got = append(got, r.Index)
		if want := record(int(r.Index)); !bytes.Equal(r.Payload, want.Payload) || r.Subject != want.Subject || r.First != want.First {
			t.Errorf("record %d is %+v", r.Index, r)
		}
		return nil
	}}, func(f Fault) { t.Error(f) })
	want := []uint64{2, 3, 4, 5, 8, 9, 18}
	if err != nil || !slices.Equal(got, want) || x.Before != 8 || x.Statement.Size != 24 || x.Checkpoint != string(p.checkpoint) {
		t.Errorf("%v, %+v, %v; want %v", got, x, err, want)
	}
	if s := x.Statement.Streams; len(s) != 1 || s[0].First != 21 || s[0].Last != 190 || fmt.Sprint(s[0].Lacks) != "[{31 40} {61 80} {101 180}]" {
		t.Errorf("streams %+v", s)
	}

	verifier, err := note.NewVerifier(vkey(t))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	if len(files) != 4+3*len(want) {
		t.Errorf("%d files in the archive", len(files))
	}
	for _, i := range want { // as C2SP tlog-proof has it, by nothing of ours
		lines := strings.Split(string(files[recordPart(i, 2)]), "\n")
		if lines[0] != "c2sp.org/tlog-proof@v1" || lines[1] != fmt.Sprintf("index %d", i) {
			t.Fatalf("record %d: %q", i, lines)
		}
		end := slices.Index(lines, "")
		var proof tlog.RecordProof
		for _, l := range lines[2:end] {
			proof = append(proof, must(tlog.ParseHash(l)))
		}
		n, err := note.Open([]byte(strings.Join(lines[end+1:], "\n")), note.VerifierList(verifier))
		if err != nil {
			t.Fatal(err)
		}
		size, root, err := parseCheckpoint(n.Text)
		if err == nil {
			err = tlog.CheckRecord(proof, size, root, int64(i), tlog.RecordHash(files[recordPart(i, 0)]))
		}
		if err != nil {
			t.Errorf("record %d: %v", i, err)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func vkey(t testing.TB) string {
	t.Helper()
	return must(note.NewEd25519VerifierKey(options.Origin, exportKey))
}

// TestExportGolden: a frozen export stays readable, and is still written so.
func TestExportGolden(t *testing.T) {
	b, _ := some(t)
	name := filepath.Join("testdata", "export.golden")
	if *updateGolden {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	frozen, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if f, x := faults(t, frozen, nil); len(f) > 0 || x.Statement.Records != 7 {
		t.Errorf("%+v %v", x, f)
	}
	if !bytes.Equal(b, frozen) {
		t.Error("an export is written in other bytes than those frozen as version 1")
	}
}

// part is where a part of an export stands, with header and filling.
type part struct {
	name     string
	record   int64
	from, to int
}

// layout lists the parts of an export, the end as well.
func layout(t testing.TB, b []byte) (out []part) {
	t.Helper()
	at := 0
	for at+endBytes < len(b) {
		name, size, ok := parseHeader((*[blockBytes]byte)(b[at:]))
		if !ok {
			t.Fatalf("no header at %d", at)
		}
		p := identify(name, size)
		out = append(out, part{name, p.record, at, at + int(partBytes(int(size)))})
		at += int(partBytes(int(size)))
	}
	return append(out, part{"the end", -1, at, len(b)})
}

// names says whether a fault names a part of an export: the record by its number,
// and what stands beside the records by its name.
func names(f Fault, p part) bool {
	if p.record >= 0 {
		return f.Record == p.record
	}
	return f.Record < 0 && (f.Part == p.name || p.name == partBefore && f.Part == partGrowth)
}

// TestTamperExport flips every byte of an export, in two ways, and cuts it at
// every length: no change may pass, and the record, or the part beside the records,
// must be named with bytes near it.
func TestTamperExport(t *testing.T) {
	n := *tamperRecords
	b, _ := exported(t, n, ExportOptions{Before: []byte{}, Pick: func(r *Record) (bool, error) { return r.Index%6 == 2, nil }})
	if f, _ := faults(t, b, nil); len(f) > 0 {
		t.Fatalf("untouched: %v", f)
	}
	flips := 0
	for _, p := range layout(t, b) {
		for at := p.from; at < p.to; at++ {
			for _, bit := range []byte{0x01, 0x80} {
				flips++
				b[at] ^= bit
				found, _ := faults(t, b, nil)
				b[at] ^= bit
				if !slices.ContainsFunc(found, func(f Fault) bool { return names(f, p) && f.From <= int64(at) && int64(at) < f.To }) {
					t.Fatalf("byte %d ^ %#x, in %s: %v", at, bit, p.name, found)
				}
			}
		}
	}
	step := 7 // that no part is a multiple of
	if n > 12 {
		step = 1
	}
	cuts := 0
	for n := 0; n < len(b); n += step {
		cuts++
		found, _ := faults(t, b[:n], nil)
		if len(found) == 0 {
			t.Fatalf("cut after %d of %d bytes: nobody noticed", n, len(b))
		}
	}
	t.Logf("%d bytes, %d flips and %d cuts, all found", len(b), flips, cuts)
}

// TestExportChanged is the table of what somebody could make of an export who
// knows how it is written.
func TestExportChanged(t *testing.T) {
	b, _ := some(t)
	parts := layout(t, b)
	bytesOf := func(from, to int) []byte { return b[parts[from].from:parts[to].to] }
	const head, end = 4, 4 + 3*7 // index of the first part of a record, and of the end
	record := func(i int) []byte { return bytesOf(head+3*i, head+3*i+2) }
	st := must(parseStatement(b[blockBytes : blockBytes+must(io.Copy(io.Discard, bytes.NewReader(bytes.TrimRight(b[blockBytes:parts[0].to], "\x00"))))]))
	restate := func(change func(*Statement)) []byte {
		s := st
		s.Ranges, s.Streams = slices.Clone(st.Ranges), slices.Clone(st.Streams)
		change(&s)
		text := s.append(nil)
		h := header(partStatement, int64(len(text)))
		return append(append(h[:], text...), make([]byte, int(partBytes(len(text)))-blockBytes-len(text))...)
	}
	whole := func(i, j int) []byte { return bytesOf(i, j) }
	cat := func(list ...[]byte) []byte { return bytes.Join(list, nil) }
	for _, tt := range []struct {
		name   string
		b      []byte
		record int64
		want   string
	}{
		{"nothing", nil, -1, "kenshin-export"},
		{"no archive", []byte("PK\x03\x04"), -1, "no part of an export"},
		{"a record left out", cat(whole(0, head-1), record(0), record(2), whole(head+9, end)), 3, "records 3 to 3 are missing"},
		{"one that was picked left out", cat(whole(0, head-1), whole(head, head+17), whole(end, end)), -1, "6 records are there, the export says 7"},
		{"the same, and the number of records made fit", cat(restate(func(s *Statement) { s.Records = 6 }), whole(1, head+17), whole(end, end)), -1, "missing"},
		{"a smaller range, and a record too many", cat(restate(func(s *Statement) { s.Records = 6; s.Ranges[0].Last = 4 }), whole(1, end)), -1, "7 records are there"},
		{"a record twice", cat(whole(0, head-1), record(0), record(0), whole(head+3, end)), 2, "once more"},
		{"an old record again at the end", cat(whole(0, end-1), record(0), whole(end, end)), 2, "stands behind record 18"},
		{"two exchanged", cat(whole(0, head-1), record(1), record(0), whole(head+6, end)), 2, "out of order"},
		{"the payload of another one", cat(whole(0, head), whole(head+4, head+4), whole(head+2, end)), 3, ""},
		{"the proof of another one", cat(whole(0, head+1), whole(head+5, end)), 2, "tlog-proof is missing"},
		{"bytes behind the end", cat(b, []byte{0}), -1, "the end"},
		{"one export behind the other", cat(b, b), -1, "the end"},
		{"no checkpoint", cat(whole(0, 0), whole(2, end)), -1, "checkpoint is missing"},
		{"no proof of growth", cat(whole(0, 2), whole(head, end)), -1, "consistency is missing"},
		{"no statement", whole(1, end), -1, "kenshin-export is missing"},
		{"another book named", cat(restate(func(s *Statement) { s.Origin = "kenshin/other" }), whole(1, end)), -1, `of the book "kenshin/test"`},
		{"another size named", cat(restate(func(s *Statement) { s.Size = 25 }), whole(1, end)), -1, "speaks of 24 records"},
		{"sequence numbers said to be there", cat(restate(func(s *Statement) { s.Streams[0].Lacks = s.Streams[0].Lacks[1:] }), whole(1, end)), -1, "sequence numbers 31 to 40 of edge site-1"},
		{"version 2", cat(func() []byte { h := header(partStatement, 17); return append(h[:], "kenshin export 2\n"...) }(), make([]byte, blockBytes-17), whole(1, end)), -1, `version "2", this program reads 1`},
	} {
		found, _ := faults(t, tt.b, nil)
		if !slices.ContainsFunc(found, func(f Fault) bool {
			return strings.Contains(f.Error(), tt.want) && (tt.record < 0 || f.Record == tt.record)
		}) {
			t.Errorf("%s: %v; want record %d, %q", tt.name, found, tt.record, tt.want)
		}
	}

	other := must(note.Sign(&note.Note{Text: "kenshin/test\n8\n" + tlog.RecordHash(nil).String() + "\n"}, newSigner(options.Origin, options.Key)))
	for _, tt := range []struct {
		name   string
		before []byte
		want   string
	}{
		{"the checkpoint that the reader holds", b[parts[2].from+blockBytes : parts[2].from+blockBytes+len(bytes.TrimRight(b[parts[2].from+blockBytes:parts[2].to], "\x00"))], ""},
		{"that of another history", other, "does not prove that the book has grown"},
	} {
		found, _ := faults(t, b, tt.before)
		if text := fmt.Sprint(found); tt.want == "" && len(found) > 0 || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %v", tt.name, text)
		}
	}
	found := 0
	if _, err := ReadExport(bytes.NewReader(b), ExportCheck{Key: newSigner(options.Origin, key(9)).public}, func(Fault) { found++ }); err != nil || found == 0 {
		t.Errorf("another key: %d faults, %v", found, err)
	}
}

// TestPlanExport is the table of exports that are not made.
func TestPlanExport(t *testing.T) {
	s := open(t, t.TempDir())
	plan := func(o ExportOptions) string {
		_, err := s.PlanExport(t.Context(), o)
		return fmt.Sprint(err)
	}
	check := func(name, got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s; want %q", name, got, want)
		}
	}
	fill(t, s, 0, 5)
	check("no checkpoint", plan(ExportOptions{}), "there is no checkpoint yet")
	must(s.Checkpoint())
	fill(t, s, 5, 9)
	check("beyond the checkpoint", plan(ExportOptions{Ranges: []Run{{3, 5}}}), "the checkpoint speaks of records 0 to 4")
	check("no such checkpoint", plan(ExportOptions{Size: 7}), "no checkpoint speaks of 7 records; the last ones speak of [5]")
	check("an earlier checkpoint", plan(ExportOptions{Size: 5, Ranges: []Run{{0, 4}}}), "<nil>")
	forged := must(note.Sign(&note.Note{Text: "kenshin/test\n3\n" + tlog.RecordHash(nil).String() + "\n"}, newSigner(options.Origin, options.Key)))
	check("a checkpoint of another history", plan(ExportOptions{Before: forged}), "the book was altered: the first 3 records hash to")
	check("a checkpoint of nobody", plan(ExportOptions{Before: []byte("x\n")}), "this book did not sign it")
	stop := errors.New("stop here")
	if _, err := s.PlanExport(t.Context(), ExportOptions{Pick: func(*Record) (bool, error) { return false, stop }}); !errors.Is(err, stop) {
		t.Errorf("pick: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.PlanExport(ctx, ExportOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestCoverage: runs joined in any order are those of the numbers one by one.
func TestCoverage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var runs []Run
		var has [60]bool
		for range 12 {
			r := Run{1 + rnd.Uint64N(50), 0}
			r.Last = r.First + rnd.Uint64N(6)
			runs = join(runs, r)
			for i := r.First; i <= r.Last; i++ {
				has[i] = true
			}
		}
		var want []Run
		for i := range has {
			if n := len(want); has[i] && n > 0 && want[n-1].Last == uint64(i)-1 {
				want[n-1].Last++
			} else if has[i] {
				want = append(want, Run{uint64(i), uint64(i)})
			}
		}
		if !slices.Equal(runs, want) {
			t.Fatalf("joined %v, want %v", runs, want)
		}
		all := []Run{{runs[0].First, runs[len(runs)-1].Last}}
		if got := lacking(all, lacking(all, runs)); !slices.Equal(got, runs) {
			t.Fatalf("lacking twice: %v, want %v", got, runs)
		}
	}
}

// FuzzReadExport: any bytes are read or refused, and never by a panic; a file in
// which nothing is found is one that is written so.
func FuzzReadExport(f *testing.F) {
	b, _ := exported(f, 6, ExportOptions{Before: []byte{}, Pick: func(r *Record) (bool, error) { return r.Index == 1, nil }})
	f.Add(b)
	for _, p := range layout(f, b) {
		f.Add(b[:p.to])
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		found, x := faults(t, in, nil)
		if len(found) == 0 && !bytes.Equal(in, b) && x.Checkpoint != "" {
			t.Errorf("%d bytes pass that nobody has signed", len(in))
		}
	})
}
