package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"kenshin/configs"
	"kenshin/edge/plant"
)

// plantFile is the file of configs/plant.example.yaml, which explains every key.
type plantFile struct {
	file string
	text []byte
	zone *time.Location

	Zone        string           `yaml:"zone"`
	Start       string           `yaml:"start"`
	Speed       float64          `yaml:"speed"`
	ClockListen string           `yaml:"clock_listen"`
	Profiles    string           `yaml:"profiles"`
	Endpoints   []endpointConfig `yaml:"endpoints"`
	Faults      []string         `yaml:"faults"`
}

type endpointConfig struct {
	Name   string       `yaml:"name"`
	Listen string       `yaml:"listen"`
	Units  []unitConfig `yaml:"units"`
}

type unitConfig struct {
	ID       string       `yaml:"id"`
	Unit     uint8        `yaml:"unit"`
	SunSpec  uint16       `yaml:"sunspec"`
	Profile  string       `yaml:"profile"`
	Vector   int          `yaml:"vector"`
	Still    bool         `yaml:"still"`
	Dump     []dumpConfig `yaml:"dump"`
	CSV      *csvConfig   `yaml:"csv"`
	PowerW   int64        `yaml:"power_W"`
	EnergyWh *int64       `yaml:"energy_Wh"`
	Serial   string       `yaml:"serial"`
}

type dumpConfig struct {
	File string  `yaml:"file"`
	Base *uint16 `yaml:"base"`
}

type csvConfig struct {
	File string `yaml:"file"`
	Unit string `yaml:"unit"`
}

// loadPlant reads and checks a plant file. Nothing is bound.
func loadPlant(file string) (*plantFile, error) {
	p := &plantFile{file: file, Zone: "UTC", Start: "", Speed: 1}
	var err error
	if p.text, err = configs.Load(file, p); err != nil {
		return nil, err
	}
	p.zone, err = time.LoadLocation(p.Zone)
	switch {
	case err != nil || p.Zone == "" || p.Zone == "Local":
		return nil, p.wrong("$.zone", fmt.Sprintf("zone %q is none this machine knows", p.Zone), "want an IANA name such as Asia/Kolkata")
	case !(p.Speed > 0) || p.Speed > 1e6:
		return nil, p.wrong("$.speed", fmt.Sprintf("speed %v", p.Speed), "want a number above 0; 1 is the world's")
	case len(p.Endpoints) == 0:
		return nil, p.wrong("$", "no `endpoints`", "name at least one, with its units")
	}
	names := make(map[string]bool)
	for i, e := range p.Endpoints {
		at := fmt.Sprintf("$.endpoints[%d]", i)
		switch {
		case e.Name == "" || names[e.Name]:
			return nil, p.wrong(at, fmt.Sprintf("endpoint name %q", e.Name), "give each a name of its own")
		case e.Listen == "":
			return nil, p.wrong(at, "endpoint without `listen`", "want tcp://127.0.0.1:5020, rtutcp://127.0.0.1:5020 or rtu://")
		case len(e.Units) == 0:
			return nil, p.wrong(at, "endpoint without `units`", "name at least one")
		}
		names[e.Name] = true
	}
	return p, nil
}

func (p *plantFile) wrong(path, problem, remedy string) error {
	return configs.At(p.file, p.text, path, problem, remedy)
}

// path returns a path of the file as one from here.
func (p *plantFile) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(p.file), name)
}

// fromFile serves the plant of a file.
func (c *cli) fromFile(ctx context.Context, stdout io.Writer) error {
	p, err := loadPlant(c.Plant)
	if err != nil {
		return configs.Setup(err)
	}
	w := newWorks(c.Seed)
	b := &builder{p: p}
	endpoints, err := b.build(w)
	if err != nil {
		return configs.Setup(err)
	}
	for _, f := range listed(p.file, p.text, p.Faults) {
		if err := w.control.Check(f.text); err != nil {
			return configs.Setup(f.wrong(err))
		}
	}
	if err := w.open(c, stdout, endpoints); err != nil {
		return configs.Setup(err)
	}
	var clockAt net.Listener
	if b.lockstep != nil {
		if clockAt, err = net.Listen("tcp", p.ClockListen); err != nil {
			w.close()
			return configs.Setup(remedy(fmt.Errorf("%s: listen for the clock's followers on %s: %w", p.file, p.ClockListen, err), "clock_listen"))
		}
	}
	for _, f := range listed(p.file, p.text, p.Faults) {
		if _, err := w.control.Inject(f.text); err != nil {
			w.close()
			return configs.Setup(f.wrong(err))
		}
	}
	fmt.Fprintf(stdout, "plant of %s, clock at %s\n", p.file, b.clock.Now().In(p.zone).Format(time.RFC3339))
	w.show(stdout)
	if clockAt != nil {
		fmt.Fprintf(stdout, "  %-14s %-22s jumps to the next reading when an edge sleeps on it\n", "clock", clockAt.Addr())
	}
	var ends []string
	for _, s := range w.servers {
		ends = append(ends, s.Endpoint())
	}
	fmt.Fprintf(stdout, "next  kenshin-edge with these endpoints: %s; Ctrl-C ends the plant\n", strings.Join(ends, ", "))
	g, ctx := errgroup.WithContext(ctx)
	w.serve(ctx, g)
	if clockAt != nil {
		g.Go(func() error { return plant.ServeClock(ctx, clockAt, b.lockstep) })
	}
	return g.Wait()
}
