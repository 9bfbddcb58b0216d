package collector

import (
	"context"
	"crypto/ed25519"
	"slices"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"

	"kenshin/edge/wire"
)

// slowAcks holds up who publishes until it is let go.
type slowAcks struct {
	acks
	let chan struct{}
}

func (s *slowAcks) Publish(topic string, payload []byte, retain bool) error {
	<-s.let
	return s.acks.Publish(topic, payload, retain)
}

// TestAcksAreJoined: an ack that waits says in the end what its stream has by then,
// whoever asks for acks is not held up, and what is due at the end is sent.
func TestAcksAreJoined(t *testing.T) {
	for range 20 { // the end and what is due then are seen in any order
		synctest.Test(t, acksAreJoined)
	}
}

func acksAreJoined(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	sender := &slowAcks{acks: acks{key: key.Public().(ed25519.PublicKey)}, let: make(chan struct{})}
	a := &acker{cfg: &Config{Name: "test", Key: key, Root: wire.DefaultRoot, Acks: sender, Clock: clock{}, Log: zap.NewNop()}, generation: 1, wake: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { a.run(ctx); close(ended) }()
	put := func(through uint64) {
		a.put(map[stream]*head{{edge: "site-1"}: {spans: []span{{from: 1, to: through}}}})
	}
	put(1)
	synctest.Wait() // it is being published
	for through := uint64(2); through <= 9; through++ {
		put(through)
	}
	stop()
	close(sender.let)
	<-ended
	var got []uint64
	for _, ack := range sender.sent {
		got = append(got, ack.Through)
	}
	if want := []uint64{1, 9}; !slices.Equal(got, want) {
		t.Errorf("acked through %d, want %d", got, want)
	}
}
