package series

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kenshin/calc"
	"kenshin/edge/wire"
)

// step makes update n of a history in which everything says how far it is: the
// samples of each cursor, its state, and the closing of one register.
func step(n uint64) Update {
	u := Update{Cursor: n, State: fmt.Append(nil, n), Closings: map[string]Closings{
		"k": {From: date("2020-01-01"), List: []calc.Closing{{Day: date("2020-01-01"), Readings: int(n)}}}}}
	for i := range uint64(50) {
		s := sample("e", int64(n*1000+i), n, fmt.Sprint(n))
		s.Device = fmt.Sprint("inv-", n%7) // a device may first appear in any update
		u.Samples = append(u.Samples, s)
	}
	return u
}

// checkStep reports a file that is not exactly what its cursor says, and
// returns the cursor.
func checkStep(t *testing.T, path string) uint64 {
	t.Helper()
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	cursor, state, err := db.Cursor(t.Context())
	if err != nil || cursor > 0 && string(state) != fmt.Sprint(cursor) {
		t.Fatalf("cursor %d with state %q, %v", cursor, state, err)
	}
	n := 0
	for i := range 7 {
		for _, s := range scan(t, db, fmt.Sprintf("site-1/inv-%d/e", i), math.MinInt64, math.MaxInt64) {
			n++
			if s.Seq > cursor || s.Number.String() != fmt.Sprint(s.Seq) {
				t.Fatalf("cursor %d: sample %s", cursor, text(s))
			}
		}
	}
	if n != int(cursor)*50 {
		t.Errorf("cursor %d: %d samples, want %d", cursor, n, cursor*50)
	}
	closings, err := db.Closings(t.Context(), "k")
	if err != nil || cursor > 0 && (len(closings) != 1 || closings[0].Readings != int(cursor)) {
		t.Errorf("cursor %d: closings %+v, %v", cursor, closings, err)
	}
	if _, err := db.Apply(t.Context(), step(cursor+1)); err != nil {
		t.Errorf("cursor %d: the store does not go on: %v", cursor, err)
	}
	return cursor
}

const childPath = "KENSHIN_SERIES_CHILD"

// TestKilled kills a process that writes without pause, again and again.
func TestKilled(t *testing.T) {
	if path := os.Getenv(childPath); path != "" {
		db := open(t, path)
		n, _, err := db.Cursor(t.Context())
		go func() { // chunks are written all the time
			for db.Merge(t.Context()) == nil {
			}
		}()
		for err == nil {
			n++
			_, err = db.Apply(t.Context(), step(n))
			fmt.Println("applied", n)
		}
		t.Fatal(err)
	}
	path := temp(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	last := uint64(0)
	for range 6 {
		child := exec.Command(os.Args[0], "-test.run=^TestKilled$", "-test.count=1")
		child.Env = append(os.Environ(), childPath+"="+path)
		out, err := child.StdoutPipe()
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines, said := bufio.NewScanner(out), uint64(0)
		for range 1 + rnd.IntN(60) {
			if !lines.Scan() {
				break
			}
			fmt.Sscanf(lines.Text(), "applied %d", &said)
		}
		child.Process.Kill()
		io.Copy(io.Discard, out)
		child.Wait()
		if said == 0 {
			t.Fatal("the child wrote nothing")
		}
		cursor := checkStep(t, path)
		if cursor < said || cursor <= last {
			t.Errorf("cursor %d, but the child had applied %d and the one before it %d", cursor, said, last)
		}
		last = cursor
	}
}

// TestPowerCut opens what a power cut may leave: the write-ahead log cut at any
// byte. The store is then at some cursor before, whole.
func TestPowerCut(t *testing.T) {
	path := temp(t)
	db := open(t, path)
	for n := range uint64(40) {
		if _, err := db.Apply(t.Context(), step(n+1)); err != nil {
			t.Fatal(err)
		}
	}
	main, err := os.ReadFile(path) // nothing writes meanwhile
	if err != nil {
		t.Fatal(err)
	}
	wal, err := os.ReadFile(path + "-wal")
	if err != nil || len(wal) < 64<<10 {
		t.Fatalf("write-ahead log of %d bytes, %v", len(wal), err)
	}
	seen := make(map[uint64]bool)
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 60 {
		n := rnd.IntN(len(wal))
		if i == 0 {
			n = len(wal)
		}
		torn := append([]byte(nil), wal[:n]...)
		if i%2 == 1 { // what was on its way to the disk is anything
			for range min(4096, len(wal)-n) {
				torn = append(torn, byte(rnd.Uint32()))
			}
		}
		copied := filepath.Join(t.TempDir(), "series.db")
		for name, b := range map[string][]byte{copied: main, copied + "-wal": torn} {
			if err := os.WriteFile(name, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		seen[checkStep(t, copied)] = true
	}
	if !seen[40] || len(seen) < 10 {
		t.Errorf("cursors %v, want 40 and many before", seen)
	}
}

// A power cut takes transactions of the main file whose rows are in chunks already:
// settled again they are the same rows, in the chunks and in what is merged next.
func TestPowerCutBehindChunks(t *testing.T) {
	path := temp(t)
	db := open(t, path)
	for n := range uint64(12) {
		if _, err := db.Apply(t.Context(), step(n+1)); err != nil {
			t.Fatal(err)
		}
		if n%3 == 2 {
			if err := db.Merge(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	files := make(map[string][]byte) // nothing writes meanwhile
	for _, f := range Files(path) {
		b, err := os.ReadFile(f)
		if err == nil && !strings.HasSuffix(f, "-shm") {
			files[filepath.Base(f)] = b
		}
	}
	wal := files["series.db-wal"]
	cut, cuts := 0, 40
	if testing.Short() {
		cuts = 12
	}
	for i := range cuts {
		dir := t.TempDir()
		files["series.db-wal"] = wal[:len(wal)*i/cuts]
		for name, b := range files {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		torn, err := Open(filepath.Join(dir, "series.db"))
		if err != nil {
			t.Fatal(err)
		}
		cursor, _, err := torn.Cursor(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if cursor < 12 {
			cut++
		}
		for n := cursor; n < 12; n++ {
			if res, err := torn.Apply(t.Context(), step(n+1)); err != nil || res.Conflicts > 0 {
				t.Fatalf("cursor %d: %+v, %v", n, res, err)
			}
		}
		for range 2 {
			torn.Check(t.Context(), func(text string) { t.Error(text) })
			n := 0
			for k := range 7 {
				n += len(scan(t, torn, fmt.Sprintf("site-1/inv-%d/e", k), math.MinInt64, math.MaxInt64))
			}
			if n != 12*50 {
				t.Errorf("cut at %d of %d, cursor %d: %d samples, want %d", i, cuts, cursor, n, 12*50)
			}
			if err := torn.Merge(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		torn.Close()
	}
	if cut < cuts/4 {
		t.Errorf("only %d of %d cuts took anything", cut, cuts)
	}
}

// A byte that flips in a stored value is an error and not another value.
func TestFlippedByteInTheFile(t *testing.T) {
	path := temp(t)
	db := open(t, path)
	s := bad("e", 1, 1, wire.NoAnswer, "a reason to be found in the file")
	apply(t, db, 1, s)
	db.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), s.Reason)
	if at < 0 {
		t.Fatal("the reason is not in the file")
	}
	b[at+3] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(path); err == nil {
		db.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "kenshin-collector rebuild") {
		t.Errorf("Open = %v; want the remedy", err)
	}
}
