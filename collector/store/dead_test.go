package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"
)

func letters(t *testing.T, d *DeadLetters) (out []DeadLetter) {
	t.Helper()
	if err := d.Scan(func(l DeadLetter) error { out = append(out, l); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func openDead(t *testing.T, dir string) *DeadLetters {
	t.Helper()
	d, err := OpenDeadLetters(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestDeadLetters(t *testing.T) {
	dir := t.TempDir()
	d := openDead(t, dir)
	a := DeadLetter{At: 1, Topic: "kenshin/v1/x/up", Reason: "identity", Detail: "edge \"x\" is not registered", Bytes: []byte{0, 1, 0xFF}}
	b := DeadLetter{At: 2, Topic: "t", Reason: "malformed", Bytes: []byte("garbage")}
	repeat := a
	repeat.At = 3
	for _, group := range [][]DeadLetter{{a}, {b, a}, {repeat}, nil, {b, b}} {
		if err := d.Add(group); err != nil {
			t.Fatal(err)
		}
	}
	a.Size, b.Size = 3, 7
	check := func(d *DeadLetters) {
		t.Helper()
		if got, want := fmt.Sprintf("%+v", letters(t, d)), fmt.Sprintf("%+v", []DeadLetter{a, b}); got != want {
			t.Errorf("letters %s, want each once: %s", got, want)
		}
	}
	check(d)
	d.Close()
	check(openDead(t, dir))
}

func TestLongDeadLetter(t *testing.T) {
	d := openDead(t, t.TempDir())
	long := bytes.Repeat([]byte{7}, 5<<20)
	if err := d.Add([]DeadLetter{{Reason: "malformed", Bytes: long}}); err != nil {
		t.Fatal(err)
	}
	if got := letters(t, d); len(got) != 1 || len(got[0].Bytes) != deadLetter || got[0].Size != len(long) {
		t.Errorf("%d letters, first of %d bytes and size %d", len(got), len(got[0].Bytes), got[0].Size)
	}
}

func TestOldDeadLettersLeave(t *testing.T) {
	d := openDead(t, t.TempDir())
	d.most = 12 << 20
	const n = 60
	for i := range n {
		if err := d.Add([]DeadLetter{{At: int64(i), Bytes: bytes.Repeat([]byte{byte(i), 1}, 200<<10)}}); err != nil {
			t.Fatal(err)
		}
	}
	got := letters(t, d)
	if len(got) < 5 || got[len(got)-1].At != n-1 || got[0].At == 0 {
		t.Fatalf("%d letters are left", len(got))
	}
	for i := range got {
		if got[i].At != got[0].At+int64(i) {
			t.Errorf("letter %d is of %d: not the newest without a hole", i, got[i].At)
		}
	}
	if d.log.Size() > d.most+8<<20 {
		t.Errorf("%d bytes on disk, want about %d", d.log.Size(), d.most)
	}
}

func TestGoldenDeadLetter(t *testing.T) {
	want := DeadLetter{At: 1_589_500_800_000, Topic: "kenshin/v1/site-1/up", Reason: "signature", Detail: "wrong signature on kenshin/batch/v1", Bytes: []byte{1, 2, 3}, Size: 3}
	const file = "testdata/dead.golden"
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if *updateGolden {
		if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil || string(golden) != string(text)+"\n" {
		t.Errorf("%v; written is\n%s\nwant\n%s", err, text, golden)
	}
	var got DeadLetter
	if err := json.Unmarshal(golden, &got); err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("the golden letter reads %+v, %v", got, err)
	}
}

// TestDeadLetterAgain: a letter that could not be kept is kept when it comes again.
func TestDeadLetterAgain(t *testing.T) {
	dir := t.TempDir()
	d := openDead(t, dir)
	l := DeadLetter{Reason: "malformed", Bytes: []byte("x")}
	good := d.log
	d.log = openDead(t, t.TempDir()).log
	d.log.Close()
	if err := d.Add([]DeadLetter{l}); err == nil {
		t.Fatal("kept in a journal that is closed")
	}
	d.log = good
	if err := d.Add([]DeadLetter{l}); err != nil || len(letters(t, d)) != 1 {
		t.Errorf("%v, %d letters; want 1", err, len(letters(t, d)))
	}
}
