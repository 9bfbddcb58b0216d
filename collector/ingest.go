package collector

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// Message is something that arrived on an edge's up topic.
type Message struct {
	Topic   string
	Payload []byte
	Done    func() // called when the message is dealt with durably, whatever became of it; may be nil
}

// ingest takes messages into the book: identity, signature and limits, then chain
// and one fsync for a group, then the acks. What a message says by itself is checked
// for a group while the one before it is written. One goroutine writes, group by
// group in the order they came, so a batch never races with another of its own edge.
type ingest struct {
	cfg     *Config
	store   *store.Store
	dead    *store.DeadLetters
	metrics *metrics
	queue   chan Message
	acks    acker

	// book is held from looking at what follows to having added to the book what
	// rests on it. Only who holds it changes the fields behind mu, so may read them.
	book sync.Mutex

	mu    sync.Mutex // guards what follows, for those who do not hold book; held for moments only
	rules *rules
	heads map[stream]*head // a head in here is never changed, only replaced
	seen  map[string]edgeState

	told      map[string]told // by reason; of who holds book
	decisions []uint64        // records of the book that were decisions when it was opened

	recent recent
}

// edgeState is what the collector knows of an edge's deliveries.
type edgeState struct {
	id       string
	epoch    wire.Epoch
	through  uint64 // records from 1 on that are durable here without a hole
	received int64  // ms UTC of the last message taken, on the collector's clock
}

const (
	queueLength = 4096 // more than any broker leaves in flight for one subscriber
	groupSize   = 256  // messages made durable by one fsync at most

	envelopeRoom = 1 << 10 // bytes of an envelope beside its payload
)

// recover reads the book once: the rules in force and the heads of every stream.
func (in *ingest) recover() error {
	return in.store.Skim(0, func(r *store.Record) error {
		switch r.Kind {
		case store.Decision:
			in.decisions = append(in.decisions, r.Index)
			_, err := in.rules.take(r)
			return err
		case store.Quarantined:
			return nil // its numbers are a hole, and the edge is asked again
		case store.Import:
			return nil
		}
		payload, err := wire.Payload(wire.BatchType, r.Payload)
		if err != nil {
			return fmt.Errorf("record %d: %w", r.Index, err)
		}
		// The header holds what the heads need; the records were checked before
		// they came here and the leaf covers every byte.
		b, err := wire.DecodeHeader(payload)
		if err != nil {
			return fmt.Errorf("record %d: %w", r.Index, err)
		}
		in.note(b, r)
		return nil
	})
}

// note adds a batch of the book to the head of its stream.
func (in *ingest) note(b *wire.Batch, r *store.Record) {
	s := stream{b.Edge, b.Epoch}
	h := in.heads[s]
	if h == nil {
		h = &head{}
		in.heads[s] = h
	}
	h.add(b.First, b.Last, b.Prev, b.Chain, r.Index)
	h.kept = max(h.kept, b.Kept)
	through, _ := h.through()
	in.seen[b.Edge] = edgeState{b.Edge, b.Epoch, through, r.Received}
}

// retry is how long a book that cannot be written is left alone.
const retry = time.Second

// run works until ctx ends. It returns when what was taken by then is acked.
func (in *ingest) run(ctx context.Context) error {
	acking, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { in.acks.run(acking) })
	defer wg.Wait()
	defer stop()

	checked := make(chan []judged)
	wg.Go(func() {
		defer close(checked)
		for group := in.next(ctx); group != nil; group = in.next(ctx) {
			in.checkAll(group)
			select {
			case checked <- group:
			case <-ctx.Done():
				return // none of them was acked
			}
		}
	})
	for group := range checked {
		in.insist(ctx, group)
	}
	return nil
}

// next returns the messages that wait, at least one, nil when ctx ends.
func (in *ingest) next(ctx context.Context) (group []judged) {
	select {
	case <-ctx.Done():
		return nil
	case m := <-in.queue:
		group = append(group, judged{Message: m})
	}
	for len(group) < groupSize {
		select {
		case m := <-in.queue:
			group = append(group, judged{Message: m})
		default:
			return group
		}
	}
	return group
}

// insist enters a group. While the book cannot be written it tries again and takes
// no other: nothing is acked, everything else goes on.
func (in *ingest) insist(ctx context.Context, group []judged) {
	for failures := 0; ; failures++ {
		err := in.enter(group)
		if err == nil {
			in.metrics.blocked.Set(0)
			return
		}
		if in.metrics.blocked.Set(1); failures%60 == 0 {
			in.cfg.Log.Error("nothing is taken or acked until the book can be written; make room on its disk", zap.Error(err))
		}
		if in.cfg.Clock.Sleep(ctx, retry) != nil {
			return // none of them was acked
		}
	}
}

// judged is a message and what was found out about it.
type judged struct {
	Message
	batch   *wire.Batch
	key     ed25519.PublicKey // that signed it
	fault   error             // what is wrong with it by itself
	verdict verdict
	err     error // why it is refused
}

// take checks and enters messages and acks them, one step at a time: for who does
// not Run.
func (in *ingest) take(messages []Message) error {
	group := make([]judged, len(messages))
	for i, m := range messages {
		group[i].Message = m
	}
	in.checkAll(group)
	err := in.enter(group)
	in.acks.send()
	return err
}

// enter makes a group that was checked durable and answers it. After an error
// nothing has happened, or only what does no harm when it happens again.
func (in *ingest) enter(group []judged) error {
	in.book.Lock()
	defer in.book.Unlock()
	g := judging{ingest: in, heads: make(map[stream]*head)}
	next, now := in.store.Size(), in.cfg.Clock.Now().UnixMilli()
	var records []*store.Record
	var letters []store.DeadLetter
	for i := range group {
		j := &group[i]
		if j.err = j.fault; j.err == nil {
			j.err = in.rules.admits(j.batch.Edge, j.key)
		}
		if j.err == nil {
			j.verdict, j.err = g.offer(j.batch)
		}
		switch {
		case j.err != nil:
			letters = append(letters, store.DeadLetter{At: now, Topic: j.Topic, Reason: reasonOf(j.err), Detail: j.err.Error(), Bytes: j.Payload})
		case j.verdict == fresh:
			b := j.batch
			g.add(b, next+uint64(len(records)))
			records = append(records, &store.Record{Kind: store.Batch, Received: now, Subject: b.Edge, Epoch: b.Epoch, First: b.First, Last: b.Last, Payload: j.Payload})
		}
	}
	if err := in.dead.Add(letters); err != nil {
		return err
	}
	if len(records) > 0 {
		if _, err := in.store.Append(records...); err != nil {
			return err
		}
	}
	for i := range group {
		if j := &group[i]; j.err == nil && j.verdict == fresh {
			in.recent.put(next, j.batch)
			next++
		}
	}
	in.answer(group, g.heads, now)
	return nil
}

// answer counts a group that is durable, puts the new heads in force, and has it
// acked.
func (in *ingest) answer(group []judged, heads map[stream]*head, now int64) {
	due := make(map[stream]*head)
	in.mu.Lock()
	maps.Copy(in.heads, heads)
	for i := range group {
		j := &group[i]
		in.metrics.received.Inc()
		switch {
		case j.err != nil:
			reason := reasonOf(j.err)
			in.metrics.rejected.WithLabelValues(reason).Inc()
			in.tell(j.Topic, reason, j.err, now)
		case j.verdict == repeated:
			in.metrics.repeated.Inc()
		default:
			in.metrics.stored.Inc()
		}
		if j.err == nil || errors.Is(j.err, errFork) || errors.Is(j.err, errBrokenChain) { // a box that went on from an old copy shall find out
			s := stream{j.batch.Edge, j.batch.Epoch}
			due[s] = in.heads[s]
			if j.err == nil && j.verdict == fresh {
				through, _ := in.heads[s].through()
				in.seen[s.edge] = edgeState{s.edge, s.epoch, through, now}
			}
		}
	}
	in.mu.Unlock()
	in.acks.put(due)
	for i := range group {
		if done := group[i].Done; done != nil {
			done()
		}
	}
}

// told is when a refusal for a reason was last logged, ms, and how many were not since.
type told struct {
	at   int64
	more int
}

const tellEvery = 10_000 // ms between two lines for one reason: a stranger must not fill the log

// tell logs a refusal, unless one for the same reason was logged just now. Each of
// them is among the dead letters and in the metrics.
func (in *ingest) tell(topic, reason string, err error, now int64) {
	t := in.told[reason]
	if t.at > 0 && now >= t.at && now-t.at < tellEvery {
		t.more++
		in.told[reason] = t
		return
	}
	level := zap.WarnLevel
	if reason == reasonFork || reason == reasonBook {
		level = zap.ErrorLevel // two boxes with one key, or a book that has changed
	}
	in.cfg.Log.Log(level, "message refused", zap.String("topic", topic), zap.String("reason", reason), zap.Error(err), zap.Int("more_since_the_last_line", t.more))
	in.told[reason] = told{at: now}
}

// checkAll checks messages one by one, on all processors: signatures and hashes
// take most of the time.
func (in *ingest) checkAll(group []judged) {
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; int(i) < len(group); i = next.Add(1) - 1 {
			j := &group[i]
			j.batch, j.key, j.fault = in.check(j.Message)
		}
	}
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(group)) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}

// check says whether a message is a whole batch of the edge on whose topic it
// came, by itself, and which of the edge's keys signed it; that the key may, is for
// enter to say. What costs least comes first.
func (in *ingest) check(m Message) (*wire.Batch, ed25519.PublicKey, error) {
	if len(m.Payload) > in.cfg.Limits.Payload+envelopeRoom { // the envelope may hold what nobody signed
		return nil, nil, refusal{reasonMalformed, fmt.Errorf("message of %d bytes, at most %d", len(m.Payload), in.cfg.Limits.Payload+envelopeRoom)}
	}
	edge, ok := wire.ParseUp(in.cfg.Root, m.Topic)
	if !ok {
		return nil, nil, refusal{reasonTopic, fmt.Errorf("%q is not an up topic below %s", m.Topic, in.cfg.Root)}
	}
	in.mu.Lock()
	keys := in.rules.keys[edge] // only ever appended to
	in.mu.Unlock()
	if len(keys) == 0 {
		return nil, nil, refusal{reasonIdentity, fmt.Errorf("edge %q is not registered: enrol it, or add it with its public key to the collector's configuration", edge)}
	}
	payload, key, err := unseal(edge, keys, m.Payload)
	if err != nil {
		return nil, nil, err
	}
	b, err := wire.DecodeBatch(payload, in.cfg.Limits)
	if err != nil {
		return nil, nil, err
	}
	if b.Edge != edge {
		return nil, nil, refusal{reasonIdentity, fmt.Errorf("a batch of edge %q on the topic of %q", b.Edge, edge)}
	}
	if err := checkKeys(b); err != nil {
		return nil, nil, refusal{reasonMalformed, err}
	}
	return b, key, nil
}

// judging compares the batches of a group with the book and with one another.
type judging struct {
	*ingest
	heads   map[stream]*head // as they will be when the group is in the book
	pending []*wire.Batch    // of the group, to be written
}

func (g *judging) head(s stream) *head {
	if h := g.heads[s]; h != nil {
		return h
	}
	return g.ingest.heads[s]
}

func (g *judging) offer(b *wire.Batch) (verdict, error) {
	h := g.head(stream{b.Edge, b.Epoch})
	if h == nil {
		return fresh, nil
	}
	return h.offer(b, func(p place, seq uint64) (wire.Hash, error) { return g.chainAt(p, seq, b, g.pending) })
}

func (g *judging) add(b *wire.Batch, index uint64) {
	s := stream{b.Edge, b.Epoch}
	if g.heads[s] == nil {
		g.heads[s] = g.ingest.heads[s].clone()
	}
	g.heads[s].add(b.First, b.Last, b.Prev, b.Chain, index)
	g.heads[s].kept = max(g.heads[s].kept, b.Kept)
	g.pending = append(g.pending, b)
}

// checkKeys refuses names that would make the key of one series that of another.
func checkKeys(b *wire.Batch) error {
	for i := range b.Records {
		d := b.Records[i].Declaration
		if d == nil {
			continue
		}
		if strings.Contains(d.Device, "/") {
			return fmt.Errorf("record %d: device id %q must not hold a slash", b.Records[i].Seq, d.Device)
		}
		for k := range d.Points {
			if strings.Contains(d.Points[k].Name, "/") {
				return fmt.Errorf("record %d: point %q of device %q must not hold a slash", b.Records[i].Seq, d.Points[k].Name, d.Device)
			}
		}
	}
	return nil
}

// edgeStates lists every registered edge, also those that never sent anything.
func edgeStates(rules *rules, seen map[string]edgeState) []edgeState {
	var out []edgeState
	for _, id := range rules.registered() {
		st, ok := seen[id]
		if !ok {
			st = edgeState{id: id}
		}
		out = append(out, st)
	}
	return out
}
