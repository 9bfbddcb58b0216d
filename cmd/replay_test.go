package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReplay: the plant's file through every socket gives the file's energy to
// the last digit; and the same bytes again when the process is killed on the way.
func TestReplay(t *testing.T) {
	o := readOracle(t)
	demo := binary(t, "kenshin-demo")
	args := func(dir string) []string {
		return []string{"-replay", data(t, plantFile), "-json", "-addr", "127.0.0.1:0", "-dir", dir}
	}
	p := launch(t, t.TempDir(), demo, args(t.TempDir())...)
	if code := p.wait(4 * time.Minute); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	whole := p.stdout.Bytes()
	o.check(t, whole)

	dir := t.TempDir()
	p = launch(t, t.TempDir(), demo, args(dir)...)
	for range 3 { // three lines of progress: it is somewhere in the middle
		p.waitLine("measured", time.Minute)
	}
	p.kill9()
	p = launch(t, t.TempDir(), demo, args(dir)...)
	if code := p.wait(4 * time.Minute); code != 0 {
		t.Fatalf("after kill -9: exit code %d", code)
	}
	if !bytes.Equal(p.stdout.Bytes(), whole) {
		t.Errorf("after kill -9 the totals differ:\n%s", firstDifference(p.stdout.Bytes(), whole))
	}
}

func firstDifference(a, b []byte) string {
	la, lb := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for i := range la {
		if i >= len(lb) || la[i] != lb[i] {
			return fmt.Sprintf("line %d: %s", i+1, la[i])
		}
	}
	return "one is shorter"
}

// TestSeparatePrograms is the replay with a process for each part and mosquitto
// between them, which is stopped and loses everything it kept, while agent and
// collector are killed: the totals are the same.
func TestSeparatePrograms(t *testing.T) {
	o := readOracle(t)
	dir := t.TempDir()
	brokerAt, plantAt, clockAt, pageAt := freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t)
	write(t, dir, "edge.yaml", edgeConfig(o, brokerAt, plantAt, clockAt))
	write(t, dir, "collector.yaml", `name: tokyo-1
data: collector-data
broker: {url: "tcp://`+brokerAt+`", user: collector}
edges: [{id: site-1, key_file: edge-data/edge.pub}]
projects: [project.yaml]
http: {listen: "`+pageAt+`"}
log: {level: warn}
`)
	write(t, dir, "project.yaml", projectText(o))
	for _, name := range []string{"edge", "collector"} {
		for _, command := range []string{"identity", "check-config"} {
			if code := launch(t, dir, binary(t, "kenshin-"+name), command, "-config", name+".yaml").wait(20 * time.Second); code != 0 {
				t.Fatalf("kenshin-%s %s: exit code %d", name, command, code)
			}
		}
	}
	launch(t, dir, binary(t, "kenshin-plant"), "-control", "none", "-replay", data(t, plantFile), "-listen", plantAt, "-clock-listen", clockAt)
	waitPort(t, clockAt)
	broker := mosquitto(t, brokerAt)
	startCollector := func() *program {
		return launch(t, dir, binary(t, "kenshin-collector"), "-config", "collector.yaml")
	}
	startEdge := func() *program { return launch(t, dir, binary(t, "kenshin-edge"), "-config", "edge.yaml") }
	center, agent := startCollector(), startEdge()

	waitEnergy(t, pageAt, 500_000)
	agent.kill9()
	agent = startEdge()
	waitEnergy(t, pageAt, 1_000_000)
	broker.kill9()
	center.kill9()
	center = startCollector() // finds no broker and waits for one
	mosquitto(t, brokerAt)
	waitEnergy(t, pageAt, 2_000_000)
	center.kill9()
	center = startCollector()
	eventually(t, 4*time.Minute, func() error { // the last readings come first, then the days that were held up
		text, err := get(pageAt, "/api/v1/projects/pv-plant1/periods/1/totals")
		if err == nil {
			err = o.compare(text)
		}
		return err
	})
	agent.interrupt(20 * time.Second)
	center.interrupt(20 * time.Second)
	again := launch(t, dir, binary(t, "kenshin-collector"), "totals", "pv-plant1", "-recompute", "-config", "collector.yaml")
	if code := again.wait(2 * time.Minute); code != 0 {
		t.Fatalf("totals -recompute: exit code %d", code)
	}
	o.check(t, again.stdout.Bytes())
}

func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func edgeConfig(o *oracle, brokerAt, plantAt, clockAt string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `edge: site-1
data: edge-data
interval: 15m
broker: {url: "tcp://%s", ack_timeout: 3s}
collector: {key_file: collector-data/collector.pub}
clock: "%s"
log: {level: warn}
buses:
  - name: inverters
    endpoint: tcp://%s
    devices:
`, brokerAt, clockAt, plantAt)
	for i, k := range o.keys {
		fmt.Fprintf(&b, "      - {id: %q, unit: %d, profile: sunspec}\n", k, i+1)
	}
	return b.String()
}

func projectText(o *oracle) string {
	var b strings.Builder
	b.WriteString(`reference: pv-plant1
title: Replayed plant
country: India
zone: Asia/Kolkata
methodology: {number: KS-F1, version: "1.0"}
periods: [{start: 2020-05-15, end: 2020-06-17}]
parameters:
  EF_RE: {value: "0.533", unit: tCO2/MWh, source: "illustration"}
meters:
`)
	for _, k := range o.keys {
		fmt.Fprintf(&b, "  - {key: %q, title: %q, register: \"site-1/%s/ActWh\", power: \"site-1/%s/W\", parameter: EG}\n", k, k, k, k)
	}
	return b.String()
}

// waitEnergy waits until the collector has settled so many kWh.
func waitEnergy(t *testing.T, addr string, atLeast float64) {
	t.Helper()
	eventually(t, 2*time.Minute, func() error {
		text, err := get(addr, "/api/v1/projects/pv-plant1/periods/1/totals")
		if err != nil {
			return err
		}
		var r struct {
			Measured json.Number `json:"measured_kWh"`
		}
		if err := json.Unmarshal(text, &r); err != nil {
			return err
		}
		if n, err := r.Measured.Float64(); err != nil || n < atLeast {
			return fmt.Errorf("measured %s kWh so far", r.Measured)
		}
		return nil
	})
}

func get(addr, path string) ([]byte, error) {
	c := http.Client{Timeout: 10 * time.Second}
	r, err := c.Get("http://" + addr + path)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = errors.New(r.Status + ": " + string(b))
	}
	return b, err
}
