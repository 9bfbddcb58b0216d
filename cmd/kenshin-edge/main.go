// Command kenshin-edge is the agent in the field: it polls devices over Modbus,
// keeps the readings on disk and delivers them signed over MQTT.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.uber.org/zap"

	"kenshin/configs"
	"kenshin/edge"
	"kenshin/edge/journal"
	"kenshin/edge/modbus"
	"kenshin/edge/outbox"
)

// version is set when a release is built; otherwise the build information speaks.
var version = ""

func main() { configs.Main("kenshin-edge", run) }

type cli struct {
	Config string `help:"Configuration file; configs/edge.example.yaml explains every line." default:"/etc/kenshin/edge.yaml" type:"path" placeholder:"FILE"`

	Run         struct{} `cmd:"" default:"1" help:"Poll and deliver until stopped. This is the default."`
	CheckConfig struct{} `cmd:"" help:"Check the configuration and say what would be polled. Nothing is opened or written."`
	Identity    struct{} `cmd:"" help:"Print this box's id and public key for the collector's configuration; the key is made when there is none."`
	Dump        struct {
		Dir string `arg:"" help:"Folder of an outbox." type:"existingdir"`
	} `cmd:"" help:"Print the records of an outbox that no agent has open."`
	Version struct{} `cmd:"" help:"Print the version."`
}

const description = "Polls inverters and meters over Modbus and delivers signed readings over MQTT. Start with `kenshin-edge check-config`."

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c cli
	command, done, err := configs.Parse("kenshin-edge", description, &c, args, stdout, stderr)
	if done || err != nil {
		return err
	}
	switch command {
	case "version":
		_, err := fmt.Fprintln(stdout, "kenshin-edge", configs.Version(version))
		return err
	case "dump <dir>":
		return dump(stdout, c.Dump.Dir)
	}
	cfg, err := load(c.Config)
	if err != nil {
		return configs.Setup(err)
	}
	switch command {
	case "check-config":
		return cfg.describe(stdout)
	case "identity":
		key, err := cfg.key()
		if err != nil {
			return configs.Setup(err)
		}
		_, err = fmt.Fprintf(stdout, "edges:\n  - id: %s\n    key: %s\n", cfg.Edge, configs.PublicText(key))
		return err
	}
	return serve(ctx, cfg, stderr)
}

// serve runs the agent.
func serve(ctx context.Context, cfg *config, stderr io.Writer) error {
	log, err := cfg.Log.Logger(stderr)
	if err != nil {
		return configs.Setup(err)
	}
	key, err := cfg.key()
	if err != nil {
		return configs.Setup(err)
	}
	collectorKey, err := cfg.collectorKey()
	if err != nil {
		return configs.Setup(err)
	}
	box, report, err := outbox.Open(cfg.outboxDir(), outbox.Options{Edge: cfg.Edge, MaxBytes: cfg.Outbox.MaxBytes})
	if err != nil {
		return configs.Setup(cfg.dirError(err))
	}
	defer box.Close()
	if box.Last() == 0 {
		if err := room(cfg.Data); err != nil {
			return configs.Setup(cfg.dirError(err))
		}
	}
	if !report.Clean() {
		log.Warn("the outbox was repaired on opening", zap.Stringer("report", report))
	}
	clock, err := cfg.clock(ctx, box)
	if err != nil {
		return configs.Setup(err)
	}
	buses, close, err := cfg.buses()
	if err != nil {
		return configs.Setup(err)
	}
	defer close()
	ac := edge.Config{
		Edge: cfg.Edge, Key: key, Interval: cfg.Interval, Buses: buses, Outbox: box, Clock: clock, Log: log, Version: configs.Version(version),
		Uplink: edge.Uplink{Broker: cfg.Broker.URL, User: cfg.Broker.User, Password: cfg.Broker.Password, Root: cfg.Broker.Root,
			CollectorKey: collectorKey, AckTimeout: cfg.Broker.AckTimeout, Linger: cfg.Broker.Linger},
	}
	if _, err := rand.Read(ac.Boot[:]); err != nil {
		return err
	}
	log.Info("polling", zap.String("edge", cfg.Edge), zap.Int("buses", len(buses)), zap.Duration("interval", cfg.Interval),
		zap.Stringer("epoch", box.Epoch()), zap.Uint64("records", box.Last()), zap.Uint64("acked", box.Acked()))
	return edge.New(ac).Run(ctx)
}

// room finds out whether dir has space for the first minutes of a new outbox: a
// box that is set up on a full disk should say so while its installer is there.
func room(dir string) error {
	f, err := os.CreateTemp(dir, "room-")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 1<<20))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// clock returns the machine's clock, or the plant's in a rig.
func (c *config) clock(ctx context.Context, box *outbox.Outbox) (edge.Clock, error) {
	if c.Clock == "" {
		return edge.RealClock(), nil
	}
	clock, err := edge.DialPlantClock(ctx, c.Clock)
	if err != nil {
		return nil, fmt.Errorf("%w; start kenshin-plant with -clock-listen %s, or take `clock` out of %s", err, c.Clock, c.file)
	}
	if box.Last() == 0 {
		return clock, nil
	}
	recs, _, _, err := box.Read(box.Last(), 1, 1<<20)
	if err != nil {
		return nil, err
	}
	return clock, clock.Follow(ctx, time.UnixMilli(recs[0].Wall))
}

// buses opens nothing yet: a bus dials when it is first read.
func (c *config) buses() (buses []edge.Bus, close func(), err error) {
	var open []*modbus.Bus
	close = func() {
		for _, b := range open {
			b.Close()
		}
	}
	for _, b := range c.Buses {
		m, err := modbus.New(modbus.Config{Endpoint: b.Endpoint, Timeout: b.Timeout, ConnectTimeout: b.ConnectTimeout, ConnectDelay: b.ConnectDelay, Gap: b.Gap})
		if err != nil {
			close()
			return nil, nil, fmt.Errorf("%s: bus %s: %w", c.file, b.Name, err)
		}
		open = append(open, m)
		bus := edge.Bus{Name: b.Name, Reader: m}
		for i := range b.Devices {
			d, err := c.device(&b.Devices[i])
			if err != nil {
				close()
				return nil, nil, err
			}
			bus.Devices = append(bus.Devices, d)
		}
		buses = append(buses, bus)
	}
	return buses, close, nil
}

func dump(w io.Writer, dir string) error {
	if err := outbox.Dump(w, dir); err != nil {
		if errors.Is(err, journal.ErrLocked) {
			return configs.Setup(fmt.Errorf("%w; stop the agent first, or dump a copy of the folder", err))
		}
		return err
	}
	return nil
}
