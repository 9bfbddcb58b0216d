package cmd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kenshin/edge/plant"
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

// BenchmarkEdgeFootprint is an agent that polls 10 inverters every second and
// delivers to a collector: targets below 20 MB resident and 20 MB of stripped
// binary.
func BenchmarkEdgeFootprint(b *testing.B) {
	edge := binary(b, "kenshin-edge")
	info, err := os.Stat(edge)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		_, agent := liveSite(b, 10, func() uint64 { return 1 })
		t := time.NewTimer(60 * time.Second)
		<-t.C
		rss, peak := memory(b, agent.cmd.Process.Pid)
		b.ReportMetric(rss, "MB-resident")
		b.ReportMetric(peak, "MB-peak")
		agent.interrupt(20 * time.Second)
	}
	b.ReportMetric(float64(info.Size())/1e6, "MB-binary")
}

// memory returns resident memory now and at its highest, MB of 10^6 bytes.
func memory(b *testing.B, pid int) (rss, peak float64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skipf("resident memory needs /proc: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 3 && (f[0] == "VmRSS:" || f[0] == "VmHWM:") {
			kB, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			if f[0] == "VmRSS:" {
				rss = kB * 1024 / 1e6
			} else {
				peak = kB * 1024 / 1e6
			}
		}
	}
	return rss, peak
}

// BenchmarkLatency is the time from a register that is read in the device to its
// number on the page, polled every second: target p99 below 2 s.
func BenchmarkLatency(b *testing.B) {
	var mu sync.Mutex
	count, readAt := uint64(1_000_000_000), make(map[string]time.Time)
	for b.Loop() {
		page, _ := liveSite(b, 1, func() uint64 {
			mu.Lock()
			defer mu.Unlock()
			count++
			readAt[strconv.FormatUint(count, 10)] = time.Now()
			return count
		})
		ctx, cancel := context.WithTimeout(b.Context(), 3*time.Minute)
		var took []time.Duration
		watch(ctx, b, page, func(number string) bool {
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
		if c, ok := m.Cells["meter-inv-1-reading"]; ok && !seen(onlyDigits(c.Text)) {
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

// liveSite starts inverters in this process and an agent and a collector in
// their own, polling every second. wattHours is what the counters show.
func liveSite(b *testing.B, inverters int, wattHours func() uint64) (page string, agent *program) {
	b.Helper()
	units := make(map[uint8]plant.Unit)
	for i := range inverters {
		units[uint8(i+1)] = plant.SunSpecInverter(plant.Nameplate{Manufacturer: "Bench", Model: "B", Serial: strconv.Itoa(i)}, func() (plant.Output, bool) {
			return plant.Output{MicroWatts: 1_000_000_000, WattHours: wattHours(), State: 4}, true
		})
	}
	server, err := plant.Listen("127.0.0.1:0", units)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	b.Cleanup(func() { cancel(); <-ended })

	dir := b.TempDir()
	brokerAt, pageAt := freeAddr(b), freeAddr(b)
	var devices, meters strings.Builder
	for i := range inverters {
		fmt.Fprintf(&devices, "      - {id: inv-%d, unit: %d, profile: sunspec}\n", i+1, i+1)
		fmt.Fprintf(&meters, "  - {key: inv-%[1]d, title: Inverter %[1]d, register: site-1/inv-%[1]d/ActWh, parameter: EG}\n", i+1)
	}
	write(b, dir, "edge.yaml", fmt.Sprintf(`edge: site-1
data: edge-data
interval: 1s
broker: {url: "tcp://%s", password: secret}
collector: {key_file: collector-data/collector.pub}
log: {level: warn}
buses:
  - name: inverters
    endpoint: tcp://%s
    devices:
%s`, brokerAt, server.Addr(), devices.String()))
	write(b, dir, "collector.yaml", fmt.Sprintf(`name: bench
data: collector-data
broker: {listen: "%s"}
edges: [{id: site-1, key_file: edge-data/edge.pub, password: secret}]
projects: [project.yaml]
http: {listen: "%s"}
log: {level: warn}
`, brokerAt, pageAt))
	write(b, dir, "project.yaml", fmt.Sprintf(`reference: bench
title: Bench
country: Nowhere
zone: UTC
methodology: {number: KS-F1, version: "1.0"}
periods: [{start: 2026-01-01, end: 2036-12-31}]
parameters:
  EF_RE: {value: "1", unit: tCO2/MWh, source: "a round figure for this bench"}
meters:
%s`, meters.String()))
	for _, name := range []string{"edge", "collector"} {
		if code := launch(b, dir, binary(b, "kenshin-"+name), "identity", "-config", name+".yaml").wait(20 * time.Second); code != 0 {
			b.Fatalf("kenshin-%s identity: exit code %d", name, code)
		}
	}
	launch(b, dir, binary(b, "kenshin-collector"), "-config", filepath.Join(dir, "collector.yaml"))
	waitPort(b, pageAt)
	waitPort(b, brokerAt)
	return "http://" + pageAt, launch(b, dir, binary(b, "kenshin-edge"), "-config", filepath.Join(dir, "edge.yaml"))
}
