// Command kenshin-demo runs everything in one process, on real loopback
// sockets: a simulated plant, an edge agent, a broker, the collector, the page.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
	_ "time/tzdata" // zones of projects must not depend on what is installed

	"kenshin/configs"
)

func main() { configs.Main("kenshin-demo", run) }

type cli struct {
	Addr   string        `help:"Address of the page and the API." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	Dir    string        `help:"Folder for everything the demo keeps; the next start goes on from there. Without it a temporary folder is used and removed." placeholder:"DIR"`
	For    time.Duration `help:"End by itself after so long; 0 runs until Ctrl-C." placeholder:"DURATION"`
	JSON   bool          `name:"json" help:"Print the totals as JSON on standard output at the end."`
	Speed  float64       `help:"How fast the plant's clock runs: at 600 a day passes in 2 min 24 s." default:"600" placeholder:"N"`
	Seed   uint64        `help:"Weather and devices of the simulated site." default:"1" placeholder:"N"`
	Replay string        `help:"Instead of the simulation, real readings drive the plant: a CSV of inverters with lifetime counters (DATE_TIME, SOURCE_KEY, AC_POWER, TOTAL_YIELD), plain or gzip. Ends with the file." placeholder:"FILE"`
	Log    string        `help:"How much the parts say about themselves: debug, info, warn or error." default:"warn" placeholder:"LEVEL"`
}

const description = "A solar plant and a chiller, from register to tonne of CO2, in one process: simulated devices answer Modbus TCP, an edge agent polls them and delivers signed batches over MQTT, a collector keeps and settles them and serves the page."

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c cli
	_, done, err := configs.Parse("kenshin-demo", description, &c, args, stdout, stderr)
	if done || err != nil {
		return err
	}
	switch {
	case !(c.Speed > 0 && c.Speed <= 100_000): // not a number is neither
		return configs.Setup(fmt.Errorf("speed %v: want more than 0 and at most 100000", c.Speed))
	case c.For < 0:
		return configs.Setup(fmt.Errorf("for %v: a time cannot be negative", c.For))
	}
	dir, remove, err := folder(c.Dir)
	if err != nil {
		return configs.Setup(err)
	}
	defer remove()
	d, err := open(ctx, &c, dir, stderr)
	if err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C before anything ran
		}
		return configs.Setup(err)
	}
	return d.run(ctx, stdout, stderr)
}

// folder returns where the demo keeps things, and what to do at the end.
func folder(dir string) (path string, done func(), err error) {
	if dir == "" {
		dir, err = os.MkdirTemp("", "kenshin-demo-")
		return dir, func() { os.RemoveAll(dir) }, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("-dir: %w; name a folder that can be written", err)
	}
	return dir, func() {}, nil
}
