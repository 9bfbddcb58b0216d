package cmd

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The benchmarks of this file are the figures of whole processes. They take
// minutes: `make bench` runs them once each.

// BenchmarkReplay is the plant's file through all sockets with fsync on: target
// below 90 s on 2 cores.
func BenchmarkReplay(b *testing.B) {
	demo, file := binary(b, "kenshin-demo"), data(b, plantFile)
	for b.Loop() {
		p := launch(b, b.TempDir(), demo, "-replay", file, "-json", "-addr", "127.0.0.1:0", "-dir", b.TempDir())
		if code := p.wait(5 * time.Minute); code != 0 {
			b.Fatalf("exit code %d", code)
		}
	}
	b.ReportMetric(68_778*float64(b.N)/b.Elapsed().Seconds(), "readings/s")
}

// BenchmarkLatency is the time from a register that is read in the device to its
// number on the page, polled every second: target p99 below 2 s.
func BenchmarkLatency(b *testing.B) {
	var mu sync.Mutex
	count, readAt := uint64(1_000_000_000), make(map[string]time.Time)
	for b.Loop() {
		live := fleet{endpoints: 1, units: 1, profile: "sunspec", energy: "ActWh", device: inverter(func() uint64 {
			mu.Lock()
			defer mu.Unlock()
			count++
			readAt[strconv.FormatUint(count, 10)] = time.Now()
			return count
		})}.start(b)
		ctx, cancel := context.WithTimeout(b.Context(), 3*time.Minute)
		var took []time.Duration
		watch(ctx, b, live.page, func(number string) bool {
			mu.Lock()
			defer mu.Unlock()
			if at, ok := readAt[number]; ok {
				took = append(took, time.Since(at))
			}
			return len(took) < 100
		})
		cancel()
		slices.Sort(took)
		b.ReportMetric(took[len(took)/2].Seconds()*1000, "ms-p50")
		b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "ms-p99")
	}
}

// watch follows the page's event stream and gives each new reading of the first
// meter to seen, until that has seen enough.
func watch(ctx context.Context, b *testing.B, page string, seen func(number string) bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page+"/events", nil)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	s := bufio.NewScanner(resp.Body)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		text, ok := strings.CutPrefix(s.Text(), "data: ")
		if !ok {
			continue
		}
		var m struct {
			Cells map[string]struct {
				Text string `json:"t"`
			} `json:"cells"`
		}
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			b.Fatalf("event %q: %v", text, err)
		}
		if c, ok := m.Cells["meter-dev-1-reading"]; ok && !seen(onlyDigits(c.Text)) {
			return
		}
	}
	b.Fatalf("the event stream ended: %v", s.Err())
}

func onlyDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}
