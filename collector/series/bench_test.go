package series

import (
	"fmt"
	"math"
	"os"
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

func size(b *testing.B, path string) float64 {
	n := int64(0)
	for _, name := range []string{path, path + "-wal"} {
		if info, err := os.Stat(name); err == nil {
			n += info.Size()
		}
	}
	return float64(n)
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
