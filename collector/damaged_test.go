package collector

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kenshin/collector/store"
)

// TestRepeatOfDamagedRecord: an edge that repeats a record which is damaged in the
// book gets no ack for it, and the message is kept as a dead letter; the collector
// goes on, and takes what others send with it.
func TestRepeatOfDamagedRecord(t *testing.T) {
	a, b := twoSites(9)
	r := newRig(t, a, b)
	whole := a.batch(t, 1, 10)
	r.send(whole)
	path := filepath.Join(r.cfg.Dir, store.BookDir, "records", "00000000000000000001.seg")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[bytes.Index(text, whole.Payload)+len(whole.Payload)/2] ^= 1
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	r.acks.sent = nil
	r.send(a.batch(t, 2, 5), b.batch(t, 1, 3))
	if got := r.counts(); got != "2 stored 0 repeated 1 book" {
		t.Errorf("%s; want the batch of site-2 stored, the repeat refused for the book's sake", got)
	}
	if len(r.acks.sent) != 1 || r.lastAck() != "site-2 3 []" {
		t.Errorf("%d acks, the last %s; want one, of site-2", len(r.acks.sent), r.lastAck())
	}
	if l := r.letters(); len(l) != 1 || !strings.Contains(l[0].Detail, "record 4 of store") {
		t.Errorf("%d letters, %.300v; want one that names the record of the book", len(l), l)
	}
}
