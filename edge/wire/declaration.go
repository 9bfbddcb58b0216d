package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"
)

// words gives the registers a number of each type takes; 0 for text, whose
// length the point states.
var typeWords = [...]uint16{
	Int16: 1, Uint16: 1, Acc16: 1, Enum16: 1, Bits16: 1,
	Int32: 2, Uint32: 2, Acc32: 2, Float32: 2, Enum32: 2, Bits32: 2,
	Int64: 4, Uint64: 4, Acc64: 4, Float64: 4,
	String: 0,
}

var typeNames = [...]string{
	Int16: "int16", Uint16: "uint16", Int32: "int32", Uint32: "uint32", Int64: "int64", Uint64: "uint64",
	Acc16: "acc16", Acc32: "acc32", Acc64: "acc64", Float32: "float32", Float64: "float64",
	Enum16: "enum16", Enum32: "enum32", Bits16: "bitfield16", Bits32: "bitfield32", String: "string",
}

// String returns the name of the type as SunSpec writes it.
func (t Type) String() string {
	if t >= Int16 && int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// ParseType returns the type of that name.
func ParseType(name string) (Type, error) {
	for t, n := range typeNames {
		if n == name && n != "" {
			return Type(t), nil
		}
	}
	return 0, fmt.Errorf("type %q is none of int16 uint16 int32 uint32 int64 uint64 acc16 acc32 acc64 float32 float64 enum16 enum32 bitfield16 bitfield32 string", name)
}

// Width returns the registers a value of the type takes, 0 for strings.
func (t Type) Width() uint16 {
	if int(t) < len(typeWords) {
		return typeWords[t]
	}
	return 0
}

// Hash identifies the declaration: SHA-256 of its canonical bytes.
func (d *Declaration) Hash() Hash { return sha256.Sum256(d.append(make([]byte, 0, 1024))) }

// Validate says what makes the declaration unusable: a value beyond the limits,
// a point outside every block, a scale factor that is not read with its point.
func (d *Declaration) Validate() error {
	if d.Device == "" || strings.Contains(d.Device, "/") {
		return fmt.Errorf("device id %q: want a name without a slash, which parts edge, device and point in the key of a series", d.Device)
	}
	for _, s := range []string{d.Device, d.Manufacturer, d.Model, d.Firmware, d.Serial, d.Profile, d.ProfileVersion, d.Energy} {
		if err := checkText(s); err != nil {
			return fmt.Errorf("device %q: %w", d.Device, err)
		}
	}
	if len(d.Blocks) > MaxBlocks || len(d.Points) > MaxPoints {
		return fmt.Errorf("device %q: %d blocks and %d points, at most %d and %d", d.Device, len(d.Blocks), len(d.Points), MaxBlocks, MaxPoints)
	}
	for _, b := range d.Blocks {
		if b.Function != 3 && b.Function != 4 || b.Count == 0 || b.Count > MaxCount || int(b.Address)+int(b.Count) > 0x10000 {
			return fmt.Errorf("device %q: block of function %d registers %d+%d cannot be read", d.Device, b.Function, b.Address, b.Count)
		}
	}
	seen := make(map[string]bool, len(d.Points))
	for i := range d.Points {
		p := &d.Points[i]
		if seen[p.Name] {
			return fmt.Errorf("device %q: two points are called %q", d.Device, p.Name)
		}
		seen[p.Name] = true
		if err := d.checkPoint(p); err != nil {
			return fmt.Errorf("device %q point %q: %w", d.Device, p.Name, err)
		}
	}
	if d.Energy != "" && !seen[d.Energy] {
		return fmt.Errorf("device %q: its energy point %q is not among its points", d.Device, d.Energy)
	}
	return nil
}

func (d *Declaration) checkPoint(p *Point) error {
	for _, s := range []string{p.Name, p.Unit, p.Modulus} {
		if err := checkText(s); err != nil {
			return err
		}
	}
	switch {
	case p.Name == "" || strings.Contains(p.Name, "/"):
		return fmt.Errorf("want a name without a slash")
	case p.Type < Int16 || p.Type > String:
		return fmt.Errorf("%v is unknown", p.Type)
	case p.Type != String && p.Words != p.Type.Width(), p.Words == 0 || p.Words > MaxCount:
		return fmt.Errorf("%d words for %v", p.Words, p.Type)
	case p.Order > LowFirst:
		return fmt.Errorf("word order %d is unknown", p.Order)
	case p.Kind > Label, (p.Kind == Label) != (p.Type == String):
		return fmt.Errorf("kind %d does not go with %v", p.Kind, p.Type)
	case p.Scale < -18 || p.Scale > 18:
		return fmt.Errorf("scale 10^%d, want -18 to 18", p.Scale)
	case p.ScaleAt != NoScale && (p.ScaleAt < 0 || p.ScaleAt > 0xFFFF):
		return fmt.Errorf("scale factor register %d", p.ScaleAt)
	case len(p.Absent) > maxAbsent:
		return fmt.Errorf("%d contents mean not available, at most %d", len(p.Absent), maxAbsent)
	}
	if p.Modulus != "" {
		if _, err := parseNumber(p.Modulus); err != nil {
			return fmt.Errorf("modulus: %w", err)
		}
	}
	for _, a := range p.Absent {
		if len(a) != int(p.Words) {
			return fmt.Errorf("a content of %d words cannot mean not available for %d", len(a), p.Words)
		}
	}
	block := d.block(p.Function, p.Address, p.Words)
	if block < 0 {
		return fmt.Errorf("registers %d+%d are in no block", p.Address, p.Words)
	}
	if p.ScaleAt != NoScale && d.block(p.Function, uint16(p.ScaleAt), 1) != block {
		return fmt.Errorf("scale factor register %d is not read in the same request", p.ScaleAt)
	}
	return nil
}

// block returns the index of the block that holds n registers from address on,
// -1 when none does.
func (d *Declaration) block(function uint8, address, n uint16) int {
	for i, b := range d.Blocks {
		if b.Function == function && address >= b.Address && int(address)+int(n) <= int(b.Address)+int(b.Count) {
			return i
		}
	}
	return -1
}

func checkText(s string) error {
	if len(s) > MaxText {
		return fmt.Errorf("text of %d bytes, at most %d", len(s), MaxText)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("text %q is not UTF-8", s)
	}
	return nil
}

func (d *Declaration) append(b []byte) []byte {
	for _, s := range []string{d.Device, d.Manufacturer, d.Model, d.Firmware, d.Serial, d.Profile, d.ProfileVersion} {
		b = appendText(b, s)
	}
	b = append(b, d.ProfileHash[:]...)
	b = append(b, d.Unit)
	b = appendText(b, d.Energy)
	b = binary.AppendUvarint(b, uint64(len(d.Blocks)))
	for _, k := range d.Blocks {
		b = append(b, k.Function)
		b = binary.AppendUvarint(b, uint64(k.Address))
		b = binary.AppendUvarint(b, uint64(k.Count))
	}
	b = binary.AppendUvarint(b, uint64(len(d.Points)))
	for i := range d.Points {
		b = d.Points[i].append(b)
	}
	return b
}

func (p *Point) append(b []byte) []byte {
	b = appendText(b, p.Name)
	b = append(b, p.Function)
	b = binary.AppendUvarint(b, uint64(p.Address))
	b = append(b, byte(p.Type))
	b = binary.AppendUvarint(b, uint64(p.Words))
	b = append(b, byte(p.Order), byte(p.Scale))
	b = binary.AppendVarint(b, int64(p.ScaleAt))
	b = appendText(b, p.Unit)
	b = append(b, byte(p.Kind))
	b = appendText(b, p.Modulus)
	b = binary.AppendUvarint(b, uint64(len(p.Absent)))
	for _, a := range p.Absent {
		for _, w := range a {
			b = binary.BigEndian.AppendUint16(b, w)
		}
	}
	return b
}

func (d *decoder) declaration() *Declaration {
	x := &Declaration{
		Device: d.text(), Manufacturer: d.text(), Model: d.text(), Firmware: d.text(), Serial: d.text(),
		Profile: d.text(), ProfileVersion: d.text(), ProfileHash: d.hash(), Unit: d.byte(), Energy: d.text(),
	}
	for range d.count(MaxBlocks) {
		x.Blocks = append(x.Blocks, Block{Function: d.byte(), Address: d.uint16(), Count: d.uint16()})
	}
	for range d.count(MaxPoints) {
		if d.err != nil {
			break
		}
		x.Points = append(x.Points, d.point())
	}
	return x
}

func (d *decoder) point() Point {
	p := Point{
		Name: d.text(), Function: d.byte(), Address: d.uint16(), Type: Type(d.byte()), Words: d.uint16(),
		Order: WordOrder(d.byte()), Scale: int8(d.byte()), ScaleAt: d.int32(), Unit: d.text(), Kind: Kind(d.byte()), Modulus: d.text(),
	}
	n := d.count(maxAbsent)
	if n > 0 && p.Words > MaxCount {
		d.fail("point of %d words", p.Words)
		return p
	}
	for range n {
		p.Absent = append(p.Absent, d.words(int(p.Words)))
	}
	return p
}

// BlockOf returns the index of the block that holds p, -1 when none does.
func (d *Declaration) BlockOf(p *Point) int { return d.block(p.Function, p.Address, p.Words) }
