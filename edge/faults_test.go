package edge_test

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/shopspring/decimal"
	"go.uber.org/zap"

	"kenshin/edge"
	"kenshin/edge/modbus"
	"kenshin/edge/outbox"
	"kenshin/edge/plant"
	"kenshin/edge/wire"
)

// The rig: the agent polls every second of a clock that is faster than the
// world's, so that a timeout and the time a line is left alone after it fit into
// one interval. What a neighbour then loses it loses by a fault of the agent.
const (
	speed      = 5.0 / 3
	interval   = time.Second            // of the agent's clock; 600 ms of the world's
	timeout    = 200 * time.Millisecond // of the world's clock
	faultLasts = 2 * time.Second        // of the world's clock: three polls and more
	patience   = 40 * time.Second       // of the world's clock, for one fault
)

// row is a fault and what may be recorded as good while it is on.
type row struct {
	fault string
	// said tells whether a value that is not the truth is what the faulty
	// registers held, when they were read so many ms after the start. Nil: the
	// fault is none of values, and only the truth is good.
	said func(v, block, ms int64, f *span) bool
	// harmless says that the faulty unit must lose nothing either.
	harmless bool
	lasts    time.Duration // of the world's clock, when not faultLasts
}

// span is when a fault was on, ms after the start on the agent's clock.
type span struct{ from, to int64 }

const (
	dipBy    = 5000   // counts: 50 ms
	turnsBy  = 100000 // counts before the end: 1 s
	turnedAt = int64(1) << 32
)

// control is no fault at all: what it loses the machine took.
const control = "none"

var faultRows = [...]row{
	{fault: control, harmless: true},
	{fault: "late 260ms"},
	{fault: "late 500ms"},
	{fault: "late 260ms every 650ms times 1"}, // and the next request is answered at once
	// The unit is asked for the same words again three polls later, and waits for
	// their answer when the one of before comes.
	{fault: "late 1900ms", lasts: 4 * time.Second},
	{fault: "slow 60ms", harmless: true},
	{fault: "slow 300ms"},
	{fault: "silence"},
	{fault: "half-open"},
	{fault: "drop"},
	{fault: "split 20ms", harmless: true},
	{fault: "short"},
	{fault: "fewer"},
	{fault: "wrong-transaction"},
	{fault: "wrong-unit"},
	{fault: "exception-1"},
	{fault: "exception-2"}, // as for a register in the block that is none
	{fault: "exception-4"},
	{fault: "exception-11"}, // a gateway's
	{fault: "busy"},
	{fault: "garbage"},
	{fault: "crc"},
	{fault: "sentinel-night"},
	{fault: "zero-at-dawn", said: func(v, _, _ int64, _ *span) bool { return v == 0 }},
	{fault: fmt.Sprint("dip ", dipBy), said: func(v, block, ms int64, _ *span) bool { return near(v+dipBy, 1, block, ms) }},
	{fault: fmt.Sprint("rollover ", turnsBy), said: func(v, _, ms int64, f *span) bool {
		since := (v + turnsBy) % turnedAt
		return since%100 == 0 && since/100 <= ms-f.from+slack
	}},
	{fault: "restart", said: func(v, _, ms int64, f *span) bool { return v%100 == 0 && v/100 <= ms-f.from+slack }},
	{fault: "frozen", said: func(v, block, ms int64, f *span) bool {
		return v%100 == 10+block && v/100 >= f.from-slack && v/100 <= ms+slack
	}},
	{fault: "scale-change", harmless: true},
}

// slack is by how much the middle of request and answer may miss the moment at
// which the device took its values, ms of the agent's clock: what a busy machine
// needs. The values of the poll before are an interval older.
const slack = 500

// near tells whether v is what unit's block said at about ms after the start.
func near(v, unit, block, ms int64) bool {
	return v%100 == 10*unit+block && v/100 >= ms-slack && v/100 <= ms+2*slack
}

// outcome is what one fault did over one kind of link.
type outcome struct {
	row, link string
	good      int // values recorded as good, of both units
	wrong     int // of them, values the registers did not hold
	example   string
	lost      int           // polls of the faulty unit without a good value, fault and recovery
	neighbour int           // polls of the neighbour without all values good
	asked     int           // polls in which the faulty unit was asked in vain
	recovery  time.Duration // from the end of the fault to the first good value, agent's clock
	hits      uint64        // requests the fault hit
}

// TestEveryFaultOnEveryTransport is what the agent is for: whatever a device
// does, nothing wrong is recorded as good, its neighbour on the line loses
// nothing, and it is read again when it is well.
func TestEveryFaultOnEveryTransport(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute of the world's clock")
	}
	links := []string{"tcp://127.0.0.1:0", "rtutcp://127.0.0.1:0"}
	if runtime.GOOS == "linux" {
		links = append(links, "rtu://?baud=115200")
	}
	var ending sync.WaitGroup
	defer ending.Wait()
	results := make([][]*outcome, len(links))
	for l, link := range links {
		results[l] = sufferAll(t, &ending, link)
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 1, ' ', 0)
	fmt.Fprint(w, "| fault\t")
	for _, o := range results {
		fmt.Fprintf(w, "| %s\t", o[0].link)
	}
	fmt.Fprint(w, "|\n|---\t", strings.Repeat("|---\t", len(links)), "|\n")
	for r := range faultRows {
		fmt.Fprintf(w, "| %s\t", faultRows[r].fault)
		for _, o := range results {
			fmt.Fprintf(w, "| %d / %d / %d / %d / %.2f s\t", o[r].hits, o[r].wrong, o[r].lost, o[r].neighbour, o[r].recovery.Seconds())
			for _, late := range o[r].late(&faultRows[r]) {
				t.Errorf("%s over %s: %s, in each of %d tries", o[r].row, o[r].link, late, tries)
			}
		}
		fmt.Fprint(w, "|\n")
	}
	w.Flush()
	t.Logf("requests hit / wrong values recorded as good / polls lost of the unit / of its neighbour on the line / read again so long after the fault\n"+
		"polls every %v, timeout %v, a fault of %v, all by the agent's clock\n%s", interval, world(timeout).Round(time.Millisecond), world(faultLasts).Round(time.Millisecond), &table)
}

// tries is how often a fault that cost too much befalls another agent. The clock
// of the test is the machine's: where the machine stands still for a timeout the
// agent loses a poll that no fault took. Such a loss is not the same twice; one
// of the agent's own making is. A wrong value is one too many in any try.
const tries = 6

// sufferAll lets every fault befall an agent of its own, all at once, and then
// those that cost too much again.
func sufferAll(t *testing.T, ending *sync.WaitGroup, link string) []*outcome {
	out := make([]*outcome, len(faultRows))
	for range tries {
		var all sync.WaitGroup
		for r := range faultRows {
			if out[r] == nil || len(out[r].late(&faultRows[r])) > 0 {
				all.Go(func() { out[r] = suffer(t, ending, &faultRows[r], link) })
			}
		}
		all.Wait()
		for _, o := range out {
			o.judge(t)
		}
		if t.Failed() {
			break
		}
	}
	return out
}

// world turns a time of the world into one of the agent's clock.
func world(d time.Duration) time.Duration { return time.Duration(float64(d) * speed) }

// judge fails the test on a value that is wrong.
func (o *outcome) judge(t *testing.T) {
	t.Helper()
	if o.wrong > 0 {
		t.Errorf("%s over %s: %d of %d good values are wrong, such as %s", o.row, o.link, o.wrong, o.good, o.example)
	}
}

// late says what took longer, or more polls, than the fault has a right to.
func (o *outcome) late(r *row) []string {
	var out []string
	say := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	if o.hits == 0 && o.row != control || o.good == 0 {
		say("%d requests hit, %d good values; the test did not test", o.hits, o.good)
	}
	if o.neighbour > 0 {
		say("the neighbour lost %d polls, want 0: a timeout and a pause fit into an interval", o.neighbour)
	}
	if r.harmless && o.lost > 0 {
		say("%d polls lost, want 0", o.lost)
	}
	// A unit that did not answer n times is left alone for 2n s; then it is asked
	// at the next poll, and may have to wait for a timeout's silence on the line.
	if most := time.Duration(o.asked)*2*time.Second + 2*interval + 2*world(timeout); o.recovery > most {
		say("read again %v after the fault ended, want at most %v after %d failures", o.recovery, most, o.asked)
	}
	return out
}

// TestWhatIsWrong: the watch tells a good value from the one of the other block,
// of the other unit, of the poll before and of another scale.
func TestWhatIsWrong(t *testing.T) {
	w := &watch{row: &row{}, fault: &span{4000, 6000}}
	for _, tt := range []struct {
		number string
		want   bool
	}{
		{"500010", true},
		{"500011", false},
		{"500020", false},
		{"400010", false},
		{"5000100", false},
		{"50001.0", false},
		{"500010.1", false},
		{"0", false},
	} {
		if got := w.right(decimal.RequireFromString(tt.number), 1, 0, 5000); got != tt.want {
			t.Errorf("%s of unit 1 block 0 at 5000 ms: right = %v, want %v", tt.number, got, tt.want)
		}
	}
}

// rig is an agent that polls two units behind one endpoint.
type rig struct {
	clock  *plant.Scaled
	start  time.Time
	faulty *plant.Faulty // unit 1
	box    *outbox.Outbox
	ctx    context.Context // ends with the agent, when patience is at its end at the latest
	stop   context.CancelFunc
}

// newRig starts one. After stop it takes some seconds to end, for which ending waits.
func newRig(t *testing.T, ending *sync.WaitGroup, link string) (*rig, error) {
	g := &rig{start: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	g.clock = plant.NewScaled(g.start, speed)
	units := [2]*told{{1, g.clock, g.start}, {2, g.clock, g.start}}
	g.faulty = plant.NewFaulty(units[0], 1)
	served, err := plant.Open(link, map[uint8]plant.Unit{1: g.faulty, 2: units[1]})
	if err != nil {
		return nil, err
	}
	bus, err := modbus.New(modbus.Config{Endpoint: served.Endpoint(), Timeout: timeout})
	if err != nil {
		return nil, err
	}
	if g.box, _, err = outbox.Open(t.TempDir(), outbox.Options{Edge: "site-1"}); err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	agent := edge.New(edge.Config{
		Edge: "site-1", Key: private, Interval: interval, Outbox: g.box, Clock: g.clock, Log: zap.NewNop(), Version: "test",
		Buses: []edge.Bus{{Name: "line", Reader: bus, Devices: []edge.Device{
			{ID: "faulty", Unit: 1, Declaration: units[0].declaration("faulty")},
			{ID: "neighbour", Unit: 2, Declaration: units[1].declaration("neighbour")},
		}}},
		Uplink: edge.Uplink{Broker: "tcp://127.0.0.1:1", Root: wire.DefaultRoot, CollectorKey: public, AckTimeout: time.Minute},
	})
	g.ctx, g.stop = context.WithTimeout(context.Background(), patience)
	serving, unplug := context.WithCancel(context.Background())
	var service sync.WaitGroup
	service.Go(func() {
		if err := served.Serve(serving); err != nil {
			t.Error(err)
		}
	})
	ending.Go(func() {
		if err := agent.Run(g.ctx); err != nil {
			t.Error(err)
		}
		bus.Close()
		unplug()
		service.Wait()
		g.box.Close()
	})
	return g, nil
}

// suffer lets one fault befall a unit for a while.
func suffer(t *testing.T, ending *sync.WaitGroup, r *row, link string) *outcome {
	name, _, _ := strings.Cut(link, ":")
	out := &outcome{row: r.fault, link: name}
	g, err := newRig(t, ending, link)
	if err != nil {
		t.Error(err)
		return out
	}
	defer g.stop()
	w := &watch{t: t, ctx: g.ctx, box: g.box, start: g.start, row: r, out: out}
	w.until(func() bool { return w.streak[0] >= 2 && w.streak[1] >= 2 })
	begin, lasts := g.clock.Now().Sub(g.start).Milliseconds(), cmp.Or(r.lasts, faultLasts)
	if r.fault != control {
		_, f, err := plant.ParseFault("x " + r.fault)
		if err != nil {
			t.Error(err)
			return out
		}
		if f.Every == 0 {
			f.For = lasts
		} else {
			defer time.AfterFunc(lasts, func() { g.faulty.Clear() }).Stop()
		}
		if err := g.faulty.Inject(f); err != nil {
			t.Error(err)
			return out
		}
	}
	w.fault = &span{begin, begin + world(lasts).Milliseconds()}
	w.until(func() bool { return w.recovered > 0 && w.streak[0] >= 2 && w.streak[1] >= 2 })
	out.recovery = time.Duration(max(w.recovered-w.fault.to, 0)) * time.Millisecond
	_, out.hits = g.faulty.Faults()
	return out
}

// watch looks at every record as it comes to the outbox.
type watch struct {
	t     *testing.T
	ctx   context.Context
	box   *outbox.Outbox
	start time.Time
	row   *row
	out   *outcome

	seen         uint64
	declarations map[wire.Hash]*wire.Declaration
	fault        *span // nil before
	streak       [2]int
	last         [2]int64 // number of the poll of the last reading of each unit, 0 before
	recovered    int64    // ms of the first good reading after the fault
}

// until follows the outbox until done says so or patience is at its end.
func (w *watch) until(done func() bool) {
	for !done() {
		changed := w.box.Changed()
		if w.box.Last() > w.seen {
			recs, _, _, err := w.box.Read(w.seen+1, 1000, 1<<20)
			if err != nil {
				w.t.Error(err)
				return
			}
			for i := range recs {
				w.seen = recs[i].Seq
				w.take(&recs[i])
			}
			continue
		}
		select {
		case <-changed:
		case <-w.ctx.Done():
			w.t.Errorf("%s over %s: not read again within %v of the world's clock: good polls in a row %v", w.row.fault, w.out.link, patience, w.streak)
			w.recovered = max(w.recovered, 1)
			return
		}
	}
}

func (w *watch) take(r *wire.Record) {
	if r.Declaration != nil {
		if w.declarations == nil {
			w.declarations = make(map[wire.Hash]*wire.Declaration)
		}
		w.declarations[r.Declaration.Hash()] = r.Declaration
	}
	if r.Reading == nil {
		return
	}
	d := w.declarations[r.Reading.Declaration]
	unit := int(d.Unit) - 1
	begin := r.Wall - w.start.UnixMilli()
	good := true
	for block, v := range d.Values(r.Reading) {
		ms := begin + int64(r.Reading.Blocks[block].Delta)
		if v.Quality != wire.Good {
			good = false
			continue
		}
		w.out.good++
		if !w.right(v.Number, int64(d.Unit), int64(block), ms) {
			w.out.wrong++
			w.out.example = fmt.Sprintf("%s of unit %d block %d, %d ms after the start (fault %+v)", v.Number, d.Unit, block, ms, w.fault)
		}
	}
	w.score(unit, begin, good, r.Reading)
}

// right tells whether a value is what the registers held.
func (w *watch) right(v decimal.Decimal, unit, block, ms int64) bool {
	if !v.IsInteger() {
		return false
	}
	n := v.IntPart()
	if near(n, unit, block, ms) {
		return true
	}
	during := w.fault != nil && ms >= w.fault.from-slack && ms <= w.fault.to+slack
	return unit == 1 && during && w.row.said != nil && w.row.said(n, block, ms, w.fault)
}

// score counts polls that were good and that were lost.
func (w *watch) score(unit int, ms int64, good bool, r *wire.Reading) {
	poll := ms / interval.Milliseconds() // polls begin at whole multiples
	lost := 0
	if w.last[unit] > 0 {
		lost = max(int(poll-w.last[unit])-1, 0) // were not even recorded
	}
	w.last[unit] = poll
	if good {
		w.streak[unit]++
	} else {
		w.streak[unit] = 0
		lost++
	}
	switch {
	case w.fault == nil:
	case unit == 1:
		w.out.neighbour += lost
	default:
		w.out.lost += lost
		tried := slices.ContainsFunc(r.Blocks, func(b wire.BlockResult) bool { return b.Status != wire.OK && b.Status != wire.Skipped })
		if w.recovered == 0 && tried {
			w.out.asked++
		}
		if w.recovered == 0 && good && ms > w.fault.to {
			w.recovered = ms
		}
	}
}
