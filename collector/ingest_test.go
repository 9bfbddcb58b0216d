package collector

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"kenshin/collector/store"
	"kenshin/edge/wire"
	"kenshin/edge/wire/wirepb"
)

// twoSites are two edges with n readings each, a minute apart and 1 kWh more.
func twoSites(n int) (a, b *site) {
	a, b = newSite("site-1", 1), newSite("site-2", 2)
	for _, s := range []*site{a, b} {
		d := meter("m-1")
		s.declare(d)
		for i := range n {
			s.read(d, int64(i+1)*60_000, uint32(1000+i*40))
		}
	}
	return a, b
}

func TestGoodBatchIsStoredAndAcked(t *testing.T) {
	a, b := twoSites(9)
	r := newRig(t, a, b)
	first, second := a.batch(t, 1, 4), a.batch(t, 5, 10)
	done := 0
	for _, m := range []*Message{&first, &second} {
		m.Done = func() { done++ }
	}
	r.send(first, second)
	if got := r.batches(); !slices.Equal(got, []string{string(first.Payload), string(second.Payload)}) {
		t.Errorf("the book holds %d batches, not the two as they were received", len(got))
	}
	if done != 2 || len(r.acks.sent) != 1 {
		t.Fatalf("%d messages done, %d acks; want 2 and 1 for the group", done, len(r.acks.sent))
	}
	ack := r.acks.sent[0]
	want := &wire.Ack{Edge: "site-1", Epoch: a.epoch, Through: 10, Chain: a.after[10], Collector: "test", Generation: 1}
	if fmt.Sprint(ack) != fmt.Sprint(want) || r.acks.topics[0] != "kenshin/v1/site-1/ack" {
		t.Errorf("ack %+v on %s, want %+v", ack, r.acks.topics[0], want)
	}
	if got := r.counts(); got != "2 stored 0 repeated" {
		t.Error(got)
	}
	r.reopen()
	r.send(second)
	if ack := r.acks.sent[1]; ack.Generation != 2 || ack.Through != 10 || ack.Chain != a.after[10] {
		t.Errorf("after a new start ack %+v, want through 10 and generation 2", ack)
	}
	if got := r.counts(); got != "0 stored 1 repeated" || len(r.batches()) != 2 {
		t.Errorf("%s, %d batches in the book", got, len(r.batches()))
	}
}

func TestRepeatsAreAckedAndNotStored(t *testing.T) {
	a, b := twoSites(9)
	r := newRig(t, a, b)
	r.send(a.batch(t, 1, 5), a.batch(t, 1, 5)) // in one group
	r.send(a.batch(t, 1, 5))                   // and later
	r.send(a.batch(t, 2, 3))                   // cut anew
	if got := r.counts(); got != "1 stored 3 repeated" || len(r.batches()) != 1 || len(r.acks.sent) != 3 {
		t.Errorf("%s, %d batches in the book, %d acks", got, len(r.batches()), len(r.acks.sent))
	}
	r.send(a.batch(t, 3, 8)) // partly new
	if got := r.lastAck(); got != "site-1 8 []" || len(r.batches()) != 2 {
		t.Errorf("ack %s, %d batches in the book", got, len(r.batches()))
	}
	r.catchUp()
	if n := len(must(r.db.Latest(t.Context()))); n != 2 {
		t.Errorf("%d series, want 2", n)
	}
	if got := r.measured("one"); got != "2.4" { // records 2 to 8: 10.0 to 12.4 kWh
		t.Errorf("measured %s kWh, want 2.4", got)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestHolesAreWantedAndFilled(t *testing.T) {
	a, b := twoSites(29)
	r := newRig(t, a, b)
	for _, tt := range []struct {
		first, last uint64
		want        string
	}{
		{6, 10, "site-1 0 [{1 5}]"},
		{21, 30, "site-1 0 [{1 5} {11 20}]"},
		{1, 3, "site-1 3 [{4 5} {11 20}]"},
		{4, 5, "site-1 10 [{11 20}]"},
		{11, 20, "site-1 30 []"},
	} {
		r.send(a.batch(t, tt.first, tt.last))
		if got := r.lastAck(); got != tt.want {
			t.Errorf("after %d to %d: ack %s, want %s", tt.first, tt.last, got, tt.want)
		}
		r.reopen() // what is known of holes comes from the book
		r.send(a.batch(t, tt.first, tt.last))
		if got := r.lastAck(); got != tt.want {
			t.Errorf("after %d to %d and a new start: ack %s, want %s", tt.first, tt.last, got, tt.want)
		}
	}
	if got := r.measured("one"); got != "11.2" {
		t.Errorf("measured %s kWh, want 11.2", got)
	}
}

func TestRefusedMessages(t *testing.T) {
	a, b := twoSites(9)
	stranger := newSite("site-9", 9)
	stranger.recs, stranger.after = a.recs, a.after
	impostor := newSite("site-1", 7) // the right name, another key
	impostor.recs, impostor.after = a.recs, a.after
	other := newSite("site-1", 1) // the right key, another history
	d := meter("m-1")
	other.declare(d)
	for i := range 9 {
		other.read(d, int64(i+1)*60_000, 7)
	}
	claims := newSite("site-2", 1) // site-1's key, in the name of site-2
	claims.recs, claims.after = a.recs, a.after
	slash := newSite("site-1", 1)
	slash.epoch = wire.Epoch{5}
	slash.declare(meter("m/1"))
	point := newSite("site-1", 1)
	point.epoch = wire.Epoch{6}
	p := meter("m-1")
	p.Points[1].Name = "a/b"
	point.declare(p)

	good := a.batch(t, 1, 5)
	edit := func(f func(*wirepb.Envelope)) []byte {
		var e wirepb.Envelope
		if err := proto.Unmarshal(a.batch(t, 6, 9).Payload, &e); err != nil {
			t.Fatal(err)
		}
		f(&e)
		return must(proto.Marshal(&e))
	}
	topic := good.Topic
	for _, tt := range []struct {
		name   string
		m      Message
		reason string
	}{
		{"garbage", Message{Topic: topic, Payload: []byte("garbage")}, reasonMalformed},
		{"nothing", Message{Topic: topic}, reasonMalformed},
		{"cut short", Message{Topic: topic, Payload: a.batch(t, 6, 9).Payload[:100]}, reasonMalformed},
		{"another topic", Message{Topic: "kenshin/v1/site-1/ack", Payload: a.batch(t, 6, 9).Payload}, reasonTopic},
		{"a root that is not ours", Message{Topic: "other/site-1/up", Payload: a.batch(t, 6, 9).Payload}, reasonTopic},
		{"unknown edge", stranger.batch(t, 1, 5), reasonIdentity},
		{"on the topic of another", Message{Topic: b.batch(t, 1, 2).Topic, Payload: a.batch(t, 6, 9).Payload}, reasonSignature},
		{"in the name of another", Message{Topic: topic, Payload: claims.batch(t, 6, 9).Payload}, reasonIdentity},
		{"wrong key", impostor.batch(t, 6, 9), reasonSignature},
		{"payload changed", Message{Topic: topic, Payload: edit(func(e *wirepb.Envelope) { e.Payload[len(e.Payload)/2] ^= 1 })}, reasonSignature},
		{"an ack for a batch", Message{Topic: topic, Payload: must(wire.Seal(wire.AckType, []byte{8, 1}, a.key))}, reasonMalformed},
		{"signed garbage", Message{Topic: topic, Payload: must(wire.Seal(wire.BatchType, []byte("garbage"), a.key))}, reasonMalformed},
		{"too large", Message{Topic: topic, Payload: must(wire.Seal(wire.BatchType, make([]byte, DefaultLimits.Payload+1), a.key))}, reasonMalformed},
		{"large and unsigned around a good batch", Message{Topic: topic, Payload: append(a.batch(t, 6, 9).Payload, unknownField(17<<20)...)}, reasonMalformed},
		{"another history", other.batch(t, 6, 9), reasonChain},
		{"the same numbers, other bytes", other.batch(t, 1, 5), reasonFork},
		{"a slash in a device id", slash.all(t), reasonMalformed},
		{"a slash in a point", point.all(t), reasonMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, a, b)
			r.send(good)
			acked, done := len(r.acks.sent), 0
			tt.m.Done = func() { done++ }
			neighbour := b.batch(t, 1, 10)
			r.send(tt.m, neighbour)
			if got, want := r.counts(), "2 stored 0 repeated 1 "+tt.reason; got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if got := r.batches(); !slices.Equal(got, []string{string(good.Payload), string(neighbour.Payload)}) {
				t.Errorf("%d batches in the book", len(got))
			}
			told := make(map[string]uint64)
			for _, a := range r.acks.sent[acked:] {
				told[a.Edge] = a.Through
			}
			want := map[string]uint64{"site-2": 10}
			if tt.reason == reasonFork || tt.reason == reasonChain {
				want["site-1"] = 5 // so that who has another history finds out
			}
			if !maps.Equal(told, want) {
				t.Errorf("acked %v, want %v", told, want)
			}
			l := r.letters()
			if done != 1 || len(l) != 1 || l[0].Reason != tt.reason || l[0].Topic != tt.m.Topic || l[0].Detail == "" ||
				l[0].Size != len(tt.m.Payload) || !bytes.HasPrefix(tt.m.Payload, l[0].Bytes) {
				t.Errorf("done %d times, %d dead letters", done, len(l))
			}
			r.send(a.batch(t, 6, 10)) // the edge itself goes on
			if got := r.lastAck(); got != "site-1 10 []" {
				t.Errorf("ack %s", got)
			}
			r.totals("plant", 2)
		})
	}
}

// unknownField is a protobuf field that no reader of an envelope knows.
func unknownField(n int) []byte {
	b := []byte{0xFA, 0x3F} // field 1023, bytes
	for v := uint64(n); ; v >>= 7 {
		if v < 0x80 {
			b = append(b, byte(v))
			break
		}
		b = append(b, byte(v)|0x80)
	}
	return append(b, make([]byte, n)...)
}

// A fork inside one group is seen against what is not in the book yet.
func TestForkWithinAGroup(t *testing.T) {
	a, b := twoSites(9)
	other := newSite("site-1", 1)
	d := meter("m-1")
	other.declare(d)
	for i := range 9 {
		other.read(d, int64(i+1)*60_000, 7)
	}
	r := newRig(t, a, b)
	r.send(a.batch(t, 1, 8), other.batch(t, 2, 5), other.batch(t, 9, 10), a.batch(t, 2, 5), a.batch(t, 9, 10))
	if got := r.counts(); got != "2 stored 1 repeated 1 chain 1 fork" {
		t.Error(got)
	}
	if got := r.lastAck(); got != "site-1 10 []" {
		t.Errorf("ack %s", got)
	}
}

func TestAnotherEpoch(t *testing.T) {
	a, b := twoSites(4)
	again := newSite("site-1", 1) // the same box, imaged anew
	again.epoch = wire.Epoch{77}
	d := meter("m-1")
	again.declare(d)
	again.read(d, 600_000, 2000)
	r := newRig(t, a, b)
	r.send(a.all(t))
	r.send(again.all(t))
	if ack := r.acks.sent[1]; ack.Epoch != again.epoch || ack.Through != 2 || ack.Chain != again.after[2] {
		t.Errorf("ack %+v", ack)
	}
	if got := r.measured("one"); got != "10" {
		t.Errorf("measured %s kWh, want 10", got)
	}
}

// An ack that does not get out does no harm: the batch comes again and is acked again.
func TestAcksThatFail(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before bool
		sent   int
	}{{"before it takes effect", true, 0}, {"after", false, 1}} {
		a, b := twoSites(4)
		r := newRig(t, a, b)
		r.acks.failBefore, r.acks.failAfter = tt.before, !tt.before
		r.send(a.all(t))
		if len(r.acks.sent) != tt.sent || len(r.batches()) != 1 {
			t.Errorf("%s: %d acks, %d batches in the book", tt.name, len(r.acks.sent), len(r.batches()))
		}
		r.acks.failBefore, r.acks.failAfter = false, false
		r.send(a.all(t))
		if got := r.lastAck(); got != "site-1 5 []" || len(r.batches()) != 1 {
			t.Errorf("%s: then ack %s, %d batches in the book", tt.name, got, len(r.batches()))
		}
	}
}

// While the book cannot be written nothing is acked, done or counted, what is
// there can be read, and a message that is tried again is then taken once.
func TestABookThatCannotBeWritten(t *testing.T) {
	a, b := twoSites(9)
	r := newRig(t, a, b)
	r.send(a.batch(t, 1, 4))
	good := r.store
	r.ingest.store = must2(store.Open(t.TempDir(), store.Options{Origin: "kenshin/other", Key: r.cfg.Key}))
	r.ingest.store.Close() // every Append fails
	done := 0
	m, letter := a.batch(t, 5, 10), Message{Topic: "elsewhere", Payload: []byte("x")}
	m.Done, letter.Done = func() { done++ }, func() { done++ }
	for range 2 {
		if err := r.ingest.take([]Message{letter, m}); err == nil || len(r.acks.sent) != 1 || done != 0 {
			t.Fatalf("take = %v, %d acks, %d done; want an error, 1 and 0", err, len(r.acks.sent), done)
		}
	}
	if got := r.counts(); got != "1 stored 0 repeated" {
		t.Error(got)
	}
	r.ingest.store = good
	r.send(letter, m)
	if got := r.counts(); got != "2 stored 0 repeated 1 topic" || r.lastAck() != "site-1 10 []" || done != 2 {
		t.Errorf("%s, ack %s, %d done", got, r.lastAck(), done)
	}
	if len(r.batches()) != 2 || len(r.letters()) != 1 {
		t.Errorf("%d batches, %d letters", len(r.batches()), len(r.letters()))
	}
}

func must2[T, U any](v T, _ U, err error) T { return must(v, err) }

func TestEdges(t *testing.T) {
	a, b := twoSites(4)
	r := newRig(t, b, a)
	r.send(a.batch(t, 1, 3))
	check := func() {
		t.Helper()
		var got []string
		err := r.Edges(t.Context(), func(id string, epoch wire.Epoch, through uint64, received int64) {
			got = append(got, fmt.Sprint(id, epoch[0], through, received))
		})
		if want := []string{fmt.Sprint("site-1", 1, 3, clock{}.Now().UnixMilli()), fmt.Sprint("site-2", 0, 0, 0)}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	check()
	r.reopen()
	check()
}

// TestRun is the whole of it, with its goroutines: messages in, figures out.
func TestRun(t *testing.T) {
	a, b := twoSites(200)
	r := newRig(t, a, b)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	changed, forget := r.Subscribe()
	defer forget()
	done := make(chan struct{}, 1000)
	var want int
	for first := uint64(1); first <= 201; first += 10 {
		for _, s := range []*site{a, b} {
			m := s.batch(t, first, min(first+9, 201))
			m.Done = func() { done <- struct{}{} }
			r.Receive(ctx, m)
			want++
		}
	}
	for range want {
		<-done
	}
	for !r.Settled() {
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Fatal("not settled")
		}
	}
	rep, err := r.Report(ctx, "plant", 0)
	if err != nil || rep.MeasuredKWh.String() != "159.2" {
		t.Errorf("%+v, %v; want 159.2 kWh", rep, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
	r.Receive(ctx, Message{}) // after the end nobody waits for ever
	if text := r.Store().LastCheckpoint(); !strings.HasPrefix(text, fmt.Sprintf("kenshin/test\n%d\n", r.Store().Size())) {
		t.Errorf("checkpoint at the end:\n%s", text)
	}
}

// FuzzTake gives the collector anything as a message of a registered edge.
func FuzzTake(f *testing.F) {
	a, b := twoSites(3)
	f.Add("kenshin/v1/site-1/up", a.all(f).Payload)
	f.Add("kenshin/v1/site-1/up", []byte{})
	f.Add("kenshin/v1//up", []byte{0xFF})
	r := newRig(f, a, b)
	signed := must(wire.Payload(wire.BatchType, a.all(f).Payload))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		before := len(r.acks.sent)
		if err := r.ingest.take([]Message{{Topic: topic, Payload: payload}}); err != nil {
			t.Fatalf("a message ended the collector: %v", err)
		}
		if len(r.acks.sent) != before && !bytes.Contains(payload, signed) {
			t.Errorf("%q %x was acked", topic, payload)
		}
	})
}

// TestReplay: what was refused is taken once its edge is registered, by whoever
// offers it again, and is there once.
func TestReplay(t *testing.T) {
	a, b := twoSites(9)
	r := newRig(t, a)
	r.send(b.batch(t, 1, 6), b.batch(t, 7, 10), Message{Topic: "kenshin/v1/site-2/up", Payload: []byte("garbage")})
	r.cfg.Edges = append(r.cfg.Edges, Edge{b.id, b.public()})
	r.reopen()
	for i, want := range []Replayed{{Stored: 2, Refused: 1}, {Repeated: 2, Refused: 1}} {
		if got, err := r.Replay(); err != nil || got != want {
			t.Errorf("replay %d: %+v, %v; want %+v", i+1, got, err, want)
		}
	}
	if len(r.batches()) != 2 || len(r.letters()) != 3 {
		t.Errorf("%d batches and %d letters, want 2 and 3", len(r.batches()), len(r.letters()))
	}
}

// TestOldRepeats: memory for a stream is bounded, and a repeat of what came long
// ago is still told from a fork.
func TestOldRepeats(t *testing.T) {
	const n = 3 * maxMarks
	a, b := twoSites(2 * n)
	other := newSite("site-1", 1)
	d := meter("m-1")
	other.declare(d)
	for i := range 2 * n {
		other.read(d, int64(i+1)*60_000, 7)
	}
	r := newRig(t, a, b)
	r.send(b.batch(t, 1, 2))
	var group []Message
	for seq := uint64(1); seq <= 2*n; seq += 2 {
		group = append(group, a.batch(t, seq, seq+1))
	}
	for _, m := range group[n/2:] { // live before backlog
		r.send(m)
	}
	for _, m := range group[:n/2] {
		r.send(m)
	}
	if got := len(r.ingest.heads[stream{"site-1", a.epoch}].marks); got > maxMarks {
		t.Errorf("%d marks, at most %d", got, maxMarks)
	}
	for seq := uint64(2); seq < 2*n-2; seq += 61 {
		r.send(a.batch(t, seq, seq+1), other.batch(t, seq, seq+1))
	}
	repeats := (2*n - 2 - 2 + 60) / 61
	if got, want := r.counts(), fmt.Sprintf("%d stored %d repeated %d fork", n+1, repeats, repeats); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestAcksDoNotWaitForSettling: however far behind the figures are, messages are
// taken and acked once the book is open.
func TestAcksDoNotWaitForSettling(t *testing.T) {
	a, b := twoSites(9)
	r := newRig(t, a, b)
	r.send(a.batch(t, 1, 6)) // killed before it was settled
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.Collector, err = begin(t.Context(), r.cfg); err != nil {
		t.Fatal(err)
	}
	r.send(a.batch(t, 7, 10))
	if got := r.lastAck(); got != "site-1 10 []" || r.Settled() || r.CaughtUp() {
		t.Errorf("ack %s, settled %v; want site-1 10 before anything is settled", got, r.Settled())
	}
	if r.catchUp(); !r.CaughtUp() {
		t.Error("it has not caught up")
	}
}
