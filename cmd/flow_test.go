package cmd

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"kenshin/collector"
	"kenshin/collector/broker"
	"kenshin/collector/store"
	"kenshin/configs"
	"kenshin/edge"
	"kenshin/edge/modbus"
	"kenshin/edge/outbox"
	"kenshin/edge/plant"
	"kenshin/edge/wire"
)

// flowProject credits what the inverter of the flow counts, one tonne a MWh, so
// that the digits can be followed by eye.
const flowProject = `
reference: flow
title: One inverter
country: Nowhere
zone: Asia/Kolkata
methodology: {number: KS-F1, version: "1.0"}
periods: [{start: 2026-05-01, end: 2026-05-31}]
parameters:
  EF_RE: {value: "1", unit: tCO2/MWh, source: "a round figure for this test"}
meters:
  - {key: inv, title: Inverter, register: site-1/inv/ActWh, power: site-1/inv/W, parameter: EG}
`

// TestFlow follows one kWh from a simulated register to the report, through
// Modbus TCP, the outbox, a signed batch, MQTT, the book, the series store and
// the methodology, and back again from the book to the register words.
func TestFlow(t *testing.T) {
	noon := time.Date(2026, 5, 4, 6, 30, 0, 0, time.UTC)
	clock := plant.NewLockstep([]time.Time{noon, noon.Add(time.Minute)}, 1, nil)
	f := startFlow(t, clock, plant.SunSpecInverter(plant.Nameplate{Manufacturer: "K", Model: "M", Serial: "SN-1", EnergyScale: 0}, func() (plant.Output, bool) {
		wh := uint64(7_602_960_123)
		if clock.Now().After(noon) {
			wh += 1000
		}
		return plant.Output{MicroWatts: 60_000_000_000, WattHours: wh, State: 4}, true
	}))
	select {
	case <-clock.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the clock did not come to its end: the agent does not poll")
	}
	f.finish(t)

	r, err := f.center.Report(t.Context(), "flow", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.MeasuredKWh.String(); got != "1" {
		t.Errorf("measured %s kWh, want 1", got)
	}
	if got := r.Vintages["2026"]; got["EG_MWh"] != "0.001" || got["RE_tCO2"] != "0.001" || got["PE_tCO2"] != "0" || got["ER_tCO2"] != "0" {
		t.Errorf("vintage 2026 %v, want EG 0.001 MWh, RE 0.001, PE 0 and, floored, ER 0 tCO2", got)
	}
	again, err := collector.Recompute(t.Context(), f.center.Store(), "flow", 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := marshal(t, r), marshal(t, again)
	if a != b {
		t.Errorf("recomputed from the book: %s\nsettled: %s", b, a)
	}
	f.back(t, []uint64{7_602_960_123, 7_602_961_123})
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// flow is the whole chain in one process.
type flow struct {
	box      *outbox.Outbox
	agent    *edge.Agent
	center   *collector.Collector
	edgeKey  ed25519.PrivateKey
	stopEdge context.CancelFunc
	edgeDone chan error
	stop     context.CancelFunc
	rest     *errgroup.Group
}

func startFlow(t *testing.T, clock *plant.Lockstep, unit plant.Unit) *flow {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, log := t.TempDir(), zap.NewNop()
	f := &flow{edgeDone: make(chan error, 1)}
	var err error
	f.edgeKey, err = configs.Key(filepath.Join(dir, "edge"), "edge")
	must(err)
	key, err := configs.Key(filepath.Join(dir, "collector"), "collector")
	must(err)
	text, err := configs.Files.ReadFile("methodologies/ks-pv.yaml")
	must(err)

	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.rest, ctx = errgroup.WithContext(ctx)
	b, err := broker.Listen(broker.Config{Listen: "127.0.0.1:0", Root: wire.DefaultRoot, Log: log,
		Authenticate: func(user, password string) bool { return user == "site-1" && password == "secret" },
		Receive: func(m broker.Message) {
			f.center.Receive(ctx, collector.Message{Topic: m.Topic, Payload: m.Payload, Done: m.Done})
		}})
	must(err)
	f.center, err = collector.Open(ctx, collector.Config{Name: "flow", Dir: filepath.Join(dir, "collector"), Key: key, Root: wire.DefaultRoot,
		Edges:         []collector.Edge{{ID: "site-1", Key: f.edgeKey.Public().(ed25519.PublicKey)}},
		Methodologies: []collector.File{{Name: "ks-pv.yaml", Text: text}}, Projects: []collector.File{{Name: "flow.yaml", Text: []byte(flowProject)}},
		Limits: collector.DefaultLimits, Acks: b, Clock: edge.RealClock(), Log: log})
	must(err)
	server, err := plant.Listen("127.0.0.1:0", map[uint8]plant.Unit{1: unit})
	must(err)
	bus, err := modbus.New(modbus.Config{Endpoint: "tcp://" + server.Addr()})
	must(err)
	f.box, _, err = outbox.Open(filepath.Join(dir, "outbox"), outbox.Options{Edge: "site-1"})
	must(err)
	cfg := edge.Config{Edge: "site-1", Key: f.edgeKey, Interval: time.Minute, Outbox: f.box, Clock: clock, Log: log, Version: "test",
		Buses:  []edge.Bus{{Name: "b", Reader: bus, Devices: []edge.Device{{ID: "inv", Unit: 1}}}},
		Uplink: edge.Uplink{Broker: "tcp://" + b.Addr(), User: "site-1", Password: "secret", Root: wire.DefaultRoot, CollectorKey: key.Public().(ed25519.PublicKey), AckTimeout: 5 * time.Second}}
	rand.Read(cfg.Boot[:])
	f.agent = edge.New(cfg)

	f.rest.Go(func() error { return server.Serve(ctx) })
	f.rest.Go(func() error { return b.Run(ctx) })
	f.rest.Go(func() error { return f.center.Run(ctx) })
	front, stopEdge := context.WithCancel(ctx)
	f.stopEdge = stopEdge
	go func() { f.edgeDone <- f.agent.Run(front) }()
	t.Cleanup(func() {
		stopEdge()
		stop()
		f.rest.Wait()
		bus.Close()
		f.box.Close()
		f.center.Close()
	})
	return f
}

// finish ends the chain in the order data flows.
func (f *flow) finish(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := f.agent.Flush(ctx); err != nil {
		t.Fatalf("deliver: %v; acked %d of %d", err, f.box.Acked(), f.box.Last())
	}
	f.stopEdge()
	if err := <-f.edgeDone; err != nil {
		t.Fatal(err)
	}
	f.stop()
	if err := f.rest.Wait(); err != nil {
		t.Fatal(err)
	}
}

// back goes the other way, as a verifier would: checkpoint, proof, signature,
// chain, declaration, words.
func (f *flow) back(t *testing.T, want []uint64) {
	t.Helper()
	book := f.center.Store()
	text := book.LastCheckpoint()
	vkey, err := book.VerifierKey()
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		t.Fatalf("checkpoint: %v", err)
	}
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + signed.Text[len("kenshin/flow\n"):]))
	if err != nil {
		t.Fatalf("checkpoint %q: %v", signed.Text, err)
	}
	declarations := make(map[wire.Hash]*wire.Declaration)
	var counted []uint64
	var chain wire.Hash
	err = book.Scan(0, func(r *store.Record) error {
		leaf, err := book.LeafHash(r.Index)
		if err != nil {
			return err
		}
		proof, err := book.Prove(uint64(tree.N), r.Index)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, int64(r.Index), leaf); err != nil {
			t.Errorf("record %d: %v", r.Index, err)
		}
		if r.Kind != store.Batch {
			return nil
		}
		payload, err := wire.Unseal(wire.BatchType, r.Payload, f.edgeKey.Public().(ed25519.PublicKey))
		if err != nil {
			return err
		}
		b, err := wire.DecodeBatch(payload, wire.DefaultLimits)
		if err != nil {
			return err
		}
		if b.Prev != chain {
			t.Errorf("batch %d to %d does not continue the chain", b.First, b.Last)
		}
		chain = b.Chain
		for i := range b.Records {
			if d := b.Records[i].Declaration; d != nil {
				declarations[d.Hash()] = d
			}
			if rd := b.Records[i].Reading; rd != nil {
				counted = append(counted, energyWords(t, declarations[rd.Declaration], rd))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(counted) != len(want) || counted[0] != want[0] || counted[1] != want[1] {
		t.Errorf("register words in the book say %d Wh, want %d", counted, want)
	}
}

// energyWords returns the raw content of a reading's energy counter.
func energyWords(t *testing.T, d *wire.Declaration, r *wire.Reading) uint64 {
	t.Helper()
	if d == nil {
		t.Fatal("a reading without its declaration before it")
	}
	for i := range d.Points {
		p := &d.Points[i]
		if p.Name != d.Energy {
			continue
		}
		k := d.BlockOf(p)
		var raw uint64
		at := p.Address - d.Blocks[k].Address
		for _, w := range r.Blocks[k].Words[at : at+p.Words] {
			raw = raw<<16 | uint64(w)
		}
		return raw
	}
	t.Fatalf("declaration of %s has no energy point", d.Device)
	return 0
}
