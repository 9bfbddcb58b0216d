package edge

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"kenshin/edge/outbox"
)

// TestStalled: a bus that waits for its next cycle moves, however long that is;
// one whose request never ends does not, and says so before systemd must ask.
func TestStalled(t *testing.T) {
	box := openBox(t, outbox.Options{})
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		reads := 0
		bus := &Bus{Name: "roof", Devices: []Device{{ID: "one", Unit: 1, Declaration: twoBlocks("one", 1)}},
			Reader: asking(func(_ uint8, _, count uint16) ([]uint16, error) {
				if reads++; reads > 4 {
					<-stuck // whatever ctx says
				}
				return make([]uint16, count), nil
			})}
		a := New(Config{Edge: "site-1", Interval: 10 * time.Minute, Buses: []Bus{*bus}, Outbox: box, Clock: RealClock(), Log: zap.NewNop()})
		ctx, cancel := context.WithCancel(t.Context())
		w := workers{agent: a}
		w.poll(ctx, &a.cfg.Buses[0], nil)
		for range 18 {
			time.Sleep(time.Minute) // two cycles, then up to the third
			if s := a.Stalled(); len(s) > 0 {
				t.Fatalf("%v stall while they wait", s)
			}
		}
		time.Sleep(5 * time.Minute)
		if s := fmt.Sprint(a.Stalled()); s != "[roof]" || !a.Status().Buses[0].Stalled {
			t.Errorf("stalled are %s after minutes without a move, want [roof]", s)
		}
		close(stuck)
		synctest.Wait()
		if s := a.Stalled(); len(s) > 0 {
			t.Errorf("%v stall although they move again", s)
		}
		cancel()
		w.wait()
		time.Sleep(time.Hour)
		if s := a.Stalled(); len(s) > 0 {
			t.Errorf("%v stall after the end", s)
		}
	})
}

// TestReason: of a failure that no word of the record tells, Status tells more.
func TestReason(t *testing.T) {
	dev := sunspec(500, [2]uint16{1, 66}, [2]uint16{103, 50})
	devices := []Device{{ID: "inv", Unit: 1}, {ID: "meter", Unit: 1, Sub: 1}}
	b := newBench(t, nil, devices...)
	b.bus.Reader = &dev
	b.agent.cfg.Buses = []Bus{*b.bus}
	b.cycle()
	d := b.agent.Status().Buses[0].Devices
	if d[0].Failing || d[0].Energy == nil || d[0].Energy.Value != "500" {
		t.Errorf("the inverter is %+v", d[0])
	}
	if want := "unit 1: there is no device 1 behind it; it has 1, counted from 0"; !d[1].Failing || d[1].Reason != want {
		t.Errorf("the meter that is not there: %q, want %q", d[1].Reason, want)
	}
}
