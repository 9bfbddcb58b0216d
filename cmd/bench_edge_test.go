package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goburrow "github.com/goburrow/modbus"

	"kenshin/configs"
	"kenshin/edge/device"
	"kenshin/edge/modbus"
	"kenshin/edge/plant"
	"kenshin/edge/wire"
)

// BenchmarkEdgeFootprint is an agent that polls ten devices every second, with
// an fsync for every cycle, and delivers to a collector. Targets: 15 MB resident,
// 0.5 ms of CPU for 1,000 registers, 18 MB of stripped binary for 32 bit ARM.
func BenchmarkEdgeFootprint(b *testing.B) {
	for name, f := range map[string]fleet{
		"SunSpec inverters":  {endpoints: 1, units: 10, profile: "sunspec", energy: "ActWh", device: inverter(func() uint64 { return 1 })},
		"meters, all values": {endpoints: 1, units: 10, profile: fullName, energy: "v26", device: fullMeter},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				live := f.start(b)
				live.settle(b)
				before, registers := live.cpu(b), live.registers.Load()
				wait(60 * time.Second)
				used, read := live.cpu(b)-before, live.registers.Load()-registers
				rss, peak := memory(b, live.agent.cmd.Process.Pid)
				b.ReportMetric(rss, "MB-resident")
				b.ReportMetric(peak, "MB-peak")
				b.ReportMetric(float64(read)/60, "registers/s")
				b.ReportMetric(used.Seconds()*1000/(float64(read)/1000), "ms-cpu/1000-registers")
				live.agent.interrupt(20 * time.Second)
			}
			b.ReportMetric(size(b, binary(b, "kenshin-edge")), "MB-binary")
			b.ReportMetric(size(b, binaryFor(b, "kenshin-edge", "arm")), "MB-binary-arm")
		})
	}
}

// BenchmarkTwoHundredUnits is an agent that polls 200 meters behind 20 endpoints
// every second for a minute. Target: no cycle missed, no reading failed.
func BenchmarkTwoHundredUnits(b *testing.B) {
	for b.Loop() {
		live := fleet{endpoints: 20, units: 10, profile: fullName, energy: "v26", device: fullMeter}.start(b)
		live.settle(b)
		first := live.report(b)
		before, registers := live.cpu(b), live.registers.Load()
		wait(60 * time.Second)
		last := live.report(b)
		used, read := live.cpu(b)-before, live.registers.Load()-registers
		if len(last.Buses) != 20 {
			b.Fatalf("%d buses", len(last.Buses))
		}
		missed, failed, least, longest := uint64(0), uint64(0), uint64(1<<32), 0.0
		for i, bus := range last.Buses {
			missed += bus.Missed - first.Buses[i].Missed
			longest = max(longest, bus.Took)
			for k, d := range bus.Devices {
				failed += d.Failed - first.Buses[i].Devices[k].Failed
				least = min(least, d.Readings-first.Buses[i].Devices[k].Readings)
			}
		}
		if missed+failed > 0 || least < 59 {
			b.Errorf("%d cycles missed, %d readings failed, a device was read only %d times in 60 s", missed, failed, least)
		}
		rss, _ := memory(b, live.agent.cmd.Process.Pid)
		b.ReportMetric(float64(missed), "cycles-missed")
		b.ReportMetric(float64(failed), "readings-failed")
		b.ReportMetric(float64(least), "least-readings")
		b.ReportMetric(longest*1000, "ms-longest-last-cycle")
		b.ReportMetric(rss, "MB-resident")
		b.ReportMetric(used.Seconds()*1000/(float64(read)/1000), "ms-cpu/1000-registers")
		live.agent.interrupt(20 * time.Second)
	}
}

// BenchmarkFullRead reads all values of a meter that takes 20 ms to answer: in
// planned requests, target 3 of them and 70 ms; and, as a peer, value by value
// with the library's own client.
func BenchmarkFullRead(b *testing.B) {
	p := fullProfile(b)
	asked := new(atomic.Uint64)
	s, err := plant.Listen("127.0.0.1:0", map[uint8]plant.Unit{1: counted{fullMeter(1), nil, asked, 20 * time.Millisecond}})
	if err != nil {
		b.Fatal(err)
	}
	serve(b, s)
	report := func(b *testing.B) {
		b.ReportMetric(float64(asked.Swap(0))/float64(b.N), "requests/read")
		b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/read")
	}
	b.Run("planned", func(b *testing.B) {
		bus, err := modbus.New(modbus.Config{Endpoint: s.Endpoint()})
		if err != nil {
			b.Fatal(err)
		}
		defer bus.Close()
		bridge, err := modbus.Bridge(s.Endpoint())
		if err != nil {
			b.Fatal(err)
		}
		d, err := p.Declare("meter", 1, wire.Hash{}, bridge)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			for _, k := range d.Blocks {
				if _, err := bus.Read(b.Context(), 1, k.Function, k.Address, k.Count); err != nil {
					b.Fatal(err)
				}
			}
		}
		report(b)
	})
	b.Run("value by value, goburrow", func(b *testing.B) {
		h := goburrow.NewTCPClientHandler(s.Addr())
		h.SlaveId = 1
		defer h.Close()
		client := goburrow.NewClient(h)
		for b.Loop() {
			for _, q := range p.Points {
				if _, err := client.ReadInputRegisters(q.Address, 2); err != nil {
					b.Fatal(err)
				}
			}
		}
		report(b)
	})
}

const fullName = "sdm630-all-values"

// fullText is a profile of the 52 values of an SDM630, at most 80 registers in a
// request as the meter's own profile has it.
func fullText() string {
	var points, registers, values, absent strings.Builder
	n := 0
	for _, run := range [][2]int{{0x00, 0x22}, {0x2A, 0x2A}, {0x30, 0x30}, {0x34, 0x34}, {0x38, 0x38}, {0x3C, 0x3E}, {0x42, 0x42}, {0x46, 0x4E}, {0xEA, 0xF8}, {0x156, 0x170}} {
		for at := run[0]; at <= run[1]; at += 2 {
			kind := ""
			if at == 0x48 {
				kind = ", kind: counter"
			}
			fmt.Fprintf(&points, "  - {name: v%d, address: %d, type: float32, unit: kWh%s}\n", n, at, kind)
			fmt.Fprintf(&registers, "      %d: 4366 0000\n", at)
			fmt.Fprintf(&values, "v%d: 230, ", n)
			fmt.Fprintf(&absent, "v%d: not available, ", n)
			n++
		}
	}
	return fmt.Sprintf(`name: %s
version: "1"
title: all values
manufacturer: Bench
source: addresses of configs/profiles/eastron-sdm630.yaml and its source
verified: false
notes: for benchmarks
limits: {registers: 80, source: as eastron-sdm630}
function: 4
energy: v26
points:
%svectors:
  - title: computed
    registers:
%s    values: {%s}
  - title: computed, nothing measured
    registers:
%s    values: {%s}
`, fullName, &points, &registers, strings.TrimSuffix(values.String(), ", "),
		strings.ReplaceAll(registers.String(), "4366 0000", "7FC0 0000"), strings.TrimSuffix(absent.String(), ", "))
}

func fullProfile(b *testing.B) *device.Profile {
	b.Helper()
	var p device.Profile
	if err := configs.Decode("full.yaml", []byte(fullText()), &p); err != nil {
		b.Fatal(err)
	}
	if err := p.Validate(); err != nil || len(p.Points) != 52 {
		b.Fatal(len(p.Points), err)
	}
	return &p
}

// fullMeter returns a meter of that profile: all registers of function 4.
func fullMeter(int) plant.Unit { return all230{} }

type all230 struct{}

func (all230) Read(_ uint8, address, count uint16) ([]uint16, uint8) {
	out := make([]uint16, count)
	for i := range out {
		if (int(address)+i)%2 == 0 {
			out[i] = 0x4366
		}
	}
	return out, 0
}

// inverter returns SunSpec inverters whose counters show what wattHours says.
func inverter(wattHours func() uint64) func(int) plant.Unit {
	return func(n int) plant.Unit {
		return plant.SunSpecInverter(plant.Nameplate{Manufacturer: "Bench", Model: "B", Serial: strconv.Itoa(n)}, func() (plant.Output, bool) {
			return plant.Output{MicroWatts: 1_000_000_000, WattHours: wattHours(), State: 4}, true
		})
	}
}

// counted counts the registers and requests of a unit that takes its time.
type counted struct {
	plant.Unit
	registers, requests *atomic.Uint64 // nil: not counted
	takes               time.Duration
}

func (c counted) Read(function uint8, address, count uint16) ([]uint16, uint8) {
	if c.registers != nil {
		c.registers.Add(uint64(count))
	}
	if c.requests != nil {
		c.requests.Add(1)
	}
	if c.takes > 0 {
		wait(c.takes)
	}
	return c.Unit.Read(function, address, count)
}

func wait(d time.Duration) { <-time.After(d) }

// serve answers for s until the benchmark ends.
func serve(b *testing.B, s *plant.Server) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	b.Cleanup(func() { cancel(); <-ended })
}

// fleet is what an agent polls every second: devices of a kind behind endpoints.
type fleet struct {
	endpoints, units int // units behind each
	profile, energy  string
	device           func(n int) plant.Unit
}

// live is a fleet, and an agent and a collector in processes of their own.
type live struct {
	page, status string // URLs
	agent        *program
	registers    *atomic.Uint64 // that were read
}

func (f fleet) start(b *testing.B) *live {
	b.Helper()
	l := &live{registers: new(atomic.Uint64)}
	dir := b.TempDir()
	brokerAt, pageAt, statusAt := freeAddr(b), freeAddr(b), freeAddr(b)
	var buses, meters strings.Builder
	n := 0
	for e := range f.endpoints {
		units := make(map[uint8]plant.Unit)
		var devices strings.Builder
		for u := range f.units {
			n++
			units[uint8(u+1)] = counted{Unit: f.device(n), registers: l.registers}
			fmt.Fprintf(&devices, "      - {id: dev-%d, unit: %d, profile: %s}\n", n, u+1, f.profile)
			fmt.Fprintf(&meters, "  - {key: dev-%[1]d, title: Device %[1]d, register: site-1/dev-%[1]d/%[2]s, parameter: EG}\n", n, f.energy)
		}
		s, err := plant.Listen("127.0.0.1:0", units)
		if err != nil {
			b.Fatal(err)
		}
		serve(b, s)
		fmt.Fprintf(&buses, "  - name: bus-%d\n    endpoint: %s\n    devices:\n%s", e+1, s.Endpoint(), &devices)
	}
	write(b, dir, fullName+".yaml", fullText())
	write(b, dir, "edge.yaml", fmt.Sprintf(`edge: site-1
data: edge-data
interval: 1s
broker: {url: "tcp://%s", password: secret}
collector: {key_file: collector-data/collector.pub}
http: {listen: "%s"}
log: {level: warn}
profiles: .
buses:
%s`, brokerAt, statusAt, &buses))
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
%s`, &meters))
	for _, name := range []string{"edge", "collector"} {
		if code := launch(b, dir, binary(b, "kenshin-"+name), "identity", "-config", name+".yaml").wait(20 * time.Second); code != 0 {
			b.Fatalf("kenshin-%s identity: exit code %d", name, code)
		}
	}
	launch(b, dir, binary(b, "kenshin-collector"), "-config", filepath.Join(dir, "collector.yaml"))
	waitPort(b, pageAt)
	waitPort(b, brokerAt)
	l.page, l.status = "http://"+pageAt, "http://"+statusAt+"/status"
	l.agent = launch(b, dir, binary(b, "kenshin-edge"), "-config", filepath.Join(dir, "edge.yaml"))
	return l
}

// settle waits until the agent has delivered for ten cycles: what is done once
// is done then.
func (l *live) settle(b *testing.B) {
	b.Helper()
	eventually(b, time.Minute, func() error {
		r, err := l.ask(b)
		switch {
		case err != nil:
			return err
		case r.Buses[0].Cycles < 10 || r.Outbox.Acked == 0:
			return fmt.Errorf("%d cycles, acked up to %d", r.Buses[0].Cycles, r.Outbox.Acked)
		}
		return nil
	})
}

// agentReport is the part of /status that is looked at.
type agentReport struct {
	Outbox struct{ Acked uint64 }
	Buses  []struct {
		Cycles, Missed uint64
		Took           float64 `json:"cycle_s"`
		Devices        []struct{ Readings, Failed uint64 }
	}
}

func (l *live) ask(b *testing.B) (r agentReport, err error) {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, l.status, nil)
	if err != nil {
		return r, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(resp.Body).Decode(&r)
	if err == nil && len(r.Buses) == 0 {
		err = fmt.Errorf("no buses in the status")
	}
	return r, err
}

func (l *live) report(b *testing.B) agentReport {
	b.Helper()
	r, err := l.ask(b)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// cpu returns how long the agent's threads ran.
func (l *live) cpu(b *testing.B) time.Duration {
	b.Helper()
	return processor(b, l.agent.cmd.Process.Pid)
}

// processor returns how long the threads of a process ran that it has now.
func processor(b *testing.B, pid int) time.Duration {
	b.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		b.Skipf("CPU time to the ns needs /proc/PID/task/*/schedstat: %v", err)
	}
	var sum time.Duration
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			b.Fatal(err)
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(ns)
	}
	return sum
}

// size returns that of a file, MB of 10^6 bytes.
func size(b *testing.B, path string) float64 {
	b.Helper()
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	return float64(info.Size()) / 1e6
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
