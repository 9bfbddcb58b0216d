// Command kenshin-edge is the agent in the field: it polls devices over Modbus,
// keeps the readings on disk and delivers them signed over MQTT. It also helps
// whoever connects the devices: probe finds out what is there, plan says what
// polling will cost, read shows one cycle, status how a running agent does.
package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"kenshin/configs"
)

// version is set when a release is built; otherwise the build information speaks.
var version = ""

func main() { configs.Main("kenshin-edge", run) }

type cli struct {
	Config string `help:"Configuration file; configs/edge.example.yaml explains every line." default:"/etc/kenshin/edge.yaml" placeholder:"FILE"`

	Run         struct{}  `cmd:"" default:"1" help:"Poll and deliver until stopped. This is the default. SIGHUP reads the configuration again."`
	CheckConfig struct{}  `cmd:"" help:"Check the configuration; say what would be polled and what is missing. No device is asked, nothing is written."`
	Plan        planCmd   `cmd:"" help:"Say what polling costs: requests, bytes and time on each bus, and whether the interval can be met."`
	Read        readCmd   `cmd:"" help:"Read all devices of the configuration once and print their values."`
	Probe       probeCmd  `cmd:"" help:"Find the devices behind an endpoint and what they are; needs no configuration."`
	Status      statusCmd `cmd:"" help:"Ask the running agent how it does; needs http.listen in its configuration."`
	Enrol       enrolCmd  `cmd:"" help:"Make this box known to a collector by a one-time token, and take its key, certificates and broker address."`
	Identity    struct{}  `cmd:"" help:"Print this box's id and public key for the collector's configuration; the key is made when there is none."`
	Dump        dumpCmd   `cmd:"" help:"Print the records of an outbox as JSON lines."`
	Stat        statCmd   `cmd:"" help:"Say what an outbox holds."`
	Verify      verifyCmd `cmd:"" help:"Read all of an outbox and compare it with its checksums and its chain. Exit 1 names what is not as it was written."`
	Repair      repairCmd `cmd:"" help:"Do to an outbox what starting the agent does, and say what that was. The agent must be stopped."`
	Version     struct{}  `cmd:"" help:"Print the version."`
}

const description = `Polls inverters and meters over Modbus and delivers signed readings over MQTT.

The first day at a site:

  kenshin-edge probe 192.168.1.20 /dev/ttyUSB0 --write edge.yaml   what is there
  kenshin-edge plan --config edge.yaml           does it fit the interval
  kenshin-edge read --config edge.yaml           compare with the displays
  kenshin-edge identity --config edge.yaml       for the collector
  kenshin-edge check-config --config edge.yaml   what is missing
  kenshin-edge run --config edge.yaml            poll and deliver

Later: kenshin-edge status says how the agent does; after a change of the file, systemctl reload kenshin-edge.

Exit codes: 0 all is well, 1 something was found to look at, 2 wrong usage or configuration.`

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c cli
	command, done, err := configs.Parse("kenshin-edge", description, &c, args, stdout, stderr)
	if done || err != nil {
		return err
	}
	command, _, _ = strings.Cut(command, " ") // of its arguments
	switch command {
	case "version":
		_, err := fmt.Fprintln(stdout, "kenshin-edge", configs.Version(version))
		return err
	case "probe":
		return c.Probe.run(ctx, stdout, stderr)
	}
	if b, ok := c.outbox(command); ok {
		return b.run(c.Config, stdout)
	}
	cfg, err := loadFor(c.Config, command == "enrol" || command == "identity")
	if err != nil {
		return configs.Setup(err)
	}
	switch command {
	case "check-config":
		return cfg.describe(stdout)
	case "plan":
		return c.Plan.run(ctx, cfg, stdout)
	case "read":
		return c.Read.run(ctx, cfg, stdout)
	case "enrol":
		return c.Enrol.run(ctx, cfg, stdout)
	case "status":
		return c.Status.run(ctx, cfg, stdout)
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
