package edge

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"kenshin/edge/modbus"
	"kenshin/edge/outbox"
	"kenshin/edge/wire"
)

// station is a bus whose units are SunSpec devices; it counts what is asked.
type station struct {
	mu    sync.Mutex
	units map[uint8]image
	looks map[uint8]int // for the beginning of the map
	reads int
}

func (s *station) Read(ctx context.Context, unit, function uint8, address, count uint16) ([]uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	m, ok := s.units[unit]
	if !ok {
		return nil, modbus.ErrTimeout
	}
	if address == 40000 {
		s.looks[unit]++
	}
	return m.Read(ctx, unit, function, address, count)
}

func (s *station) seen(unit uint8) (looks, reads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks[unit], s.reads
}

func newStation(units ...uint8) *station {
	s := &station{units: make(map[uint8]image), looks: make(map[uint8]int)}
	for _, u := range units {
		s.units[u] = sunspec(500, [2]uint16{1, 66}, [2]uint16{103, 50})
	}
	return s
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in a minute: " + what)
		}
	}
}

// TestReload: what a change does not touch goes on as it was: neither is a device
// discovered again nor the broker left. What is taken out is not asked any more.
func TestReload(t *testing.T) {
	c := &center{t: t, key: seeded(1), edgeKey: seeded(2).Public().(ed25519.PublicKey), have: make(map[uint64]wire.Record),
		chain: make(map[uint64]wire.Hash), generation: 3}
	addr, _ := startBroker(t, c, "127.0.0.1:0")
	box := openBox(t, outbox.Options{})
	one, two, three := newStation(1), newStation(1, 2, 3), newStation(1)
	uplink := Uplink{Broker: "tcp://" + addr, User: "site-1", Password: "secret", Root: wire.DefaultRoot, CollectorKey: c.key.Public().(ed25519.PublicKey), AckTimeout: time.Second}
	a := New(Config{Edge: "site-1", Key: seeded(2), Interval: 10 * time.Millisecond, Outbox: box, Clock: RealClock(), Log: zap.NewNop(), Version: "test", Uplink: uplink,
		Buses: []Bus{
			{Name: "one", Reader: one, Devices: []Device{{ID: "a", Unit: 1}}},
			{Name: "two", Reader: two, Devices: []Device{{ID: "b", Unit: 1}, {ID: "c", Unit: 2}}},
			{Name: "three", Reader: three, Devices: []Device{{ID: "d", Unit: 1}}},
		}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	eventually(t, "the broker is reached and everything is read", func() bool {
		s := a.Status()
		good := 0
		for _, b := range s.Buses {
			for _, d := range b.Devices {
				if d.Readings > 1 && !d.Failing {
					good++
				}
			}
		}
		return s.Link.Connected && good == 4
	})
	since := a.Status().Link.Since
	freed := 0
	next := Change{Interval: 10 * time.Millisecond, Uplink: uplink, Detail: "second", Freed: func() { _, freed = three.seen(1) }, Buses: []Bus{
		{Name: "one", Reader: one, Devices: []Device{{ID: "a", Unit: 1}}},
		{Name: "two", Reader: two, Devices: []Device{{ID: "e", Unit: 3}, {ID: "b", Unit: 1}, {ID: "c", Unit: 3}}},
	}}
	if err := a.Reload(ctx, next); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what is new is read", func() bool {
		s := a.Status()
		return len(s.Buses) == 2 && len(s.Buses[1].Devices) == 3 && s.Buses[1].Devices[0].Readings > 1 && s.Buses[1].Devices[2].Readings > 1
	})
	if looks, _ := one.seen(1); looks != 1 {
		t.Errorf("the device of the bus that stayed was looked for %d times, want once", looks)
	}
	if looks, _ := two.seen(1); looks != 1 {
		t.Errorf("the device that stayed on a changed bus was looked for %d times, want once", looks)
	}
	if looks, _ := two.seen(3); looks != 2 {
		t.Errorf("the two devices that are new were looked for %d times, want once each", looks)
	}
	if _, n := three.seen(1); n != freed {
		t.Errorf("a bus that was taken out was asked %d times more", n-freed)
	}
	if l := a.Status().Link; l.Since != since || !l.Connected {
		t.Errorf("the link was left: %+v, connected since %v before", l, since)
	}
	uplink.AckTimeout = 2 * time.Second
	next.Uplink, next.Interval, next.Detail = uplink, 15*time.Millisecond, "third"
	if err := a.Reload(ctx, next); err != nil {
		t.Fatal(err)
	}
	if s := a.Status(); s.Interval != 0.015 {
		t.Errorf("interval %v s, want 0.015", s.Interval)
	}
	eventually(t, "the broker is reached again", func() bool { l := a.Status().Link; return l.Connected && l.Since != since })
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(t.Context(), next); err == nil {
		t.Error("an agent that has ended took a change")
	}
	var events, declared []string
	for _, r := range readAll(t, box) {
		switch {
		case r.Event != nil:
			events = append(events, r.Event.Detail)
		case r.Declaration != nil:
			declared = append(declared, r.Declaration.Device)
		}
	}
	if want := "[kenshin-edge test second third]"; fmt.Sprint(events) != want {
		t.Errorf("events %v, want %s", events, want)
	}
	if len(declared) != 6 {
		t.Errorf("declared %v, want each of a b c d once and e and c (another unit) after the change", declared)
	}
}
