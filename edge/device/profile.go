package device

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/edge/wire"
)

// Profile describes a kind of device that cannot say itself what its registers
// mean: a file of configs/profiles. Facts name where they were read.
type Profile struct {
	Name         string `yaml:"name"`         // of the file, without .yaml
	Version      string `yaml:"version"`      // changes with every change of the file
	Title        string `yaml:"title"`        // for people
	Manufacturer string `yaml:"manufacturer"` //
	Model        string `yaml:"model"`        // "" when the profile fits several
	// Source says where the facts were read: document with edition, or
	// repository and file. A point with another source names its own.
	Source string `yaml:"source"`
	// Verified says that the map was compared with a device or a register dump
	// of one. When it is false Notes say what is missing.
	Verified bool   `yaml:"verified"`
	Notes    string `yaml:"notes"`

	RatedKW  *Literal   `yaml:"rated_kW"` // rated power, when every such device has the same
	Limits   Limits     `yaml:"limits"`
	Identity []Identity `yaml:"identity"`

	Function  uint8    `yaml:"function"`   // of points that do not say: 3 or 4
	WordOrder string   `yaml:"word_order"` // of points that do not say: high-first (default) or low-first
	Energy    string   `yaml:"energy"`     // the point that counts the device's energy
	Points    []Point  `yaml:"points"`
	Vectors   []Vector `yaml:"vectors"`
}

// Limits is what the device asks of its reader.
type Limits struct {
	Registers uint16 `yaml:"registers"` // the most in one request, 1 to 125; 125 when 0
	// Bridge is how many registers between two points may be read along with
	// them; 20 when not given, 0 where the device refuses registers it lacks.
	Bridge *uint16 `yaml:"bridge"`
	// Gap is the least time between requests; the bus must be set to as much.
	Gap time.Duration `yaml:"gap"`
}

// Identity is a register content by which such a device is recognised.
type Identity struct {
	Function uint8   `yaml:"function"`
	Address  uint16  `yaml:"address"`
	Words    Literal `yaml:"words"` // hexadecimal, "4120 0000"
	Source   string  `yaml:"source"`
}

// Point is one value of a profile.
type Point struct {
	Name     string    `yaml:"name"`     // letters, digits, '.', '_' and '-'
	Function uint8     `yaml:"function"` // 3 or 4; the profile's when 0
	Address  uint16    `yaml:"address"`  // first register, counted from 0
	Type     string    `yaml:"type"`     // as SunSpec names them: uint32, float32, string ...
	Words    uint16    `yaml:"words"`    // registers of a string; other types have their own
	Order    string    `yaml:"order"`    // high-first or low-first; the profile's when ""
	Scale    int8      `yaml:"scale"`    // value = raw × 10^scale
	Unit     string    `yaml:"unit"`     // one of units, "" for none
	Kind     string    `yaml:"kind"`     // gauge (default), counter, state or label
	Modulus  Literal   `yaml:"modulus"`  // raw count at which a counter starts again
	Absent   []Literal `yaml:"absent"`   // contents that mean "not available", hexadecimal words
	Source   string    `yaml:"source"`   // when it is not the profile's
	Verified *bool     `yaml:"verified"` // when it is not as the profile says
	Note     string    `yaml:"note"`     // required when verified is false
}

// Literal is the text of a YAML scalar as it stands in the file. A number read
// through it keeps every digit; the YAML library would make a float64 of it.
type Literal string

// UnmarshalYAML takes the text of a plain or a quoted scalar.
func (l *Literal) UnmarshalYAML(b []byte) error {
	s := strings.TrimSpace(string(b))
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		s = s[1 : n-1]
	}
	if strings.ContainsAny(s, "\n\\") {
		return fmt.Errorf("%q: want one plain word or number on the line of its key", s)
	}
	*l = Literal(s)
	return nil
}

// units are the units a point may have.
var units = [...]string{"", "Wh", "kWh", "MWh", "W", "kW", "V", "A", "Hz", "Cel", "K", "VA", "kVA", "var", "kvar", "VAh", "kVAh", "varh", "kvarh", "%", "m3", "m3/h", "h", "s"}

var kinds = [...]string{wire.Gauge: "gauge", wire.Counter: "counter", wire.State: "state", wire.Label: "label"}

var (
	profileName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	pointName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
)

// Validate says what makes the profile unusable, where, and what to do about
// it: a fact without a source, a value no meter has, a vector that does not
// come out.
func (p *Profile) Validate() error {
	if err := p.check(); err != nil {
		return fmt.Errorf("profile %q: %w", p.Name, err)
	}
	return nil
}

func (p *Profile) check() error {
	switch {
	case !profileName.MatchString(p.Name):
		return fmt.Errorf("name: want small letters, digits and '-', as the file is called")
	case p.Version == "":
		return fmt.Errorf("no version; count up from \"1\" with every change")
	case p.Title == "" || p.Manufacturer == "":
		return fmt.Errorf("title or manufacturer is missing; say which device this is")
	case p.Source == "":
		return fmt.Errorf("no source; name the document with its edition, or the repository and file, the registers were read in")
	case !p.Verified && p.Notes == "":
		return fmt.Errorf("not verified, and no notes; say what was not compared with a device")
	case p.Limits.Registers > wire.MaxCount || p.Limits.Gap < 0:
		return fmt.Errorf("limits: registers %d and gap %v; want at most %d, and no negative time", p.Limits.Registers, p.Limits.Gap, wire.MaxCount)
	case len(p.Points) == 0:
		return fmt.Errorf("no points; name at least the register to be read")
	case p.Energy != "" && p.point(p.Energy) == nil:
		return fmt.Errorf("energy: there is no point %q; name the counter", p.Energy)
	}
	if p.RatedKW != nil {
		if kw, err := plainNumber(string(*p.RatedKW)); err != nil || !kw.IsPositive() {
			return fmt.Errorf("rated_kW %q: want a number above 0, such as 33.3", *p.RatedKW)
		}
	}
	for i, id := range p.Identity {
		if _, err := parseWords(string(id.Words)); err != nil || id.Function != 3 && id.Function != 4 || id.Source == "" && !p.Verified {
			return fmt.Errorf("identity %d: want function 3 or 4, words such as \"4120 0000\", and a source", i+1)
		}
	}
	d, err := p.declare("check", 1, wire.Hash{})
	if err != nil {
		return err
	}
	if err := p.checkEnergy(); err != nil {
		return err
	}
	return p.runVectors(&d)
}

func (p *Profile) checkEnergy() error {
	q := p.point(p.Energy)
	if q == nil {
		return nil // the device counts no energy
	}
	if q.Kind != "counter" || !slices.Contains([]string{"Wh", "kWh", "MWh"}, q.Unit) {
		return fmt.Errorf("energy: point %q is a %s in %q; want a counter in Wh, kWh or MWh", q.Name, cmp.Or(q.Kind, "gauge"), q.Unit)
	}
	return nil
}

// point returns the point of that name, nil when there is none.
func (p *Profile) point(name string) *Point {
	i := slices.IndexFunc(p.Points, func(q Point) bool { return q.Name == name })
	if i < 0 {
		return nil
	}
	return &p.Points[i]
}

// wirePoint returns the point as a declaration has it. Errors name the remedy.
func (p *Profile) wirePoint(q *Point) (wire.Point, error) {
	out := wire.Point{Name: q.Name, Function: q.Function, Address: q.Address, Words: q.Words, Scale: q.Scale, ScaleAt: wire.NoScale, Unit: q.Unit, Modulus: string(q.Modulus)}
	if out.Function == 0 {
		out.Function = p.Function
	}
	var err error
	if out.Type, err = wire.ParseType(q.Type); err != nil {
		return out, err
	}
	kind := slices.Index(kinds[:], cmp.Or(q.Kind, "gauge"))
	order := cmp.Or(q.Order, cmp.Or(p.WordOrder, "high-first"))
	if order == "low-first" {
		out.Order = wire.LowFirst
	}
	width := out.Type.Width()
	switch {
	case !pointName.MatchString(q.Name):
		return out, fmt.Errorf("name: want letters, digits, '.', '_' and '-'")
	case out.Function != 3 && out.Function != 4:
		return out, fmt.Errorf("function %d: want 3 (holding registers) or 4 (input registers), here or for the profile", out.Function)
	case order != "high-first" && order != "low-first":
		return out, fmt.Errorf("word order %q: want high-first or low-first", order)
	case kind < 0:
		return out, fmt.Errorf("kind %q: want gauge, counter, state or label", q.Kind)
	case (kind == int(wire.Label)) != (out.Type == wire.String):
		return out, fmt.Errorf("kind %s with type %s: a label is a string, and a string a label", cmp.Or(q.Kind, "gauge"), q.Type)
	case width == 0 && (q.Words == 0 || q.Words > wire.MaxCount):
		return out, fmt.Errorf("words %d: say how many registers the string has, 1 to %d", q.Words, wire.MaxCount)
	case width > 0 && q.Words != 0 && q.Words != width:
		return out, fmt.Errorf("words %d: %s takes %d; leave it out", q.Words, q.Type, width)
	case !slices.Contains(units[:], q.Unit):
		return out, fmt.Errorf("unit %q is none of %s", q.Unit, strings.Join(units[1:], " "))
	case q.Verified != nil && !*q.Verified && q.Note == "":
		return out, fmt.Errorf("not verified, and no note; say why")
	case q.Modulus != "" && kind != int(wire.Counter):
		return out, fmt.Errorf("modulus: only a counter starts again")
	}
	out.Kind = wire.Kind(kind)
	if width > 0 {
		out.Words = width
	}
	return out, q.raw(&out)
}

// raw fills in what a profile says of raw contents: where a counter starts again
// and what means "not available".
func (q *Point) raw(out *wire.Point) error {
	if q.Modulus != "" {
		if m, err := plainNumber(string(q.Modulus)); err != nil || !m.IsInteger() || !m.IsPositive() {
			return fmt.Errorf("modulus %q: want the raw count at which it starts again, such as 4294967296", q.Modulus)
		}
	}
	for _, a := range q.Absent {
		w, err := parseWords(string(a))
		if err != nil || len(w) != int(out.Words) {
			return fmt.Errorf("absent %q: want %d words of four hexadecimal digits", a, out.Words)
		}
		out.Absent = append(out.Absent, w)
	}
	return nil
}

// plainNumber reads decimal text of at most 32 digits, without an exponent.
func plainNumber(s string) (decimal.Decimal, error) {
	if len(s) == 0 || len(s) > 32 || strings.ContainsAny(s, "eE") {
		return decimal.Decimal{}, fmt.Errorf("%q is not a plain number", s)
	}
	return decimal.NewFromString(s)
}

// parseWords reads register words: groups of four hexadecimal digits.
func parseWords(s string) ([]uint16, error) {
	var out []uint16
	for _, f := range strings.Fields(s) {
		w, err := strconv.ParseUint(f, 16, 16)
		if err != nil || len(f) != 4 {
			return nil, fmt.Errorf("%q is not four hexadecimal digits", f)
		}
		out = append(out, uint16(w))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no register words")
	}
	return out, nil
}
