package plant

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// SiteConfig says which simulated site it is. Every field is required. The same
// seed, place, zone and start make the same site, whatever the clock does.
type SiteConfig struct {
	Seed      uint64         // of the weather and of the differences between devices
	Zone      *time.Location // whose working hours the building with the chiller keeps
	Latitude  float64        // degrees, -90 to 90, north positive
	Longitude float64        // degrees, -180 to 180, east positive
	Start     time.Time      // when the site was commissioned: counting begins here
	Clock     Clock          // before Start it is as if it were Start
}

const (
	inverters     = 3
	inverterWatts = 250_000 // AC rating of one inverter
	arrayWatts    = 300_000 // of the modules on one inverter, at 1000 W/m2 and 25 degrees
	chillerWatts  = 120_000 // rating of the chiller
)

// Site is a solar plant of three 250 kW inverters that feeds into the grid
// through one meter, and a chiller with a meter of its own.
type Site struct {
	cfg  SiteConfig
	sky  sky
	size [inverters]float64 // of each array, around 1

	mu    sync.Mutex     // guards all below
	dawns [][flows]int64 // energies at the beginning of each day since Start, W·ms
	today *day           // the day last asked for
}

// NewSite returns the site, calculated up to the clock's present so that its
// units answer at once: about a second for every four years since Start.
func NewSite(c SiteConfig) *Site {
	s := &Site{cfg: c, sky: sky{c.Seed, c.Latitude, c.Longitude}}
	for i := range s.size {
		s.size[i] = 0.97 + 0.06*chance(c.Seed, noiseFactory, uint64(i))
	}
	s.dawns = append(s.dawns, s.delivered())
	s.at(c.Clock.Now())
	return s
}

// Inverters returns the three inverters as SunSpec units 1, 2 and 3.
func (s *Site) Inverters() map[uint8]Unit {
	units := make(map[uint8]Unit)
	for i := range inverters {
		plate := Nameplate{
			Manufacturer: "Kenshin", Model: "Simulated 250 kW", Version: "1",
			Serial: fmt.Sprintf("SIM-%d-%d", s.cfg.Seed, i+1),
		}
		units[uint8(i+1)] = SunSpecInverter(plate, func() (Output, bool) { return s.output(i, s.cfg.Clock.Now()), true })
	}
	return units
}

// ExportMeter returns the meter at the grid as unit 1, with the map of an
// SDM630. What the inverters make less what the plant itself uses is exported;
// at night the plant imports. Power is positive for import, as on the real one.
func (s *Site) ExportMeter() map[uint8]Unit {
	return map[uint8]Unit{1: &sdm630{
		serial: 63_000_000 + uint32(s.cfg.Seed%1_000_000),
		read: func() load {
			t := s.cfg.Clock.Now()
			now := s.at(t)
			l := s.grid(t)
			l.watts = now[importFlow].watts - now[exportFlow].watts
			l.imported, l.exported = now[importFlow].wattHours(), now[exportFlow].wattHours()
			return l
		},
	}}
}

// Chiller returns the electricity meter of the chiller as unit 1, function 3,
// counted from 0: 0 uint32 import 0.01 kWh, 2 int32 W, 4 uint16 0.01 Hz,
// 5 uint16 0.1 V, 8 uint32 serial number, high words first.
func (s *Site) Chiller() map[uint8]Unit {
	return map[uint8]Unit{1: &genericMeter{
		serial: 71_000_000 + uint32(s.cfg.Seed%1_000_000),
		read: func() load {
			t := s.cfg.Clock.Now()
			now := s.at(t)[chillerFlow]
			l := s.grid(t)
			l.watts, l.imported = now.watts, now.wattHours()
			return l
		},
	}}
}

// output returns what inverter i tells at t.
func (s *Site) output(i int, t time.Time) Output {
	now := s.at(t)[i]
	l := s.grid(t)
	state := uint16(stateMPPT)
	switch now.watts {
	case 0:
		state = stateSleeping
	case inverterWatts:
		state = stateThrottled
	}
	var volts float64
	for _, dv := range l.deciVolts {
		volts += float64(dv) / 10
	}
	return Output{
		MicroWatts: now.watts * 1_000_000,
		WattHours:  uint64(now.wattHours()),
		State:      state,
		Grid: &Grid{
			DeciAmps:     uint16(math.Round(10 * float64(now.watts) / volts)),
			DeciVolts:    l.deciVolts,
			CentiHertz:   l.centiHertz,
			CabinetDeciC: int16(math.Round(10 * (s.sky.ambient(t) + 25*float64(now.watts)/inverterWatts))),
		},
	}
}

// grid returns the voltages and the frequency of the net at t: 228 to 236 V and
// 49.9 to 50.1 Hz.
func (s *Site) grid(t time.Time) load {
	var l load
	for phase := range l.deciVolts {
		n := s.sky.noise(noiseGrid+uint64(phase)<<8, t, 11*time.Minute)
		l.deciVolts[phase] = uint16(math.Round(2280 + 80*n))
	}
	l.centiHertz = uint16(math.Round(4990 + 20*s.sky.noise(noiseGrid, t, 40*time.Second)))
	return l
}
