package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"kenshin/edge"
)

// family is one metric in all its series.
type family struct {
	name, kind, help string
	lines            strings.Builder
}

// add adds a series; labels are name and value in turn.
func (f *family) add(value float64, labels ...string) {
	f.lines.WriteString("kenshin_edge_" + f.name)
	for i := 0; i < len(labels); i += 2 {
		fmt.Fprintf(&f.lines, "%c%s=\"%s\"", "{,"[min(i, 1)], labels[i], escape.Replace(labels[i+1]))
	}
	if len(labels) > 0 {
		f.lines.WriteByte('}')
	}
	f.lines.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// metrics writes a report for Prometheus, in its text format 0.0.4, by hand: the
// client library would be a quarter of the agent. Numbers here are for looking
// at; energy travels exactly, in the outbox.
func metrics(w io.Writer, r *report) error {
	var all []*family
	one := func(name, kind, help string) *family {
		f := &family{name: name, kind: kind, help: help}
		all = append(all, f)
		return f
	}
	one("info", "gauge", "Always 1; what runs here.").add(1, "edge", r.Edge, "version", r.Version, "epoch", r.Epoch.String(), "clock", r.Clock)
	one("start_time_seconds", "gauge", "When the agent started.").add(seconds(r.Started))
	one("resident_memory_bytes", "gauge", "Resident memory of the agent.").add(float64(r.Memory))
	one("clock_synced", "gauge", "1 when the clock is disciplined.").add(truth(r.Clock == "synced"))
	one("config_current", "gauge", "1 when the configuration file as it was last loaded is in force.").add(truth(r.Refused == ""))
	one("outbox_last", "counter", "Sequence number of the newest record.").add(float64(r.Outbox.Last))
	one("outbox_acked", "counter", "Sequence number up to which the collector has everything.").add(float64(r.Outbox.Acked))
	one("outbox_bytes", "gauge", "Bytes of the outbox on disk.").add(float64(r.Outbox.Bytes))
	one("outbox_oldest_unacked_seconds", "gauge", "Age of the oldest record that still has to be delivered, 0 when there is none.").add(age(r.At, r.Outbox.Oldest))
	one("outbox_held", "gauge", "Records in memory that the disk does not take.").add(float64(r.Outbox.Held))
	one("outbox_lost", "gauge", "Readings that could not be kept, until a record says so.").add(float64(r.Outbox.Lost))
	one("broker_connected", "gauge", "1 while there is a connection to the broker.").add(truth(r.Link.Connected))
	busMetrics(one, r.Buses)
	deviceMetrics(one, r.Buses)
	for _, f := range all {
		if f.lines.Len() == 0 {
			continue
		}
		if _, err := fmt.Fprintf(w, "# HELP kenshin_edge_%s %s\n# TYPE kenshin_edge_%s %s\n%s", f.name, f.help, f.name, f.kind, f.lines.String()); err != nil {
			return err
		}
	}
	return nil
}

func busMetrics(one func(name, kind, help string) *family, buses []edge.BusStatus) {
	cycles := one("bus_cycles_total", "counter", "Cycles that came to their end.")
	missed := one("bus_cycles_missed_total", "counter", "Cycles that came due while another still ran.")
	took := one("bus_cycle_seconds", "gauge", "How long the last cycle took.")
	requests := one("bus_requests_total", "counter", "Requests sent.")
	outcomes := one("bus_outcomes_total", "counter", "How reading a block ended.")
	connects := one("bus_connects_total", "counter", "Connections made.")
	busy := one("bus_busy_seconds_total", "counter", "Time from requests to their answers.")
	for _, b := range buses {
		cycles.add(float64(b.Cycles), "bus", b.Name)
		missed.add(float64(b.Missed), "bus", b.Name)
		took.add(b.Took, "bus", b.Name)
		t := b.Traffic
		if t == nil {
			continue
		}
		requests.add(float64(t.Requests), "bus", b.Name)
		for _, o := range []struct {
			name string
			n    uint64
		}{{"answer", t.Answers}, {"exception", t.Exceptions}, {"timeout", t.Timeouts}, {"malformed", t.Malformed}, {"unreachable", t.Unreachable}, {"stale", t.Stale}} {
			outcomes.add(float64(o.n), "bus", b.Name, "outcome", o.name)
		}
		connects.add(float64(t.Connects), "bus", b.Name)
		busy.add(t.Busy, "bus", b.Name)
	}
}

func deviceMetrics(one func(name, kind, help string) *family, buses []edge.BusStatus) {
	up := one("device_up", "gauge", "1 when every block of the last reading was answered.")
	readings := one("device_readings_total", "counter", "Readings, failed ones included.")
	failed := one("device_readings_failed_total", "counter", "Readings that lack a block.")
	good := one("device_last_good_time_seconds", "gauge", "When every block was last answered.")
	alone := one("device_backoff", "gauge", "1 while the device is left alone after failures.")
	for _, b := range buses {
		for _, d := range b.Devices {
			labels := []string{"bus", b.Name, "device", d.ID}
			up.add(truth(!d.Failing && !d.Good.IsZero()), labels...)
			readings.add(float64(d.Readings), labels...)
			failed.add(float64(d.Failed), labels...)
			if !d.Good.IsZero() {
				good.add(seconds(d.Good), labels...)
			}
			alone.add(truth(!d.Backoff.IsZero()), labels...)
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func age(now, then time.Time) float64 {
	if then.IsZero() {
		return 0
	}
	return max(0, float64(now.Sub(then).Milliseconds())/1000)
}
