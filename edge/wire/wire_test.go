package wire

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"kenshin/edge/wire/wirepb"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
)

// meter is a declaration of twelve points, as an SDM630-like meter would have.
func meter() *Declaration {
	d := &Declaration{Device: "meter-1", Manufacturer: "Eastron", Model: "SDM630", Serial: "4711", Profile: "eastron-sdm630",
		ProfileVersion: "1", Unit: 1, Energy: "energy_export", Blocks: []Block{{4, 0, 76}}}
	for i, name := range []string{"v1", "v2", "v3", "i1", "i2", "i3", "p1", "p2", "p3", "power", "energy_import", "energy_export"} {
		p := Point{Name: name, Function: 4, Address: uint16(2 * i), Type: Float32, Words: 2, ScaleAt: NoScale, Unit: "V", Kind: Gauge}
		if strings.HasPrefix(name, "energy") {
			p.Address, p.Unit, p.Kind = uint16(52+2*i), "kWh", Counter
		}
		d.Points = append(d.Points, p)
	}
	return d
}

func run(n int) (*Batch, map[Hash]*Declaration) {
	rnd := rand.New(rand.NewPCG(1, 2))
	d := meter()
	b := &Batch{Edge: "site-1", Epoch: Epoch{1, 2, 3}, Boot: [16]byte{4}, First: 1, Records: []Record{
		{Wall: 1_600_000_000_000, Mono: 5, Clock: ClockSynced, Declaration: d},
		{Wall: 1_600_000_000_001, Mono: 6, Event: &Event{Code: EventBoot, Detail: "kenshin-edge"}},
	}}
	energy := 134_000.0
	for i := range n {
		words := make([]uint16, 76)
		put := func(at int, v float64) {
			f := math.Float32bits(float32(v))
			words[at], words[at+1] = uint16(f>>16), uint16(f)
		}
		for k := range 10 {
			put(2*k, 230+math.Round(20*rnd.NormFloat64())/10)
		}
		energy += rnd.Float64() / 60
		put(72, 12.25)
		put(74, energy)
		r := Record{Wall: 1_600_000_000_000 + int64(i)*60_000 + rnd.Int64N(9), Clock: ClockSynced,
			Reading: &Reading{Declaration: d.Hash(), Blocks: []BlockResult{{Words: words}}}}
		r.Mono = r.Wall - 1_599_999_000_000
		if i%17 == 16 {
			r.Reading.Blocks[0] = BlockResult{Status: Exception, Code: 2, Delta: -3}
		}
		b.Records = append(b.Records, r)
	}
	seal(b)
	return b, map[Hash]*Declaration{d.Hash(): d}
}

func seal(b *Batch) {
	c := b.Prev
	for i := range b.Records {
		b.Records[i].Seq = b.First + uint64(i)
		c = Chain(c, b.Records[i].Encode())
	}
	b.Last, b.Chain = b.First+uint64(len(b.Records))-1, c
}

func TestBatchComesBackWhole(t *testing.T) {
	for _, hint := range []bool{true, false} {
		b, decls := run(60)
		if !hint {
			decls = nil
		}
		payload, err := EncodeBatch(b, decls)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeBatch(payload, DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		if h, ok := got.ChainAfter(b.Last); !ok || h != b.Chain {
			t.Errorf("chain after the last record = %v, %v", h, ok)
		}
		if h, ok := got.ChainAfter(0); !ok || h != b.Prev {
			t.Errorf("chain before the first record = %v, %v", h, ok)
		}
		got.after = nil
		if !reflect.DeepEqual(got, b) {
			t.Errorf("hint %v: the batch changed on its way", hint)
		}
	}
}

// DESIGN 3: at most 2.5 bytes per value at 60 snapshots of 12 points. Float32
// readings are the hardest case: their mantissas hardly compress.
func TestBatchIsSmall(t *testing.T) {
	b, decls := run(60)
	b.Records, b.First = b.Records[2:], 3
	b.Prev = Hash{1}
	seal(b)
	payload, err := EncodeBatch(b, decls)
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := ed25519.GenerateKey(nil)
	env, err := Seal(BatchType, payload, key)
	if err != nil {
		t.Fatal(err)
	}
	if per := float64(len(env)) / (60 * 12); per > 2.5 {
		t.Errorf("%d bytes signed, %.2f per value, want at most 2.5", len(env), per)
	} else {
		t.Logf("%d bytes signed, %.2f per value", len(env), per)
	}
}

// Every byte that differs is noticed: by the signature, whatever it was.
func TestAnyChangedByteIsRefused(t *testing.T) {
	b, decls := run(5)
	payload, err := EncodeBatch(b, decls)
	if err != nil {
		t.Fatal(err)
	}
	pub, key, _ := ed25519.GenerateKey(nil)
	env, _ := Seal(BatchType, payload, key)
	if _, err := Unseal(BatchType, env, pub); err != nil {
		t.Fatalf("untouched: %v", err)
	}
	for i := range env {
		bad := bytes.Clone(env)
		bad[i] ^= 0x40
		p, err := Unseal(BatchType, bad, pub)
		if err == nil && !bytes.Equal(p, payload) {
			t.Fatalf("byte %d changed and still signed", i)
		}
	}
	if _, err := Unseal(AckType, env, pub); !errors.Is(err, ErrMalformed) {
		t.Errorf("a batch opened as an ack: %v", err)
	}
	_, other, _ := ed25519.GenerateKey(nil)
	env, _ = Seal(BatchType, payload, other)
	if _, err := Unseal(BatchType, env, pub); !errors.Is(err, ErrSignature) {
		t.Errorf("a stranger's signature: %v, want ErrSignature", err)
	}
}

func TestDecodeBatchRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*Batch)
		lim  Limits
		want string
	}{
		{"a broken chain", func(b *Batch) { b.Chain[0] ^= 1 }, DefaultLimits, "lead to chain hash"},
		{"another prev", func(b *Batch) { b.First = 7; b.Prev[0] ^= 1; c := b.Chain; seal(b); b.Chain = c }, DefaultLimits, "lead to chain hash"},
		{"an edge id with a wildcard", func(b *Batch) { b.Edge = "site/+" }, DefaultLimits, "edge id"},
		{"too many records", func(*Batch) {}, Limits{1 << 20, 1 << 20, 10, 0}, "want 1 to 10"},
		{"too large a payload", func(*Batch) {}, Limits{100, 1 << 20, 1000, 0}, "at most 100"},
		{"too large a body", func(*Batch) {}, Limits{1 << 20, 100, 1000, 0}, "at most 100"},
		{"record 1 after something", func(b *Batch) { b.Prev[3] = 9; seal(b) }, DefaultLimits, "before it"},
	} {
		b, decls := run(20)
		tt.edit(b)
		payload, err := EncodeBatch(b, decls)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		_, err = DecodeBatch(payload, tt.lim)
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want ErrMalformed with %q", tt.name, err, tt.want)
		}
	}
}

// TestRatio: a body that swells beyond what readings do is refused before it is
// unpacked, and one byte less is taken.
func TestRatio(t *testing.T) {
	lim := DefaultLimits
	for _, tt := range []struct {
		size, body int
		ok         bool
	}{
		{freeBody, 1, true},
		{262_160, 13_108, true},
		{262_161, 13_108, false},
	} {
		_, err := unsqueeze(&wirepb.Batch{Size: uint32(tt.size), Compression: deflate, Body: make([]byte, tt.body)}, lim)
		if refused := err != nil && strings.Contains(err.Error(), "at most 20 times"); refused == tt.ok {
			t.Errorf("%d bytes out of %d: %v", tt.size, tt.body, err)
		}
	}
}

func TestValues(t *testing.T) {
	const na = "not-available"
	for _, tt := range []struct {
		name  string
		p     Point
		words []uint16
		want  string
	}{
		{"int16", Point{Type: Int16}, []uint16{0xFFFF}, "-1"},
		{"int16 not implemented", Point{Type: Int16}, []uint16{0x8000}, na},
		{"uint16", Point{Type: Uint16, Scale: -1}, []uint16{2301}, "230.1"},
		{"uint16 not implemented", Point{Type: Uint16}, []uint16{0xFFFF}, na},
		{"int32 low word first", Point{Type: Int32, Order: LowFirst}, []uint16{0xFFFE, 0xFFFF}, "-2"},
		{"uint32", Point{Type: Uint32, Scale: -2}, []uint16{0x0001, 0x0000}, "655.36"},
		{"uint32 at night", Point{Type: Uint32}, []uint16{0xFFFF, 0xFFFF}, na},
		{"int64 smallest but one", Point{Type: Int64}, []uint16{0x8000, 0, 0, 1}, "-9223372036854775807"},
		{"uint64 largest but one", Point{Type: Uint64}, []uint16{0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE}, "18446744073709551614"},
		{"acc32 zero", Point{Type: Acc32}, []uint16{0, 0}, na},
		{"acc64", Point{Type: Acc64}, []uint16{0, 0, 0x005F, 0x8327}, "6259495"},
		{"float32 is what it is", Point{Type: Float32}, []uint16{0x3DCC, 0xCCCD}, "0.100000001490116119384765625"},
		{"float32 large", Point{Type: Float32}, []uint16{0x4B80, 0x0001}, "16777218"},
		{"float32 NaN", Point{Type: Float32}, []uint16{0x7FC0, 0}, na},
		{"float32 infinite", Point{Type: Float32}, []uint16{0xFF80, 0}, na},
		{"float32 zero", Point{Type: Float32}, []uint16{0, 0}, "0"},
		{"float64", Point{Type: Float64}, []uint16{0x4059, 0, 0, 0}, "100"},
		{"scale factor", Point{Type: Int16, ScaleAt: 5}, []uint16{1234, 0, 0, 0, 0, 0xFFFE}, "12.34"},
		{"scale factor not implemented", Point{Type: Int16, ScaleAt: 5}, []uint16{1234, 0, 0, 0, 0, 0x8000}, na},
		{"scale factor out of range", Point{Type: Int16, ScaleAt: 5}, []uint16{1234, 0, 0, 0, 0, 11}, na},
		{"content of the profile", Point{Type: Int32, Absent: [][]uint16{{0x7FFF, 0xFFFF}}}, []uint16{0x7FFF, 0xFFFF}, na},
		{"text", Point{Type: String, Words: 3, Kind: Label}, []uint16{0x4142, 0x4300, 0x5A5A}, "ABC"},
	} {
		p := tt.p
		p.Name, p.Function = "x", 3
		if p.ScaleAt == 0 {
			p.ScaleAt = NoScale
		}
		if p.Words == 0 {
			p.Words = p.Type.Width()
		}
		dec := &Declaration{Device: "d", Blocks: []Block{{3, 0, 6}}, Points: []Point{p}}
		if err := dec.Validate(); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		words := append(tt.words, make([]uint16, 6-len(tt.words))...)
		v := dec.Values(&Reading{Blocks: []BlockResult{{Words: words}}})[0]
		got := v.Quality.String()
		if v.Quality == Good {
			got = v.Number.String()
			if p.Kind == Label {
				got = v.Text
			}
		} else if v.Reason == "" || !v.Number.Equal(decimal.Zero) {
			t.Errorf("%s: %q without a reason, or with the number %s", tt.name, got, v.Number)
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestValuesSayWhyThereAreNone(t *testing.T) {
	d := meter()
	for _, tt := range []struct {
		b      BlockResult
		want   Quality
		reason string
	}{
		{BlockResult{Status: Exception, Code: 11}, Refused, "exception 11"},
		{BlockResult{Status: Timeout}, NoAnswer, "no answer in time"},
		{BlockResult{Status: Unreachable}, NoAnswer, "no connection"},
		{BlockResult{Status: OK, Words: []uint16{1}}, NoAnswer, "1 words instead of 76"},
	} {
		for _, v := range d.Values(&Reading{Blocks: []BlockResult{tt.b}}) {
			if v.Quality != tt.want || v.Reason != tt.reason {
				t.Errorf("%+v: %v %q, want %v %q", tt.b, v.Quality, v.Reason, tt.want, tt.reason)
			}
		}
	}
}

func TestDeclarationValidate(t *testing.T) {
	for _, tt := range []struct {
		want string
		edit func(*Declaration)
	}{
		{"in no block", func(d *Declaration) { d.Points[0].Address = 75 }},
		{"in no block", func(d *Declaration) { d.Points[0].Function = 3 }},
		{"same request", func(d *Declaration) { d.Points[0].ScaleAt = 200 }},
		{"two points", func(d *Declaration) { d.Points[1].Name = "v1" }},
		{"without a slash", func(d *Declaration) { d.Device = "" }},
		{"without a slash", func(d *Declaration) { d.Device = "a/b" }},
		{"without a slash", func(d *Declaration) { d.Points[0].Name = "a/b" }},
		{"energy point", func(d *Declaration) { d.Energy = "nothing" }},
		{"cannot be read", func(d *Declaration) { d.Blocks[0].Function = 6 }},
		{"cannot be read", func(d *Declaration) { d.Blocks[0].Count = 126 }},
		{"modulus", func(d *Declaration) { d.Points[0].Modulus = "1e20000000" }},
		{"cannot mean", func(d *Declaration) { d.Points[0].Absent = [][]uint16{{1}} }},
		{"at most 256", func(d *Declaration) { d.Serial = strings.Repeat("x", 257) }},
		{"not UTF-8", func(d *Declaration) { d.Serial = "\xff" }},
	} {
		d := meter()
		tt.edit(d)
		if err := d.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

func TestAck(t *testing.T) {
	a := &Ack{Edge: "site-1", Epoch: Epoch{7}, Through: 12, Chain: Hash{8}, Collector: "tokyo-1", Generation: 3, Want: []Range{{13, 20}, {40, 40}}, Have: []Range{{21, 39}, {41, 50}}}
	b, err := EncodeAck(a)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeAck(b); err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("%+v, %v; want %+v", got, err, a)
	}
}

func TestTopics(t *testing.T) {
	if e, ok := ParseUp(DefaultRoot, UpTopic(DefaultRoot, "site-1")); !ok || e != "site-1" {
		t.Errorf("ParseUp = %q, %v", e, ok)
	}
	for _, topic := range []string{"kenshin/v1/site-1/ack", "kenshin/v1/a/b/up", "kenshin/v1/+/up", "kenshin/v2/site-1/up", "kenshin/v1/up", "x"} {
		if e, ok := ParseUp(DefaultRoot, topic); ok {
			t.Errorf("ParseUp(%q) = %q", topic, e)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	b, _ := run(3)
	for i := range b.Records {
		f.Add(b.Records[i].Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRecord(b)
		if err != nil {
			return
		}
		if again := r.Encode(); !bytes.Equal(again, b) {
			t.Errorf("%x is a second encoding of %x", b, again)
		}
		if r.Declaration != nil && r.Reading == nil {
			r.Declaration.Values(&Reading{Blocks: []BlockResult{{Words: make([]uint16, 10)}}})
		}
	})
}

func FuzzDecodeBatch(f *testing.F) {
	for _, n := range []int{1, 20} {
		b, decls := run(n)
		payload, err := EncodeBatch(b, decls)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		b, err := DecodeBatch(payload, DefaultLimits)
		if err != nil {
			return
		}
		again, err := EncodeBatch(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := DecodeBatch(again, DefaultLimits); err != nil || c.Chain != b.Chain {
			t.Errorf("a batch does not survive a round trip: %v", err)
		}
	})
}

func FuzzUnseal(f *testing.F) {
	pub, key, _ := ed25519.GenerateKey(nil)
	env, _ := Seal(AckType, []byte("x"), key)
	f.Add(env)
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := Unseal(AckType, b, pub); err == nil {
			DecodeAck(p)
		}
	})
}

func BenchmarkEncodeBatch(b *testing.B) {
	x, decls := run(60)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := EncodeBatch(x, decls); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeBatch(b *testing.B) {
	x, decls := run(60)
	payload, err := EncodeBatch(x, decls)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		if _, err := DecodeBatch(payload, DefaultLimits); err != nil {
			b.Fatal(err)
		}
	}
}
