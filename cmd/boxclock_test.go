package cmd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"kenshin/collector/store"
	"kenshin/configs"
	"kenshin/edge"
	"kenshin/edge/outbox"
	"kenshin/edge/wire"
)

// clock1970 is the clock of a box whose battery is empty and that has reached no
// time server.
type clock1970 struct{ started time.Time }

func (c clock1970) Now() time.Time { return time.Unix(0, 0).Add(time.Since(c.started)) }
func (c clock1970) Sleep(ctx context.Context, d time.Duration) error {
	return edge.RealClock().Sleep(ctx, d)
}
func (c clock1970) State() wire.ClockState { return wire.ClockUnsynced }

// boxClockBehind: a box in 1970, to which its own certificate is one of the future,
// is let in and delivers; what it recorded says that its clock is not synchronised.
func boxClockBehind(t *testing.T) {
	broker := freeAddr(t)
	s := newSecureSite(t, fmt.Sprintf("{listen: %q, tls: mutual}", broker))
	s.start()
	s.must("kenshin-edge", "site-1.yaml", s.token("site-1")...)
	clock := clock1970{time.Now()}
	cert := s.certFile("site-1")
	settings, err := configs.ClientTLS(configs.TLSFiles{Authorities: filepath.Join(filepath.Dir(cert), "ca.crt"), Cert: cert, Key: cert})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, cert)
	if err != nil {
		t.Fatal(err)
	}
	settings.Time = configs.NotBefore(pair.Leaf.NotBefore, clock.Now)
	key, err := configs.Key(filepath.Join(s.dir, "site-1"), "edge")
	if err != nil {
		t.Fatal(err)
	}
	center, err := configs.PublicKey("", filepath.Join(s.dir, "c", "collector.pub"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(s.dir, "site-1", "outbox")
	box, _, err := outbox.Open(dir, outbox.Options{Edge: "site-1"})
	if err != nil {
		t.Fatal(err)
	}
	agent := edge.New(edge.Config{Edge: "site-1", Key: key, Interval: 100 * time.Millisecond, Outbox: box, Clock: clock, Log: zap.NewNop(), Version: "rig",
		Buses:  []edge.Bus{{Name: "bus", Reader: simMeters{start: time.Now()}, Devices: []edge.Device{{ID: "m-1", Unit: 1, Declaration: simDeclaration("m-1", 1, 2)}}}},
		Uplink: edge.Uplink{Broker: "tls://" + broker, User: "site-1", Root: wire.DefaultRoot, CollectorKey: center, AckTimeout: 10 * time.Second, TLS: settings}})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	eventually(t, time.Minute, func() error {
		if box.Acked() < 10 {
			return fmt.Errorf("%d records acked; the agent: %+v", box.Acked(), agent.Status())
		}
		return nil
	})
	stop()
	if err := errors.Join(<-done, box.Close()); err != nil {
		t.Fatal(err)
	}
	s.collector.interrupt(time.Minute)
	seen := make(witness)
	if err := seen.outboxes(map[string]string{"site-1": dir}); err != nil {
		t.Error(err)
	}
	signing, err := configs.Key(filepath.Join(s.dir, "c"), "collector")
	if err != nil {
		t.Fatal(err)
	}
	book, _, err := store.Open(filepath.Join(s.dir, "c", store.BookDir), store.Options{Origin: "kenshin/c", Key: signing})
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	if err := checkBook(book, seen); err != nil {
		t.Error(err)
	}
	err = book.Scan(0, func(r *store.Record) error {
		if r.Kind != store.Batch {
			return nil
		}
		b, err := stored(r)
		if err != nil {
			return err
		}
		for _, rec := range b.Records {
			if rec.Clock != wire.ClockUnsynced || time.UnixMilli(rec.Wall).UTC().Year() != 1970 {
				t.Errorf("record %d: clock state %d at %v; want unsynchronised, in 1970", rec.Seq, rec.Clock, time.UnixMilli(rec.Wall).UTC())
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
