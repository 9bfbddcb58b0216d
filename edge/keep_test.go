package edge

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"kenshin/edge/outbox"
	"kenshin/edge/wire"
)

// TestFullOutbox: an outbox that is full of what nobody has acked takes no more
// readings. The agent goes on with them in memory, says so once, and when acks
// make room all of them are on disk, in order, none told of as lost.
func TestFullOutbox(t *testing.T) {
	box := openBox(t, outbox.Options{MaxBytes: 256 << 10})
	core, logs := observer.New(zap.WarnLevel)
	clock := &handClock{time.UnixMilli(1_700_000_000_000)}
	a := New(Config{Edge: "site-1", Outbox: box, Clock: clock, Log: zap.New(core)})
	d := twoBlocks("one", 1)
	taken := 0
	read := func() {
		clock.now = clock.now.Add(time.Second)
		r := a.record(clock.now)
		r.Reading = &wire.Reading{Declaration: d.Hash(), Blocks: []wire.BlockResult{{Words: []uint16{uint16(taken >> 16), uint16(taken)}}, {Words: []uint16{7}}}}
		a.keep([]wire.Record{r}, nil)
		taken++
	}
	for a.Status().Outbox.Held < 500 {
		if read(); taken > 1<<15 {
			t.Fatal("the outbox does not get full")
		}
	}
	if s := a.Status(); s.Outbox.Lost > 0 || s.Outbox.Cause == "" || !strings.Contains(strings.Join(s.Problems(), "\n"), "500 records are in memory") {
		t.Errorf("outbox %+v, problems %q", s.Outbox, s.Problems())
	}
	_, _, chain, err := box.Read(box.Last(), 1, 1)
	if err == nil {
		err = box.Ack(box.Last(), chain)
	}
	if err != nil {
		t.Fatal(err)
	}
	last := box.Last()
	read()
	if s := a.Status(); s.Outbox.Held > 0 || s.Outbox.Cause != "" || len(s.Problems()) > 1 { // one: there is no broker
		t.Errorf("with room again: outbox %+v, problems %q", s.Outbox, s.Problems())
	}
	for seq := last + 1; seq <= uint64(taken); seq++ {
		recs, _, _, err := box.Read(seq, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if w := recs[0].Reading.Blocks[0].Words; int(w[0])<<16|int(w[1]) != int(seq)-1 {
			t.Fatalf("record %d is reading %d, want %d", seq, int(w[0])<<16|int(w[1]), seq-1)
		}
	}
	if box.Last() != uint64(taken) {
		t.Errorf("%d records for %d readings", box.Last(), taken)
	}
	if got := logs.AllUntimed(); len(got) != 2 || got[0].Level != zap.ErrorLevel || got[1].Level != zap.WarnLevel {
		t.Errorf("log %v, want an error when it begins and a warning when it is over", got)
	}
}
