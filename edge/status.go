package edge

import (
	"fmt"
	"time"

	"kenshin/edge/wire"
)

// Status is what an agent knows of itself. Times are UTC by its own clock; one
// that has not been is left out.
type Status struct {
	Edge     string      `json:"edge"`
	Version  string      `json:"version"`
	Epoch    wire.Epoch  `json:"epoch"`
	At       time.Time   `json:"at"`
	Started  time.Time   `json:"started"`
	Interval float64     `json:"interval_s"`
	Clock    string      `json:"clock"` // synced, holdover, unsynced or unknown
	Outbox   BoxStatus   `json:"outbox"`
	Link     LinkStatus  `json:"link"`
	Buses    []BusStatus `json:"buses"`
}

// BoxStatus is how far what was read has got.
type BoxStatus struct {
	First  uint64    `json:"first"`           // sequence number of the oldest record that is still there
	Last   uint64    `json:"last"`            // of the newest
	Acked  uint64    `json:"acked"`           // the collector has everything up to here
	Bytes  int64     `json:"bytes,omitempty"` // on disk; filled in by whoever knows the folder
	Oldest time.Time `json:"oldest_unacked,omitzero"`
	Held   int       `json:"held,omitempty"` // records in memory that the disk does not take
	Lost   uint64    `json:"lost,omitempty"` // readings that could not be kept, until a record says so
	Cause  string    `json:"cause,omitempty"`
}

// LinkStatus is how the broker is reached.
type LinkStatus struct {
	Broker    string    `json:"broker"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`   // when that last changed
	Reason    string    `json:"reason,omitempty"` // why there is no connection
	Acked     time.Time `json:"last_ack,omitzero"`
}

// BusStatus is how a bus does.
type BusStatus struct {
	Name    string         `json:"name"`
	Cycles  uint64         `json:"cycles"`
	Missed  uint64         `json:"missed"` // cycles that came due while another still ran
	Last    time.Time      `json:"last_cycle,omitzero"`
	Took    float64        `json:"cycle_s"`           // the last one, s
	Stalled bool           `json:"stalled,omitempty"` // nothing has moved for longer than anything can take
	Traffic *Traffic       `json:"modbus,omitempty"`
	Devices []DeviceStatus `json:"devices"`
}

// Traffic counts what went over a bus since it was opened.
type Traffic struct {
	Requests    uint64  `json:"requests"`
	Answers     uint64  `json:"answers"`
	Exceptions  uint64  `json:"exceptions"`
	Timeouts    uint64  `json:"timeouts"`
	Malformed   uint64  `json:"malformed"`
	Unreachable uint64  `json:"unreachable"`
	Stale       uint64  `json:"stale"` // late answers that were recognised
	Connects    uint64  `json:"connects"`
	Busy        float64 `json:"busy_s"` // waiting for answers, s
}

// DeviceStatus is how a device does.
type DeviceStatus struct {
	ID           string     `json:"id"`
	Unit         uint8      `json:"unit"`
	Profile      string     `json:"profile,omitempty"` // "" while a SunSpec device has not been found
	Manufacturer string     `json:"manufacturer,omitempty"`
	Model        string     `json:"model,omitempty"`
	Serial       string     `json:"serial,omitempty"`
	Declaration  *wire.Hash `json:"declaration,omitempty"`
	Readings     uint64     `json:"readings"`
	Failed       uint64     `json:"failed"`                 // of these, lacking a block
	Good         time.Time  `json:"last_good,omitzero"`     // when every block was last answered
	Failure      time.Time  `json:"last_failure,omitzero"`  // when one last was not
	Reason       string     `json:"reason,omitempty"`       // of that
	Failing      bool       `json:"failing,omitempty"`      // the last reading lacks a block
	Backoff      time.Time  `json:"backoff_until,omitzero"` // it is left alone until then
	Energy       *Energy    `json:"energy,omitempty"`
}

// Energy is the last reading of the counter that stands for a device.
type Energy struct {
	Point   string `json:"point"`
	Value   string `json:"value,omitempty"` // exact, "" when it is not good
	Unit    string `json:"unit"`
	Quality string `json:"quality"`
	Reason  string `json:"reason,omitempty"`
}

// Problems says in one line each what somebody should look at; none is good.
func (s *Status) Problems() []string {
	var out []string
	say := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	if s.Outbox.Held > 0 {
		say("%d records are in memory and not on disk, where a power cut would lose them: %s", s.Outbox.Held, s.Outbox.Cause)
	}
	if s.Outbox.Lost > 0 {
		say("%d readings could not be kept: %s", s.Outbox.Lost, s.Outbox.Cause)
	}
	if !s.Link.Connected {
		say("no connection to broker %s%s", s.Link.Broker, because(s.Link.Reason))
	}
	if s.Clock == clockNames[wire.ClockUnsynced] {
		say("the clock is not synchronised; times of readings cannot be relied on")
	}
	for _, b := range s.Buses {
		if b.Stalled {
			say("bus %s has stopped moving", b.Name)
		}
		for _, d := range b.Devices {
			if d.Failing {
				say("device %s (bus %s, unit %d) does not answer%s", d.ID, b.Name, d.Unit, because(d.Reason))
			}
		}
	}
	return out
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

var clockNames = [...]string{wire.ClockUnknown: "unknown", wire.ClockSynced: "synced", wire.ClockHoldover: "holdover", wire.ClockUnsynced: "unsynced"}
