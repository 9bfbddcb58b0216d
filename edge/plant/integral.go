package plant

import (
	"math"
	"time"
)

// Power is fixed in whole watts at knots, one a minute from Start on, and runs
// straight between them; energy is the exact integral of that in whole W·ms.
// Both are integers and depend on nothing but seed and time.
const (
	knotMs = 60_000
	knots  = 24 * 60 // in a day of the site: 24 hours counted from Start
	dayMs  = knots * knotMs
	whMs   = 3_600_000 // W·ms in a Wh
)

// The flows that are integrated: each inverter from 0 on, then these.
const (
	exportFlow = inverters + iota
	importFlow
	chillerFlow
	flows
)

// flow is a power and the energy counted by then.
type flow struct {
	watts  int64
	wattMs int64
}

func (f flow) wattHours() int64 { return f.wattMs / whMs }

// day holds the knots of one day: of the next day's first one too.
type day struct {
	number int64
	watts  [knots + 1][flows]int64
	wattMs [knots + 1][flows]int64 // by then, since the meters were made
}

// delivered returns what the counters show at Start: devices come used.
func (s *Site) delivered() [flows]int64 {
	var e [flows]int64
	for i, wh := range [flows]float64{600e6, 600e6, 600e6, 1750e6, 10e6, 450e6} {
		e[i] = int64(wh*(0.9+0.2*chance(s.cfg.Seed, noiseFactory, 100+uint64(i)))) * whMs
	}
	return e
}

// at returns all flows at t. Days that no one asked for before are integrated
// once, in less than a millisecond each; going back is as good as going on.
func (s *Site) at(t time.Time) [flows]flow {
	ms := max(t.Sub(s.cfg.Start).Milliseconds(), 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.day(ms / dayMs)
	knot, tau := ms%dayMs/knotMs, ms%knotMs
	var now [flows]flow
	for i := range now {
		p, next := d.watts[knot][i], d.watts[knot+1][i]
		// The integral of p + (next-p)·tau/knotMs, in one division.
		run := (2*knotMs*p*tau + (next-p)*tau*tau) / (2 * knotMs)
		now[i] = flow{
			watts:  p + (next-p)*tau/knotMs,
			wattMs: d.wattMs[knot][i] + run,
		}
	}
	return now
}

// day returns the knots of a day, integrating up to it. It wants mu held.
func (s *Site) day(number int64) *day {
	if s.today != nil && s.today.number == number {
		return s.today
	}
	var d *day
	for n := min(number, int64(len(s.dawns))-1); n <= number; n++ {
		d = s.integrate(n)
		if n == int64(len(s.dawns))-1 {
			s.dawns = append(s.dawns, d.wattMs[knots])
		}
	}
	s.today = d
	return d
}

// integrate calculates a day from the energies at its beginning.
func (s *Site) integrate(number int64) *day {
	d := &day{number: number}
	d.wattMs[0] = s.dawns[number]
	begin := s.cfg.Start.Add(time.Duration(number*dayMs) * time.Millisecond)
	for k := range d.watts {
		d.watts[k] = s.powers(begin.Add(time.Duration(k*knotMs) * time.Millisecond))
		if k == 0 {
			continue
		}
		for i := range flows {
			d.wattMs[k][i] = d.wattMs[k-1][i] + (d.watts[k-1][i]+d.watts[k][i])*(knotMs/2)
		}
	}
	return d
}

// powers returns the power of every flow at t, W, none below 0.
func (s *Site) powers(t time.Time) [flows]int64 {
	var p [flows]int64
	air := s.sky.ambient(t)
	var sum int64
	if clear := s.sky.clearSky(t); clear > 0 {
		for i := range inverters {
			// The clouds come over the field from one inverter to the next.
			light := clear * s.sky.clearness(t.Add(-time.Duration(i)*40*time.Second))
			p[i] = s.inverterPower(i, light, air)
			sum += p[i]
		}
	}
	net := sum - int64(math.Round(1250+750*s.sky.noise(noiseOwnUse, t, 3*time.Hour)))
	p[exportFlow], p[importFlow] = max(net, 0), max(-net, 0)
	p[chillerFlow] = s.chillerPower(t, air)
	return p
}

// inverterPower returns the AC power of inverter i, W, 0 to its rating: modules
// 0.031 degrees warmer than the air per W/m2 lose 0.4 % per degree above 25,
// dirt and cables 4 %, the inverter 2 %. Too little light does not start it.
func (s *Site) inverterPower(i int, light, air float64) int64 {
	warm := air + 0.031*light - 25
	ac := arrayWatts * s.size[i] * light / 1000 * (1 - 0.004*warm) * 0.96 * 0.98
	if ac < inverterWatts/200 {
		return 0
	}
	return int64(math.Round(min(ac, inverterWatts)))
}

// chillerPower returns the electric power of the chiller, W, above 0 and at most
// its rating: pumps always; cooling with the people in the building, fewer at
// the weekend, and with the air above 18 degrees.
func (s *Site) chillerPower(t time.Time, air float64) int64 {
	local := t.In(s.cfg.Zone)
	hour := secondsOfDay(local) / 3600
	people := smooth((hour-6)/3) * smooth((21-hour)/4)
	if d := local.Weekday(); d == time.Saturday || d == time.Sunday {
		people *= 0.35
	}
	heat := 0.12 + 0.045*max(air-18, 0)
	wobble := 0.9 + 0.2*s.sky.noise(noiseChiller, t, 20*time.Minute)
	load := 6_000 + (0.12+0.88*people)*heat*wobble*(chillerWatts-6_000)
	return int64(math.Round(min(load, chillerWatts)))
}
