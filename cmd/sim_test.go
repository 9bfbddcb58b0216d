package cmd

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The simulation is the whole system in one bubble of testing/synctest: agents
// with their outboxes on disk, the real MQTT client, the real broker, the
// collector with book, series store and figures. Time passes only when everybody
// waits, so weeks take seconds; a plan drawn from a seed says what fails when.
//
//	KENSHIN_SIM_DAYS    simulated edge-days (default 20)
//	KENSHIN_SEED        first seed (default 1); episode n has seed + n
//	KENSHIN_SIM_REPLAY  a plan written by a run that failed: only that is run

// plan is one episode. It is all that is needed to run it again.
type plan struct {
	Version int     `json:"version"` // planVersion: another would be run otherwise than it was
	Seed    uint64  `json:"seed"`
	Edges   int     `json:"edges"`
	Days    int     `json:"days"`
	Hours   int     `json:"hours,omitempty"`
	Small   bool    `json:"small"`           // outboxes of 256 KiB: they fill, and drop what is acked
	Paces   []pace  `json:"paces,omitempty"` // of the edges; none: 15 minutes, sent at once
	Faults  []fault `json:"faults"`
}

const planVersion = 2

// pace is how often an edge reads its meters and how long readings then may wait
// for others to travel with, in minutes.
type pace struct {
	Every  int `json:"every_min"`
	Linger int `json:"linger_min"`
}

// paces are those an edge may have, the usual ones more often.
var paces = []pace{{15, 0}, {15, 0}, {15, 0}, {15, 60}, {15, 60}, {30, 0}, {30, 60}, {60, 0}, {60, 180}}

func (p *plan) pace(edge int) pace {
	if edge < len(p.Paces) {
		return p.Paces[edge]
	}
	return pace{Every: 15}
}

// fault is something that goes wrong, after so many minutes.
type fault struct {
	At   int    `json:"at_min"`
	For  int    `json:"for_min,omitempty"`
	Kind string `json:"kind"`
	Edge int    `json:"edge"`
	N    int    `json:"n,omitempty"` // percent, or ms
}

// kinds are the faults with how often they are drawn. A span is at most so many
// minutes long; 0 is a moment.
var kinds = []struct {
	kind   string
	weight int
	span   int
}{
	{"cut", 6, 0},           // the edge's connection is reset
	{"away", 4, 3000},       // the edge reaches no broker
	{"silent", 4, 120},      // nothing moves on the edge's connection, and nobody says so
	{"slow", 2, 60},         // every byte takes N ms
	{"lose", 4, 120},        // the broker says it took a batch and loses it, N percent
	{"repeat", 3, 120},      // batches come twice
	{"reorder", 3, 120},     // a batch comes behind the next
	{"lose-acks", 3, 120},   // N percent of the acks get lost
	{"old-acks", 3, 120},    // every ack is followed by one from before
	{"wipe", 3, 0},          // the broker starts again and has forgotten everything
	{"edge-crash", 6, 0},    // the agent starts from what was on disk
	{"edge-stop", 2, 600},   // the agent is stopped and started later
	{"edge-anew", 1, 0},     // the box is imaged anew
	{"center-crash", 6, 0},  // the collector starts from what was on disk
	{"center-stop", 3, 300}, // the collector is stopped and started later
	{"restore", 2, 0},       // the collector starts from a backup of the book up to N percent of its backups old
	{"step", 3, 0},          // the edge's clock is set by N minutes
}

func (p *plan) edgeDays() int { return p.Edges * p.Days }

func drawPlan(seed uint64) plan {
	rng := rand.New(rand.NewPCG(seed, 0))
	p := plan{Version: planVersion, Seed: seed, Edges: 12 + rng.IntN(12), Days: 3 + rng.IntN(5), Small: rng.IntN(3) == 0}
	for range p.Edges {
		p.Paces = append(p.Paces, paces[rng.IntN(len(paces))])
	}
	if !p.Small && rng.IntN(3) == 0 {
		p.Paces[0] = pace{Every: 1, Linger: 10}
	}
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	for at := 30; at < p.Days*24*60; at += 1 + rng.IntN(150) {
		n := rng.IntN(total)
		for _, k := range kinds {
			if n -= k.weight; n >= 0 {
				continue
			}
			f := fault{At: at, Kind: k.kind, Edge: rng.IntN(p.Edges), N: 1 + rng.IntN(100)}
			if k.span > 0 {
				f.For = 1 + rng.IntN(1+rng.IntN(k.span))
			}
			if k.kind == "step" {
				f.N = rng.IntN(240) - 120
			}
			p.Faults = append(p.Faults, f)
			break
		}
	}
	return p
}

func number(t testing.TB, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: want a number", name, text)
	}
	return n
}

func TestSim(t *testing.T) {
	if file := os.Getenv("KENSHIN_SIM_REPLAY"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var p plan
		if err := json.Unmarshal(text, &p); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if p.Version != planVersion {
			t.Fatalf("%s: a plan of version %d, want %d: run it with the source that wrote it", file, p.Version, planVersion)
		}
		simulate(t, p)
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	budget, seed := int(number(t, "KENSHIN_SIM_DAYS", 20)), number(t, "KENSHIN_SEED", 1)
	began, days := time.Now(), 0
	var plans []plan
	for ; days < budget; days += plans[len(plans)-1].edgeDays() {
		plans = append(plans, drawPlan(seed+uint64(len(plans))))
	}
	var failed atomic.Bool
	t.Run("episodes", func(t *testing.T) { // ends when all of them have
		for _, p := range plans {
			t.Run(fmt.Sprintf("seed=%d", p.Seed), func(t *testing.T) {
				t.Parallel()
				if failed.Load() {
					t.Skip("another has failed")
				}
				defer func() {
					if t.Failed() {
						failed.Store(true)
					}
				}()
				simulate(t, p)
			})
		}
	})
	t.Logf("%d edge-days in %d episodes, seeds %d to %d, in %v", days, len(plans), seed, seed+uint64(len(plans))-1, time.Since(began).Round(time.Second))
}

// simulate runs a plan. When an invariant does not hold the plan is written to a file.
func simulate(t *testing.T, p plan) {
	dir := ramDir(t)
	defer func() { // a bubble that failed ends the goroutine of the test
		if !t.Failed() {
			return
		}
		text, err := json.MarshalIndent(p, "", " ")
		file := filepath.Join(os.TempDir(), fmt.Sprintf("kenshin-sim-%d.json", p.Seed))
		if err == nil {
			err = os.WriteFile(file, text, 0o644)
		}
		t.Logf("again: KENSHIN_SIM_REPLAY=%s go test -run TestSim ./cmd (%v)", file, err)
	}()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir, p)
		defer w.end()
		if err := w.run(); err != nil {
			w.fail("%v", err)
		}
	})
}

// ramDir returns a folder for the test, in memory where the system has such:
// what a disk does when it fails is the matter of other rigs.
func ramDir(t testing.TB) string {
	t.Helper()
	if _, err := os.Stat("/dev/shm"); err != nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "kenshin-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
