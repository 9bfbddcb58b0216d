package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kenshin/configs"
	"kenshin/edge/device"
	"kenshin/edge/plant"
)

// builder makes units of a plant file.
type builder struct {
	p        *plantFile
	clock    plant.Clock
	start    time.Time
	lockstep *plant.Lockstep // nil unless clock_listen is given
	counters map[string]*plant.Counter
}

func (b *builder) build(w *works) ([]endpoint, error) {
	if err := b.counts(); err != nil {
		return nil, err
	}
	if err := b.setClock(); err != nil {
		return nil, err
	}
	var out []endpoint
	for i, e := range b.p.Endpoints {
		made := endpoint{name: e.Name, flag: fmt.Sprintf("`listen` of endpoint %q in %s", e.Name, b.p.file), at: e.Listen, units: make(map[uint8]plant.Unit)}
		var says []string
		for k := range e.Units {
			u, at := &e.Units[k], fmt.Sprintf("$.endpoints[%d].units[%d]", i, k)
			if u.Unit < 1 || u.Unit > 247 || made.units[u.Unit] != nil {
				return nil, b.p.wrong(at, fmt.Sprintf("unit number %d", u.Unit), "want 1 to 247, each once behind an endpoint")
			}
			unit, err := b.unit(u)
			if err != nil {
				var known *configs.Error
				if errors.As(err, &known) {
					return nil, err
				}
				return nil, b.p.wrong(at, fmt.Sprintf("unit %q: %v", u.ID, err), "see configs/plant.example.yaml")
			}
			f, err := w.control.Add(u.ID, e.Name, u.Unit, unit)
			if err != nil {
				return nil, b.p.wrong(at, err.Error(), "a unit id stands for one device")
			}
			made.units[u.Unit] = f
			says = append(says, fmt.Sprintf("%d %s", u.Unit, u.ID))
		}
		made.says = "units " + strings.Join(says, ", ")
		out = append(out, made)
	}
	return out, nil
}

// counts reads the CSV files.
func (b *builder) counts() error {
	b.counters = make(map[string]*plant.Counter)
	for i, e := range b.p.Endpoints {
		for k, u := range e.Units {
			if u.CSV == nil {
				continue
			}
			at := fmt.Sprintf("$.endpoints[%d].units[%d].csv.file", i, k)
			f, err := os.Open(b.p.path(u.CSV.File))
			if err != nil {
				return b.p.wrong(at, err.Error(), "paths are from the folder of the plant file")
			}
			c, err := plant.ReadCounter(f, plant.CounterFormat{Unit: u.CSV.Unit, Zone: b.p.zone})
			f.Close()
			if err != nil {
				return b.p.wrong(at, fmt.Sprintf("%s: %v", u.CSV.File, err), "want lines of time,value, and `unit: kWh`")
			}
			b.counters[u.ID] = c
		}
	}
	return nil
}

// setClock makes the clock that the units go by: that of the readings, or one
// that runs.
func (b *builder) setClock() error {
	var times []time.Time
	for _, c := range b.counters {
		times = append(times, c.Times()...)
	}
	switch {
	case b.p.ClockListen != "" && len(times) == 0:
		return b.p.wrong("$.clock_listen", "a clock that jumps from reading to reading, and no unit with a `csv`", "leave it out")
	case b.p.ClockListen != "":
		b.lockstep = plant.NewLockstep(times, 1, nil)
		b.clock, b.start = b.lockstep, b.lockstep.Now()
		return nil
	case b.p.Start == "" && len(times) > 0:
		b.start = slices.MinFunc(times, time.Time.Compare)
	default:
		var err error
		if b.start, err = moment(b.p.Start, b.p.zone); err != nil {
			return b.p.wrong("$.start", err.Error(), "or leave it out for now, or for the first reading of a csv")
		}
	}
	b.clock = plant.NewScaled(b.start, b.p.Speed)
	return nil
}

// moment reads a time as a person writes it; "" and now are the present.
func moment(text string, zone *time.Location) (time.Time, error) {
	if text == "" || text == "now" {
		return time.Now().In(zone), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t.In(zone), nil
		}
	}
	return time.Time{}, fmt.Errorf("start %q: want now, 2026-06-01, 2026-06-01T08:00 or 2026-06-01T08:00:00+05:30", text)
}

// unit makes one unit, from the one source it names.
func (b *builder) unit(u *unitConfig) (plant.Unit, error) {
	sources := 0
	for _, given := range []bool{u.SunSpec != 0, u.Profile != "" && len(u.Dump) == 0, len(u.Dump) > 0} {
		if given {
			sources++
		}
	}
	switch {
	case sources != 1:
		return nil, errors.New("want one of sunspec, profile and dump; only a dump may have a profile too, which says what its registers mean")
	case len(u.Dump) > 0 && (u.CSV != nil || u.PowerW != 0 || u.EnergyWh != nil || u.Vector != 0 || u.Still):
		return nil, errors.New("a dump stands still; leave out csv, power_W, energy_Wh, vector and still")
	case u.PowerW < -10_000_000 || u.PowerW > 10_000_000 || u.EnergyWh != nil && *u.EnergyWh < 0:
		return nil, errors.New("power_W is -10000000 to 10000000, energy_Wh not negative")
	case u.CSV != nil && (u.PowerW != 0 || u.EnergyWh != nil || u.Still):
		return nil, errors.New("the csv says what it counts; leave out power_W, energy_Wh and still")
	case len(u.Dump) > 0:
		return b.dump(u)
	case u.SunSpec != 0:
		return b.sunspec(u)
	}
	return b.profile(u)
}

func (b *builder) dump(u *unitConfig) (plant.Unit, error) {
	var all *plant.Dump
	for _, d := range u.Dump {
		f, err := os.Open(b.p.path(d.File))
		if err != nil {
			return nil, err
		}
		var one *plant.Dump
		switch {
		case filepath.Ext(d.File) == ".hex" && d.Base == nil:
			err = errors.New("say with base which register its first one is")
		case filepath.Ext(d.File) == ".hex":
			one, err = plant.ReadFrame(f, *d.Base)
		case d.Base != nil:
			err = errors.New("base is for a .hex frame; a text says its addresses")
		default:
			one, err = plant.ReadDump(f)
		}
		f.Close()
		if err == nil && all != nil {
			err = all.Add(one)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.File, err)
		}
		if all == nil {
			all = one
		}
	}
	if u.Profile == "" {
		return all, nil
	}
	p, err := b.loadProfile(u.Profile)
	if err != nil {
		return nil, err
	}
	return plant.As(all, p)
}

// energy returns what a unit counts, nil when the file says nothing of it.
func (b *builder) energy(u *unitConfig) plant.Energy {
	if c := b.counters[u.ID]; c != nil {
		return c.Energy
	}
	if u.EnergyWh == nil && u.PowerW == 0 {
		return nil
	}
	var wh int64
	if u.EnergyWh != nil {
		wh = *u.EnergyWh
	}
	return plant.Steady(b.start, wh, u.PowerW)
}

func (b *builder) sunspec(u *unitConfig) (plant.Unit, error) {
	if u.Vector != 0 || u.Still {
		return nil, errors.New("vector and still belong to a profile")
	}
	if c := b.counters[u.ID]; c != nil {
		if err := c.WholeWh(); err != nil {
			return nil, err
		}
	}
	energy := b.energy(u)
	if energy == nil {
		energy = plant.Steady(b.start, 1_000_000, 1000)
	}
	serial := u.Serial
	if serial == "" {
		serial = u.ID
	}
	plate := plant.Nameplate{Manufacturer: "Kenshin", Model: fmt.Sprintf("Simulated model %d", u.SunSpec), Version: "1", Serial: serial}
	return plant.SunSpecModel(u.SunSpec, plate, energy, b.clock)
}

func (b *builder) profile(u *unitConfig) (plant.Unit, error) {
	p, err := b.loadProfile(u.Profile)
	if err != nil {
		return nil, err
	}
	if u.Serial != "" {
		return nil, errors.New("serial is for sunspec; a profile has that of its vectors")
	}
	c := plant.ProfileConfig{Profile: p, Vector: u.Vector, Energy: b.energy(u), Clock: b.clock}
	if counter := b.counters[u.ID]; counter != nil {
		if err := counter.Fits(p); err != nil {
			return nil, err
		}
	}
	if c.Energy == nil && !u.Still {
		if c.Energy, err = plant.VectorEnergy(p, b.start); err != nil {
			return nil, err
		}
	}
	return plant.NewProfile(c)
}

// loadProfile reads a profile of the folder the file names, or of those that
// come with the program.
func (b *builder) loadProfile(name string) (*device.Profile, error) {
	if b.p.Profiles == "" {
		return loadProfile("", name)
	}
	return loadProfile(b.p.path(b.p.Profiles), name)
}

// loadProfile reads a profile of folder, or when there is none of that name of
// those that come with the program.
func loadProfile(folder, name string) (*device.Profile, error) {
	if name != filepath.Base(name) {
		return nil, fmt.Errorf("profile %q: want its name without folder and .yaml", name)
	}
	file, text, err := "", []byte(nil), os.ErrNotExist
	if folder != "" {
		file = filepath.Join(folder, name+".yaml")
		text, err = os.ReadFile(file)
	}
	if errors.Is(err, os.ErrNotExist) {
		file = "configs/profiles/" + name + ".yaml"
		text, err = configs.Files.ReadFile("profiles/" + name + ".yaml")
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no profile %q", name)
	}
	if err != nil {
		return nil, err
	}
	var p device.Profile
	if err := configs.Decode(file, text, &p); err != nil {
		return nil, err
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &p, nil
}
