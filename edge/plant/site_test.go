package plant

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// hand is a clock that is put by hand.
type hand struct{ now time.Time }

func (h *hand) Now() time.Time { return h.now }

var ist = time.FixedZone("IST", 5*3600+1800)

// hyderabad returns a site in the Deccan, commissioned on 1 January 2026.
func hyderabad(seed uint64) (*Site, *hand) {
	clock := &hand{now: time.Date(2026, 1, 1, 0, 0, 0, 0, ist)}
	return NewSite(SiteConfig{
		Seed: seed, Zone: ist, Latitude: 17.39, Longitude: 78.49, Start: clock.now, Clock: clock,
	}), clock
}

// registersOf returns everything that every unit of the site has to say.
func registersOf(t *testing.T, s *Site) []uint16 {
	t.Helper()
	var all []uint16
	for unit := range uint8(inverters) {
		u := s.Inverters()[unit+1]
		all = append(all, read(t, u, 3, 40000, 100)...)
		all = append(all, read(t, u, 3, 40100, 70)...)
	}
	all = append(all, read(t, s.ExportMeter()[1], 4, 0, 120)...)
	all = append(all, read(t, s.ExportMeter()[1], 4, 0x156, 2)...)
	return append(all, read(t, s.Chiller()[1], 3, 0, 10)...)
}

// A site polled at every minute, one asked for a single moment, and one asked
// in any order must tell the same: a restart of the plant changes nothing.
func TestSiteIsAFunctionOfTime(t *testing.T) {
	polled, clock := hyderabad(7)
	start := clock.now
	want := make(map[time.Duration][]uint16)
	for d := time.Duration(0); d < 80*time.Hour; d += 61 * time.Second {
		clock.now = start.Add(d)
		want[d] = registersOf(t, polled)
	}
	anyOrder, clock := hyderabad(7)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		d := time.Duration(r.IntN(len(want))) * 61 * time.Second
		clock.now = start.Add(d)
		if got := registersOf(t, anyOrder); !slices.Equal(got, want[d]) {
			t.Fatalf("asked in any order, %v after the start:\n%v\nwant\n%v", d, got, want[d])
		}
		if i%10 == 0 { // restarted
			again, clock := hyderabad(7)
			clock.now = start.Add(d)
			if got := registersOf(t, again); !slices.Equal(got, want[d]) {
				t.Fatalf("restarted %v after the start:\n%v\nwant\n%v", d, got, want[d])
			}
		}
	}
	other, clock := hyderabad(8)
	clock.now = start.Add(36 * time.Hour)
	same, clock := hyderabad(7)
	clock.now = start.Add(36 * time.Hour)
	if slices.Equal(registersOf(t, other), registersOf(t, same)) {
		t.Error("another seed makes the same plant")
	}
	early, clock := hyderabad(7)
	clock.now = start.Add(-time.Hour)
	if got, at := early.at(clock.now), early.at(start); got != at {
		t.Errorf("before the start: %v, want as at the start %v", got, at)
	}
}

// Energy must be the integral of power: summed up again here in seconds, where
// power is straight, so that the trapezoids are exact but for whole watts.
func TestSiteIntegratesItsPower(t *testing.T) {
	s, clock := hyderabad(3)
	start := clock.now
	began := s.at(start)
	var sum [flows]float64
	last := began
	for sec := 1; sec <= 86_400; sec++ {
		now := s.at(start.Add(time.Duration(sec) * time.Second))
		for i := range now {
			if now[i].wattMs < last[i].wattMs {
				t.Fatalf("counter %d fell at second %d: %d after %d", i, sec, now[i].wattMs, last[i].wattMs)
			}
			sum[i] += float64(now[i].watts+last[i].watts) / 2 * 1000
		}
		last = now
	}
	for i := range sum {
		got := float64(last[i].wattMs - began[i].wattMs)
		if math.Abs(got-sum[i]) > 86_400_000 { // 1 W all day
			t.Errorf("flow %d: counted %.0f W·ms, power sums up to %.0f", i, got, sum[i])
		}
	}
}

func TestSiteDayCurve(t *testing.T) {
	s, clock := hyderabad(1)
	start := clock.now
	var clipped, cloudy bool
	var year [inverters]int64
	for n := range 365 {
		morning := start.AddDate(0, 0, n)
		begin, end := s.at(morning), s.at(start.AddDate(0, 0, n+1))
		clock.now = morning
		if m, _ := chain(t, s.Inverters()[1]); m[103][14] != 0 || m[103][38] != stateSleeping {
			t.Fatalf("day %d at midnight: W %d, St %d, want 0 and sleeping", n, m[103][14], m[103][38])
		}
		for i := range inverters {
			wh := end[i].wattHours() - begin[i].wattHours()
			year[i] += wh
			// 0.8 to 8.5 full hours a day: a monsoon day, a clear day in March.
			if full := float64(wh) / inverterWatts; full < 0.8 || full > 8.5 {
				t.Errorf("day %d inverter %d: %.2f full hours", n, i, full)
			}
		}
		peak := peakOfDay(t, s, morning)
		clipped = clipped || peak == inverterWatts
		cloudy = cloudy || peak < 200_000
	}
	for i, wh := range year {
		if factor := float64(wh) / (365 * 24 * inverterWatts); factor < 0.15 || factor > 0.27 {
			t.Errorf("inverter %d: capacity factor of the year %.3f, want 0.15 to 0.27", i, factor)
		}
	}
	if !clipped || !cloudy {
		t.Errorf("in a year: clipped at the rating %v, a day below 80 %% %v; want both", clipped, cloudy)
	}
	if year[0] == year[1] || year[1] == year[2] {
		t.Errorf("inverters do not differ: %v", year)
	}
}

// peakOfDay looks at every minute of a day and returns the highest power of an
// inverter, W.
func peakOfDay(t *testing.T, s *Site, morning time.Time) (peak int64) {
	t.Helper()
	for minute := range 24 * 60 {
		at := morning.Add(time.Duration(minute) * time.Minute)
		now := s.at(at)
		for i := range inverters {
			peak = max(peak, now[i].watts)
			if now[i].watts > 0 && (minute < 5*60 || minute > 19*60+30) {
				t.Fatalf("%v: %d W at night", at, now[i].watts)
			}
		}
		own := now[0].watts + now[1].watts + now[2].watts - now[exportFlow].watts + now[importFlow].watts
		if own < 1250 || own > 2000 {
			t.Fatalf("%v: the plant itself uses %d W, want 1250 to 2000", at, own)
		}
		if w := now[chillerFlow].watts; w < 5_000 || w > chillerWatts {
			t.Fatalf("%v: chiller %d W", at, w)
		}
	}
	if peak > inverterWatts {
		t.Errorf("%v: %d W from a 250 kW inverter", morning, peak)
	}
	return peak
}

// The chiller works when people are there and more when it is hot.
func TestChillerFollowsHourAndHeat(t *testing.T) {
	s, _ := hyderabad(1)
	mean := func(month time.Month, day, from, to int) (watts float64) {
		a := time.Date(2026, month, day, from, 0, 0, 0, ist)
		b := time.Date(2026, month, day, to, 0, 0, 0, ist)
		return float64(s.at(b)[chillerFlow].wattMs-s.at(a)[chillerFlow].wattMs) / float64(b.Sub(a).Milliseconds())
	}
	working, night, sunday := mean(7, 1, 12, 16), mean(7, 1, 1, 4), mean(7, 5, 12, 16)
	if !(working > 2*night && working > 1.5*sunday) {
		t.Errorf("chiller: %.0f W at work, %.0f W at night, %.0f W on Sunday", working, night, sunday)
	}
	if cool := mean(1, 7, 12, 16); !(working > 1.05*cool) {
		t.Errorf("chiller: %.0f W in July, %.0f W in January", working, cool)
	}
}

// At a place whose sun is known: solar noon and day length by the almanac.
func TestClearSky(t *testing.T) {
	for _, tt := range []struct {
		name      string
		lat, lon  float64
		day       time.Time
		rise, set float64 // UTC hours, of the sun's centre without refraction
		highest   float64 // of cos zenith at noon
	}{
		// Equator, equinox: up at 06:00 and down at 18:00 sun time, 7.5 minutes late.
		{"equator", 0, 0, time.Date(2026, 3, 20, 0, 0, 0, 0, time.UTC), 6.124, 18.124, 1},
		// 50 degrees north on the longest day: 16 h 9 min, zenith 26.56 degrees.
		{"midsummer", 50, 0, time.Date(2026, 6, 21, 0, 0, 0, 0, time.UTC), 3.955, 20.105, 0.8944},
		// 35 degrees south on its shortest day: 9 h 38 min.
		{"southern winter", -35, 0, time.Date(2026, 6, 21, 0, 0, 0, 0, time.UTC), 7.21, 16.85, 0.5223},
	} {
		s := sky{latitude: tt.lat, longitude: tt.lon}
		var rise, set, best float64
		for minute := range 24 * 60 {
			w := s.clearSky(tt.day.Add(time.Duration(minute) * time.Minute))
			if h := float64(minute) / 60; w > 0 {
				if rise == 0 {
					rise = h
				}
				set, best = h, max(best, w)
			}
		}
		want := 1098 * tt.highest * math.Exp(-0.057/tt.highest)
		if math.Abs(rise-tt.rise) > 0.05 || math.Abs(set-tt.set) > 0.05 || math.Abs(best-want) > 3 {
			t.Errorf("%s: sun from %.2f to %.2f, at most %.0f W/m2; want %.2f to %.2f, %.0f",
				tt.name, rise, set, best, tt.rise, tt.set, want)
		}
	}
}

func TestExportMeterCountsTheInverters(t *testing.T) {
	s, clock := hyderabad(1)
	began := s.at(clock.now)
	end := s.at(clock.now.AddDate(0, 1, 0))
	var made int64
	for i := range inverters {
		made += end[i].wattHours() - began[i].wattHours()
	}
	exported := end[exportFlow].wattHours() - began[exportFlow].wattHours()
	imported := end[importFlow].wattHours() - began[importFlow].wattHours()
	used := made - exported + imported
	if hours := 31.0 * 24; float64(used) < 1250*hours || float64(used) > 2000*hours || imported <= 0 || exported <= 0 {
		t.Errorf("made %d Wh, exported %d, imported %d: the plant used %d", made, exported, imported, used)
	}
	clock.now = clock.now.AddDate(0, 1, 0)
	kWh := math.Float32frombits(uint32(number(read(t, s.ExportMeter()[1], 4, 0x4A, 2))))
	if want := float32(float64(end[exportFlow].wattHours()) / 1000); kWh != want {
		t.Errorf("register 0x4A = %v kWh, want %v", kWh, want)
	}
}

func ExampleSite() {
	clock := NewScaled(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), 1)
	site := NewSite(SiteConfig{
		Seed: 1, Zone: time.UTC, Latitude: 17.39, Longitude: 78.49,
		Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Clock: clock,
	})
	words, _ := site.Inverters()[1].Read(3, 40000, 2)
	fmt.Printf("%04X\n", words)
	// Output: [5375 6E53]
}

func BenchmarkSiteStartsAYearLater(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		s, clock := hyderabad(1)
		s.at(clock.now.AddDate(1, 0, 0))
	}
}

func BenchmarkSiteRead(b *testing.B) {
	s, clock := hyderabad(1)
	clock.now = clock.now.Add(12 * time.Hour)
	u := s.Inverters()[1]
	b.ReportAllocs()
	for b.Loop() {
		if _, exception := u.Read(3, 40070, 50); exception != 0 {
			b.Fatal(exception)
		}
	}
}
