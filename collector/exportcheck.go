package collector

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// ExportCheck says what an export is checked by.
type ExportCheck struct {
	Key    ed25519.PublicKey // of the collector
	Before []byte            // a checkpoint that the reader holds; nil for none
	Edges  []Edge            // keys that are known from elsewhere: of an edge named here no other counts
}

// ExportResult is what an export was found to hold.
type ExportResult struct {
	store.Exported
	Batches, Decisions, Imports int
	Readings                    uint64
	Times                       map[string][2]int64 // by edge: first and last reading with a clock that was set, ms UTC
	Unsigned                    int                 // batches of edges of which no key is known
	Lost                        uint64              // readings that edges say were taken and not kept
	Unknown                     []string            // what cannot be told from this file
}

// CheckExport reads an export without the book it is from and calls found for all
// that is not as it should be. Beyond what store.ReadExport checks: that every
// batch was signed by a key of its edge that was good where it stands, is whole,
// is what the book says it is, and continues the chain of those before it.
func CheckExport(r io.Reader, c ExportCheck, found func(store.Fault)) (ExportResult, error) {
	e := &exportCheck{registry: newRegistry(), given: make(map[string][]ed25519.PublicKey), heads: make(map[stream]*head), keyless: make(map[string]int), seen: make(map[stream][]wire.Range)}
	e.out.Times = make(map[string][2]int64)
	for _, edge := range c.Edges {
		e.given[edge.ID] = append(e.given[edge.ID], edge.Key)
	}
	var err error
	e.out.Exported, err = store.ReadExport(r, store.ExportCheck{Key: c.Key, Before: c.Before, Each: e.record}, found)
	e.unknown(c)
	return e.out, err
}

type exportCheck struct {
	registry
	given   map[string][]ed25519.PublicKey
	heads   map[stream]*head
	keyless map[string]int          // batches of edges without a key
	again   int                     // batches of which every record had come
	seen    map[stream][]wire.Range // sequence numbers that were looked at
	out     ExportResult
}

func (e *exportCheck) record(r *store.Record) error {
	switch r.Kind {
	case store.Decision:
		e.out.Decisions++
		return e.decision(r)
	case store.Import:
		e.out.Imports++
		return nil
	}
	e.out.Batches++
	return e.batch(r)
}

// decision puts one on keys in force; the others are for whoever recomputes.
func (e *exportCheck) decision(r *store.Record) error {
	var d decision
	if err := json.Unmarshal(r.Payload, &d); err != nil {
		return err
	}
	if d.Version != decisionVersion || d.Kind != r.Subject {
		return fmt.Errorf("decision %q of version %d in a record of %q", d.Kind, d.Version, r.Subject)
	}
	d.at = r.Index
	switch {
	case d.Kind == decideEdge && d.Text == "":
		e.endConfigured(d)
	case d.Kind == decideEdge, d.Kind == decideKey, d.Kind == decideKeyEnd:
		return e.admission(d)
	}
	return nil
}

func (e *exportCheck) batch(r *store.Record) error {
	if err := e.signed(r); err != nil {
		return err
	}
	b, err := decodeStored(r)
	if err != nil {
		return err
	}
	if b.Edge != r.Subject || b.Epoch != r.Epoch || b.First != r.First || b.Last != r.Last {
		return fmt.Errorf("it holds records %d to %d of edge %s, epoch %v; the book says %d to %d of %s, %v", b.First, b.Last, b.Edge, b.Epoch, r.First, r.Last, r.Subject, r.Epoch)
	}
	s := stream{b.Edge, b.Epoch}
	if e.heads[s] == nil {
		e.heads[s] = &head{}
	}
	h := e.heads[s]
	v, err := h.offer(b, func(place, uint64) (wire.Hash, error) { return b.Chain, nil })
	if err != nil {
		return err
	}
	if v == repeated {
		e.again++
	} else {
		h.add(b.First, b.Last, b.Prev, b.Chain, r.Index)
	}
	e.look(b)
	return nil
}

// signed checks the signature of a batch.
func (e *exportCheck) signed(r *store.Record) error {
	given := e.given[r.Subject]
	keys := e.keys[r.Subject]
	for _, k := range given {
		keys = append(slices.Clip(keys), &edgeKey{key: k, until: open})
	}
	if len(keys) == 0 {
		e.keyless[r.Subject]++
		return nil
	}
	_, key, err := unseal(r.Subject, keys, r.Payload)
	if err != nil {
		return err
	}
	if len(given) > 0 && !slices.ContainsFunc(given, func(k ed25519.PublicKey) bool { return k.Equal(key) }) {
		return fmt.Errorf("%w: key %.16s of edge %s, which is not one that was given", wire.ErrSignature, wire.Fingerprint(key), r.Subject)
	}
	if e.find(r.Subject, key) == nil {
		return nil // given, and no decision here speaks of it
	}
	err = e.admits(r.Subject, key)
	var no refusal
	if errors.As(err, &no) {
		err = fmt.Errorf("%w: %w", wire.ErrSignature, err)
	}
	return err
}

// look takes down what is in the readings of a batch: of each sequence number once,
// in however many batches it is.
func (e *exportCheck) look(b *wire.Batch) {
	s := stream{b.Edge, b.Epoch}
	for i := range b.Records {
		rec := &b.Records[i]
		seen, isNew := include(e.seen[s], rec.Seq)
		if !isNew {
			continue
		}
		e.seen[s] = seen
		switch {
		case rec.Event != nil && rec.Event.Code == wire.EventGap:
			e.out.Lost += rec.Event.Count
		case rec.Reading != nil:
			e.out.Readings++
			if rec.Clock == wire.ClockUnsynced {
				continue
			}
			t, ok := e.out.Times[b.Edge]
			if !ok {
				t = [2]int64{rec.Wall, rec.Wall}
			}
			e.out.Times[b.Edge] = [2]int64{min(t[0], rec.Wall), max(t[1], rec.Wall)}
		}
	}
}

// unknown lists what this export does not show.
func (e *exportCheck) unknown(c ExportCheck) {
	st := &e.out.Statement
	say := func(format string, a ...any) { e.out.Unknown = append(e.out.Unknown, fmt.Sprintf(format, a...)) }
	for _, edge := range slices.Sorted(maps.Keys(e.keyless)) {
		e.out.Unsigned += e.keyless[edge]
		say("who signed the %d batches of edge %s: no decision here admits a key of it, and none was given", e.keyless[edge], edge)
	}
	whole := len(st.Ranges) == 1 && st.Ranges[0] == store.Run{Last: st.Size - 1} && len(st.Without) == 0
	if !whole {
		say("which project and period it is for, if for one; which decisions, inputs, rulings, imports or later records of a stream were left out: only all records of the book show that")
	}
	edges := make(map[string]bool)
	for s := range e.heads {
		edges[s.edge] = len(e.given[s.edge]) == 0
	}
	maps.DeleteFunc(edges, func(_ string, rests bool) bool { return !rests })
	if !whole && len(edges) > 0 {
		say("whether a decision that ended a key was left out for edges %s: only all records of the book show that, or keys from elsewhere", slices.Sorted(maps.Keys(edges)))
	}
	if c.Before == nil {
		say("whether the collector has shown others the same book: compare the checkpoint with one that you or others hold")
	}
	for _, s := range st.Streams {
		if len(s.Lacks) > 0 {
			say("why records of edge %s, epoch %v, are not here: %s", s.Edge, s.Epoch, runs(s.Lacks))
		}
	}
	if len(st.Without) > 0 {
		say("what stood in %d records, %d and on, and whether the book has lost them, as the file says", len(st.Without), st.Without[0])
	}
	if e.out.Imports > 0 {
		say("who read the meters for the %d imports: nobody signed them but the collector", e.out.Imports)
	}
	if e.again > 0 {
		say("whether %d batches that came once more are in the middle as they were: compared are their ends", e.again)
	}
}

// Incomplete returns why an export without a fault is still not good, nil when it is.
func (x *ExportResult) Incomplete() error {
	var keys, lost error
	if x.Unsigned > 0 {
		keys = fmt.Errorf("%d batches could not be checked: name the keys of their edges with --edge", x.Unsigned)
	}
	if n := len(x.Statement.Without); n > 0 {
		lost = fmt.Errorf("incomplete: %d records of the stated range are not in the file; the file says the book lost them, which nothing here proves", n)
	}
	return errors.Join(keys, lost)
}

// runs lists a few.
func runs(list []store.Run) string {
	const most = 8
	var parts []string
	for _, r := range list[:min(len(list), most)] {
		parts = append(parts, fmt.Sprintf("%d to %d", r.First, r.Last))
	}
	if len(list) > most {
		parts = append(parts, fmt.Sprintf("and %d more runs", len(list)-most))
	}
	return strings.Join(parts, ", ")
}

// Describe says what an export was found to hold.
func (x *ExportResult) Describe(w io.Writer) {
	st := &x.Statement
	fmt.Fprintf(w, "%d records of book %s, proven by its checkpoint of %d records: %d batches with %d readings, %d decisions, %d imports\n",
		st.Records, st.Origin, st.Size, x.Batches, x.Readings, x.Decisions, x.Imports)
	for _, r := range st.Ranges {
		fmt.Fprintln(w, r.Text(st.Without))
	}
	for _, s := range st.Streams {
		text := "without a gap"
		if len(s.Lacks) > 0 {
			text = "without " + runs(s.Lacks)
		}
		fmt.Fprintf(w, "edge %s, epoch %v: sequence numbers %d to %d %s\n", s.Edge, s.Epoch, s.First, s.Last, text)
	}
	for _, edge := range slices.Sorted(maps.Keys(x.Times)) {
		t := x.Times[edge]
		fmt.Fprintf(w, "edge %s: readings from %s to %s\n", edge, utc(t[0]), utc(t[1]))
	}
	if x.Lost > 0 {
		fmt.Fprintf(w, "the edges say that they took %d readings more and could not keep them\n", x.Lost)
	}
	if x.Before > 0 {
		fmt.Fprintf(w, "the book has only grown since the checkpoint of its first %d records\n", x.Before)
	}
	for _, u := range x.Unknown {
		fmt.Fprintf(w, "not to be told from this file: %s\n", u)
	}
}

func utc(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05Z") }
