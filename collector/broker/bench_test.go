package broker

import (
	"os"
	"path/filepath"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// BenchmarkIngest measures messages a second from one paho client, 500 on their
// way, to a receiver that writes and fsyncs groups of what has come before it
// lets the PUBACKs go.
func BenchmarkIngest(b *testing.B) {
	for _, bb := range []struct {
		name string
		size int
	}{{"80B", 80}, {"8KiB", 8 << 10}} {
		b.Run(bb.name, func(b *testing.B) {
			r := startQueue(b, 4096)
			f, err := os.Create(filepath.Join(b.TempDir(), "log"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			go store(b, r, f)
			c := r.client(b, r.options("site-1"))
			payload := make([]byte, bb.size)
			window := make(chan mqtt.Token, 500)
			b.ReportAllocs()
			b.SetBytes(int64(bb.size))
			for b.Loop() {
				if len(window) == cap(window) {
					if err := done(b, <-window); err != nil {
						b.Fatal(err)
					}
				}
				window <- c.Publish(root+"/site-1/up", 1, false, payload)
			}
			for len(window) > 0 {
				if err := done(b, <-window); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

func store(b *testing.B, r *rig, f *os.File) {
	var group []Message
	flush := func() {
		if err := f.Sync(); err != nil {
			b.Error(err)
		}
		for _, m := range group {
			m.Done()
		}
		group = group[:0]
	}
	for {
		var m Message
		select {
		case m = <-r.received:
		case <-b.Context().Done():
			return
		default:
			if len(group) > 0 {
				flush()
			}
			select {
			case m = <-r.received:
			case <-b.Context().Done():
				return
			}
		}
		if _, err := f.Write(m.Payload); err != nil {
			b.Error(err)
		}
		if group = append(group, m); len(group) == 256 {
			flush()
		}
	}
}
