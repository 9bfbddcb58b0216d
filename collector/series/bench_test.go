package series

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/shopspring/decimal"

	"kenshin/edge/wire"
)

// readings makes n readings of 12 points from each of 22 inverters every 15
// minutes from a time on, as a solar plant sends them.
func readings(from, n int) []wire.Sample {
	points := [12]string{"W", "WH", "A", "AphA", "AphB", "AphC", "PPVphAB", "Hz", "VA", "DCW", "TmpCab", "St"}
	out := make([]wire.Sample, 0, n*len(points))
	for i := from; i < from+n; i++ {
		device := fmt.Sprintf("inverter-%02d", i%22)
		step := int64(i / 22)
		for p, name := range points {
			s := wire.Sample{Edge: "site-1", Device: device, Point: name, Unit: "W", At: 1_589_500_800_000 + 900_000*step, Epoch: wire.Epoch{1}, Seq: uint64(i + 1)}
			switch p {
			case 1:
				s.Unit, s.Kind, s.Number = "Wh", wire.Counter, decimal.New(6_987_759_000+step*1_250+int64(i%22), 0)
			case 7:
				s.Number = decimal.New(4998+step%5, -2)
			default:
				s.Number = decimal.New((step*7919+int64(p)*104729)%12000, -1)
			}
			out = append(out, s)
		}
	}
	return out
}

const perUpdate = 333 // readings: about 4,000 samples

func size(b *testing.B, path string) (n float64) {
	for _, name := range Files(path) {
		if info, err := os.Stat(name); err == nil {
			n += float64(info.Size())
		}
	}
	return n
}

// fleet is devices as the figures of deploy/docs/performance.md know them: two counters,
// seven noisy integers and a float, read once a minute.
type fleet struct {
	kinds  []*wire.Declaration
	counts []uint32
	random *rand.Rand
}

func newFleet(devices int) *fleet {
	f := &fleet{counts: make([]uint32, devices), random: rand.New(rand.NewPCG(1, 6))}
	for i := range min(devices, 10) { // of each edge
		d := &wire.Declaration{Device: fmt.Sprintf("dev-%02d", i), Blocks: []wire.Block{{Function: 3, Count: 13}}}
		for k, t := range []wire.Type{wire.Uint32, wire.Uint32, wire.Uint16, wire.Uint16, wire.Uint16, wire.Uint16, wire.Uint16, wire.Uint16, wire.Uint16, wire.Float32} {
			p := wire.Point{Name: fmt.Sprint("point-", k), Function: 3, Type: t, Words: t.Width(), ScaleAt: wire.NoScale, Unit: "W"}
			if n := len(d.Points); n > 0 {
				p.Address = d.Points[n-1].Address + d.Points[n-1].Words
			}
			if k < 2 {
				p.Kind, p.Unit = wire.Counter, "Wh"
			}
			d.Points = append(d.Points, p)
		}
		f.kinds = append(f.kinds, d)
	}
	return f
}

// minute returns the readings of devices first to end in a minute.
func (f *fleet) minute(first, end int, minute int64) []Reading {
	out := make([]Reading, 0, end-first)
	for i := first; i < end; i++ {
		f.counts[i] += 20 + uint32(f.random.IntN(10))
		w := make([]uint16, 0, 13)
		w = append(w, uint16(f.counts[i]>>16), uint16(f.counts[i]), uint16(f.counts[i]>>18), uint16(f.counts[i]>>2))
		for k := range 7 {
			w = append(w, uint16(1000*(k+1)+f.random.IntN(200)))
		}
		x := math.Float32bits(50 + float32(f.random.IntN(100))/1000)
		w = append(w, uint16(x>>16), uint16(x))
		out = append(out, Reading{Edge: fmt.Sprintf("edge-%05d", i/10), Epoch: wire.Epoch{byte(i / 10), byte(i / 2560)}, Seq: uint64(minute*10 + int64(i%10) + 1),
			Wall: 1_589_500_800_000 + minute*60_000 + int64(i%10*17+f.random.IntN(5)), Declaration: f.kinds[i%10],
			Reading: &wire.Reading{Blocks: []wire.BlockResult{{Words: w}}}})
	}
	return out
}

// fill applies minutes of a fleet, 5,000 readings an update, with what made the
// readings out of the time; the last merge is in it.
func (f *fleet) fill(b *testing.B, db *DB, minutes int64) (points float64) {
	for m := int64(1); m <= minutes; m++ {
		for first := 0; first < len(f.counts); first += 5000 {
			b.StopTimer()
			u := Update{Cursor: uint64(m), Readings: f.minute(first, min(len(f.counts), first+5000), m)}
			b.StartTimer()
			if res, err := db.Apply(b.Context(), u); err != nil || res.Stored != 10*len(u.Readings) {
				b.Fatal(res, err)
			}
			points += float64(10 * len(u.Readings))
		}
	}
	db.wait()
	if err := db.Merge(b.Context()); err != nil {
		b.Fatal(err)
	}
	return points
}

// BenchmarkDay is a day of 1,000 devices: below 2 bytes per sample at its end.
func BenchmarkDay(b *testing.B) {
	for b.Loop() {
		path := temp(b)
		db := open(b, path)
		cpu := used()
		points := newFleet(1000).fill(b, db, 1440)
		b.ReportMetric((used()-cpu)*1e9/points, "cpu-ns/sample")
		b.ReportMetric(points/b.Elapsed().Seconds(), "samples/s")
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(size(b, path)/points, "B/sample")
	}
}

// BenchmarkGrowth is 12 million samples of few devices and of many: the cost of one
// grows less than 1.5 times.
func BenchmarkGrowth(b *testing.B) {
	for _, devices := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint("devices=", devices), func(b *testing.B) {
			for b.Loop() {
				db := open(b, temp(b))
				f := newFleet(devices)
				b.StopTimer()
				if _, err := db.Apply(b.Context(), Update{Readings: f.minute(0, devices, 0)}); err != nil { // makes the devices known
					b.Fatal(err)
				}
				b.StartTimer()
				cpu := used()
				points := f.fill(b, db, int64(1_200_000/devices))
				b.ReportMetric((used()-cpu)*1e9/points, "cpu-ns/sample")
				b.ReportMetric(points/b.Elapsed().Seconds(), "samples/s")
				db.Close()
			}
		})
	}
}

// used returns the CPU time of this process in seconds; making the readings is in it.
func used() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkApply is settling's transaction: 4,000 samples, 22 closings, the cursor.
func BenchmarkApply(b *testing.B) {
	path := temp(b)
	db := open(b, path)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		b.StopTimer()
		u := Update{Cursor: uint64(n), Samples: readings(n*perUpdate, perUpdate), Closings: step(1).Closings}
		b.StartTimer()
		if res, err := db.Apply(b.Context(), u); err != nil || res.Stored != len(u.Samples) {
			b.Fatal(res, err)
		}
		n++
	}
	samples := float64(n * perUpdate * 12)
	b.ReportMetric(samples/b.Elapsed().Seconds(), "samples/s")
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(size(b, path)/samples, "B/sample")
}

// BenchmarkApplyMany is the same with 10,000 devices, each of which gets one
// reading a round: rows go all over the file.
func BenchmarkApplyMany(b *testing.B) {
	path := temp(b)
	db := open(b, path)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		b.StopTimer()
		all := readings(0, perUpdate)
		for i := range all {
			k := n*perUpdate + i/12
			all[i].Device, all[i].At, all[i].Seq = fmt.Sprint("inverter-", k%10_000), int64(k/10_000)*60_000, uint64(k)
		}
		b.StartTimer()
		if res, err := db.Apply(b.Context(), Update{Cursor: uint64(n), Samples: all}); err != nil || res.Stored != len(all) {
			b.Fatal(res, err)
		}
		n++
	}
	samples := float64(n * perUpdate * 12)
	b.ReportMetric(samples/b.Elapsed().Seconds(), "samples/s")
	b.ReportMetric(size(b, path)/samples, "B/sample")
}

// fullMonth fills a store with 31 days of 22 inverters.
func fullMonth(b *testing.B) *DB {
	db := open(b, temp(b))
	for n := 0; n < 31*96*22; n += 3300 {
		if _, err := db.Apply(b.Context(), Update{Samples: readings(n, 3300)}); err != nil {
			b.Fatal(err)
		}
	}
	return db
}

// BenchmarkScanMonth reads one counter of one month, a sample every 15 minutes.
func BenchmarkScanMonth(b *testing.B) {
	db := fullMonth(b)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if err := db.Scan(b.Context(), "site-1/inverter-07/WH", math.MinInt64, math.MaxInt64, func(wire.Sample) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	if n < 31*96 {
		b.Fatal(n)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "samples/s")
}

// BenchmarkLatest reads the newest sample of 264 series.
func BenchmarkLatest(b *testing.B) {
	db := fullMonth(b)
	b.ReportAllocs()
	for b.Loop() {
		if got, err := db.Latest(b.Context()); err != nil || len(got) != 22*12 {
			b.Fatal(len(got), err)
		}
	}
}
