package edge

import (
	"testing"

	"kenshin/edge/wire"
)

func TestOwed(t *testing.T) {
	have := func(pairs ...uint64) (out []wire.Run) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, wire.Run{From: pairs[i], To: pairs[i+1]})
		}
		return out
	}
	for _, tt := range []struct {
		name     string
		known    known
		sent     []flight
		from, to uint64
		want     wire.Range // zero for nothing
	}{
		{"nothing recorded", known{}, nil, 1, 0, wire.Range{}},
		{"everything", known{}, nil, 1, 9, wire.Range{From: 1, To: 9}},
		{"behind what is acked", known{through: 4}, nil, 1, 9, wire.Range{From: 5, To: 9}},
		{"all acked", known{through: 9}, nil, 1, 9, wire.Range{}},
		{"between", known{through: 2, have: have(5, 6)}, nil, 1, 9, wire.Range{From: 3, To: 4}},
		{"between, on its way", known{through: 2, have: have(5, 6)}, []flight{{3, 4}}, 1, 9, wire.Range{From: 7, To: 9}},
		{"sent out of order", known{}, []flight{{6, 9}, {1, 2}}, 1, 9, wire.Range{From: 3, To: 5}},
		{"to the end", known{have: have(8, 9)}, []flight{{1, 7}}, 1, 9, wire.Range{}},
		{"what is left here", known{through: 2, have: have(6, 7)}, nil, 5, 9, wire.Range{From: 5, To: 5}},
		{"overlapping", known{have: have(2, 8)}, []flight{{1, 3}, {4, 5}}, 1, 9, wire.Range{From: 9, To: 9}},
	} {
		got, ok := tt.known.owed(tt.from, tt.to, tt.sent)
		if !ok {
			got = wire.Range{}
		}
		if got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestReach: a hole in what is gone here holds nothing up, one in what is still
// here does.
func TestReach(t *testing.T) {
	chains := [3]wire.Hash{{1}, {2}, {3}}
	ack := &wire.Ack{Through: 10, Chain: chains[0], Have: []wire.Run{{From: 21, To: 30, Chain: chains[1]}, {From: 41, To: 50, Chain: chains[2]}}}
	for _, tt := range []struct {
		first, through uint64
		chain          wire.Hash
	}{
		{1, 10, chains[0]}, {11, 10, chains[0]}, {20, 10, chains[0]}, {21, 30, chains[1]}, {30, 30, chains[1]}, {31, 30, chains[1]},
		{32, 10, chains[0]}, {41, 50, chains[2]}, {51, 50, chains[2]}, {60, 10, chains[0]},
	} {
		if through, chain := reach(ack, tt.first); through != tt.through || chain != tt.chain {
			t.Errorf("first %d here: %d, %.8s; want %d", tt.first, through, chain, tt.through)
		}
	}
}
