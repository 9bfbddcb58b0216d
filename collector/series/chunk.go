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

// encoder writes chunks, and keeps the room that one takes for the next.
type encoder struct {
	body    []byte
	out     bytes.Buffer
	deflate *flate.Writer // nil until one is needed
	runs    []run
	nums    []int64
	diffs   [3][]uint64 // by order, for 0 the numbers themselves
	known   []before
}

// encodeChunk returns tables, each ascending in time, as they are stored.
func encodeChunk(p place, tables []*table, method byte) []byte {
	return new(encoder).chunk(p, tables, method)
}

// chunk is encodeChunk; what it returns is valid until the next call.
func (e *encoder) chunk(p place, tables []*table, method byte) []byte {
	e.body = binary.AppendUvarint(append(e.body[:0], 0, 0, 0, 0, plain, chunkFormat), uint64(len(tables)))
	for _, t := range tables {
		e.table(t)
	}
	body := e.body
	if method == deflate {
		e.out.Reset()
		e.out.Grow(len(body))
		e.out.Write([]byte{0, 0, 0, 0, deflate})
		if e.deflate == nil {
			var err error
			if e.deflate, err = flate.NewWriter(&e.out, flate.BestSpeed); err != nil {
				panic(err) // the level is a constant
			}
		} else {
			e.deflate.Reset(&e.out)
		}
		e.deflate.Write(body[5:]) // a bytes.Buffer takes everything
		e.deflate.Close()
		if e.out.Len() < len(body) {
			body = e.out.Bytes()
		}
	}
	binary.BigEndian.PutUint32(body, p.crc(body[4:]))
	return body
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// table appends a table to the body.
func (e *encoder) table(t *table) {
	b := binary.AppendUvarint(e.body, uint64(len(t.points)))
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
	e.body = binary.AppendUvarint(b, uint64(n))
	e.runs = append(e.runs[:0], run{n, 0})
	e.column(t.at)
	e.nums = slices.Grow(e.nums[:0], n)[:n]
	for i, s := range t.seq {
		e.nums[i] = int64(s)
	}
	e.column(e.nums)
	for i, k := range t.epoch {
		e.nums[i] = int64(k)
	}
	e.column(e.nums)
	for k := range t.points {
		e.runs = e.runs[:0]
		for i, at := 0, k; i < n; i, at = i+1, at+len(t.points) {
			c := t.codes[at]
			if j := len(e.runs) - 1; j >= 0 && e.runs[j].code == c {
				e.runs[j].n++
			} else {
				e.runs = append(e.runs, run{1, c})
			}
			e.nums[i] = t.nums[at]
		}
		e.column(e.nums)
	}
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

// column appends a column to the body: its length, the runs, how many times
// differences were taken, and the numbers, each compared with those before it of the
// same code, in planes: first the lowest byte of all of them, then the next.
func (e *encoder) column(nums []int64) {
	order, base, width := e.differences(nums)
	var head [64]byte
	h := binary.AppendUvarint(head[:0], uint64(len(e.runs)))
	for _, r := range e.runs {
		h = binary.AppendUvarint(binary.AppendUvarint(h, uint64(r.n)), uint64(r.code))
	}
	h = append(binary.AppendVarint(append(h, order), base), byte(width))
	b := append(binary.AppendUvarint(e.body, uint64(len(h)+width*len(nums))), h...)
	for k := range width {
		at := len(b)
		b = slices.Grow(b, len(nums))[:at+len(nums)]
		plane := b[at:]
		for i, d := range e.diffs[order] {
			plane[i] = byte(d >> (8 * k))
		}
	}
	e.body = b
}

// differences finds how often to take differences so that least remains, for 0 what
// to take off every number, and how many bytes the greatest one has. They are in diffs then.
func (e *encoder) differences(nums []int64) (order byte, base int64, width int) {
	for i := range e.diffs {
		e.diffs[i] = slices.Grow(e.diffs[i][:0], len(nums))[:len(nums)]
	}
	if len(nums) > 0 {
		base = slices.Min(nums)
	}
	e.known = e.known[:0]
	var size [3]int
	var all [3]uint64
	i := 0
	for _, r := range e.runs {
		k := slices.IndexFunc(e.known, func(b before) bool { return b.code == r.code })
		if k < 0 {
			k = len(e.known)
			e.known = append(e.known, before{code: r.code})
		}
		value, step := e.known[k].value, e.known[k].step
		for end := i + r.n; i < end; i++ {
			v := nums[i]
			a, b, c := uint64(v-base), zigzag(v-value), zigzag(v-value-step)
			value, step = v, v-value
			e.diffs[0][i], e.diffs[1][i], e.diffs[2][i] = a, b, c
			size[0], size[1], size[2] = size[0]+bits.Len64(a), size[1]+bits.Len64(b), size[2]+bits.Len64(c)
			all[0], all[1], all[2] = all[0]|a, all[1]|b, all[2]|c
		}
		e.known[k].value, e.known[k].step = value, step
	}
	for i, n := range size {
		if n < size[order] {
			order = byte(i)
		}
	}
	if order > 0 {
		base = 0
	}
	return order, base, (bits.Len64(all[order]) + 7) / 8
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
