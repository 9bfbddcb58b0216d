package edge

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"kenshin/collector/broker"
	"kenshin/edge/outbox"
	"kenshin/edge/wire"
)

// center is a collector that keeps nothing but what tests look at. Its acks can
// be bent.
type center struct {
	t       *testing.T
	key     ed25519.PrivateKey
	edgeKey ed25519.PublicKey
	publish func(topic string, payload []byte, retain bool) error

	mu         sync.Mutex // guards all below
	have       map[uint64]wire.Record
	chain      map[uint64]wire.Hash
	generation uint64
	messages   int
	all        chan struct{} // closed when seq goal is reached
	goal       uint64

	drop func(n int, b *wire.Batch) bool                        // true loses message n, counted from 1
	bend func(n int, a *wire.Ack, key *ed25519.PrivateKey) bool // false sends no ack
}

func (c *center) receive(m broker.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	payload, err := wire.Unseal(wire.BatchType, m.Payload, c.edgeKey)
	if err != nil {
		c.t.Errorf("batch: %v", err)
		return
	}
	b, err := wire.DecodeBatch(payload, wire.DefaultLimits)
	if err != nil {
		c.t.Errorf("batch: %v", err)
		return
	}
	c.messages++
	n := c.messages
	m.Done()
	if c.drop != nil && c.drop(n, b) {
		return
	}
	for i := range b.Records {
		c.have[b.Records[i].Seq] = b.Records[i]
		c.chain[b.Records[i].Seq], _ = b.ChainAfter(b.Records[i].Seq)
	}
	ack := &wire.Ack{Edge: b.Edge, Epoch: b.Epoch, Collector: "test", Generation: c.generation}
	for c.chain[ack.Through+1] != (wire.Hash{}) {
		ack.Through++
	}
	ack.Chain = c.chain[ack.Through]
	for seq := range c.have {
		if seq > ack.Through+1 && len(ack.Want) == 0 {
			to := ack.Through + 1
			for c.chain[to+1] == (wire.Hash{}) {
				to++
			}
			ack.Want = []wire.Range{{From: ack.Through + 1, To: to}}
		}
	}
	key := c.key
	if c.bend != nil && !c.bend(n, ack, &key) {
		return
	}
	text, err := wire.EncodeAck(ack)
	if err == nil {
		text, err = wire.Seal(wire.AckType, text, key)
	}
	if err == nil {
		err = c.publish(wire.AckTopic(wire.DefaultRoot, b.Edge), text, true)
	}
	if err != nil {
		c.t.Logf("ack: %v", err)
	}
	if ack.Through >= c.goal && c.goal > 0 {
		c.goal = 0
		close(c.all)
	}
}

func seeded(b byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, 32)) }

// TestDelivery: whatever happens to messages, acks and the broker, in the end
// the collector has every record once, with the hashes the edge gave them, and
// the outbox knows it.
func TestDelivery(t *testing.T) {
	const records = 2600 // more than a window of batches
	stranger := seeded(9)
	for _, tt := range []struct {
		name    string
		drop    func(n int, b *wire.Batch) bool
		bend    func(n int, a *wire.Ack, key *ed25519.PrivateKey) bool
		restart bool
	}{
		{name: "all is well"},
		{name: "messages are lost", drop: func(n int, _ *wire.Batch) bool { return n == 2 || n == 5 }},
		{name: "acks are lost", bend: func(n int, _ *wire.Ack, _ *ed25519.PrivateKey) bool { return n > 6 }},
		{name: "acks of a stranger", bend: func(n int, _ *wire.Ack, key *ed25519.PrivateKey) bool {
			if n <= 6 {
				*key = stranger
			}
			return true
		}},
		{name: "acks of another epoch", bend: func(n int, a *wire.Ack, _ *ed25519.PrivateKey) bool {
			if n <= 6 {
				a.Epoch[0]++
			}
			return true
		}},
		{name: "an ack for more than there is", bend: func(n int, a *wire.Ack, _ *ed25519.PrivateKey) bool {
			if n <= 2 {
				a.Through = 1 << 40
			}
			return true
		}},
		{name: "an ack with another history", bend: func(n int, a *wire.Ack, _ *ed25519.PrivateKey) bool {
			if n <= 2 {
				a.Chain[0]++
			}
			return true
		}},
		{name: "the broker is restarted", restart: true, bend: func(n int, _ *wire.Ack, _ *ed25519.PrivateKey) bool { return n > 3 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := &center{t: t, key: seeded(1), edgeKey: seeded(2).Public().(ed25519.PublicKey), have: make(map[uint64]wire.Record),
				chain: make(map[uint64]wire.Hash), generation: 3, goal: records, all: make(chan struct{}), drop: tt.drop, bend: tt.bend}
			addr, stop := startBroker(t, c, "127.0.0.1:0")
			box := openBox(t, outbox.Options{})
			a := New(Config{Edge: "site-1", Key: seeded(2), Interval: time.Minute, Outbox: box, Clock: stillClock{time.UnixMilli(1)}, Log: zap.NewNop(), Version: "test",
				Uplink: Uplink{Broker: "tcp://" + addr, User: "site-1", Password: "secret", Root: wire.DefaultRoot, CollectorKey: c.key.Public().(ed25519.PublicKey), AckTimeout: 300 * time.Millisecond}})
			fill(t, box, records)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ended := make(chan error, 1)
			publishing, stopPublishing := context.WithCancel(ctx)
			go func() { ended <- a.publish(publishing) }()
			if tt.restart {
				stop()
				c.mu.Lock()
				c.messages = 100
				c.mu.Unlock()
				_, stop = startBroker(t, c, addr)
			}
			if err := a.Flush(ctx); err != nil {
				t.Fatalf("after %d messages %d of %d are acked: %v", c.messages, box.Acked(), box.Last(), err)
			}
			stopPublishing()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			stop()
			if len(c.have) != records {
				t.Errorf("the collector has %d records, want %d", len(c.have), records)
			}
			_, _, last, err := box.Read(records, 1, 1<<20)
			if err != nil || c.chain[records] != last {
				t.Errorf("the collector's chain ends in %v, the edge's in %v, %v", c.chain[records], last, err)
			}
		})
	}
}

// TestRestoredCollector: a collector that has less than it once acked, with a
// new generation, gets again what the outbox still has.
func TestRestoredCollector(t *testing.T) {
	const records = 900
	c := &center{t: t, key: seeded(1), edgeKey: seeded(2).Public().(ed25519.PublicKey), have: make(map[uint64]wire.Record),
		chain: make(map[uint64]wire.Hash), generation: 3, goal: records, all: make(chan struct{})}
	addr, stop := startBroker(t, c, "127.0.0.1:0")
	defer func() { stop() }()
	box := openBox(t, outbox.Options{})
	a := New(Config{Edge: "site-1", Key: seeded(2), Outbox: box, Clock: stillClock{time.UnixMilli(1)}, Log: zap.NewNop(), Version: "test",
		Uplink: Uplink{Broker: "tcp://" + addr, User: "site-1", Password: "secret", Root: wire.DefaultRoot, CollectorKey: c.key.Public().(ed25519.PublicKey), AckTimeout: 300 * time.Millisecond}})
	fill(t, box, records)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.publish(ctx) }()
	if err := a.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	for seq := uint64(5); seq <= records; seq++ {
		delete(c.have, seq)
		delete(c.chain, seq)
	}
	c.generation, c.goal, c.all = 4, records+1, make(chan struct{})
	c.mu.Unlock()
	fill(t, box, 1)
	select {
	case <-c.all:
	case <-ctx.Done():
		t.Fatalf("the collector has %d records again, want %d", len(c.have), records+1)
	}
	cancel()
	<-ended
}

func startBroker(t *testing.T, c *center, addr string) (string, func()) {
	t.Helper()
	b, err := broker.Listen(broker.Config{Listen: addr, Root: wire.DefaultRoot, Log: zap.NewNop(), Receive: c.receive,
		Authenticate: func(user, password string) bool { return user == "site-1" && password == "secret" }})
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.publish = b.Publish
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("broker: %v", err)
		}
	}
	t.Cleanup(stop)
	return b.Addr(), stop
}

// fill appends n readings to the outbox.
func fill(t *testing.T, box *outbox.Outbox, n int) {
	t.Helper()
	var recs []wire.Record
	for i := range n {
		recs = append(recs, wire.Record{Wall: int64(i), Reading: &wire.Reading{Declaration: wire.Hash{1},
			Blocks: []wire.BlockResult{{Words: []uint16{uint16(i), uint16(i >> 16), 7}}}}})
	}
	if _, err := box.Append(recs...); err != nil {
		t.Fatal(fmt.Errorf("fill: %w", err))
	}
}
