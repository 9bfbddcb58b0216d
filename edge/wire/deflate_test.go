package wire

import (
	"bytes"
	"compress/flate"
	"io"
	"math/rand/v2"
	"testing"
)

// whole says whether what squash makes of a body is that body again.
func whole(t *testing.T, body []byte) []byte {
	t.Helper()
	small := squash(body)
	back, err := io.ReadAll(flate.NewReader(bytes.NewReader(small)))
	if err != nil || !bytes.Equal(back, body) {
		t.Errorf("%d bytes became %d, and those %d: %v", len(body), len(small), len(back), err)
	}
	return small
}

// TestSquash: every length and distance of a copy, every literal, and what lies
// beyond the window comes out as it went in.
func TestSquash(t *testing.T) {
	whole(t, nil)
	// The same bytes in each run: whether a copy from so far back is found depends on
	// how many places in between have its hash.
	random := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 3*window)
	for i := range noise {
		noise[i] = byte(random.UintN(256))
	}
	whole(t, noise)
	var b []byte
	for n := 1; n <= copyMost+2; n++ {
		b = append(append(b, byte(n), byte(n>>8)), noise[:n]...)
	}
	whole(t, b)
	for back := 4; back <= window+8; back += 1 + back/16 {
		b = append(append([]byte{}, noise[:back]...), noise[:9]...)
		whole(t, b)
	}
	b = append(append([]byte{}, noise[:window]...), noise[:9]...)
	if n := len(whole(t, b)) - len(whole(t, noise[:window])); n > 5 {
		t.Errorf("a copy at the end of the window takes %d bytes", n)
	}
}

func FuzzSquash(f *testing.F) {
	f.Add([]byte("kenshin kenshin kenshin"))
	f.Add(bytes.Repeat([]byte{0, 1, 2}, 300))
	f.Fuzz(func(t *testing.T, body []byte) { whole(t, body) })
}

// BenchmarkSquash compresses one snapshot of ten meters of 52 values.
func BenchmarkSquash(b *testing.B) {
	var body []byte
	for range 10 {
		for i := range 52 {
			body = append(body, 0x43, 0x66, byte(i%3), byte(rand.UintN(8)))
		}
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		squash(body)
	}
	b.ReportMetric(float64(len(squash(body)))/float64(len(body)), "ratio")
}
