package outbox

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kenshin/edge/journal"
)

// TestInspectBesideTheAgent: looking changes nothing and needs no lock.
func TestInspectBesideTheAgent(t *testing.T) {
	dir := t.TempDir()
	b, _ := mustOpen(t, dir, 0)
	mustAppend(t, b, events(1, 30)...)
	ack(t, b, 12)
	state, err := Inspect(dir, true)
	if err != nil || state.Edge != "site-1" || len(state.Epochs) != 1 {
		t.Fatalf("%+v, %v", state, err)
	}
	// The cursor reaches the disk every 512 records.
	if e := state.Epochs[0]; !e.InForce || e.First != 1 || e.Last != 30 || e.Acked != 0 || e.Files != 1 || len(e.Problems) != 0 {
		t.Errorf("%+v", e)
	}
	var out bytes.Buffer
	if err := Dump(&out, dir); err != nil || strings.Count(out.String(), "\n") != 30 {
		t.Errorf("%d lines, %v", strings.Count(out.String(), "\n"), err)
	}
	if _, err := Repair(dir); err == nil {
		t.Error("repaired beside the agent")
	}
	mustAppend(t, b, events(31, 40)...)
}

// TestTamper flips every byte of what an outbox keeps; verifying it must say so
// and name the record.
func TestTamper(t *testing.T) {
	dir := t.TempDir()
	b, _ := mustOpen(t, dir, 0)
	mustAppend(t, b, events(1, 6)...)
	ack(t, b, 6)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, b.Epoch().String(), "00000000000000000001.seg")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content = content[:len(bytes.TrimRight(content, "\x00"))+64]
	flips, end := 0, 32
	for seq := uint64(1); seq <= 6; seq++ {
		r := event(int(seq))
		r.Seq = seq
		from := end
		end += (16 + len(r.Encode()) + hashBytes + 7) &^ 7
		for at := from; at < min(end, len(content)); at++ {
			bad := bytes.Clone(content)
			bad[at] ^= 0x11
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			flips++
			state, err := Inspect(dir, true)
			text := fmt.Sprint(state, err)
			if !strings.Contains(text, fmt.Sprintf("entries %d to %d cannot be read", seq, seq)) {
				t.Errorf("byte %d of record %d flipped: %s", at, seq, text)
			}
		}
	}
	t.Logf("%d flips, all found", flips)
}

// TestRepairSaysWhat an agent would do.
func TestRepairSaysWhat(t *testing.T) {
	dir, records, _ := filled(t, 60, 40)
	garble(t, records, 50)
	state, err := Inspect(dir, true)
	if err != nil || !strings.Contains(fmt.Sprint(state), "entries 50 to 50 cannot be read") {
		t.Errorf("%v, %v", state, err)
	}
	report, err := Repair(dir)
	if err != nil || report.Lost != 1 || report.Copied != 19 {
		t.Errorf("%v, %v", report, err)
	}
	state, err = Inspect(dir, true)
	if err != nil || len(state.Epochs) != 2 || !state.Epochs[1].InForce || len(state.Epochs[0].Problems) == 0 || len(state.Epochs[1].Problems) != 0 {
		t.Errorf("%+v, %v", state, err)
	}
	if _, err := Repair(t.TempDir()); err == nil {
		t.Error("an empty folder was repaired")
	}
	// A chain that does not fit: the form of each record is right.
	log, _, err := journal.Open(filepath.Join(dir, state.Epochs[1].Epoch.String()), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := event(1)
	r.Seq = log.Next()
	if _, err := log.Append(append(r.Encode(), make([]byte, hashBytes)...)); err != nil {
		t.Fatal(err)
	}
	log.Close()
	state, err = Inspect(dir, true)
	if err != nil || !strings.Contains(fmt.Sprint(state.Epochs[1].Problems), "leads to chain hash") {
		t.Errorf("%+v, %v", state, err)
	}
}
