package edge

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"kenshin/edge/outbox"
	"kenshin/edge/wire"

	"go.uber.org/zap"
)

func TestOwed(t *testing.T) {
	have := func(pairs ...uint64) (out []wire.Range) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, wire.Range{From: pairs[i], To: pairs[i+1]})
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

// silentPublisher is a publisher without a connection.
func silentPublisher(t *testing.T, box *outbox.Outbox) (*publisher, func(key byte, a wire.Ack) error) {
	t.Helper()
	key := seeded(1)
	a := New(Config{Edge: "site-1", Key: seeded(2), Outbox: box, Clock: stillClock{time.UnixMilli(1)}, Log: zap.NewNop(),
		Uplink: Uplink{CollectorKey: key.Public().(ed25519.PublicKey), AckTimeout: time.Second}})
	p := &publisher{Agent: a}
	p.known.through = box.Acked()
	p.rewind()
	return p, func(signer byte, a wire.Ack) error {
		a.Edge, a.Epoch = "site-1", box.Epoch()
		text, err := wire.EncodeAck(&a)
		if err == nil {
			text, err = wire.Seal(wire.AckType, text, seeded(signer))
		}
		if err != nil {
			t.Fatal(err)
		}
		return p.acked(text)
	}
}

func chainAfter(t *testing.T, box *outbox.Outbox, seq uint64) wire.Hash {
	t.Helper()
	_, _, chain, err := box.Read(seq, 1, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

func TestStrangersAck(t *testing.T) {
	box := openBox(t, outbox.Options{})
	fill(t, box, 9)
	_, ack := silentPublisher(t, box)
	a := wire.Ack{Generation: 1, Through: 9, Chain: chainAfter(t, box, 9)}
	if err := ack(3, a); !errors.Is(err, wire.ErrSignature) || box.Acked() != 0 {
		t.Errorf("%v, acked %d; want a refusal and 0", err, box.Acked())
	}
	if err := ack(1, a); err != nil || box.Acked() != 9 {
		t.Errorf("%v, acked %d; want 9", err, box.Acked())
	}
}

// TestRestoredBeyondRetention: a collector that was restored from a backup older
// than what is left here gets what is left, and new readings are acked behind
// the hole that stays.
func TestRestoredBeyondRetention(t *testing.T) {
	box := openBox(t, outbox.Options{MaxBytes: 256 << 10})
	p, ack := silentPublisher(t, box)
	var fifth wire.Hash
	for box.First() < 500 {
		fill(t, box, 100)
		if box.Last() == 100 {
			fifth = chainAfter(t, box, 5)
		}
		if err := ack(1, wire.Ack{Generation: 1, Through: box.Last(), Chain: chainAfter(t, box, box.Last())}); err != nil {
			t.Fatal(err)
		}
	}
	had := box.Acked()
	if err := ack(1, wire.Ack{Generation: 2, Through: 5, Chain: fifth}); err != nil || box.Acked() != box.First()-1 {
		t.Fatalf("%v, acked %d; want all that is left, from %d on, to be owed again", err, box.Acked(), box.First())
	}
	r, _ := p.choose()
	if r != (wire.Range{From: box.First(), To: had}) {
		t.Errorf("sends %v, want all that is left, %d to %d", r, box.First(), had)
	}
	_, envelope, err := p.cut(r)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := wire.Payload(wire.BatchType, envelope)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := wire.DecodeBatch(payload, wire.DefaultLimits); err != nil || b.Kept != box.First() {
		t.Errorf("%v; the batch says %d is the oldest left, want %d", err, b.Kept, box.First())
	}
}

// TestLiveBeforeBacklog: new readings go before old ones and always find room.
func TestLiveBeforeBacklog(t *testing.T) {
	box := openBox(t, outbox.Options{})
	fill(t, box, 9000)
	p, _ := silentPublisher(t, box)
	next := func(want wire.Range) {
		t.Helper()
		if r, _ := p.choose(); r != want {
			t.Errorf("next is %v, want %v", r, want)
		}
	}
	next(wire.Range{From: 1, To: 9000})
	fill(t, box, 3)
	next(wire.Range{From: 9001, To: 9003})
	for i := range uint64(window - liveRoom) {
		p.sent = append(p.sent, flight{1 + 500*i, 500 + 500*i})
	}
	next(wire.Range{From: 9001, To: 9003})
	p.sent = append(p.sent, flight{9001, 9003})
	next(wire.Range{})
}

// TestLostOnTheWay: what went before something that has arrived is sent again
// without a timeout, once, and what was refused does not go round and round.
func TestLostOnTheWay(t *testing.T) {
	box := openBox(t, outbox.Options{})
	fill(t, box, 30)
	p, ack := silentPublisher(t, box)
	p.sent = []flight{{1, 10}, {11, 20}, {21, 30}}
	a := wire.Ack{Generation: 1, Want: []wire.Range{{From: 1, To: 10}}, Have: []wire.Range{{From: 11, To: 20}}}
	if err := ack(1, a); err != nil {
		t.Fatal(err)
	}
	if r, _ := p.choose(); r != (wire.Range{From: 1, To: 10}) || len(p.sent) != 1 {
		t.Errorf("sends %v again, %v on their way", r, p.sent)
	}
	p.sent = append([]flight{{1, 10}}, p.sent...)
	a.Have[0].To = 30
	if err := ack(1, a); err != nil {
		t.Fatal(err)
	}
	if r, _ := p.choose(); r.To != 0 {
		t.Errorf("sends %v a third time", r)
	}
}

// TestTimeoutSendsAgain: what no ack covers in time is owed again.
func TestTimeoutSendsAgain(t *testing.T) {
	box := openBox(t, outbox.Options{})
	fill(t, box, 30)
	p, _ := silentPublisher(t, box)
	p.sent = []flight{{1, 30}}
	p.deadline = time.Now().Add(time.Hour)
	p.timeout(t.Context())
	if r, _ := p.choose(); r.To != 0 {
		t.Errorf("sends %v again before it is time", r)
	}
	p.deadline = time.Now()
	p.timeout(t.Context())
	if r, _ := p.choose(); r != (wire.Range{From: 1, To: 30}) || p.timeouts != 1 {
		t.Errorf("sends %v again after %d timeouts", r, p.timeouts)
	}
}

// TestStaleGeneration: two collectors on copies of one book: the one that was
// opened last is believed, the other only when nothing else is heard.
func TestStaleGeneration(t *testing.T) {
	box := openBox(t, outbox.Options{})
	fill(t, box, 30)
	p, ack := silentPublisher(t, box)
	at := func(generation, through uint64) {
		t.Helper()
		if err := ack(1, wire.Ack{Generation: generation, Through: through, Chain: chainAfter(t, box, through)}); err != nil {
			t.Fatal(err)
		}
	}
	at(7, 10)
	at(6, 20)
	if box.Acked() != 10 || p.known.generation != 7 {
		t.Errorf("an ack of an older generation was believed: acked %d", box.Acked())
	}
	p.timeouts = rebuildAfter
	at(6, 20)
	if box.Acked() != 20 || p.known.generation != 6 {
		t.Errorf("the only collector there is was not believed: acked %d", box.Acked())
	}
}

// TestOldCopyEnds: acks of records that were never here end the publisher when
// nothing else is heard, and leave word for the next opening.
func TestOldCopyEnds(t *testing.T) {
	box := openBox(t, outbox.Options{})
	fill(t, box, 30)
	p, _ := silentPublisher(t, box)
	envelope := func(signer byte) []byte {
		text, err := wire.EncodeAck(&wire.Ack{Edge: "site-1", Epoch: box.Epoch(), Generation: 1, Through: 40, Chain: wire.Hash{1}})
		if err == nil {
			text, err = wire.Seal(wire.AckType, text, seeded(signer))
		}
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for range strangeAcks - 1 {
		if err := p.event(linkEvent{ack: envelope(1)}); err != nil {
			t.Fatalf("ended before it is sure: %v", err)
		}
	}
	if err := p.event(linkEvent{ack: envelope(3)}); err != nil { // nobody the edge knows
		t.Errorf("a stranger's ack ended it: %v", err)
	}
	if err := p.event(linkEvent{ack: envelope(1)}); !errors.Is(err, outbox.ErrOldCopy) || !strings.Contains(err.Error(), "new epoch") {
		t.Errorf("%v, want that this is an old copy and what to do", err)
	}
}
