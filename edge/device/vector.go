package device

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

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

// runVectors decodes every vector the way every reading is. Each point must
// have a value other than 0 in one, and, where its type or the profile has a content that
// means "not available", be without one in another.
func (p *Profile) runVectors(d *wire.Declaration) error {
	proven, absent := make(map[string]bool), make(map[string]bool)
	for i := range p.Vectors {
		v := &p.Vectors[i]
		if err := p.runVector(d, v, proven, absent); err != nil {
			e := asFault(err)
			e.Path = fmt.Sprintf("$.vectors[%d]%s", i, e.Path)
			e.Problem = fmt.Sprintf("vector %d (%s): %s", i+1, v.Title, e.Problem)
			return e
		}
	}
	for i := range d.Points {
		q := &d.Points[i]
		if !proven[q.Name] {
			return inPoint(i, q.Name, fault("", "no vector gives it a value other than 0", "add one, so that its registers and scale are proven"))
		}
		if !absent[q.Name] && q.Type != wire.String {
			return inPoint(i, q.Name, fault("", fmt.Sprintf("no vector has it %q", notAvailable), "add one with the registers the device answers when it has no value"))
		}
	}
	return nil
}

func (p *Profile) runVector(d *wire.Declaration, v *Vector, proven, absent map[string]bool) error {
	function := cmp.Or(v.Function, p.Function)
	image, err := v.image()
	if err != nil {
		return err
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
	for _, name := range slices.Sorted(maps.Keys(v.Values)) {
		i := slices.IndexFunc(d.Points, func(q wire.Point) bool { return q.Name == name })
		if i < 0 {
			return fault(".values", fmt.Sprintf("there is no point %q", name), "correct the name")
		}
		want := string(v.Values[name])
		if err := compare(&d.Points[i], &got[i], want, image, function); err != nil {
			e := asFault(err)
			e.Path, e.Problem = valuePath(name), fmt.Sprintf("point %q: %s", name, e.Problem)
			return e
		}
		switch {
		case want == notAvailable:
			absent[name] = true
		case d.Points[i].Kind == wire.Label && want != "" || d.Points[i].Kind != wire.Label && !got[i].Number.IsZero():
			proven[name] = true // 0 and no text come out of any register and scale
		}
	}
	return nil
}

// valuePath is where a vector has the value of a point; a name with a dot in it
// would be two steps of a path.
func valuePath(name string) string {
	if strings.ContainsAny(name, ".-") {
		return ".values"
	}
	return ".values." + name
}

// image returns the registers of a vector by address.
func (v *Vector) image() (map[uint16]uint16, error) {
	image := make(map[uint16]uint16)
	for _, at := range slices.Sorted(maps.Keys(v.Registers)) {
		words, err := parseWords(string(v.Registers[at]))
		if err != nil {
			return nil, fault(".registers", fmt.Sprintf("registers at %d: %v", at, err), "write four hexadecimal digits for each register")
		}
		if int(at)+len(words) > 1<<16 {
			return nil, fault(".registers", fmt.Sprintf("registers at %d: %d words go beyond register 65535", at, len(words)), "correct the address")
		}
		for k, w := range words {
			if _, twice := image[at+uint16(k)]; twice {
				return nil, fault(".registers", fmt.Sprintf("register %d is given twice", at+uint16(k)), "keep one of the two")
			}
			image[at+uint16(k)] = w
		}
	}
	return image, nil
}

func compare(p *wire.Point, got *wire.Value, want string, image map[uint16]uint16, function uint8) error {
	if p.Function != function {
		return fault("", fmt.Sprintf("it is read by function %d, and the vector's registers are of function %d", p.Function, function), "give the vector its function")
	}
	for k := range p.Words {
		if _, ok := image[p.Address+k]; !ok {
			return fault("", fmt.Sprintf("the vector does not give its register %d", p.Address+k), "add the register")
		}
	}
	switch {
	case got.Quality != wire.Good:
		if want != notAvailable {
			return fault("", fmt.Sprintf("it is %s (%s), want %s", got.Quality, got.Reason, want), "correct the registers or the value")
		}
	case p.Kind == wire.Label:
		if got.Text != want {
			return fault("", fmt.Sprintf("it reads %q, want %q", got.Text, want), "correct the registers or the value")
		}
	default:
		n, err := plainNumber(want)
		if err != nil {
			return fault("", fmt.Sprintf("it is %s, want %q", got.Number, want), fmt.Sprintf("write the number exactly, or %q", notAvailable))
		}
		if !n.Equal(got.Number) {
			return fault("", fmt.Sprintf("it is %s, want %s", got.Number, n), "correct address, type, word order, scale, or the value")
		}
	}
	return nil
}
