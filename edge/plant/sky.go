package plant

import (
	"math"
	"time"
)

// sky is the weather over a place: a function of seed and time. Its floats end
// in registers as whole watts, volts and so on, and are the same on every run
// of one build; nothing that reaches a total is calculated with them.
type sky struct {
	seed                uint64
	latitude, longitude float64 // degrees, north and east positive
}

// The seeded noises, one channel each. Inverters have their own small one.
const (
	noiseCover = iota
	noiseClouds
	noiseWarmth
	noiseGrid
	noiseOwnUse
	noiseChiller
	noiseFactory // fixed differences between devices
)

// clearSky returns the global horizontal irradiance without clouds, W/m2.
// Sources: declination and equation of time, Spencer 1971; irradiance, Haurwitz
// 1945, as in Reno, Hansen and Stein, SAND2012-2389, equation 18.
func (s *sky) clearSky(t time.Time) float64 {
	t = t.UTC()
	hours := secondsOfDay(t) / 3600
	g := 2 * math.Pi / 365 * (float64(t.YearDay()-1) + hours/24)
	declination := 0.006918 - 0.399912*math.Cos(g) + 0.070257*math.Sin(g) -
		0.006758*math.Cos(2*g) + 0.000907*math.Sin(2*g) -
		0.002697*math.Cos(3*g) + 0.00148*math.Sin(3*g)
	minutesAhead := 229.18 * (0.000075 + 0.001868*math.Cos(g) - 0.032077*math.Sin(g) -
		0.014615*math.Cos(2*g) - 0.040849*math.Sin(2*g))
	hourAngle := (hours + s.longitude/15 + minutesAhead/60 - 12) * math.Pi / 12
	latitude := s.latitude * math.Pi / 180
	cosZenith := math.Sin(latitude)*math.Sin(declination) +
		math.Cos(latitude)*math.Cos(declination)*math.Cos(hourAngle)
	if cosZenith <= 0 {
		return 0
	}
	return 1098 * cosZenith * math.Exp(-0.057/cosZenith)
}

// clearness returns how much of the clear sky's light gets through the clouds,
// 0.25 to 1. A slow noise says how covered the day is, faster ones move the
// clouds themselves.
func (s *sky) clearness(t time.Time) float64 {
	cover := s.noise(noiseCover, t, 30*time.Hour)
	clouds := 0.5*s.noise(noiseClouds, t, 2*time.Hour) +
		0.3*s.noise(noiseClouds, t, 25*time.Minute) +
		0.2*s.noise(noiseClouds, t, 6*time.Minute)
	edge := 0.75 - 0.5*cover
	return 1 - 0.75*smooth((clouds-edge)/0.25)
}

// ambient returns the air temperature, degrees Celsius: cooler and with more of
// a season far from the equator, warmest at three in the sun's afternoon.
func (s *sky) ambient(t time.Time) float64 {
	away := math.Abs(s.latitude)
	season := math.Cos(2 * math.Pi * (float64(t.UTC().YearDay()) - 196) / 365)
	if s.latitude < 0 {
		season = -season
	}
	hour := secondsOfDay(t.UTC())/3600 + s.longitude/15
	return 30 - 0.3*away + 0.3*away*season +
		4.5*math.Cos(2*math.Pi*(hour-15)/24) +
		4*(s.noise(noiseWarmth, t, 36*time.Hour)-0.5)
}

// noise returns a smooth pseudo-random value from 0 to 1 that takes a new
// course every period.
func (s *sky) noise(channel uint64, t time.Time, period time.Duration) float64 {
	x := float64(t.UnixMilli()) / float64(period.Milliseconds())
	left := math.Floor(x)
	a := chance(s.seed, channel, uint64(period), uint64(int64(left)))
	b := chance(s.seed, channel, uint64(period), uint64(int64(left)+1))
	return a + (b-a)*smooth(x-left)
}

// smooth is 0 below 0, 1 above 1, and between them a curve without corners.
func smooth(x float64) float64 {
	x = min(max(x, 0), 1)
	return x * x * (3 - 2*x)
}

// chance returns a number from 0 to below 1 that is fixed by its arguments.
// Source: the output function of SplitMix64, Steele, Lea and Flood 2014.
func chance(of ...uint64) float64 {
	var h uint64
	for _, x := range of {
		h += x + 0x9E3779B97F4A7C15
		h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
		h = (h ^ h>>27) * 0x94D049BB133111EB
		h ^= h >> 31
	}
	return float64(h>>11) / (1 << 53)
}

func secondsOfDay(t time.Time) float64 {
	h, m, s := t.Clock()
	return float64(3600*h+60*m+s) + float64(t.Nanosecond())/1e9
}
