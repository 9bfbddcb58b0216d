package series

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/bits"
	"slices"
	"sync"

	"kenshin/edge/wire"
)

// A chunk is rows of one device and one UTC day, in columns; FORMAT.md has it in
// words. It says by itself what its columns are, so a month's file can be read alone.
const chunkFormat = 1

var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(io.Discard, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// place is where a chunk stands; its CRC covers it.
type place struct {
	edge, device string
	day          int64 // of UTC, counted from 1970-01-01
}

func (p place) crc(b []byte) uint32 {
	at := append([]byte(p.edge+"\x00"+p.device+"\x00"), 0, 0, 0, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint64(at[len(at)-8:], uint64(p.day))
	return crc32.Update(crc32.Checksum(at, castagnoli), castagnoli, b)
}

// How the body of a chunk is stored.
const (
	plain   = 0 // small ones that will soon be merged with others
	deflate = 1
)

// encodeChunk returns tables, each ascending in time, as they are stored.
func encodeChunk(p place, tables []*table, method byte) []byte {
	body := binary.AppendUvarint([]byte{0, 0, 0, 0, plain, chunkFormat}, uint64(len(tables)))
	for _, t := range tables {
		body = t.append(body)
	}
	if method == deflate {
		var out bytes.Buffer
		out.Grow(len(body))
		out.Write([]byte{0, 0, 0, 0, deflate})
		w := deflaters.Get().(*flate.Writer)
		defer deflaters.Put(w)
		w.Reset(&out)
		w.Write(body[5:]) // a bytes.Buffer takes everything
		w.Close()
		if out.Len() < len(body) {
			body = out.Bytes()
		}
	}
	binary.BigEndian.PutUint32(body, p.crc(body[4:]))
	return body
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (t *table) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(t.points)))
	for _, p := range t.points {
		b = binary.AppendUvarint(appendText(appendText(b, p.Name), p.Unit), uint64(p.Kind))
	}
	b = binary.AppendUvarint(b, uint64(len(t.epochs)))
	for i := range t.epochs {
		b = append(b, t.epochs[i][:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(t.texts.list)))
	for _, s := range t.texts.list {
		b = appendText(b, s)
	}
	n := t.rows()
	b = binary.AppendUvarint(b, uint64(n))
	nums, one := make([]int64, n), []run{{n, 0}}
	b = appendColumn(b, one, t.at)
	for i, s := range t.seq {
		nums[i] = int64(s)
	}
	b = appendColumn(b, one, nums)
	for i, e := range t.epoch {
		nums[i] = int64(e)
	}
	b = appendColumn(b, one, nums)
	for k := range t.points {
		var runs []run
		for i := range n {
			c := t.codes[i*len(t.points)+k]
			if j := len(runs) - 1; j >= 0 && runs[j].code == c {
				runs[j].n++
			} else {
				runs = append(runs, run{1, c})
			}
			nums[i] = t.nums[i*len(t.points)+k]
		}
		b = appendColumn(b, runs, nums)
	}
	return b
}

// run is how many rows on end have a code.
type run struct {
	n    int
	code uint16
}

// before is what differences of the numbers of one code are taken to.
type before struct {
	code        uint16
	value, step int64
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// appendColumn writes its length, the runs, how many times differences were taken,
// and the numbers, each compared with those before it of the same code, in planes:
// first the lowest byte of all of them, then the next.
func appendColumn(b []byte, runs []run, nums []int64) []byte {
	order, base := bestOrder(runs, nums)
	var room [1536]uint64
	diffs, all := room[:0], uint64(0)
	walkColumn(runs, nums, func(v int64, p *before) {
		d := uint64(v - base)
		switch order {
		case 1:
			d = zigzag(v - p.value)
		case 2:
			d = zigzag(v - p.value - p.step)
		}
		diffs = append(diffs, d)
		all |= d
	})
	width := (bits.Len64(all) + 7) / 8
	var head [64]byte
	h := binary.AppendUvarint(head[:0], uint64(len(runs)))
	for _, r := range runs {
		h = binary.AppendUvarint(binary.AppendUvarint(h, uint64(r.n)), uint64(r.code))
	}
	h = append(binary.AppendVarint(append(h, order), base), byte(width))
	b = append(binary.AppendUvarint(b, uint64(len(h)+width*len(nums))), h...)
	for k := range width {
		for _, d := range diffs {
			b = append(b, byte(d>>(8*k)))
		}
	}
	return b
}

// walkColumn calls fn for every number with what was before it.
func walkColumn(runs []run, nums []int64, fn func(v int64, p *before)) {
	var known []before
	for _, r := range runs {
		k := slices.IndexFunc(known, func(b before) bool { return b.code == r.code })
		if k < 0 {
			k = len(known)
			known = append(known, before{code: r.code})
		}
		p := &known[k]
		for _, v := range nums[:r.n] {
			fn(v, p)
			p.step, p.value = v-p.value, v
		}
		nums = nums[r.n:]
	}
}

// bestOrder returns how often to take differences so that least remains, and for
// 0 what to take off every number.
func bestOrder(runs []run, nums []int64) (order byte, base int64) {
	if len(nums) > 0 {
		base = slices.Min(nums)
	}
	var size [3]int
	walkColumn(runs, nums, func(v int64, p *before) {
		size[0] += bits.Len64(uint64(v - base))
		size[1] += bits.Len64(zigzag(v - p.value))
		size[2] += bits.Len64(zigzag(v - p.value - p.step))
	})
	for i, n := range size {
		if n < size[order] {
			order = byte(i)
		}
	}
	if order > 0 {
		base = 0
	}
	return order, base
}

// decodeChunk returns the tables of a chunk; with only given those that have that
// point, and of them no other column.
func decodeChunk(p place, data []byte, only string) ([]*table, error) {
	tables, err := decodeTables(p, data, only)
	if err != nil {
		return nil, fmt.Errorf("%w: chunk of %s/%s on day %d: %w", errPayload, p.edge, p.device, p.day, err)
	}
	return tables, nil
}

const maxChunk = 1 << 28 // bytes of a body

func decodeTables(p place, data []byte, only string) ([]*table, error) {
	if len(data) < 5 {
		return nil, fmt.Errorf("%d bytes", len(data))
	}
	if p.crc(data[4:]) != binary.BigEndian.Uint32(data) {
		return nil, fmt.Errorf("the CRC is another one")
	}
	switch data[4] {
	case plain:
		return readTables(data[5:], only)
	case deflate:
		body, err := inflate(data[5:])
		if err != nil {
			return nil, err
		}
		return readTables(body, only)
	}
	return nil, fmt.Errorf("compression %d is unknown", data[4])
}

// readTables reads a body.
func readTables(body []byte, only string) ([]*table, error) {
	r := reader{b: body}
	if f := r.byte(); f != chunkFormat {
		return nil, fmt.Errorf("format %d, this program reads %d", f, chunkFormat)
	}
	var out []*table
	for n := r.count(1); n > 0 && r.err == nil; n-- {
		if t := r.table(only); t != nil {
			out = append(out, t)
		}
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail("bytes after the last table")
	}
	return out, r.err
}

type inflater struct {
	src bytes.Reader
	r   io.ReadCloser
}

var inflaters = sync.Pool{New: func() any { f := new(inflater); f.r = flate.NewReader(&f.src); return f }}

func inflate(b []byte) ([]byte, error) {
	f := inflaters.Get().(*inflater)
	defer inflaters.Put(f)
	f.src.Reset(b)
	if err := f.r.(flate.Resetter).Reset(&f.src, nil); err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(make([]byte, 0, 4*len(b)+512))
	n, err := io.Copy(out, io.LimitReader(f.r, maxChunk+1))
	if err == nil && n > maxChunk {
		err = fmt.Errorf("more than %d bytes", maxChunk)
	}
	return out.Bytes(), err
}

// reader takes bytes apart and keeps the first error.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s", what)
	}
	r.b = nil
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("a number is cut or too large")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail("cut short")
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// count reads how many things of at least size bytes follow.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.fail("more is announced than there is")
		return 0
	}
	return int(n)
}

// rows reads how many rows a table has: their times differ, so each takes a byte
// but for a single one.
func (r *reader) rows() int {
	n := r.uvarint()
	if n > uint64(len(r.b))+1 {
		r.fail("more rows are announced than there are")
		return 0
	}
	return int(n)
}

func (r *reader) text() string { return string(r.take(r.uvarint())) }

// table reads a table, nil when it has not the point that is asked for.
func (r *reader) table(only string) *table {
	t := &table{points: make([]point, r.count(3))}
	for i := range t.points {
		t.points[i] = point{Name: r.text(), Unit: r.text(), Kind: wire.Kind(r.uvarint())}
	}
	t.epochs = make([]wire.Epoch, r.count(16))
	for i := range t.epochs {
		copy(t.epochs[i][:], r.take(16))
	}
	t.texts.list = make([]string, r.count(1))
	for i := range t.texts.list {
		t.texts.list[i] = r.text()
	}
	n := r.rows()
	wanted := 0
	if only != "" {
		wanted = column(t.points, only)
	}
	if wanted < 0 {
		for range 3 + len(t.points) {
			r.take(r.uvarint())
		}
		return nil
	}
	t.at, t.seq, t.epoch = make([]int64, n), make([]uint64, n), make([]uint32, n)
	r.column(n, 1, t.at, nil, nil)
	nums := make([]int64, n)
	r.column(n, 1, nums, nil, nil)
	for i, v := range nums {
		t.seq[i] = uint64(v)
	}
	r.column(n, 1, nums, nil, nil)
	for i, v := range nums {
		if v < 0 || v >= int64(len(t.epochs)) {
			r.fail("an epoch that is not there")
			return nil
		}
		t.epoch[i] = uint32(v)
	}
	points := t.points
	if only != "" {
		t.points = points[wanted : wanted+1]
	}
	t.nums, t.codes = make([]int64, n*len(t.points)), make([]uint16, n*len(t.points))
	column := 0
	for i := range points {
		if only != "" && i != wanted {
			r.take(r.uvarint())
			continue
		}
		r.column(n, len(t.points), t.nums[min(column, len(t.nums)):], t.codes[min(column, len(t.codes)):], t.texts.list)
		column++
	}
	return t
}

// column reads n numbers, and with codes given their codes, into every stride-th place.
func (r *reader) column(n, stride int, nums []int64, codes []uint16, texts []string) {
	c := reader{b: r.take(r.uvarint()), err: r.err}
	var all []run
	left := n
	for range c.count(2) {
		k, code := c.uvarint(), c.uvarint()
		if k > uint64(left) || code > math.MaxUint16 {
			c.fail("a run that is too long")
			break
		}
		all = append(all, run{int(k), uint16(code)})
		left -= int(k)
	}
	order, base, width := c.byte(), unzigzag(c.uvarint()), int(c.byte())
	if left != 0 || order > 2 || width > 8 || c.err == nil && len(c.b) != width*n {
		c.fail("runs, order or size of a column")
	}
	if r.err == nil {
		r.err = c.err
	}
	if r.err != nil {
		return
	}
	planes, i := c.b, 0
	var known []before
	for _, run := range all {
		k := slices.IndexFunc(known, func(b before) bool { return b.code == run.code })
		if k < 0 {
			k = len(known)
			known = append(known, before{code: run.code})
		}
		p := &known[k]
		hasText := codes != nil && run.code&7 >= classBig
		for range run.n {
			var d uint64
			for k := range width {
				d |= uint64(planes[k*n+i]) << (8 * k)
			}
			v := base + int64(d)
			switch order {
			case 1:
				v = unzigzag(d) + p.value
			case 2:
				v = unzigzag(d) + p.value + p.step
			}
			p.step, p.value = v-p.value, v
			if hasText && (v < 0 || v >= int64(len(texts))) {
				r.fail("a text that is not there")
				return
			}
			nums[i*stride] = v
			if codes != nil {
				codes[i*stride] = run.code
			}
			i++
		}
	}
}

// sorted returns the rows in ascending order of time; those of equal time stay in order.
func (t *table) sorted() *table {
	if slices.IsSorted(t.at) {
		return t
	}
	order := make([]int, t.rows())
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if t.at[a] < t.at[b] {
			return -1
		} else if t.at[a] > t.at[b] {
			return 1
		}
		return 0
	})
	out := &table{points: t.points}
	for _, i := range order {
		out.copyRow(t, i)
	}
	return out
}
