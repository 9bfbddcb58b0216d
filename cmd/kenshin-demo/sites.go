package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"time"

	"kenshin/collector"
	"kenshin/configs"
	"kenshin/edge"
	"kenshin/edge/device"
	"kenshin/edge/plant"
)

// followMax is how many records may be on their way in a replay before the
// plant's clock waits: as fast as the chain follows, not faster.
const followMax = 4000

// site makes the plant and sets the clock. Both go on where the outbox ends.
func (d *demo) site() (*site, error) {
	last, err := d.lastRecorded()
	if err != nil {
		return nil, err
	}
	if d.cli.Replay != "" {
		return d.replay(last)
	}
	return d.simulation(last)
}

// lastRecorded returns the time of the newest record, zero when there is none.
func (d *demo) lastRecorded() (time.Time, error) {
	if d.box.Last() == 0 {
		return time.Time{}, nil
	}
	recs, _, _, err := d.box.Read(d.box.Last(), 1, 1<<20)
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(recs[0].Wall), nil
}

// simulation is a site near Bangkok: three inverters and the meter at the grid
// for project demo-pv, a chiller for project demo-chiller.
func (d *demo) simulation(last time.Time) (*site, error) {
	d.project = "demo-pv"
	zone, err := time.LoadLocation("Asia/Bangkok")
	if err != nil {
		return nil, err
	}
	d.zone = zone
	commissioned := time.Date(2026, 6, 1, 0, 0, 0, 0, zone)
	start := commissioned.Add(7 * time.Hour) // a visitor wants to see the sun
	if last.After(start) {
		start = last
	}
	d.clock = plant.NewScaled(start, d.cli.Speed)
	p := plant.NewSite(plant.SiteConfig{Seed: d.cli.Seed, Zone: zone, Latitude: 13.75, Longitude: 100.5, Start: commissioned, Clock: d.clock})
	meter, err := profiled("export-meter", "eastron-sdm630")
	if err != nil {
		return nil, err
	}
	chiller, err := profiled("chiller-meter", "generic-energy-meter")
	if err != nil {
		return nil, err
	}
	pv, err := embeddedFile("projects/demo-pv.yaml")
	if err != nil {
		return nil, err
	}
	cold, err := embeddedFile("projects/demo-chiller.yaml")
	if err != nil {
		return nil, err
	}
	return &site{
		units:    []map[uint8]plant.Unit{p.Inverters(), p.ExportMeter(), p.Chiller()},
		devices:  [][]edge.Device{{{ID: "inv-1", Unit: 1}, {ID: "inv-2", Unit: 2}, {ID: "inv-3", Unit: 3}}, {meter}, {chiller}},
		interval: d.interval(),
		projects: []collector.File{pv, cold},
	}, nil
}

// interval is a minute of the plant's time, but not less than 100 ms of ours.
func (d *demo) interval() time.Duration {
	return max(time.Second, min(time.Minute, time.Duration(d.cli.Speed*float64(time.Second))), time.Duration(d.cli.Speed*float64(100*time.Millisecond))).Truncate(time.Second)
}

// replay is the plant whose readings a file holds.
func (d *demo) replay(last time.Time) (*site, error) {
	d.project = "pv-plant1"
	zone, err := time.LoadLocation("Asia/Kolkata")
	if err != nil {
		return nil, err
	}
	d.zone = zone
	f, err := os.Open(d.cli.Replay)
	if err != nil {
		return nil, fmt.Errorf("-replay: %w", err)
	}
	defer f.Close()
	r, err := plant.LoadReplay(f, zone)
	if err != nil {
		return nil, fmt.Errorf("-replay %s: %w", d.cli.Replay, err)
	}
	// Two sleep on the clock: the agent, and the collector until its next checkpoint.
	clock := plant.NewLockstep(r.Times(), 2, d.follow)
	if !last.IsZero() {
		clock.Resume(last)
	}
	d.clock, d.ends = clock, clock.Done()
	s := &site{units: []map[uint8]plant.Unit{r.Units(clock)}, interval: 15 * time.Minute}
	var devices []edge.Device
	for i, key := range r.Keys() {
		devices = append(devices, edge.Device{ID: key, Unit: uint8(i + 1)})
	}
	s.devices = [][]edge.Device{devices}
	s.projects = []collector.File{replayProject(r.Keys())}
	return s, nil
}

// follow holds the plant's clock while too many records are on their way.
func (d *demo) follow(ctx context.Context) error {
	for {
		changed := d.box.Changed()
		if d.box.Last()-d.box.Acked() <= followMax {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// profiled returns a device of a profile that comes with the program.
func profiled(id, name string) (edge.Device, error) {
	f, err := embeddedFile("profiles/" + name + ".yaml")
	if err != nil {
		return edge.Device{}, err
	}
	var p device.Profile
	if err := configs.Decode(f.Name, f.Text, &p); err != nil {
		return edge.Device{}, err
	}
	decl, err := p.Declare(id, 1, sha256.Sum256(f.Text), 0)
	if err != nil {
		return edge.Device{}, err
	}
	return edge.Device{ID: id, Unit: 1, Declaration: &decl}, nil
}

func embeddedFile(name string) (collector.File, error) {
	text, err := configs.Files.ReadFile(name)
	return collector.File{Name: name, Text: text}, err
}
