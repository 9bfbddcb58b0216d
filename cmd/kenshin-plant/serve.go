package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"kenshin/configs"
	"kenshin/edge/plant"
)

// commissioned is when every simulated site began to count. It is fixed, so
// that a plant that was started again shows what it would have shown.
var commissioned = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// endpoint is one Modbus address of the plant.
type endpoint struct {
	name  string // for people
	flag  string // that says where
	at    string // tcp://..., rtutcp://... or rtu://...
	units map[uint8]plant.Unit
	says  string // what is to be read there
}

func (c *cli) serve(ctx context.Context, stdout io.Writer) error {
	zone, err := time.LoadLocation(c.Zone)
	if err != nil || c.Zone == "" || c.Zone == "Local" {
		return configs.Setup(fmt.Errorf("-zone %q: not a time zone this machine knows; want an IANA name such as Asia/Kolkata", c.Zone))
	}
	switch {
	case c.Plant != "" && c.Replay != "":
		return configs.Setup(errors.New("-plant and -replay: want one of them"))
	case c.Plant != "":
		return c.fromFile(ctx, stdout)
	case c.Replay != "":
		return c.replay(ctx, stdout, zone)
	}
	return c.simulate(ctx, stdout, zone)
}

// simulate serves the simulated site.
func (c *cli) simulate(ctx context.Context, stdout io.Writer, zone *time.Location) error {
	start, err := c.first(zone)
	if err != nil {
		return configs.Setup(err)
	}
	if !(c.Speed > 0) || math.IsInf(c.Speed, 0) {
		return configs.Setup(fmt.Errorf("-speed %v: want a number above 0; 1 is the world's, 600 makes ten minutes of a second", c.Speed))
	}
	if !(math.Abs(c.Latitude) <= 90) || !(math.Abs(c.Longitude) <= 180) {
		return configs.Setup(fmt.Errorf("-latitude %v -longitude %v: want -90 to 90 and -180 to 180 degrees", c.Latitude, c.Longitude))
	}
	clock := plant.NewScaled(start, c.Speed)
	site := plant.NewSite(plant.SiteConfig{
		Seed: c.Seed, Zone: zone, Latitude: c.Latitude, Longitude: c.Longitude, Start: commissioned, Clock: clock,
	})
	export, err := known(site.ExportMeter(), "eastron-sdm630")
	if err != nil {
		return err
	}
	chiller, err := known(site.Chiller(), "generic-energy-meter")
	if err != nil {
		return err
	}
	w := newWorks(c.Seed)
	endpoints := []endpoint{
		{"inverters", "-listen", "tcp://" + c.Listen, w.wrap("inverters", site.Inverters(), "inv-1", "inv-2", "inv-3"), "units 1 to 3: SunSpec models 1, 103 and 122 at 40000, function 3"},
		{"export meter", "-listen-meter", "tcp://" + c.ListenMeter, w.wrap("export meter", export, "export-meter"), "unit 1: SDM630 map, function 4"},
		{"chiller meter", "-listen-chiller", "tcp://" + c.ListenChiller, w.wrap("chiller meter", chiller, "chiller-meter"), "unit 1: generic-energy-meter, function 3"},
	}
	if err := w.open(c, stdout, endpoints); err != nil {
		return configs.Setup(err)
	}
	fmt.Fprintf(stdout, "simulated plant, seed %d, %v, clock at %s, speed %v\n", c.Seed, zone, start.Format(time.RFC3339), c.Speed)
	w.show(stdout)
	if c.Speed != 1 {
		fmt.Fprintln(stdout, "note  an edge with a clock of its own sees counters run", c.Speed, "times too fast; for the whole chain at this speed: kenshin-demo -speed", c.Speed)
	}
	fmt.Fprintln(stdout, "next  kenshin-edge -config configs/edge.example.yaml; Ctrl-C ends the plant")
	g, ctx := errgroup.WithContext(ctx)
	w.serve(ctx, g)
	return g.Wait()
}

// known returns units whose registers mean what a profile says, so that their
// values can go wrong.
func known(units map[uint8]plant.Unit, profile string) (map[uint8]plant.Unit, error) {
	p, err := loadProfile("", profile)
	if err != nil {
		return nil, err
	}
	out := make(map[uint8]plant.Unit, len(units))
	for n, u := range units {
		if out[n], err = plant.As(u, p); err != nil {
			return nil, fmt.Errorf("unit %d: %w", n, err)
		}
	}
	return out, nil
}

// replay serves the readings of a file, and the clock that walks through them.
func (c *cli) replay(ctx context.Context, stdout io.Writer, zone *time.Location) error {
	file, err := load(c.Replay, zone)
	if err != nil {
		return configs.Setup(err)
	}
	times := file.Times()
	clock := plant.NewLockstep(times, 1, nil)
	w := newWorks(c.Seed)
	endpoints := []endpoint{{"inverters", "-listen", "tcp://" + c.Listen, w.wrap("inverters", file.Units(clock), file.Keys()...),
		fmt.Sprintf("units 1 to %d: SunSpec models 1, 103 and 122 at 40000, function 3", len(file.Keys()))}}
	if err := w.open(c, stdout, endpoints); err != nil {
		return configs.Setup(err)
	}
	clockAt, err := net.Listen("tcp", c.ClockListen)
	if err != nil {
		w.close()
		return configs.Setup(remedy(fmt.Errorf("listen for the clock's followers on %s: %w", c.ClockListen, err), "-clock-listen"))
	}
	first, last := times[0].In(zone), times[len(times)-1].In(zone)
	fmt.Fprintf(stdout, "replay of %s: %d inverters, %d times, %s to %s\n", c.Replay, len(file.Keys()), len(times), first.Format(time.RFC3339), last.Format(time.RFC3339))
	w.show(stdout)
	fmt.Fprintf(stdout, "  %-14s %-22s jumps to the next reading when an edge sleeps on it\n", "clock", clockAt.Addr())
	fmt.Fprintf(stdout, "next  kenshin-edge with `clock: %s` in its configuration; Ctrl-C ends the plant\n", clockAt.Addr())
	g, ctx := errgroup.WithContext(ctx)
	w.serve(ctx, g)
	g.Go(func() error { return plant.ServeClock(ctx, clockAt, clock) })
	g.Go(func() error {
		select {
		case <-clock.Done():
			fmt.Fprintln(stdout, "end   every reading of the file has been shown; the last ones stay until Ctrl-C")
		case <-ctx.Done():
		}
		return nil
	})
	return g.Wait()
}

// first returns what the clock shows first, by -start.
func (c *cli) first(zone *time.Location) (time.Time, error) {
	if c.Start == "now" {
		return time.Now().In(zone), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		t, err := time.ParseInLocation(layout, c.Start, zone)
		if err != nil {
			continue
		}
		if t.Before(commissioned) {
			return t, fmt.Errorf("-start %s: the plant was built %s; give a later time", c.Start, commissioned.Format(time.DateOnly))
		}
		return t.In(zone), nil
	}
	return time.Time{}, fmt.Errorf("-start %q: want now, 2026-06-01, 2026-06-01T08:00 or 2026-06-01T08:00:00+05:30", c.Start)
}

// load reads a generation file.
func load(path string, zone *time.Location) (*plant.Replay, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("-replay %s: no such file; give the path of Plant_1_Generation_Data.csv or .csv.gz", path)
	}
	if err != nil {
		return nil, fmt.Errorf("-replay: %w", err)
	}
	defer f.Close()
	r, err := plant.LoadReplay(f, zone)
	if err != nil {
		return nil, fmt.Errorf("-replay %s: %w", path, err)
	}
	return r, nil
}

// remedy says after an error of binding what can be done.
func remedy(err error, flag string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w; end the program that has it, or give another port with %s", err, flag)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; give a port above 1023 with %s", err, flag)
	default:
		return fmt.Errorf("%w; give host:port of this machine with %s", err, flag)
	}
}
