// Command kenshin-plant is a plant to try the rest on: simulated inverters and
// meters, readings taken once from a real plant, or the devices of a plant file,
// on Modbus TCP, RTU over TCP and serial lines; and everything that goes wrong
// with such devices, on command and by schedule.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
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

	Plant string `help:"Serve the devices of this plant file instead; configs/plant.example.yaml explains every line." type:"path" placeholder:"FILE" group:"Plant file"`

	Fault    []string `help:"What goes wrong with a unit, such as 'inv-2 late 300ms every 60s for 5s'. May be given several times." sep:"none" placeholder:"TEXT" group:"Faults"`
	Scenario string   `help:"File with a list of faults; configs/scenario.example.yaml explains it." type:"path" placeholder:"FILE" group:"Faults"`
	Control  string   `help:"Where the plant takes commands, and where fault, clear and list give them. \"none\" for none." default:"127.0.0.1:5029" placeholder:"HOST:PORT" group:"Faults"`

	Zone string `help:"IANA time zone of the file's times, of -start and of the building's working hours." default:"Asia/Kolkata"`

	Run       struct{} `cmd:"" default:"1" help:"Serve the plant until stopped. This is the default."`
	FaultNow  words    `cmd:"" name:"fault" help:"Let something go wrong in a running plant: fault inv-1 late 300ms for 10s."`
	ClearNow  words    `cmd:"" name:"clear" help:"End the faults of a unit of a running plant, of all when none is named."`
	ListUnits struct{} `cmd:"" name:"list" help:"List the units of a running plant and their faults."`
	Faults    struct{} `cmd:"" help:"List the faults there are and what they do."`
	Check     struct{} `cmd:"" name:"check-config" help:"Read the plant file, scenario, faults, readings and flags, build the plant, and listen nowhere. Exit 2 says what is wrong."`
	Version   struct{} `cmd:"" help:"Print the version."`

	check bool // listens nowhere
}

// words are a command for the running plant as it stands on the command line.
type words struct {
	Words []string `arg:"" optional:"" help:"UNIT FAULT [VALUE] [after TIME] [for TIME] [every TIME] [times N]; see the command faults."`
}

const description = "A plant on Modbus: three simulated inverters, an export meter and a chiller's meter, or what a file says, and what can go wrong with them. Needs no flags."

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c cli
	command, done, err := configs.Parse("kenshin-plant", description, &c, args, stdout, stderr)
	if done || err != nil {
		return err
	}
	name, _, _ := strings.Cut(command, " ")
	switch name {
	case "version":
		_, err := fmt.Fprintln(stdout, "kenshin-plant", configs.Version(version))
		return err
	case "faults":
		return explain(stdout)
	case "fault":
		return c.tell(ctx, stdout, "fault", c.FaultNow.Words)
	case "clear":
		return c.tell(ctx, stdout, "clear", c.ClearNow.Words)
	case "list":
		return c.tell(ctx, stdout, "list", nil)
	}
	c.check = name == "check-config"
	err = c.serve(ctx, stdout)
	if errors.Is(err, errChecked) {
		return nil
	}
	return err
}
