package cmd

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// BenchmarkPeers is the same readings through what a user would take instead, on the
// same machine one after the other: mosquitto, Telegraf's mqtt_consumer and a time
// series server, each as a process of its own, beside this collector. Of KENSHIN_FLEET
// devices (10,000) with ten points and KENSHIN_MINUTES of event time (30). The time is
// from the first message sent to the last value counted in the server, or settled here.
//
// What is durable when it answers differs: Telegraf acknowledges a message when its
// output has taken it; InfluxDB has it on disk by then, VictoriaMetrics in memory. This
// collector has it on disk, checked its signature, and added it up.
func BenchmarkPeers(b *testing.B) {
	devices, minutes := int(number(b, "KENSHIN_FLEET", 10_000)), int(number(b, "KENSHIN_MINUTES", 30))
	for b.Loop() {
		var ours, theirs []peerRun
		for _, per := range []int{1, 10, 60} {
			n := minutes
			if per == 1 {
				n = max(1, minutes/5)
			} else if per == 60 {
				n = max(6, minutes-minutes%6)
			}
			ours = append(ours, ownRun(b, devices, n, per, false), ownRun(b, devices, n, per, true))
			if per <= 10 {
				theirs = append(theirs, telegrafRun(b, devices, minutes, per, "VictoriaMetrics"), telegrafRun(b, devices, minutes, per, "InfluxDB 1.8"))
			}
		}
		var table strings.Builder
		fmt.Fprintf(&table, "\n%-44s %4s %12s %8s %8s", "", "a", "points/s", "ns CPU", "MB peak")
		for _, x := range theirs {
			fmt.Fprintf(&table, " %8s", x.short)
		}
		for _, x := range append(ours, theirs...) {
			fmt.Fprintf(&table, "\n%-44s %4d %12.0f %8.0f %8.0f", x.name, x.per, x.rate, x.processor, x.peak)
			for _, y := range theirs {
				fmt.Fprintf(&table, " %7.2fx", x.rate/y.rate)
			}
		}
		fmt.Println(table.String()) // a benchmark's log is cut after ten lines
		best := 0.0
		for _, y := range theirs {
			best = max(best, y.rate)
		}
		b.ReportMetric(ours[0].rate/theirs[0].rate, "x-one-a-message")
		b.ReportMetric(ours[len(ours)-2].rate/best, "x-best-of-both")
	}
}

type peerRun struct {
	name, short           string
	per                   int     // readings a message
	rate, processor, peak float64 // points/s; ns a point and MB of all processes but the broker
}

// ownRun is this collector, with its own broker or behind mosquitto.
func ownRun(b *testing.B, devices, minutes, per int, outside bool) peerRun {
	addr, name := freeAddr(b), "Kenshin, own broker"
	if outside {
		quickMosquitto(b, addr)
		name = "mosquitto, Kenshin"
	}
	f := newFleetRig(b, devices, minutes, per, addr, outside, "")
	defer f.interrupt(time.Minute)
	before := processorTime(b, f.cmd.Process.Pid)
	began := time.Now()
	go f.send(0)
	f.settled()
	x := peerRun{name: name, per: per, rate: f.points / time.Since(began).Seconds()}
	x.processor = (processorTime(b, f.cmd.Process.Pid) - before) * 1e9 / f.points
	_, x.peak = memory(b, f.cmd.Process.Pid)
	return x
}

// quickMosquitto holds back nothing that a subscriber has not taken yet.
func quickMosquitto(b *testing.B, addr string) {
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		if path = "/usr/sbin/mosquitto"; !executable(path) {
			lacking(b, "mosquitto (Debian: apt-get install mosquitto)", err)
		}
	}
	dir := b.TempDir()
	_, port, _ := net.SplitHostPort(addr)
	write(b, dir, "mosquitto.conf", fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 10000\n", port))
	p := launch(b, dir, path, "-c", "mosquitto.conf")
	b.Cleanup(p.kill9)
	waitPort(b, addr)
}

// telegrafConfig is tuned: the defaults are 1,000 in a batch and 1,000 undelivered.
const telegrafConfig = `[agent]
  interval = "10s"
  flush_interval = "1s"
  metric_batch_size = 5000
  metric_buffer_limit = 200000
  omit_hostname = true
[[inputs.mqtt_consumer]]
  servers = ["tcp://%s"]
  topics = ["readings/#"]
  qos = 1
  persistent_session = true
  client_id = "telegraf"
  max_undelivered_messages = 10000
  topic_tag = ""
  data_format = "influx"
[[outputs.influxdb]]
  urls = ["http://%s"]
  database = "kenshin"
  skip_database_creation = true
  content_encoding = "identity"
`

// telegrafRun publishes lines of the line protocol, one a reading.
func telegrafRun(b *testing.B, devices, minutes, per int, server string) peerRun {
	telegraf, err := exec.LookPath("telegraf")
	if err != nil {
		b.Skip("no telegraf here; this puts one on the path: CGO_ENABLED=0 go install -tags custom,inputs.mqtt_consumer,parsers.influx,outputs.influxdb github.com/influxdata/telegraf/cmd/telegraf@v1.39.3")
	}
	addr := freeAddr(b)
	quickMosquitto(b, addr)
	var db *program
	var at string
	var count func() float64
	x := peerRun{name: "mosquitto, Telegraf, " + server, per: per}
	if server == "VictoriaMetrics" {
		x.short = fmt.Sprint("VM/", per)
		path, err := exec.LookPath("victoria-metrics")
		if err != nil {
			b.Skip("no victoria-metrics here (Debian: apt-get install victoria-metrics)")
		}
		at = freeAddr(b)
		db = launch(b, b.TempDir(), path, "-storageDataPath=data", "-httpListenAddr="+at, "-retentionPeriod=100y")
		waitPort(b, at)
		count = func() float64 { return metric(b, at, `vm_rows_inserted_total{type="influx"}`) }
	} else {
		x.short = fmt.Sprint("Influx/", per)
		s := newInfluxServer(b)
		at, db = s.addr, s.program
		count = func() float64 { return 10 * pointsWritten(b, at) }
	}
	dir := b.TempDir()
	write(b, dir, "telegraf.conf", fmt.Sprintf(telegrafConfig, addr, at))
	t := launch(b, dir, telegraf, "--config", "telegraf.conf", "--quiet")
	defer t.kill9()
	defer db.kill9()
	sender := dialPeer(b, addr)
	eventually(b, time.Minute, func() error { // until it has subscribed
		sender.publish(b, "readings/x", []byte("hello point=1i 1589500800000000000\n"))
		if count() == 0 {
			return fmt.Errorf("%s has not got the first reading", server)
		}
		return nil
	})
	time.Sleep(2 * time.Second) // the rest of them
	packets := peerPackets(devices, minutes, per)
	points := float64(devices * minutes * 10)
	had, before := count(), processorTime(b, t.cmd.Process.Pid)+processorTime(b, db.cmd.Process.Pid)
	began := time.Now()
	go func() {
		for _, p := range packets {
			if _, err := sender.conn.Write(p); err != nil {
				return // it shows below
			}
		}
	}()
	eventually(b, 10*time.Minute, func() error {
		if n := count() - had; n < points {
			return fmt.Errorf("%s has %v of %v values", server, n, points)
		}
		return nil
	})
	x.rate = points / time.Since(began).Seconds()
	x.processor = (processorTime(b, t.cmd.Process.Pid) + processorTime(b, db.cmd.Process.Pid) - before) * 1e9 / points
	_, x.peak = memory(b, t.cmd.Process.Pid)
	_, more := memory(b, db.cmd.Process.Pid)
	x.peak += more
	return x
}

// peerPackets are MQTT packets with the readings of a fleet: two counters, seven noisy
// integers and a float, as lines, per a message.
func peerPackets(devices, minutes, per int) (packets [][]byte) {
	const start = 1_589_500_800_000_000_000
	random := rand.New(rand.NewPCG(1, 6))
	counts := make([]int, devices)
	var lines []byte
	held := 0
	for minute := range minutes {
		for i := range devices {
			counts[i] += 20 + random.IntN(10)
			lines = fmt.Appendf(lines, "reading,edge=load-%d,device=dev-%02d point-0=%di,point-1=%di", i/10, i%10, counts[i], counts[i]>>2)
			for k := range 7 {
				lines = fmt.Appendf(lines, ",point-%d=%di", k+2, 1000*(k+1)+random.IntN(200))
			}
			lines = fmt.Appendf(lines, ",point-9=%.3f %d\n", 50+float64(random.IntN(100))/1000, start+minute*60_000_000_000+i%10*17_000_000)
			if held++; held == per {
				body := append(text(fmt.Sprint("readings/load-", i/10)), byte(len(packets)>>8), byte(len(packets))|1)
				packets = append(packets, packet(0x32, append(body, lines...)))
				lines, held = lines[:0], 0
			}
		}
	}
	return packets
}

// peerSender speaks just enough MQTT to publish.
type peerSender struct{ conn net.Conn }

func dialPeer(b *testing.B, addr string) *peerSender {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	hello := packet(0x10, append(append(text("MQTT"), 4, 2, 0, 0), text("sender")...))
	if _, err := c.Write(hello); err != nil {
		b.Fatal(err)
	}
	go io.Copy(io.Discard, bufio.NewReader(c))
	return &peerSender{c}
}

func (s *peerSender) publish(b *testing.B, topic string, payload []byte) {
	if _, err := s.conn.Write(packet(0x32, append(append(text(topic), 0, 1), payload...))); err != nil {
		b.Fatal(err)
	}
}

// pointsWritten is how many lines an InfluxDB 1.8 has taken.
func pointsWritten(b *testing.B, at string) float64 {
	resp, err := http.Get("http://" + at + "/debug/vars")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	var vars map[string]json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&vars); err != nil {
		b.Fatal(err)
	}
	for name, text := range vars {
		var v struct {
			Values struct {
				OK float64 `json:"pointsWrittenOK"`
			} `json:"values"`
		}
		if strings.HasPrefix(name, "httpd") && json.Unmarshal(text, &v) == nil {
			return v.Values.OK
		}
	}
	b.Fatal("no httpd in /debug/vars")
	return 0
}
