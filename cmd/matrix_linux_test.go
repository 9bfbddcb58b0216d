package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// matrix is what can go wrong between a register and the book, each with its test.
var matrix = []struct {
	name string
	test func(t *testing.T)
	in   string // package and test elsewhere that show more of it: "edge TestAck"
}{
	{"edge killed", simulated(3, 6, fault{At: 61, Kind: "edge-crash"}, fault{At: 62, Kind: "edge-crash"}, fault{At: 90, Kind: "edge-crash"},
		fault{At: 105, Kind: "edge-crash", Edge: 1}, fault{At: 200, Kind: "edge-crash"}, fault{At: 200, Kind: "edge-crash", Edge: 1}), "cmd TestKill9Stack"},
	{"power cut, torn tail", func(t *testing.T) { cutPower(t, 10) }, "edge/outbox TestPowerCutAtEveryCall"},
	{"broker wiped", simulated(3, 6, fault{At: 60, Kind: "wipe"}, fault{At: 61, Kind: "wipe"}, fault{At: 150, Kind: "wipe"}, fault{At: 195, Kind: "wipe"}), "cmd TestChaos"},
	{"collector killed between store and ack", simulated(3, 6, fault{At: 40, For: 50, Kind: "lose-acks", N: 100}, fault{At: 76, Kind: "center-crash"},
		fault{At: 120, For: 60, Kind: "lose-acks", N: 100}, fault{At: 135, Kind: "center-crash"}, fault{At: 160, Kind: "center-crash"}), "collector TestAcksThatFail"},
	{"two collectors", twoCollectors, "edge TestStaleGeneration"},
	{"half-open link", simulated(3, 6, fault{At: 50, For: 60, Kind: "silent"}, fault{At: 100, For: 20, Kind: "silent", Edge: 1}, fault{At: 200, For: 90, Kind: "silent"}), "cmd TestChaos"},
	{"duplicate, reorder", simulated(3, 6, fault{At: 10, For: 330, Kind: "repeat"}, fault{At: 20, For: 300, Kind: "reorder"}, fault{At: 100, For: 200, Kind: "old-acks"}), "collector TestTotalsEqualTheBook"},
	{"clock steps, start in 1970", simulated(3, 10, fault{At: 1, Kind: "step", N: -since1970}, fault{At: 2, Kind: "edge-crash"}, fault{At: 100, Kind: "edge-crash"}, fault{At: 130, Kind: "step", N: since1970},
		fault{At: 200, Kind: "step", N: -60, Edge: 1}, fault{At: 290, Kind: "step", N: 60, Edge: 1}, fault{At: 400, Kind: "step", N: -1, Edge: 2}), "edge TestClockStep"},
	{"clock before the build date", boxClockBehind, "collector/ca TestClocks"},
	{"outbox disk full", boxDiskFull, "edge/outbox TestWhatGoesFirst"},
	{"outbox disk fails", boxDiskFails, "edge/outbox TestHeldWhileTheDiskFails"},
	{"box imaged anew", simulated(3, 6, fault{At: 130, Kind: "edge-anew"}, fault{At: 180, For: 60, Kind: "away"}, fault{At: 200, Kind: "edge-anew"}), "collector TestAnotherEpoch"},
	{"box put back to an old copy", boxOldCopy, "edge TestOldCopyEnds"},
	{"cloned card", clonedCard, "collector TestForkWithinAGroup"},
	{"months of backlog", monthsOfBacklog, "edge TestLiveBeforeBacklog"},
	{"collector disk full", collectorDiskFull, "collector TestABookThatCannotBeWritten"},
	{"store damaged", storeDamaged, "collector/store TestTamper"},
	{"malicious edge", maliciousEdge, "collector TestRefusedMessages"},
}

// TestFailureMatrix runs a short test for every row.
func TestFailureMatrix(t *testing.T) {
	for _, row := range matrix {
		t.Run(row.name, func(t *testing.T) {
			pkg, name, _ := strings.Cut(row.in, " ")
			if !declares(t, pkg, name) {
				t.Errorf("%s has no test %s", pkg, name)
			}
			t.Logf("see also: go test ./%s -run '%s$'", pkg, name)
			row.test(t)
		})
	}
}

// declares reports whether a package has a test.
func declares(t *testing.T, pkg, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}

const since1970 = 10957 * 24 * 60 // minutes to the start of a bubble

// simulated is a row that the sim shows: agents, broker and collector in one
// bubble, with faults at fixed minutes.
func simulated(edges, hours int, faults ...fault) func(*testing.T) {
	return func(t *testing.T) {
		simulate(t, plan{Version: planVersion, Seed: 1, Edges: edges, Hours: hours, Faults: faults})
	}
}

// twoCollectors: a second one on the same folder ends at once and says why, and
// the first goes on.
func twoCollectors(t *testing.T) {
	dir := t.TempDir()
	e := newLoadEdge(1, 8)
	_, p := loadCenter(t, dir, []*loadEdge{e})
	text := strings.Replace(read(t, dir, "collector.yaml"), "http:", "# http:", 1)
	text = regexp.MustCompile(`broker: .*`).ReplaceAllString(text, fmt.Sprintf("broker: {listen: %q}", freeAddr(t)))
	write(t, dir, "second.yaml", text)
	second := launch(t, dir, binary(t, "kenshin-collector"), "-config", "second.yaml")
	if code := second.wait(time.Minute); code != 2 {
		t.Errorf("the second collector: exit code %d, want 2", code)
	}
	if said := strings.Join(second.log.tail, "\n"); !strings.Contains(said, "another process") {
		t.Errorf("the second collector says %q, want that another process has the folder", said)
	}
	if err := e.publish(20, time.Now(), true); err != nil {
		t.Fatal(err)
	}
	drained(t, []*loadEdge{e})
	p.interrupt(time.Minute)
}

// clonedCard: two boxes with the card of one. Whoever comes second is refused from
// where they differ; what the first delivered stays, and it goes on.
func clonedCard(t *testing.T) {
	dir := t.TempDir()
	first, clone := newLoadEdge(1, 8), newLoadEdge(1, 8)
	page, p := loadCenter(t, dir, []*loadEdge{first})
	say := func(e *loadEdge, readings int) {
		t.Helper()
		if err := e.publish(readings, time.Now(), true); err != nil {
			t.Fatal(err)
		}
	}
	say(first, 20)
	drained(t, []*loadEdge{first})
	clone.seq, clone.chain, clone.acked = first.seq, first.chain, first.acked
	say(first, 10)
	drained(t, []*loadEdge{first})
	first.conn.Close()
	if err := clone.dial(first.conn.RemoteAddr().String()); err != nil {
		t.Fatal(err)
	}
	defer clone.conn.Close()
	say(clone, 12)
	eventually(t, time.Minute, func() error {
		text, err := get(page, "/metrics")
		if err == nil && !strings.Contains(string(text), `kenshin_collector_messages_rejected_total{reason="fork"} 1`) {
			err = fmt.Errorf("no fork is counted")
		}
		return err
	})
	again := newLoadEdge(1, 8)
	again.seq, again.chain, again.acked = first.seq, first.chain, first.acked
	clone.conn.Close()
	if err := again.dial(first.conn.RemoteAddr().String()); err != nil {
		t.Fatal(err)
	}
	defer again.conn.Close()
	say(again, 10)
	drained(t, []*loadEdge{again})
	if clone.acked >= clone.seq {
		t.Errorf("the clone was told that its records to %d are durable", clone.acked)
	}
	p.interrupt(time.Minute)
	dead := launch(t, dir, binary(t, "kenshin-collector"), "dead", "-config", "collector.yaml")
	if code := dead.wait(time.Minute); code != 0 || strings.Count(dead.stdout.String(), `"fork"`) != 1 {
		t.Errorf("dead: exit code %d, %s", code, dead.stdout.String())
	}
}

// monthsOfBacklog: edges that come back after three months deliver all of it,
// while others go on living.
func monthsOfBacklog(t *testing.T) {
	var back, live []*loadEdge
	for n := range 4 {
		back, live = append(back, newLoadEdge(n, 6)), append(live, newLoadEdge(10+n, 8))
	}
	_, p := loadCenter(t, t.TempDir(), append(back, live...))
	began := time.Now().Add(-90 * 24 * time.Hour)
	for i := range 200 {
		for _, e := range back {
			if err := e.publish(50, began.Add(time.Duration(i)*10*time.Hour), false); err != nil {
				t.Fatal(err)
			}
		}
		if e := live[i%len(live)]; i%4 == 0 {
			if err := e.publish(5, time.Now(), true); err != nil {
				t.Fatal(err)
			}
		}
	}
	drained(t, append(back, live...))
	p.interrupt(time.Minute)
}

// storeDamaged: a byte that changed in the book is found and its record named, and
// the collector does not serve it as good.
func storeDamaged(t *testing.T) {
	dir := t.TempDir()
	e := newLoadEdge(1, 8)
	_, p := loadCenter(t, dir, []*loadEdge{e})
	for range 5 {
		if err := e.publish(20, time.Now(), true); err != nil {
			t.Fatal(err)
		}
		drained(t, []*loadEdge{e})
	}
	p.interrupt(time.Minute)
	verify := func() (int, string) {
		v := launch(t, dir, binary(t, "kenshin-collector"), "verify", "-config", "collector.yaml")
		return v.wait(time.Minute), strings.Join(v.log.tail, "\n")
	}
	if code, said := verify(); code != 0 {
		t.Fatalf("verify of a good book: exit code %d\n%s", code, said)
	}
	files, err := filepath.Glob(filepath.Join(dir, "data", "book", "records", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, at := range []int64{200, 500, 900} {
		flip(t, files[0], at)
		code, said := verify()
		if code != 1 || !regexp.MustCompile(`record`).MatchString(said) {
			t.Errorf("byte %d of %s: exit code %d, want 1 and the record\n%s", at, filepath.Base(files[0]), code, said)
		}
		flip(t, files[0], at)
	}
}

// flip changes a byte of a file; doing it again changes it back.
func flip(t *testing.T, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	b[0] ^= 0x40
	if err == nil {
		_, err = f.WriteAt(b[:], at)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// maliciousEdge: whatever a registered edge sends is refused with a reason, and
// another edge does not feel it.
func maliciousEdge(t *testing.T) {
	dir := t.TempDir()
	bad, good := newLoadEdge(1, 64), newLoadEdge(2, 8)
	page, p := loadCenter(t, dir, []*loadEdge{bad, good})
	if err := good.publish(20, time.Now(), true); err != nil {
		t.Fatal(err)
	}
	envelope, err := bad.batch(20, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	send := func(payload []byte) {
		t.Helper()
		sent++
		if err := bad.send(payload); err != nil {
			t.Fatal(err)
		}
	}
	send(nil)
	send([]byte("{}"))
	send(make([]byte, 100<<10))
	for at := 0; at < len(envelope); at += 1 + len(envelope)/40 {
		send(envelope[:at])
		changed := append([]byte(nil), envelope...)
		changed[at] ^= 1
		send(changed)
	}
	if err := good.publish(20, time.Now(), true); err != nil {
		t.Fatal(err)
	}
	drained(t, []*loadEdge{good})
	eventually(t, time.Minute, func() error {
		text, err := get(page, "/metrics")
		if err != nil {
			return err
		}
		refused := 0
		for _, m := range regexp.MustCompile(`kenshin_collector_messages_rejected_total{reason="\w+"} (\d+)`).FindAllStringSubmatch(string(text), -1) {
			n := 0
			fmt.Sscan(m[1], &n)
			refused += n
		}
		if refused != sent {
			err = fmt.Errorf("%d messages refused, %d were sent", refused, sent)
		}
		return err
	})
	p.interrupt(time.Minute)
}
