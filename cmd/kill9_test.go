package cmd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kenshin/collector/store"
	"kenshin/configs"
	"kenshin/edge/plant"
)

// stack is agents and a collector, each a process of its own, polling inverters
// in this process every second.
type stack struct {
	t      testing.TB
	dir    string
	page   string
	edges  []string
	agents []*program
	center *program
}

// newStack writes the configurations and starts nothing. With external the
// collector listens at a broker outside, else it has its own; edges dial dialAt.
func newStack(t testing.TB, edges int, brokerAt, dialAt string, external bool) *stack {
	t.Helper()
	s := &stack{t: t, dir: t.TempDir(), page: freeAddr(t)}
	began := time.Now()
	units := make(map[uint8]plant.Unit)
	for i := range 3 {
		units[uint8(i+1)] = plant.SunSpecInverter(plant.Nameplate{Manufacturer: "Kill", Model: "9", Serial: fmt.Sprint(i)}, func() (plant.Output, bool) {
			return plant.Output{MicroWatts: 1_000_000_000, WattHours: uint64(time.Since(began).Milliseconds()), State: 4}, true
		})
	}
	server, err := plant.Listen("127.0.0.1:0", units)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })

	var registered, meters strings.Builder
	for n := range edges {
		id := fmt.Sprintf("site-%d", n)
		s.edges = append(s.edges, id)
		fmt.Fprintf(&registered, "  - {id: %[1]s, key_file: %[1]s/edge.pub, password: secret}\n", id)
		var devices strings.Builder
		for i := range 3 {
			fmt.Fprintf(&devices, "      - {id: inv-%d, unit: %d, profile: sunspec}\n", i, i+1)
			fmt.Fprintf(&meters, "  - {key: %[1]s-%[2]d, title: Inverter, register: %[1]s/inv-%[2]d/ActWh, parameter: EG}\n", id, i)
		}
		write(t, s.dir, id+".yaml", fmt.Sprintf(`edge: %[1]s
data: %[1]s
interval: 1s
broker: {url: "tcp://%[2]s", password: secret, ack_timeout: 2s}
collector: {key_file: collector/collector.pub}
log: {level: error}
buses:
  - {name: inverters, endpoint: "tcp://%[3]s", devices: [
%[4]s]}
`, id, dialAt, server.Addr(), strings.ReplaceAll(strings.ReplaceAll(devices.String(), "- {", "{"), "}\n", "},\n")))
	}
	source := fmt.Sprintf(`{listen: "%s"}`, brokerAt)
	if external {
		source = fmt.Sprintf(`{url: "tcp://%s", user: collector}`, brokerAt)
	}
	write(t, s.dir, "collector.yaml", fmt.Sprintf("name: stack\ndata: collector\nbroker: %s\nedges:\n%sprojects: [project.yaml]\nhttp: {listen: \"%s\"}\nlog: {level: error}\n", source, registered.String(), s.page))
	write(t, s.dir, "project.yaml", `reference: stack
title: Stack
country: Nowhere
zone: UTC
methodology: {number: KS-F1, version: "1.0"}
periods: [{start: 2020-01-01, end: 2045-12-31}]
parameters:
  EF_RE: {value: "1", unit: tCO2/MWh, source: "a round figure for this rig"}
meters:
`+meters.String())
	s.run("collector", "identity", "-config", "collector.yaml")
	for _, id := range s.edges {
		s.run("edge", "identity", "-config", id+".yaml")
	}
	s.agents = make([]*program, edges)
	return s
}

// run runs a command to its end and wants it to be content.
func (s *stack) run(name string, args ...string) *program {
	s.t.Helper()
	p := launch(s.t, s.dir, binary(s.t, "kenshin-"+name), args...)
	if code := p.wait(2 * time.Minute); code != 0 {
		s.t.Fatalf("kenshin-%s %v: exit code %d\n%s", name, args, code, strings.Join(p.log.tail, "\n"))
	}
	return p
}

func (s *stack) startAgent(n int) {
	s.agents[n] = launch(s.t, s.dir, binary(s.t, "kenshin-edge"), "-config", s.edges[n]+".yaml")
}

func (s *stack) startCenter() {
	s.center = launch(s.t, s.dir, binary(s.t, "kenshin-collector"), "-config", "collector.yaml")
}

// settle ends everything well and checks that nothing was lost, doubled or altered.
func (s *stack) settle() {
	s.t.Helper()
	dirs := make(map[string]string)
	for n, id := range s.edges {
		dirs[id] = filepath.Join(s.dir, id, "outbox")
		s.delivered(n)
		s.agents[n].interrupt(20 * time.Second)
	}
	s.center.interrupt(20 * time.Second)
	seen := make(witness)
	if err := seen.outboxes(dirs); err != nil {
		s.t.Error(err)
	}
	key, err := configs.Key(filepath.Join(s.dir, "collector"), "collector")
	if err != nil {
		s.t.Fatal(err)
	}
	book, _, err := store.Open(filepath.Join(s.dir, "collector", "book"), store.Options{Origin: "kenshin/stack", Key: key})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := checkBook(book, seen); err != nil {
		s.t.Error(err)
	}
	if err := book.Close(); err != nil {
		s.t.Error(err)
	}
	s.run("collector", "totals", "stack", "-recompute", "-config", "collector.yaml") // I3
	for h, got := range seen {
		s.t.Logf("%v: %d records", h, got.last())
	}
}

// delivered waits until the page's API says that an agent delivers: what it has
// left when it is interrupted it delivers on its way out.
func (s *stack) delivered(n int) {
	s.t.Helper()
	before := ""
	eventually(s.t, time.Minute, func() error {
		text, err := get(s.page, "/api/v1/edges")
		if err != nil {
			return err
		}
		_, after, _ := strings.Cut(string(text), `"`+s.edges[n]+`"`)
		after, _, _ = strings.Cut(after, "}")
		if before == "" {
			before = after
		}
		if after == before {
			return fmt.Errorf("edge %s stands still: %s", s.edges[n], after)
		}
		return nil
	})
}

// TestKill9Stack: agents and collector are killed at random moments and started
// again. KENSHIN_KILL9 says how often (default 25), KENSHIN_SEED from which seed.
func TestKill9Stack(t *testing.T) {
	kills, seed := int(number(t, "KENSHIN_KILL9", 25)), number(t, "KENSHIN_SEED", 1)
	if testing.Short() {
		t.Skip("starts processes")
	}
	rng := rand.New(rand.NewPCG(seed, 9))
	at := freeAddr(t)
	s := newStack(t, 2, at, at, false)
	s.startCenter()
	for n := range s.edges {
		s.startAgent(n)
	}
	began := time.Now()
	for range kills {
		timer := time.NewTimer(time.Duration(20+rng.IntN(1200)) * time.Millisecond)
		<-timer.C
		what := rng.IntN(4)
		if what < 2 || what == 3 {
			n := rng.IntN(len(s.agents))
			s.agents[n].kill9()
			s.startAgent(n)
		}
		if what >= 2 {
			s.center.kill9()
			s.startCenter()
		}
	}
	t.Logf("seed %d: %d kills in %v", seed, kills, time.Since(began).Round(time.Second))
	s.settle()
}
