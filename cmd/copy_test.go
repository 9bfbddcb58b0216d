package cmd

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkCopy says what a configured InfluxDB costs: the same messages without and
// with it in turn, KENSHIN_PAIRS times (3), of KENSHIN_FLEET devices (10,000) and
// KENSHIN_MINUTES of event time (12). Ingest is what it takes until all is settled;
// the server has the rest later, at the rate of copied/s. Figures are the medians.
func BenchmarkCopy(b *testing.B) {
	devices, minutes := int(number(b, "KENSHIN_FLEET", 10_000)), int(number(b, "KENSHIN_MINUTES", 12))
	for b.Loop() {
		var walls, processor, slower, dearer, copied, server []float64
		for range int(number(b, "KENSHIN_PAIRS", 3)) {
			var alone copyRun
			for _, with := range []bool{false, true} {
				x := copyOnce(b, devices, minutes, with)
				b.Logf("with InfluxDB %5v: settled %8.0f points/s, %5.0f ns of the collector's processor a point; the server has all after %5.1f s, %5.0f ns of both a point", with, x.rate, x.processor, x.all, x.total)
				if !with {
					alone = x
					continue
				}
				walls, processor = append(walls, x.rate), append(processor, x.processor)
				slower, dearer = append(slower, alone.rate/x.rate), append(dearer, x.processor/alone.processor)
				copied, server = append(copied, x.copied), append(server, x.total-alone.processor)
			}
		}
		b.ReportMetric(median(walls), "points/s")
		b.ReportMetric(median(slower), "times-the-time")
		b.ReportMetric(median(processor), "cpu-ns/point")
		b.ReportMetric(median(dearer), "times-the-cpu")
		b.ReportMetric(median(copied), "copied/s")
		b.ReportMetric(median(server), "copy-cpu-ns/point")
	}
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

type copyRun struct {
	rate, processor float64 // until all is settled: points/s, ns a point
	copied          float64 // points/s that the server got after that
	all, total      float64 // until the server has all: s, ns a point of collector and server
}

func copyOnce(b *testing.B, devices, minutes int, with bool) (x copyRun) {
	extra := ""
	var db *influxServer
	if with {
		db = newInfluxServer(b)
		extra = fmt.Sprintf("influx: [{name: main, url: \"http://%s\", bucket: kenshin/autogen}]\n", db.addr)
	}
	f := newFleetRig(b, devices, minutes, 60, freeAddr(b), false, extra)
	used := func() float64 {
		n := processorTime(b, f.cmd.Process.Pid)
		if with {
			n += processorTime(b, db.cmd.Process.Pid)
		}
		return n * 1e9 / f.points
	}
	before, before2 := processorTime(b, f.cmd.Process.Pid), used()
	began := time.Now()
	go f.send(0)
	f.settled()
	settled := time.Since(began).Seconds()
	x.rate = f.points / settled
	x.processor = (processorTime(b, f.cmd.Process.Pid) - before) * 1e9 / f.points
	if with {
		had := metric(b, f.page, `kenshin_influx_points_total{server="main"}`)
		f.copied()
		x.all = time.Since(began).Seconds()
		x.copied = (metric(b, f.page, `kenshin_influx_points_total{server="main"}`) - had) / (x.all - settled)
	}
	x.total = used() - before2
	f.interrupt(time.Minute)
	if with {
		db.kill9()
	}
	return x
}

// copied waits until the server has all that is settled.
func (f *fleetRig) copied() {
	f.b.Helper()
	eventually(f.b, 10*time.Minute, func() error {
		if n := metric(f.b, f.page, `kenshin_influx_lag_records{server="main"}`); n > 0 {
			return fmt.Errorf("the server is %v records behind", n)
		}
		return nil
	})
}

// metric returns a value of /metrics, 0 when it is not there.
func metric(b *testing.B, page, name string) float64 {
	b.Helper()
	resp, err := http.Get("http://" + page + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		if text, ok := strings.CutPrefix(s.Text(), name+" "); ok {
			n, err := strconv.ParseFloat(text, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// BenchmarkCatchUp has InfluxDB away for KENSHIN_OUTAGE minutes of event time (10) of
// KENSHIN_FLEET devices (10,000), and then gives it the rest while the fleet goes on in
// real time, each device once a minute.
func BenchmarkCatchUp(b *testing.B) {
	for b.Loop() {
		db := newInfluxServer(b)
		extra := fmt.Sprintf("influx: [{name: main, url: \"http://%s\", bucket: kenshin/autogen}]\n", db.addr)
		f := newFleetRig(b, int(number(b, "KENSHIN_FLEET", 10_000)), 1, 10, freeAddr(b), false, extra)
		f.send(0)
		f.settled()
		f.copied()
		db.kill9()
		f.make(int(number(b, "KENSHIN_OUTAGE", 10)), 10)
		f.send(0)
		f.settled()
		eventually(b, time.Minute, func() error {
			if metric(b, f.page, `kenshin_influx_up{server="main"}`) != 0 {
				return fmt.Errorf("the outage does not show")
			}
			return nil
		})
		f.make(3, 10)
		live := make(chan bool)
		go func() { f.send(time.Minute); close(live) }()
		behind := metric(b, f.page, `kenshin_influx_lag_records{server="main"}`)
		had := metric(b, f.page, `kenshin_influx_points_total{server="main"}`)
		before, before2 := processorTime(b, f.cmd.Process.Pid), 0.0
		db.start()
		back := time.Now()
		before2 = processorTime(b, db.cmd.Process.Pid)
		eventually(b, 2*time.Minute, func() error { // the pause between two tries is in no rate
			if metric(b, f.page, `kenshin_influx_points_total{server="main"}`) == had {
				return fmt.Errorf("nothing is written")
			}
			return nil
		})
		first := time.Now()
		f.copied()
		done := time.Now()
		got := metric(b, f.page, `kenshin_influx_points_total{server="main"}`) - had
		b.Logf("%.0f records behind; the first values %.1f s after the server answered, all %.1f s after them: %.0f values", behind, first.Sub(back).Seconds(), done.Sub(first).Seconds(), got)
		b.ReportMetric(got/done.Sub(first).Seconds(), "copied/s")
		b.ReportMetric(done.Sub(back).Seconds(), "s-after-it-answers")
		b.ReportMetric((processorTime(b, f.cmd.Process.Pid)-before)*1e9/got, "cpu-ns/point")
		b.ReportMetric((processorTime(b, db.cmd.Process.Pid)-before2)*1e9/got, "server-cpu-ns/point")
		<-live
		f.settled()
		f.copied()
		f.interrupt(time.Minute)
		if n := f.points; db.values() != n {
			b.Errorf("the server has %v values, want %v", db.values(), n)
		}
		db.kill9()
	}
}

// values counts the values of the fleet that a server has.
func (db *influxServer) values() float64 {
	_, text := db.flux(`from(bucket: "kenshin/autogen") |> range(start: 2020-01-01T00:00:00Z, stop: 2021-01-01T00:00:00Z) |> filter(fn: (r) => r._measurement =~ /^kenshin_(int|float)$/) |> count() |> group() |> sum()`)
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ",")
		if n, err := strconv.ParseFloat(f[len(f)-1], 64); err == nil {
			return n
		}
	}
	return -1
}
