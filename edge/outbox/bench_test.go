package outbox

import (
	"flag"
	"testing"

	"kenshin/edge/wire"
)

// reading is one of twelve points of two registers, as of a three-phase meter.
func reading(i int) wire.Record {
	r := wire.Record{Wall: int64(1_600_000_000_000 + i), Mono: int64(i), Clock: wire.ClockSynced,
		Reading: &wire.Reading{Blocks: []wire.BlockResult{{Words: make([]uint16, 24)}}}}
	for k := range r.Reading.Blocks[0].Words {
		r.Reading.Blocks[0].Words[k] = uint16(i * k)
	}
	return r
}

// BenchmarkPollCycle keeps 12 readings with one sync, as each poll of twelve
// meters does, and takes the ack of them.
func BenchmarkPollCycle(b *testing.B) {
	box, _ := mustOpen(b, b.TempDir(), 64<<20)
	group := make([]wire.Record, 12)
	b.ReportAllocs()
	for b.Loop() {
		for i := range group {
			group[i] = reading(i)
		}
		first, err := box.Append(group...)
		if err != nil {
			b.Fatal(err)
		}
		chain, err := box.chainAt(first + 11)
		if err != nil {
			b.Fatal(err)
		}
		if err := box.Ack(first+11, chain); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBacklog reads 50,000 readings in batches of 500, checked and decoded.
func BenchmarkBacklog(b *testing.B) {
	const n = 50_000
	box, _ := mustOpen(b, b.TempDir(), 0)
	group := make([]wire.Record, 500)
	for i := range n / len(group) {
		for k := range group {
			group[k] = reading(i*len(group) + k)
		}
		mustAppend(b, box, group...)
	}
	b.ReportAllocs()
	for b.Loop() {
		for seq := uint64(1); seq <= n; {
			recs, _, _, err := box.Read(seq, 500, 160<<10)
			if err != nil {
				b.Fatal(err)
			}
			seq += uint64(len(recs))
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

var restartBytes = flag.Int64("restart.bytes", 32<<20, "of the outbox that BenchmarkRestart opens; the figure is for 1 GiB")

// BenchmarkRestart opens an outbox of which nothing is acked, so that all of it is
// read, and appends to it: restart to first append.
func BenchmarkRestart(b *testing.B) {
	dir := b.TempDir()
	box, _ := mustOpen(b, dir, 2**restartBytes)
	group := make([]wire.Record, 2000)
	for n := 0; box.log.Size() < *restartBytes; n++ {
		for i := range group {
			group[i] = reading(n*len(group) + i)
		}
		mustAppend(b, box, group...)
	}
	b.SetBytes(box.log.Size())
	for b.Loop() {
		if err := box.Close(); err != nil {
			b.Fatal(err)
		}
		box, _ = mustOpen(b, dir, 2**restartBytes)
		mustAppend(b, box, reading(1))
	}
}
