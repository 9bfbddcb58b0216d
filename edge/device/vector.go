package device

import (
	"fmt"
	"slices"

	"kenshin/edge/wire"
)

// Vector is a proof of a profile: what the registers hold and what must come
// out. Registers not named hold 0.
type Vector struct {
	Title     string             `yaml:"title"`     // which device or document it is of, or "computed"
	Function  uint8              `yaml:"function"`  // of the registers; the profile's when 0
	Registers map[uint16]Literal `yaml:"registers"` // first register of a run: its words in hexadecimal
	Values    map[string]Literal `yaml:"values"`    // point: number or text, or "not available"
}

// notAvailable is how a vector says that a point has no value.
const notAvailable = "not available"

// runVectors decodes every vector the way every reading is.
func (p *Profile) runVectors(d *wire.Declaration) error {
	proven := make(map[string]bool)
	for i := range p.Vectors {
		v := &p.Vectors[i]
		if err := p.runVector(d, v, proven); err != nil {
			return fmt.Errorf("vector %d (%s): %w", i+1, v.Title, err)
		}
	}
	for _, q := range d.Points {
		if !proven[q.Name] {
			return fmt.Errorf("point %q: no vector gives it a value; add one, so that its registers and scale are proven", q.Name)
		}
	}
	return nil
}

func (p *Profile) runVector(d *wire.Declaration, v *Vector, proven map[string]bool) error {
	function := v.Function
	if function == 0 {
		function = p.Function
	}
	image := make(map[uint16]uint16)
	for at, text := range v.Registers {
		words, err := parseWords(string(text))
		if err != nil {
			return fmt.Errorf("registers at %d: %w", at, err)
		}
		if int(at)+len(words) > 1<<16 {
			return fmt.Errorf("registers at %d: %d words go beyond register 65535", at, len(words))
		}
		for k, w := range words {
			if _, twice := image[at+uint16(k)]; twice {
				return fmt.Errorf("register %d is given twice", at+uint16(k))
			}
			image[at+uint16(k)] = w
		}
	}
	reading := wire.Reading{}
	for _, b := range d.Blocks {
		words := make([]uint16, b.Count)
		for k := range words {
			words[k] = image[b.Address+uint16(k)]
		}
		reading.Blocks = append(reading.Blocks, wire.BlockResult{Status: wire.OK, Words: words})
	}
	got := d.Values(&reading)
	for name, want := range v.Values {
		i := slices.IndexFunc(d.Points, func(q wire.Point) bool { return q.Name == name })
		if i < 0 {
			return fmt.Errorf("there is no point %q", name)
		}
		if err := compare(&d.Points[i], &got[i], string(want), image, function); err != nil {
			return fmt.Errorf("point %q: %w", name, err)
		}
		proven[name] = proven[name] || want != notAvailable
	}
	return nil
}

func compare(p *wire.Point, got *wire.Value, want string, image map[uint16]uint16, function uint8) error {
	if p.Function != function {
		return fmt.Errorf("it is read by function %d, and the vector's registers are of function %d", p.Function, function)
	}
	for k := range p.Words {
		if _, ok := image[p.Address+k]; !ok {
			return fmt.Errorf("the vector does not give its register %d", p.Address+k)
		}
	}
	switch {
	case got.Quality != wire.Good:
		if want != notAvailable {
			return fmt.Errorf("it is %s (%s), want %s; correct the registers or the value", got.Quality, got.Reason, want)
		}
	case p.Kind == wire.Label:
		if got.Text != want {
			return fmt.Errorf("it reads %q, want %q; correct the registers or the value", got.Text, want)
		}
	default:
		n, err := plainNumber(want)
		if err != nil {
			return fmt.Errorf("it is %s, want %q: write the number exactly, or %q", got.Number, want, notAvailable)
		}
		if !n.Equal(got.Number) {
			return fmt.Errorf("it is %s, want %s; correct address, type, word order, scale, or the value", got.Number, n)
		}
	}
	return nil
}
