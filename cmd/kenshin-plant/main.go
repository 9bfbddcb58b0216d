// Command kenshin-plant is a plant to try the rest on: simulated inverters and
// meters, or readings taken once from a real plant, as devices on Modbus TCP.
package main

import (
	"context"
	"fmt"
	"io"
	_ "time/tzdata" // zones of projects must not depend on what is installed

	"kenshin/configs"
)

// version is set when a release is built; otherwise the build information speaks.
var version = ""

func main() { configs.Main("kenshin-plant", run) }

type cli struct {
	Listen string `help:"Where the inverters listen, each a unit of its own." default:"127.0.0.1:5020" placeholder:"HOST:PORT"`

	ListenMeter   string  `help:"Where the export meter listens (simulation)." default:"127.0.0.1:5021" placeholder:"HOST:PORT" group:"Simulation"`
	ListenChiller string  `help:"Where the chiller's meter listens (simulation)." default:"127.0.0.1:5022" placeholder:"HOST:PORT" group:"Simulation"`
	Seed          uint64  `help:"Of the weather and of the devices' differences; the same seed is the same plant." default:"1" group:"Simulation"`
	Speed         float64 `help:"How many times as fast as the world's the plant's clock runs." default:"1" group:"Simulation"`
	Start         string  `help:"What the plant's clock shows first: now, 2026-06-01, 2026-06-01T08:00 (in the zone) or RFC 3339." default:"now" placeholder:"TIME" group:"Simulation"`
	Latitude      float64 `help:"Degrees north of the equator." default:"17.39" group:"Simulation"`
	Longitude     float64 `help:"Degrees east of Greenwich." default:"78.49" group:"Simulation"`

	Replay      string `help:"Serve the readings of this generation file (CSV or CSV.gz) instead of the simulation." type:"path" placeholder:"FILE" group:"Replay"`
	ClockListen string `help:"Where an edge takes its time from: the clock jumps from reading to reading as fast as the edge follows." default:"127.0.0.1:5030" placeholder:"HOST:PORT" group:"Replay"`

	Zone string `help:"IANA time zone of the file's times, of -start and of the building's working hours." default:"Asia/Kolkata"`

	Run     struct{} `cmd:"" default:"1" help:"Serve the plant until stopped. This is the default."`
	Version struct{} `cmd:"" help:"Print the version."`
}

const description = "A plant on Modbus TCP: three simulated inverters, an export meter and a chiller's meter, or the readings of a file. Needs no flags."

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c cli
	command, done, err := configs.Parse("kenshin-plant", description, &c, args, stdout, stderr)
	if done || err != nil {
		return err
	}
	if command == "version" {
		_, err := fmt.Fprintln(stdout, "kenshin-plant", configs.Version(version))
		return err
	}
	return c.serve(ctx, stdout)
}
