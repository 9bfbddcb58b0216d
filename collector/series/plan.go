package series

import (
	"kenshin/edge/wire"
)

type planKey struct {
	edge        string
	declaration *wire.Declaration
}

// plan is what has been found out about the readings of a declaration: which
// blocks its points are in, and the shapes its rows have.
type plan struct {
	device *device
	blocks []int // of each point
	splits map[string][]part
	whole  []part // of a reading whose blocks all have one time
	deltas []int32
	groups []byte
}

// part is the points of a declaration that are read at one time.
type part struct {
	shape  *shape
	block  int // one of theirs
	points []int
}

func (w *update) plan(r *Reading) (*plan, error) {
	key := planKey{r.Edge, r.Declaration}
	if p := w.db.plans[key]; p != nil {
		return p, nil
	}
	dev, err := w.device(r.Edge, r.Declaration.Device)
	if err != nil {
		return nil, err
	}
	p := &plan{device: dev, blocks: make([]int, len(r.Declaration.Points)), splits: make(map[string][]part),
		deltas: make([]int32, len(r.Declaration.Blocks)), groups: make([]byte, len(r.Declaration.Blocks))}
	for i := range r.Declaration.Points {
		p.blocks[i] = r.Declaration.BlockOf(&r.Declaration.Points[i])
	}
	w.db.plans[key] = p
	return p, nil
}

// parts returns which points of a reading share a time.
func (w *update) parts(p *plan, r *Reading) ([]part, error) {
	one := true
	for k := range p.deltas {
		p.deltas[k] = 0
		if k < len(r.Blocks) {
			p.deltas[k] = r.Blocks[k].Delta
		}
		one = one && p.deltas[k] == p.deltas[0]
	}
	if one && p.whole != nil {
		return p.whole, nil
	}
	for k := range p.deltas {
		j := 0
		for p.deltas[j] != p.deltas[k] {
			j++
		}
		p.groups[k] = byte(j)
	}
	parts, ok := p.splits[string(p.groups)]
	if ok {
		return parts, nil
	}
	for i, k := range p.blocks {
		j := -1
		for n := range parts {
			if k < 0 || p.groups[parts[n].block] == p.groups[k] {
				j = n
				break
			}
		}
		if j < 0 {
			j = len(parts)
			parts = append(parts, part{block: max(k, 0)})
		}
		parts[j].points = append(parts[j].points, i)
	}
	for n := range parts {
		var group []*wire.Sample
		for _, i := range parts[n].points {
			x := &r.Declaration.Points[i]
			group = append(group, &wire.Sample{Point: x.Name, Unit: x.Unit, Kind: x.Kind})
		}
		var err error
		if parts[n].shape, err = w.shape(p.device, group); err != nil {
			return nil, err
		}
	}
	if one {
		p.whole = parts
	}
	p.splits[string(p.groups)] = parts
	return parts, nil
}

// reading stages a reading. One that is newer than all of its device becomes rows
// as it is; any other goes the way of samples, to be compared.
func (w *update) reading(r *Reading) error {
	p, err := w.plan(r)
	if err != nil || len(p.blocks) == 0 {
		return err
	}
	parts, err := w.parts(p, r)
	if err != nil {
		return err
	}
	for i := range parts {
		if !w.newer(p.device, r.Wall+int64(p.deltas[parts[i].block])) {
			return w.samples(w.ctx, r.samples(p.blocks))
		}
	}
	epoch, err := w.epoch(r.Epoch)
	if err != nil {
		return err
	}
	for i := range parts {
		w.stage(parts[i].shape, r.Wall+int64(p.deltas[parts[i].block]), epoch, r.Seq)
		for _, k := range parts[i].points {
			x := r.Declaration.Raw(k, p.blocks[k], r.Reading)
			w.rows.cells = append(w.rows.cells, rawCell(&x))
		}
	}
	return nil
}

// samples returns the samples of a reading.
func (r *Reading) samples(blocks []int) []wire.Sample {
	out := make([]wire.Sample, 0, len(blocks))
	for _, v := range r.Declaration.Values(r.Reading) {
		p, at := &r.Declaration.Points[v.Point], r.Wall
		if k := blocks[v.Point]; k >= 0 && k < len(r.Blocks) {
			at += int64(r.Blocks[k].Delta)
		}
		out = append(out, wire.Sample{Edge: r.Edge, Device: r.Declaration.Device, Point: p.Name, Unit: p.Unit, Kind: p.Kind, At: at,
			Quality: v.Quality, Number: v.Number, Text: v.Text, Reason: v.Reason, Epoch: r.Epoch, Seq: r.Seq})
	}
	return out
}
