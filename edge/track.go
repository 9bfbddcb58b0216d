package edge

import (
	"time"

	"kenshin/edge/modbus"
	"kenshin/edge/wire"
)

// stallAfter is longer than any request can take, with its connection.
const stallAfter = 2 * time.Minute

// busTrack is what is known of a bus for Status.
type busTrack struct {
	cycles, missed uint64
	last           time.Time
	took           time.Duration
	moves          time.Time // by when the goroutine must have moved again, zero for no limit; the machine's clock
}

// deviceTrack is what is known of a device for Status.
type deviceTrack struct {
	declaration      *wire.Declaration // nil while it is not known
	hash             wire.Hash
	readings, failed uint64
	good, failure    time.Time
	reason           string
	failing          bool
	until            time.Time
	last             *wire.Reading
}

// expect says by when the goroutine of a bus must have moved again: d from now,
// and then some.
func (a *Agent) expect(b *Bus, d time.Duration) {
	var by time.Time
	if d == 0 || a.realTime() {
		by = time.Now().Add(d + stallAfter)
	} // how long another clock sleeps nobody can say
	a.tracking.Lock()
	a.bus(b).moves = by
	a.tracking.Unlock()
}

// expectNothing says that the goroutine of a bus has ended.
func (a *Agent) expectNothing(b *Bus) {
	a.tracking.Lock()
	a.bus(b).moves = time.Time{}
	a.tracking.Unlock()
}

// bus returns the track of a bus; a.tracking is held.
func (a *Agent) bus(b *Bus) *busTrack {
	t := a.buses[b.Name]
	if t == nil {
		t = &busTrack{}
		a.buses[b.Name] = t
	}
	return t
}

func (a *Agent) noteCycle(b *Bus, now time.Time, took time.Duration, missed uint64) {
	a.tracking.Lock()
	defer a.tracking.Unlock()
	t := a.bus(b)
	t.cycles++
	t.missed += missed
	t.last, t.took = now, took
}

// noteDevice notes a reading of a device, or nil before the first.
func (a *Agent) noteDevice(s *deviceState, r *wire.Record) {
	a.tracking.Lock()
	defer a.tracking.Unlock()
	t := a.devices[s.cfg.ID]
	if t == nil {
		t = &deviceTrack{}
		a.devices[s.cfg.ID] = t
	}
	t.declaration, t.hash = s.declaration, s.hash
	t.until = time.Time{}
	if s.dead.failures > 0 {
		t.until = s.dead.until
	}
	if r == nil {
		return
	}
	at := time.UnixMilli(r.Wall).UTC()
	failed := firstFailure(r.Reading)
	t.readings++
	t.last, t.failing = r.Reading, failed != nil
	if failed == nil {
		t.good = at
		return
	}
	t.failed++
	if failed.Status != wire.Skipped {
		t.failure, t.reason = at, failed.Reason()
		if failed.Status == wire.Malformed && s.err != nil {
			t.reason = s.err.Error() // also that there is no such device, or no SunSpec map
		}
	}
}

// counted is a bus that counts what goes over it.
type counted interface{ Stats() modbus.Stats }

// Status returns what the agent knows of itself now. It may be called at any
// time, also before and after Run.
func (a *Agent) Status() Status {
	oldest := a.oldest()
	a.mu.Lock()
	held := a.cfg.Outbox.Held()
	lost, cause := a.lost.count+held.Lost, a.held
	if cause == "" {
		cause = a.lost.cause
	}
	a.mu.Unlock()
	a.tracking.Lock()
	defer a.tracking.Unlock()
	box := a.cfg.Outbox
	out := Status{
		Edge: a.cfg.Edge, Version: a.cfg.Version, Epoch: box.Epoch(), At: a.cfg.Clock.Now().UTC(), Started: a.startWall.UTC(),
		Interval: a.cfg.Interval.Seconds(), Clock: clockNames[clockState(a.cfg.Clock)], Link: a.link,
		Outbox: BoxStatus{First: box.First(), Last: box.Last(), Acked: box.Acked(), Oldest: oldest,
			Held: held.Records, Lost: lost, Cause: cause},
		Buses: make([]BusStatus, 0, len(a.cfg.Buses)),
	}
	out.Link.Broker = a.cfg.Uplink.Broker
	for i := range a.cfg.Buses {
		out.Buses = append(out.Buses, a.busStatus(&a.cfg.Buses[i]))
	}
	return out
}

// oldest returns when the oldest record was made that still has to be delivered.
func (a *Agent) oldest() time.Time {
	acked, last := a.cfg.Outbox.Acked(), a.cfg.Outbox.Last()
	if acked >= last {
		return time.Time{}
	}
	recs, _, _, err := a.cfg.Outbox.Read(acked+1, 1, 1)
	if err != nil {
		return time.Time{} // the publisher finds out about a damaged outbox, and says so
	}
	return time.UnixMilli(recs[0].Wall).UTC()
}

// busStatus is called with a.tracking held.
func (a *Agent) busStatus(b *Bus) BusStatus {
	t := a.bus(b)
	out := BusStatus{Name: b.Name, Cycles: t.cycles, Missed: t.missed, Last: t.last.UTC(), Took: t.took.Seconds(), Stalled: a.stalled(b),
		Devices: make([]DeviceStatus, 0, len(b.Devices))}
	if c, ok := b.Reader.(counted); ok {
		s := c.Stats()
		out.Traffic = &Traffic{Requests: s.Requests, Answers: s.Answers, Exceptions: s.Exceptions, Timeouts: s.Timeouts, Malformed: s.Malformed,
			Unreachable: s.Unreachable, Stale: s.Stale, Connects: s.Connects, Busy: s.Busy.Seconds()}
	}
	for i := range b.Devices {
		out.Devices = append(out.Devices, a.deviceStatus(&b.Devices[i]))
	}
	return out
}

func (a *Agent) deviceStatus(d *Device) DeviceStatus {
	out := DeviceStatus{ID: d.ID, Unit: d.Unit}
	t := a.devices[d.ID]
	if t == nil {
		return out
	}
	out.Readings, out.Failed, out.Good, out.Failure, out.Reason, out.Failing = t.readings, t.failed, t.good, t.failure, t.reason, t.failing
	if t.until.After(a.cfg.Clock.Now()) {
		out.Backoff = t.until.UTC()
	}
	k := t.declaration
	if k == nil {
		return out
	}
	out.Profile, out.Manufacturer, out.Model, out.Serial = k.Profile, k.Manufacturer, k.Model, k.Serial
	hash := k.Hash()
	out.Declaration = &hash
	if t.last == nil || t.last.Declaration != hash {
		return out // it was discovered anew, or its blocks were split, since
	}
	for i, v := range k.Values(t.last) {
		if p := &k.Points[i]; k.Energy != "" && p.Name == k.Energy {
			out.Energy = &Energy{Point: p.Name, Unit: p.Unit, Quality: v.Quality.String(), Reason: v.Reason}
			if v.Quality == wire.Good {
				out.Energy.Value = v.Number.String()
			}
		}
	}
	return out
}

// Stalled returns the names of the buses whose goroutine has not moved for
// longer than anything it does can take: a watchdog should not be fed then.
func (a *Agent) Stalled() []string {
	a.tracking.Lock()
	defer a.tracking.Unlock()
	var out []string
	for i := range a.cfg.Buses {
		if a.stalled(&a.cfg.Buses[i]) {
			out = append(out, a.cfg.Buses[i].Name)
		}
	}
	return out
}

// stalled is called with a.tracking held.
func (a *Agent) stalled(b *Bus) bool {
	by := a.bus(b).moves
	return !by.IsZero() && time.Now().After(by)
}

// linked notes that the broker was reached or lost, and reports whether that is
// news.
func (a *Agent) linked(connected bool, reason string) bool {
	a.tracking.Lock()
	defer a.tracking.Unlock()
	l := &a.link
	news := connected != l.Connected || l.Since.IsZero()
	if news {
		l.Connected, l.Since = connected, a.cfg.Clock.Now().UTC()
	}
	l.Reason = reason
	return news
}

// acknowledged notes that an ack moved.
func (a *Agent) acknowledged() {
	a.tracking.Lock()
	a.link.Acked = a.cfg.Clock.Now().UTC()
	a.tracking.Unlock()
}
