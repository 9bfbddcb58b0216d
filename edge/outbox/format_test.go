package outbox

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kenshin/edge/journal"
	"kenshin/edge/wire"
)

var update = flag.Bool("update", false, "write the golden files anew: only with a new format version")

func golden() map[string][]byte {
	r := event(1)
	r.Seq = 1
	acked := appendSlot(nil, 2, mark{5, wire.Hash{5, 6, 7}})
	acked = append(acked, make([]byte, slotDistance-slotBytes)...)
	chain := chainOf(1)
	return map[string][]byte{
		"identity.golden": []byte(identity{"site-1", wire.Epoch{0xAB, 0xCD}}.text()),
		"acked.golden":    appendSlot(acked, 1, mark{3, wire.Hash{3}}),
		"entry.golden":    append(r.Encode(), chain[:]...),
	}
}

// TestGolden keeps version 1 readable: these bytes were written once and stay.
func TestGolden(t *testing.T) {
	now := golden()
	for _, name := range slices.Sorted(maps.Keys(now)) {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, now[name], 0o644); err != nil {
				t.Fatal(err)
			}
		}
		then, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(now[name], then) {
			t.Errorf("%s is now written as\n%x, version 1 is\n%x", name, now[name], then)
		}
	}
	id, err := parseIdentity(string(now["identity.golden"]))
	if err != nil || id != (identity{"site-1", wire.Epoch{0xAB, 0xCD}}) {
		t.Errorf("identity.golden reads as %+v, %v", id, err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, cursorFile), now["acked.golden"], 0o644); err != nil {
		t.Fatal(err)
	}
	if c, m, err := openCursor(journal.OS(), dir); err != nil || c.turn != 2 || m != (mark{5, wire.Hash{5, 6, 7}}) {
		t.Errorf("acked.golden reads as %+v, %v", m, err)
	}
	canonical, after, err := split(now["entry.golden"])
	if err != nil {
		t.Fatal(err)
	}
	if r, err := open(1, canonical, wire.Hash{}, after); err != nil || r.Event.Detail != "event 1" {
		t.Errorf("entry.golden reads as %+v, %v", r, err)
	}
}

func FuzzSlot(f *testing.F) {
	f.Add(golden()["acked.golden"][:slotBytes])
	f.Add(make([]byte, slotBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		turn, m, whole, err := parseSlot(b)
		if err == nil && whole && !bytes.Equal(appendSlot(nil, turn, m)[8:slotBytes-8], b[8:slotBytes-8]) {
			t.Errorf("%x reads as turn %d, %+v", b, turn, m)
		}
	})
}

func FuzzIdentity(f *testing.F) {
	f.Add(string(golden()["identity.golden"]))
	f.Add("kenshin outbox 1\nedge x\nepoch \ncrc \n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := parseIdentity(text); err == nil && id.text() != text {
			t.Errorf("%q reads as %+v, which is written as %q", text, id, id.text())
		}
	})
}

func FuzzEntry(f *testing.F) {
	f.Add(golden()["entry.golden"])
	f.Add(make([]byte, 31))
	r := large(0)
	r.Seq = 1
	chain := wire.Chain(wire.Hash{}, r.Encode())
	f.Add(append(r.Encode(), chain[:]...))
	f.Fuzz(func(t *testing.T, entry []byte) {
		canonical, after, err := split(entry)
		if err != nil {
			return
		}
		r, err := decode(1, canonical)
		if err != nil {
			return // refusing is fine, panicking is not
		}
		if !bytes.Equal(r.Encode(), canonical) {
			t.Errorf("%x is written again as %x", canonical, r.Encode())
		}
		if _, err := open(1, canonical, wire.Hash{}, after); (err == nil) != (wire.Chain(wire.Hash{}, canonical) == after) {
			t.Errorf("open of %x: %v", entry, err)
		}
	})
}

// TestBadEntries: what is whole on disk and yet not the record it should be.
func TestBadEntries(t *testing.T) {
	good := golden()["entry.golden"]
	canonical, after, err := split(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		seq       uint64
		canonical []byte
		before    wire.Hash
		want      string
	}{
		{"another number", 2, canonical, wire.Hash{}, "record 2 says it is 1"},
		{"another record before", 1, canonical, wire.Hash{9}, "record 1 leads to chain hash"},
		{"cut", 1, canonical[:5], wire.Hash{}, "record 1 leads to chain hash"},
	} {
		if _, err := open(tt.seq, tt.canonical, tt.before, after); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", tt.name, err, tt.want)
		}
	}
}
