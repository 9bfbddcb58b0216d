package collector

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"kenshin/calc"
	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// bookReader takes samples out of the book in the order in which settling takes
// them: that decides which one of two counts.
type bookReader struct {
	declarations map[wire.Hash]*wire.Declaration
	done         map[string][]wire.Range        // sequence numbers taken, per edge and epoch
	waiting      map[wire.Hash][]waitingReading // by the declaration they wait for
	ahead        map[string][]waitingReading    // by edge and day, see aheadDay
	tracks       map[string]*track              // by register; only what has a key here is taken
	serials      serials                        // nil when they are not asked for
	sources      map[declared]*source
	take         func(t *track, x *calc.Sample) error // must not keep x
	sample       calc.Sample
}

// declared is a declaration as an edge made it.
type declared struct {
	edge string
	hash wire.Hash
}

// source is a declaration with what is asked of its device.
type source struct {
	declaration *wire.Declaration
	device      string // edge/device
	points      []point
}

type point struct {
	index int // among those of the declaration
	track *track
	heat  heatPoints
}

type waitingReading struct {
	index uint64 // of the record in the book
	batch *wire.Batch
	rec   *wire.Record
}

func newBookReader(tracks map[string]*track, take func(t *track, x *calc.Sample) error) *bookReader {
	return &bookReader{declarations: make(map[wire.Hash]*wire.Declaration), done: make(map[string][]wire.Range),
		waiting: make(map[wire.Hash][]waitingReading), ahead: make(map[string][]waitingReading),
		tracks: tracks, sources: make(map[declared]*source), take: take}
}

// deviceOf returns edge/device of a register.
func deviceOf(key string) string { return key[:max(strings.LastIndexByte(key, '/'), 0)] }

// opened is a record of the book on its way: decoded as soon as ready is closed.
type opened struct {
	record store.Record
	batch  *wire.Batch // nil of an import
	err    error
	ready  chan struct{}
}

// maxDecoders bounds how many batches are decoded at once, and with that the memory.
const maxDecoders = 4

// read collects the first records of the book. Decoding costs more than settling
// and needs no order: it runs ahead on other processors, a few batches at most.
func (b *bookReader) read(ctx context.Context, book *store.Store, records uint64) error {
	n := min(runtime.GOMAXPROCS(0), maxDecoders)
	work, order := make(chan *opened, n), make(chan *opened, 2*n)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(order)
		defer close(work)
		return scan(ctx, book.Scan, records, func(r *store.Record) error {
			if r.Kind != store.Batch && (r.Kind != store.Import || b.tracks[r.Subject] == nil) {
				return nil
			}
			o := &opened{record: *r, ready: make(chan struct{})}
			o.record.Payload = slices.Clone(r.Payload) // the book's is good until this returns
			if r.Kind == store.Import {
				close(o.ready)
			} else if !send(ctx, work, o) {
				return ctx.Err()
			}
			if !send(ctx, order, o) {
				return ctx.Err()
			}
			return nil
		})
	})
	for range n {
		g.Go(func() error {
			for o := range work {
				o.batch, o.err = decodeStored(&o.record)
				o.record.Payload = nil
				close(o.ready)
			}
			return nil
		})
	}
	g.Go(func() error {
		for o := range order {
			<-o.ready // what is in order was in work before, and work is always taken up
			if o.err != nil {
				return o.err
			}
			if err := b.collect(o); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// send reports false when ctx ends first.
func send(ctx context.Context, to chan<- *opened, o *opened) bool {
	select {
	case to <- o:
		return true
	case <-ctx.Done():
		return false
	}
}

func (b *bookReader) collect(o *opened) error {
	r := &o.record
	if r.Kind == store.Import {
		return b.imported(r)
	}
	if err := b.arrive(r); err != nil {
		return err
	}
	batch := o.batch
	key := batch.Edge + "/" + batch.Epoch.String()
	ranges := b.done[key]
	defer func() { b.done[key] = ranges }()
	var due []wire.Hash // those that waited for them come in before any later reading
	for i := range batch.Records {
		rec := &batch.Records[i]
		isNew := false
		if ranges, isNew = include(ranges, rec.Seq); !isNew {
			continue
		}
		if day, ahead := aheadDay(batch.Edge, r, rec); ahead && rec.Reading != nil {
			b.ahead[day] = append(b.ahead[day], waitingReading{r.Index, batch, rec})
			continue
		}
		switch {
		case rec.Declaration != nil:
			h := rec.Declaration.Hash()
			b.declarations[h] = rec.Declaration
			if len(b.waiting[h]) > 0 {
				due = append(due, h)
			}
		case rec.Reading != nil && (b.declarations[rec.Reading.Declaration] == nil || slices.Contains(due, rec.Reading.Declaration)):
			h := rec.Reading.Declaration
			b.waiting[h] = append(b.waiting[h], waitingReading{r.Index, batch, rec})
		case rec.Reading != nil:
			if err := b.add(batch, rec); err != nil {
				return err
			}
		}
	}
	var late []waitingReading
	for _, h := range due {
		late = append(late, b.waiting[h]...)
		delete(b.waiting, h)
	}
	inOrder(late)
	for _, w := range late {
		if err := b.add(w.batch, w.rec); err != nil {
			return err
		}
	}
	return nil
}

// arrive takes in the readings that lay ahead and whose day is over now.
func (b *bookReader) arrive(r *store.Record) error {
	var due []waitingReading
	for key, list := range b.ahead {
		if passed(key, r.Received) {
			due = append(due, list...)
			delete(b.ahead, key)
		}
	}
	inOrder(due)
	for _, w := range due {
		if h := w.rec.Reading.Declaration; b.declarations[h] == nil {
			b.waiting[h] = append(b.waiting[h], w)
		} else if err := b.add(w.batch, w.rec); err != nil {
			return err
		}
	}
	return nil
}

func inOrder(list []waitingReading) {
	slices.SortFunc(list, func(x, y waitingReading) int {
		return cmp.Or(cmp.Compare(x.index, y.index), cmp.Compare(x.rec.Seq, y.rec.Seq))
	})
}

func (b *bookReader) imported(r *store.Record) error {
	f, err := decodeImport(r)
	if err != nil {
		return err
	}
	key := "import/" + f.epoch().String()
	for _, x := range f.samples() {
		done, isNew := include(b.done[key], x.Seq)
		if !isNew {
			continue
		}
		b.done[key] = done
		s := reading(&x)
		if spec := b.tracks[r.Subject].curve.Spec(); spec.Heat != nil {
			s = spec.Heat.Power(s, calc.Sample{}, calc.Sample{})
		}
		if err := b.take(b.tracks[r.Subject], &s); err != nil {
			return err
		}
	}
	return nil
}

func (b *bookReader) add(batch *wire.Batch, rec *wire.Record) error {
	src := b.source(batch.Edge, rec.Reading.Declaration)
	d := src.declaration
	if b.serials != nil && d.Serial != "" {
		b.serials.note(src.device, d.Serial, rec.Wall)
	}
	for _, x := range src.points {
		p := &d.Points[x.index]
		at := rec.Wall + int64(blockDelta(d, p, rec.Reading))
		if at < -maxTime || at > maxTime {
			continue
		}
		v := d.Value(x.index, rec.Reading)
		b.sample = calc.Sample{At: at, Value: v.Number, Unit: p.Unit, Good: v.Quality == wire.Good, Reason: v.Reason}
		b.sample = x.heat.of(b.sample, d, rec.Reading)
		if err := b.take(x.track, &b.sample); err != nil {
			return err
		}
	}
	return nil
}

// source returns what is asked of a device under a declaration that has come.
func (b *bookReader) source(edge string, hash wire.Hash) *source {
	id := declared{edge, hash}
	if s := b.sources[id]; s != nil {
		return s
	}
	d := b.declarations[hash]
	s := &source{declaration: d, device: edge + "/" + d.Device}
	for i := range d.Points {
		if t := b.tracks[s.device+"/"+d.Points[i].Name]; t != nil {
			spec := t.curve.Spec()
			s.points = append(s.points, point{i, t, findHeat(spec.Heat, d)})
		}
	}
	b.sources[id] = s
	return s
}
