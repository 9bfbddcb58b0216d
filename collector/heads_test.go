package collector

import (
	"errors"
	"reflect"
	"testing"

	"kenshin/edge/wire"
)

// history makes records 1 to n of an edge; other histories differ by salt.
func history(n int, salt byte) (recs []wire.Record, after []wire.Hash) {
	c := wire.Hash{}
	after = append(after, c)
	for i := range n {
		r := wire.Record{Seq: uint64(i + 1), Wall: int64(salt), Event: &wire.Event{Code: wire.EventBoot}}
		c = wire.Chain(c, r.Encode())
		recs, after = append(recs, r), append(after, c)
	}
	return recs, after
}

// part cuts a batch out of a history, as the collector sees it.
func part(t *testing.T, first, last uint64, salt byte) *wire.Batch {
	t.Helper()
	recs, after := history(int(last), salt)
	b := &wire.Batch{Edge: "site-1", Epoch: wire.Epoch{1}, First: first, Last: last, Prev: after[first-1], Chain: after[last], Records: recs[first-1:]}
	payload, err := wire.EncodeBatch(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = wire.DecodeBatch(payload, wire.DefaultLimits); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHeadOffers(t *testing.T) {
	type run struct{ first, last uint64 }
	for _, tt := range []struct {
		name    string
		have    []run
		offer   run
		salt    byte // 0 is the history the book holds
		want    verdict
		err     error
		through uint64
		holes   []wire.Range
	}{
		{name: "the first", offer: run{1, 5}, through: 5},
		{name: "the next", have: []run{{1, 5}}, offer: run{6, 9}, through: 9},
		{name: "after a hole", have: []run{{1, 5}}, offer: run{8, 9}, through: 5, holes: []wire.Range{{From: 6, To: 7}}},
		{name: "after a hole of one", have: []run{{1, 5}}, offer: run{7, 9}, through: 5, holes: []wire.Range{{From: 6, To: 6}}},
		{name: "before the first", have: []run{{4, 5}}, offer: run{1, 2}, through: 2, holes: []wire.Range{{From: 3, To: 3}}},
		{name: "into a hole", have: []run{{1, 3}, {7, 9}}, offer: run{4, 6}, through: 9},
		{name: "the same again", have: []run{{1, 5}, {6, 9}}, offer: run{6, 9}, want: repeated, through: 9},
		{name: "cut anew, all known", have: []run{{1, 5}, {6, 9}}, offer: run{3, 7}, want: repeated, through: 9},
		{name: "cut anew, with news", have: []run{{1, 5}}, offer: run{3, 7}, through: 7},
		{name: "around what is there", have: []run{{3, 4}}, offer: run{1, 6}, through: 6},
		{name: "another history next", have: []run{{1, 5}}, offer: run{6, 9}, salt: 1, err: errBrokenChain, through: 5},
		{name: "another history before", have: []run{{6, 9}}, offer: run{1, 5}, salt: 1, err: errFork, holes: []wire.Range{{From: 1, To: 5}}},
		{name: "the same numbers, other bytes", have: []run{{1, 5}}, offer: run{1, 5}, salt: 1, err: errFork, through: 5},
		{name: "other bytes inside", have: []run{{1, 9}}, offer: run{3, 4}, salt: 1, err: errFork, through: 9},
		{name: "other bytes across the end", have: []run{{1, 5}}, offer: run{4, 9}, salt: 1, err: errFork, through: 5},
	} {
		h := &head{}
		var stored []*wire.Batch
		for i, r := range tt.have {
			b := part(t, r.first, r.last, 0)
			h.add(b.First, b.Last, b.Prev, b.Chain, uint64(i))
			stored = append(stored, b)
		}
		b := part(t, tt.offer.first, tt.offer.last, tt.salt)
		v, err := h.offer(b, func(p place, seq uint64) (wire.Hash, error) {
			c, _ := stored[p.index].ChainAfter(seq)
			return c, nil
		})
		if !errors.Is(err, tt.err) || err == nil && v != tt.want {
			t.Errorf("%s: verdict %d, %v; want %d, %v", tt.name, v, err, tt.want, tt.err)
		}
		if err == nil && v == fresh {
			h.add(b.First, b.Last, b.Prev, b.Chain, uint64(len(stored)))
		}
		if through, _ := h.through(); through != tt.through || !reflect.DeepEqual(h.want(), tt.holes) {
			t.Errorf("%s: through %d, holes %v; want %d, %v", tt.name, through, h.want(), tt.through, tt.holes)
		}
	}
}

// TestHave: what lies behind the first hole is told, the lowest runs and the highest.
func TestHave(t *testing.T) {
	h := &head{}
	for i, r := range []wire.Range{{From: 1, To: 2}, {From: 4, To: 5}, {From: 7, To: 8}, {From: 10, To: 11}, {From: 13, To: 14}} {
		h.add(r.From, r.To, wire.Hash{}, wire.Hash{byte(i)}, uint64(i))
	}
	want := []wire.Range{{From: 4, To: 5}, {From: 7, To: 8}, {From: 13, To: 14}}
	if got := h.have(3); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	h.spans = h.spans[1:] // a stream of which the first record is missing
	if got := h.have(9); len(got) != 4 || got[0].From != 4 {
		t.Errorf("%v", got)
	}
}
