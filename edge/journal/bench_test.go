package journal

import (
	"bytes"
	"fmt"
	"testing"
)

// BenchmarkAppend includes the sync: it is the figure of the disk it runs on.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			l, _ := mustOpen(b, b.TempDir(), Options{})
			group := make([][]byte, n)
			for i := range group {
				group[i] = bytes.Repeat([]byte{byte(i)}, 200)
			}
			b.SetBytes(int64(200 * n))
			b.ReportAllocs()
			for b.Loop() {
				first, err := l.Append(group...)
				if err != nil {
					b.Fatal(err)
				}
				if first%100_000 > 99_000 {
					if _, err := l.DropBefore(first); err != nil { // keep the disk small
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func filled(b *testing.B, entries int) *Log {
	l, _ := mustOpen(b, b.TempDir(), Options{})
	group := make([][]byte, 1000)
	for i := range group {
		group[i] = bytes.Repeat([]byte{byte(i)}, 250)
	}
	for range entries / len(group) {
		if _, err := l.Append(group...); err != nil {
			b.Fatal(err)
		}
	}
	return l
}

// BenchmarkScan reads 100,000 entries of 250 bytes, checksums included.
func BenchmarkScan(b *testing.B) {
	const n = 100_000
	l := filled(b, n)
	b.SetBytes(n * 250)
	b.ReportAllocs()
	for b.Loop() {
		seen := 0
		if err := l.Scan(1, func(uint64, []byte) error { seen++; return nil }); err != nil || seen != n {
			b.Fatal(seen, err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	const n = 100_000
	l := filled(b, n)
	for name, step := range map[string]uint64{"next": 1, "anywhere": 37_813} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			seq := uint64(0)
			for b.Loop() {
				if _, err := l.Read(1 + seq%n); err != nil {
					b.Fatal(err)
				}
				seq += step
			}
		})
	}
}

// BenchmarkOpen opens 100 MB: all of it checked, or the last segment only.
func BenchmarkOpen(b *testing.B) {
	l := filled(b, 400_000)
	dir, next := l.dir, l.Next()
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	for name, from := range map[string]uint64{"all": 0, "last": next} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l, report, err := Open(dir, Options{VerifyFrom: from})
				if err != nil || !report.Clean() {
					b.Fatal(report, err)
				}
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
