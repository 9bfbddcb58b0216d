package collector

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// Follower hands out the samples of settled records in the order of the book, for
// what keeps a copy of them elsewhere. It holds nothing that must survive: whoever
// follows keeps the number of the next record. Next is for one goroutine.
//
// A record that is followed twice gives the same samples, except that of two
// values of one series and time always the one that the series store keeps is
// given. Readings that settling holds back are not among them; they are owed.
type Follower struct {
	c *Collector

	mu      sync.Mutex // guards devices, for Whole
	devices map[string]followed
}

// followed is what is known of a device, by edge/device.
type followed struct {
	newest      int64             // time of the newest sample given
	declaration *wire.Declaration // in force there, nil when all its samples were brought in
}

// Owed names records of the book, both included, some of whose readings cannot be
// settled yet. Once Collector.Owes says no to Key, following them again gives them.
type Owed struct {
	Key   string `json:"key"`
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// Followed is a sample on its way to a copy.
type Followed struct {
	wire.Sample
	Integer bool // of a register that counts in whole units

	late bool // not newer than what was given of its device before
}

// Follow returns a new follower.
func (c *Collector) Follow() *Follower { return &Follower{c: c, devices: make(map[string]followed)} }

// Next calls fn for the samples of each record from from on and before end. It
// stops at what is settled, or when it has given at least samples samples, and
// returns the record that comes next and what is owed of those it passed. x is
// valid during fn only.
func (f *Follower) Next(ctx context.Context, from, end uint64, samples int, fn func(x *Followed) error) (next uint64, owed []Owed, err error) {
	s := f.c.settle
	s.mu.RLock()
	end = min(end, s.cursor)
	if s.state.Due != nil {
		end = from // what is due belongs to records before the cursor
	}
	s.mu.RUnlock()
	next = from
	given := 0
	if next >= end {
		return next, nil, nil
	}
	err = f.c.store.Scan(from, func(r *store.Record) error {
		if r.Index >= end || given >= samples {
			return errStop
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		list, o, err := f.record(ctx, r)
		if err != nil {
			return fmt.Errorf("follow record %d: %w", r.Index, err)
		}
		for i := range list {
			if err := fn(&list[i]); err != nil {
				return err
			}
		}
		owed = append(owed, o...)
		given += len(list)
		next = r.Index + 1
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return next, owed, err
}

// record returns the samples of one record as the series store keeps them.
func (f *Follower) record(ctx context.Context, r *store.Record) (list []Followed, owed []Owed, err error) {
	switch r.Kind {
	case store.Batch:
		list, owed, err = f.batch(r)
	case store.Import:
		var rows *importFile
		if rows, err = decodeImport(r); err == nil {
			for _, x := range rows.samples() {
				list = append(list, Followed{Sample: x, Integer: f.Whole(x.Edge, x.Device, x.Point)})
			}
			f.pass(list, nil)
		}
	}
	if err == nil {
		err = f.settleLate(ctx, list)
	}
	return list, owed, err
}

func (f *Follower) batch(r *store.Record) (list []Followed, owed []Owed, err error) {
	b, err := decodeStored(r)
	if err != nil {
		return nil, nil, err
	}
	for i := range b.Records {
		rec := &b.Records[i]
		if rec.Reading == nil {
			continue
		}
		d, key := f.declaration(b.Edge, r, rec)
		if d == nil {
			if n := len(owed); n == 0 || owed[n-1].Key != key {
				owed = append(owed, Owed{key, r.Index, r.Index})
			}
			continue
		}
		n := len(list)
		for _, v := range d.Values(rec.Reading) {
			p := &d.Points[v.Point]
			list = append(list, Followed{Integer: wholeNumbers(p), Sample: wire.Sample{
				Edge: b.Edge, Device: d.Device, Point: p.Name, Unit: p.Unit, Kind: p.Kind,
				At: rec.Wall + int64(blockDelta(d, p, rec.Reading)), Quality: v.Quality, Number: v.Number, Text: v.Text, Reason: v.Reason,
				Epoch: b.Epoch, Seq: rec.Seq,
			}})
		}
		f.pass(list[n:], d)
	}
	return list, owed, nil
}

// pass notes the samples of one reading, or rows of one register, and marks those
// that are not newer than what went before.
func (f *Follower) pass(list []Followed, d *wire.Declaration) {
	if len(list) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := list[0].Edge + "/" + list[0].Device
	dev, known := f.devices[key]
	newest := dev.newest
	for i := range list {
		list[i].late = !known || list[i].At <= newest
		dev.newest = max(dev.newest, list[i].At)
		if d == nil {
			newest = max(newest, list[i].At)
		}
	}
	if !known {
		dev.newest = list[0].At
		for i := range list {
			dev.newest = max(dev.newest, list[i].At)
		}
	}
	if d != nil {
		dev.declaration = d
	}
	f.devices[key] = dev
}

// declaration returns that of a reading which is settled, or nil and what it waits for.
func (f *Follower) declaration(edge string, r *store.Record, rec *wire.Record) (*wire.Declaration, string) {
	s := f.c.settle
	s.mu.RLock()
	defer s.mu.RUnlock()
	if day, ahead := aheadDay(edge, r, rec); ahead && s.state.Ahead[day] != (waiting{}) {
		return nil, day
	}
	h := rec.Reading.Declaration
	if d := s.declarations[h]; d != nil {
		return d, ""
	}
	return nil, h.String()
}

// Owes reports whether readings under a key of Owed are still held back.
func (c *Collector) Owes(key string) bool {
	s := c.settle
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.state.Due != nil || s.state.Ahead[key] != (waiting{}) {
		return true
	}
	for h := range s.state.Waiting {
		if h.String() == key {
			return true
		}
	}
	return false
}

// settleLate puts what the series store keeps in place of samples that are not the
// newest of their device: another may have had their time before them.
func (f *Follower) settleLate(ctx context.Context, list []Followed) error {
	late := make(map[string][]*Followed)
	for i := range list {
		if x := &list[i]; x.late {
			late[x.Key()] = append(late[x.Key()], x)
		}
	}
	for key, all := range late {
		from, to := all[0].At, all[0].At
		for _, x := range all {
			from, to = min(from, x.At), max(to, x.At)
		}
		kept := make(map[int64]wire.Sample)
		if err := f.c.db.Scan(ctx, key, from, to+1, func(x wire.Sample) error { kept[x.At] = x; return nil }); err != nil {
			return err
		}
		for _, x := range all {
			if y, ok := kept[x.At]; ok {
				x.Sample = y
			}
		}
	}
	return nil
}

// wholeNumbers reports whether every value of a point is a whole number.
func wholeNumbers(p *wire.Point) bool {
	switch p.Type {
	case wire.Float32, wire.Float64, wire.String:
		return false
	}
	return p.Scale >= 0 && p.ScaleAt == wire.NoScale
}

// Whole reports whether a series counts in whole units: by the declaration that its
// device had last, or by all of devices of that name while it has not been followed.
func (f *Follower) Whole(edge, device, point string) bool {
	f.mu.Lock()
	d := f.devices[edge+"/"+device].declaration
	f.mu.Unlock()
	if d != nil {
		return whole([]*wire.Declaration{d}, point)
	}
	s := f.c.settle
	s.mu.RLock()
	var all []*wire.Declaration
	for _, d := range s.declarations {
		if d.Device == device {
			all = append(all, d)
		}
	}
	s.mu.RUnlock()
	return whole(all, point)
}

// whole reports whether a point counts in whole units by all declarations that have it.
func whole(list []*wire.Declaration, point string) bool {
	found := false
	for _, d := range list {
		for i := range d.Points {
			if p := &d.Points[i]; p.Name == point {
				if found = true; !wholeNumbers(p) {
					return false
				}
			}
		}
	}
	return found
}

// Behind returns how many records of the book are not settled.
func (c *Collector) Behind() uint64 { return uint64(c.settle.lag()) }

// SettledRecords returns how many records of the book are settled.
func (c *Collector) SettledRecords() uint64 { return c.settle.position() }
