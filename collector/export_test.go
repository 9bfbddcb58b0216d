package collector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// prove returns an export of a rig's book by a checkpoint of now.
func (r *rig) prove(w ExportWish) []byte {
	r.t.Helper()
	if _, err := r.store.Checkpoint(); err != nil {
		r.t.Fatal(err)
	}
	p, err := PlanExport(r.t.Context(), r.store, w, store.ExportOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := p.Write(r.t.Context(), &b); err != nil {
		r.t.Fatal(err)
	}
	return b.Bytes()
}

// checked returns what is said of an export: the faults, then what is unknown.
func (r *rig) checked(export []byte, edges ...Edge) (string, ExportResult) {
	r.t.Helper()
	var said []string
	x, err := CheckExport(bytes.NewReader(export), ExportCheck{Key: r.acks.key, Edges: edges}, func(f store.Fault) { said = append(said, f.Error()) })
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Join(append(said, x.Unknown...), "\n"), x
}

// put writes a batch into the book as whoever has the collector's key could.
func (r *rig) put(m Message, change func(*store.Record)) {
	r.t.Helper()
	payload, err := wire.Payload(wire.BatchType, m.Payload)
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := wire.DecodeHeader(payload)
	if err != nil {
		r.t.Fatal(err)
	}
	rec := &store.Record{Kind: store.Batch, Received: start, Subject: b.Edge, Epoch: b.Epoch, First: b.First, Last: b.Last, Payload: m.Payload}
	if change != nil {
		change(rec)
	}
	if _, err := r.store.Append(rec); err != nil {
		r.t.Fatal(err)
	}
}

// TestCheckExport is the table of books that a collector could make up, with
// proofs that are all right. Each fault names the record.
func TestCheckExport(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(r *rig, a, b *site)
		want string
	}{
		{"as received", func(r *rig, a, b *site) { r.send(a.batch(r.t, 1, 3), b.all(r.t)); r.send(a.batch(r.t, 4, 5)) }, ""},
		{"a batch nobody signed", func(r *rig, a, b *site) { r.put(a.withKey(secondKey(9)).all(r.t), nil) }, "record 4: payload, bytes "},
		{"the same, why", func(r *rig, a, b *site) { r.put(a.withKey(secondKey(9)).all(r.t), nil) }, "none of the keys of edge site-1 has signed it"},
		{"signed with the key of another edge", func(r *rig, a, b *site) { r.put(a.withKey(b.key).all(r.t), nil) }, "none of the keys of edge site-1"},
		{"signed with a key that had ended", func(r *rig, a, b *site) {
			r.send(a.batch(r.t, 1, 3))
			if _, err := r.Revoke("site-1", "", "me", "stolen"); err != nil {
				r.t.Fatal(err)
			}
			r.put(a.batch(r.t, 4, 5), nil)
		}, "which ended with record 5: stolen"},
		{"numbered otherwise than the edge did", func(r *rig, a, b *site) { r.put(a.all(r.t), func(rec *store.Record) { rec.Last++ }) }, "the book says 1 to 6 of site-1"},
		{"told to be of another edge", func(r *rig, a, b *site) { r.put(b.all(r.t), func(rec *store.Record) { rec.Subject = "site-1" }) }, "none of the keys of edge site-1"},
		{"another history", func(r *rig, a, b *site) {
			r.send(a.batch(r.t, 1, 3))
			c := newSite("site-1", 1)
			c.declare(meter("m-9"))
			for range 4 {
				c.read(meter("m-9"), 1000, 5)
			}
			r.put(c.batch(r.t, 4, 5), nil)
		}, "the record before 4 is another one in the book"},
		{"a fork", func(r *rig, a, b *site) {
			r.send(a.batch(r.t, 1, 3))
			c := newSite("site-1", 1)
			c.declare(meter("m-9"))
			c.read(meter("m-9"), 1000, 5)
			c.read(meter("m-9"), 2000, 5)
			r.put(c.batch(r.t, 1, 3), nil)
		}, "sequence number 3 stands for other bytes in the book"},
		{"no batch at all", func(r *rig, a, b *site) { r.put(a.all(r.t), func(rec *store.Record) { rec.Payload = []byte("x") }) }, "malformed envelope"},
	} {
		a, b := twoSites(4)
		r := newRig(t, a, b)
		tt.make(r, a, b)
		last := store.Run{Last: r.store.Size() - 1}
		said, x := r.checked(r.prove(ExportWish{Records: []store.Run{last}}))
		if tt.want == "" && (x.Faults > 0 || x.Batches != 3 || x.Unsigned > 0) || !strings.Contains(said, tt.want) {
			t.Errorf("%s: %s, %+v\nwant %q", tt.name, said, x, tt.want)
		}
		r.Close()
	}
}

// TestCheckExportSays: what an export cannot show is said.
func TestCheckExportSays(t *testing.T) {
	a, b := twoSites(4)
	r := newRig(t, a, b)
	r.send(a.batch(t, 1, 2), b.all(t))
	r.send(a.batch(t, 4, 5))
	edge := r.prove(ExportWish{Edges: []string{"site-1"}})
	said, x := r.checked(edge)
	for _, want := range []string{"whether a decision that ended a key was left out", "why records of edge site-1, epoch 01000000000000000000000000000000, are not here: 3 to 3", "shown others the same book"} {
		if !strings.Contains(said, want) || x.Faults > 0 || x.Batches != 2 || x.Decisions != 1 {
			t.Errorf("%s, %+v: want %q", said, x, want)
		}
	}
	if said, x = r.checked(edge, Edge{"site-1", a.public()}); strings.Contains(said, "a decision") || x.Faults > 0 {
		t.Errorf("with the right key: %s", said)
	}
	if said, x = r.checked(edge, Edge{"site-1", b.public()}); x.Faults != 2 || !strings.Contains(said, "which is not one that was given") {
		t.Errorf("with another key: %s", said)
	}
	p, err := r.store.PlanExport(t.Context(), store.ExportOptions{Pick: func(r *store.Record) (bool, error) { return r.Kind == store.Batch, nil }})
	if err != nil {
		t.Fatal(err)
	}
	var keyless bytes.Buffer
	if err := p.Write(t.Context(), &keyless); err != nil {
		t.Fatal(err)
	}
	if said, x = r.checked(keyless.Bytes()); x.Unsigned != 3 || !strings.Contains(said, "who signed the 1 batches of edge site-2: no decision here admits a key of it") {
		t.Errorf("without the keys: %s, %+v", said, x)
	}
	if said, x = r.checked(keyless.Bytes(), Edge{"site-1", a.public()}, Edge{"site-2", b.public()}); x.Unsigned+x.Faults != 0 {
		t.Errorf("with the keys from elsewhere: %s, %+v", said, x)
	}
}

// TestCheckExportIncomplete: records that nothing but the file says to be lost make
// it incomplete; what may have been left out is said, whatever keys were given; a
// reading that came twice counts once.
func TestCheckExportIncomplete(t *testing.T) {
	a, b := twoSites(4)
	r := newRig(t, a, b)
	r.send(a.batch(t, 1, 3), b.all(t))
	for _, m := range []Message{a.batch(t, 1, 3), a.batch(t, 2, 5)} {
		r.put(m, nil)
	}
	all := store.Run{Last: r.store.Size() - 1}
	said, x := r.checked(r.prove(ExportWish{Records: []store.Run{all}}))
	if x.Faults > 0 || x.Batches != 4 || x.Readings != 8 || x.Incomplete() != nil || strings.Contains(said, "left out") {
		t.Errorf("all records: %s, %+v, %v; want 8 readings, each once", said, x, x.Incomplete())
	}
	last := all.Last
	p, err := r.store.PlanExport(t.Context(), store.ExportOptions{Pick: func(rec *store.Record) (bool, error) { return rec.Index != last, nil }})
	if err != nil {
		t.Fatal(err)
	}
	p.Statement.Ranges, p.Statement.Without = []store.Run{all}, []uint64{last}
	var forged, text bytes.Buffer
	if err := p.Write(t.Context(), &forged); err != nil {
		t.Fatal(err)
	}
	_, x = r.checked(forged.Bytes())
	x.Describe(&text)
	if want := "incomplete: 1 records of the stated range are not in the file; the file says the book lost them, which nothing here proves"; x.Faults > 0 || !strings.Contains(fmt.Sprint(x.Incomplete()), want) {
		t.Errorf("a record said to be lost: %+v, %v; want %q", x, x.Incomplete(), want)
	}
	if strings.Contains(text.String(), fmt.Sprintf("all records from 0 to %d\n", last)) {
		t.Errorf("a record said to be lost: %s", &text)
	}

	period := r.prove(ExportWish{Project: "plant"})
	said, _ = r.checked(period, Edge{"site-2", b.public()})
	for _, want := range []string{"which decisions, inputs, rulings, imports or later records of a stream were left out", "which project and period it is for", "whether a decision that ended a key was left out for edges [site-1]"} {
		if !strings.Contains(said, want) {
			t.Errorf("of a period: %s\nwant %q", said, want)
		}
	}
}

// TestExportOfPeriod: a book made of nothing but an export comes to the figures of
// the whole one, and the export is a small part of it.
func TestExportOfPeriod(t *testing.T) {
	a, b := newSite("site-1", 1), newSite("site-2", 2)
	other := meter("m-other")
	for i, s := range []*site{a, b} {
		d := meter("m-1")
		s.declare(other)
		s.declare(d)
		for h := 0; h < 24*260; h += 12 {
			if i == 1 && h > 24*200 && h < 24*232 { // its last reading before the second period is a month old
				s.fail(d, int64(h)*3_600_000)
				continue
			}
			s.read(d, int64(h)*3_600_000, uint32(100*h))
			s.read(other, int64(h)*3_600_000, 7)
		}
	}
	r := newRig(t, a, b)
	for _, s := range []*site{a, b} {
		var late []Message
		for first := uint64(1); first <= uint64(len(s.recs)); first += 20 {
			m := s.batch(t, first, min(first+19, uint64(len(s.recs))))
			if first%60 == 1 && first > 1 { // some come behind what follows them
				late = append(late, m)
			} else {
				r.send(m)
			}
		}
		r.send(late...)
	}
	for period := range 2 {
		want, err := Recompute(t.Context(), r.store, "plant", period)
		if err != nil {
			t.Fatal(err)
		}
		export := r.prove(ExportWish{Project: "plant", Period: period})
		said, x := r.checked(export)
		if x.Faults > 0 || x.Unsigned > 0 || x.Batches*3 > len(r.batches()) {
			t.Errorf("period %d: %s, %d of %d batches", period, said, x.Batches, len(r.batches()))
		}
		dir := t.TempDir()
		book, _, err := store.Open(dir, store.Options{Origin: "kenshin/again", Key: r.cfg.Key})
		if err != nil {
			t.Fatal(err)
		}
		_, err = store.ReadExport(bytes.NewReader(export), store.ExportCheck{Key: r.acks.key, Each: func(rec *store.Record) error {
			_, err := book.Append(rec)
			return err
		}}, func(f store.Fault) { t.Error(f) })
		if err != nil {
			t.Fatal(err)
		}
		got, err := Recompute(t.Context(), book, "plant", period)
		if err != nil {
			t.Fatal(err)
		}
		if got.MeasuredKWh.IsZero() || asJSON(t, got.Meters) == "" {
			t.Errorf("period %d: nothing measured", period)
		}
		for key, m := range want.Meters {
			g := got.Meters[key]
			if !g.MeasuredKWh.Equal(m.MeasuredKWh) || !g.ClaimableKWh.Equal(m.ClaimableKWh) || asJSON(t, g.Days) != asJSON(t, m.Days) {
				t.Errorf("period %d, meter %s: from the export %v measured, %v claimable; from the book %v, %v", period, key, g.MeasuredKWh, g.ClaimableKWh, m.MeasuredKWh, m.ClaimableKWh)
			}
		}
		if got.ER != want.ER {
			t.Errorf("period %d: ER %s from the export, %s from the book", period, got.ER, want.ER)
		}
		book.Close()
	}
	for _, tt := range []struct {
		wish ExportWish
		want string
	}{
		{ExportWish{Project: "other"}, `project "other": unknown`},
		{ExportWish{Project: "plant", Period: 2}, "has no period 3; it has 2"},
		{ExportWish{Edges: []string{"site-9"}}, `edge "site-9": no batch of it is among the first`},
		{ExportWish{}, "no record fits"},
	} {
		if _, err := PlanExport(t.Context(), r.store, tt.wish, store.ExportOptions{}); !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%+v: %v; want %q", tt.wish, err, tt.want)
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
