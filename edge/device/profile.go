package device

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
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

	RatedKW  *Literal   `yaml:"rated_kW"` // rated power in kW, when every such device has the same
	Limits   Limits     `yaml:"limits"`
	Identity []Identity `yaml:"identity"`

	Function  uint8    `yaml:"function"`   // of points that do not say: 3 or 4
	WordOrder string   `yaml:"word_order"` // of points that do not say: high-first (default) or low-first
	Energy    string   `yaml:"energy"`     // the point that counts the device's energy
	Points    []Point  `yaml:"points"`
	Vectors   []Vector `yaml:"vectors"`
}

// Limits is what the device asks of its reader. The pauses are for the bus,
// which is to keep the longest of its devices.
type Limits struct {
	Registers uint16 `yaml:"registers"` // the most in one request, 1 to 125; 125 when 0
	// Bridge is the most registers between two points that may be read along
	// with them; as many as the link makes worth while when not given, 0 where
	// the device refuses registers it lacks.
	Bridge    *uint16     `yaml:"bridge"`
	Forbidden []Forbidden `yaml:"forbidden"`

	ConnectDelay time.Duration `yaml:"connect_delay"` // from a connection to its first request
	Gap          time.Duration `yaml:"gap"`           // from an answer to the next request
	SwitchGap    time.Duration `yaml:"switch_gap"`    // from an answer to a request to another unit
	Source       string        `yaml:"source"`        // when it is not the profile's
}

// Forbidden is registers that are never read, not even along with others:
// reading them disturbs the device.
type Forbidden struct {
	Function uint8  `yaml:"function"` // 3 or 4; both when 0
	From     uint16 `yaml:"from"`     // first register
	To       uint16 `yaml:"to"`       // last register
	Why      string `yaml:"why"`      // with where it was read
}

// Identity is a register content by which such a device is recognised. A
// profile with several is recognised when all of them are found.
type Identity struct {
	Function uint8     `yaml:"function"`
	Address  uint16    `yaml:"address"`
	Words    Literal   `yaml:"words"`  // hexadecimal, "4120 0000"
	AnyOf    []Literal `yaml:"any_of"` // in place of Words: one of several contents of equal length
	Source   string    `yaml:"source"` // when it is not the profile's
}

// contents returns what the registers may hold.
func (id *Identity) contents() ([][]uint16, error) {
	texts := id.AnyOf
	if id.Words != "" {
		texts = append([]Literal{id.Words}, texts...)
	}
	var out [][]uint16
	for _, t := range texts {
		w, err := parseWords(string(t))
		if err != nil {
			return nil, err
		}
		if len(w) > wire.MaxCount || len(out) > 0 && len(w) != len(out[0]) {
			return nil, fmt.Errorf("contents of unequal length, or of more than %d words", wire.MaxCount)
		}
		out = append(out, w)
	}
	if len(out) == 0 || int(id.Address)+len(out[0]) > 1<<16 {
		return nil, fmt.Errorf("no register words, or registers beyond 65535")
	}
	return out, nil
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
	Absent   []Literal `yaml:"absent"`   // contents that mean "not available", hexadecimal words, beside those the type has
	// AbsentMeans says for people when the device has no value here, and what
	// that says of the quantity. Required with Absent. No value is ever made 0.
	AbsentMeans string `yaml:"absent_means"`
	Source      string `yaml:"source"`   // when it is not the profile's
	Verified    *bool  `yaml:"verified"` // when it is not as the profile says
	Note        string `yaml:"note"`     // required when verified is false
}

// Literal is the text of a YAML scalar as it stands in the file. A number read
// through it keeps every digit; the YAML library would make a float64 of it.
type Literal string

// UnmarshalYAML takes the text of a plain or a quoted scalar on one line.
func (l *Literal) UnmarshalYAML(n ast.Node) error {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		if s := n.GetToken().Value; !strings.ContainsAny(s, "\n\\\"") {
			*l = Literal(strings.TrimSpace(s))
			return nil
		}
	}
	return fmt.Errorf("%q: want one plain word or number on the line of its key", n.String())
}

// units are the units a point may have.
var units = [...]string{"", "Wh", "kWh", "MWh", "W", "kW", "V", "A", "Hz", "Cel", "K", "VA", "kVA", "var", "kvar", "VAh", "kVAh", "varh", "kvarh", "%", "m3", "m3/h", "h", "s"}

var energyUnits = [...]string{"Wh", "kWh", "MWh"}

var kinds = [...]string{wire.Gauge: "gauge", wire.Counter: "counter", wire.State: "state", wire.Label: "label"}

var (
	profileName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	pointName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
)

// Validate says what makes the profile unusable: a fact without a source, a
// value no meter has, a vector that does not come out, a value that no vector
// proves. The error is a *ProfileError.
func (p *Profile) Validate() error {
	if err := p.check(); err != nil {
		return p.in(err)
	}
	return nil
}

// maxList bounds the lists of a profile that no device makes long.
const maxList = 256

func (p *Profile) check() error {
	switch {
	case !profileName.MatchString(p.Name):
		return fault("$.name", "name", "want small letters, digits and '-', as the file is called")
	case p.Version == "":
		return fault("$.version", "no version", "count up from \"1\" with every change")
	case p.Title == "" || p.Manufacturer == "":
		return fault("$.title", "title or manufacturer is missing", "say which device this is")
	case p.Source == "":
		return fault("$.source", "no source", "name the document with its edition, or the repository and file, the registers were read in")
	case !p.Verified && p.Notes == "":
		return fault("$.verified", "not verified, and no notes", "say what was not compared with a device")
	case len(p.Points) == 0:
		return fault("$.points", "no points", "name at least the register to be read")
	case p.Energy != "" && p.point(p.Energy) == nil:
		return fault("$.energy", fmt.Sprintf("energy: there is no point %q", p.Energy), "name the counter")
	}
	if p.RatedKW != nil {
		if kw, err := plainNumber(string(*p.RatedKW)); err != nil || !kw.IsPositive() {
			return fault("$.rated_kW", fmt.Sprintf("rated_kW %q", *p.RatedKW), "want a number above 0, such as 33.3")
		}
	}
	for _, l := range [...]struct {
		key       string
		have, max int
	}{{"points", len(p.Points), wire.MaxPoints}, {"vectors", len(p.Vectors), maxList}, {"identity", len(p.Identity), maxList}, {"limits.forbidden", len(p.Limits.Forbidden), maxList}} {
		if l.have > l.max {
			return fault("$."+l.key, fmt.Sprintf("%s: %d of them", l.key, l.have), fmt.Sprintf("want at most %d", l.max))
		}
	}
	if err := p.Limits.check(); err != nil {
		return err
	}
	for i := range p.Identity {
		if err := p.Identity[i].check(i); err != nil {
			return err
		}
	}
	if err := p.checkNames(); err != nil {
		return err
	}
	d, err := p.declare("check", 1, wire.Hash{}, 0)
	if err != nil {
		return err
	}
	if err := p.checkEnergy(); err != nil {
		return err
	}
	return p.runVectors(&d)
}

func (l *Limits) check() error {
	if l.Registers > wire.MaxCount {
		return fault("$.limits.registers", fmt.Sprintf("limits: registers %d", l.Registers), fmt.Sprintf("want at most %d", wire.MaxCount))
	}
	for _, t := range []struct {
		key  string
		time time.Duration
	}{{"connect_delay", l.ConnectDelay}, {"gap", l.Gap}, {"switch_gap", l.SwitchGap}} {
		if t.time < 0 || t.time > time.Minute {
			return fault("$.limits."+t.key, fmt.Sprintf("limits: %s %v", t.key, t.time), "want no negative time, and at most a minute")
		}
	}
	for i, f := range l.Forbidden {
		if f.Function != 0 && f.Function != 3 && f.Function != 4 || f.From > f.To || f.Why == "" {
			return fault(fmt.Sprintf("$.limits.forbidden[%d]", i), fmt.Sprintf("limits: forbidden range %d", i+1), "want function 3, 4 or none, from not above to, and why it must not be read")
		}
	}
	return nil
}

func (id *Identity) check(i int) error {
	if _, err := id.contents(); err != nil || id.Function != 3 && id.Function != 4 || (id.Words == "") == (len(id.AnyOf) == 0) {
		return fault(fmt.Sprintf("$.identity[%d]", i), fmt.Sprintf("identity %d", i+1), `want function 3 or 4, and words such as "4120 0000" or any_of a list of them of equal length`)
	}
	return nil
}

func (p *Profile) checkNames() error {
	seen := make(map[string]bool, len(p.Points))
	for i := range p.Points {
		if name := p.Points[i].Name; seen[name] {
			return inPoint(i, name, fault(".name", "two points are called so", "give one of them another name"))
		}
		seen[p.Points[i].Name] = true
	}
	return nil
}

func (p *Profile) checkEnergy() error {
	q := p.point(p.Energy)
	if q == nil {
		return nil // the device counts no energy
	}
	if q.Kind != "counter" || !slices.Contains(energyUnits[:], q.Unit) {
		return fault("$.energy", fmt.Sprintf("energy: point %q is a %s in %q", q.Name, cmp.Or(q.Kind, "gauge"), q.Unit), "want a counter in Wh, kWh or MWh")
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
		return out, fault(".type", err.Error(), "correct the type")
	}
	kind := slices.Index(kinds[:], cmp.Or(q.Kind, "gauge"))
	order := cmp.Or(q.Order, cmp.Or(p.WordOrder, "high-first"))
	if order == "low-first" {
		out.Order = wire.LowFirst
	}
	width := out.Type.Width()
	switch {
	case !pointName.MatchString(q.Name):
		return out, fault(".name", "name", "want letters, digits, '.', '_' and '-'")
	case out.Function != 3 && out.Function != 4:
		return out, fault("", fmt.Sprintf("function %d", out.Function), "want 3 (holding registers) or 4 (input registers), here or for the profile")
	case order != "high-first" && order != "low-first":
		return out, fault("", fmt.Sprintf("word order %q", order), "want high-first or low-first")
	case kind < 0:
		return out, fault(".kind", fmt.Sprintf("kind %q", q.Kind), "want gauge, counter, state or label")
	case (kind == int(wire.Label)) != (out.Type == wire.String):
		return out, fault("", fmt.Sprintf("kind %s with type %s", cmp.Or(q.Kind, "gauge"), q.Type), "a label is a string, and a string a label")
	case width == 0 && (q.Words == 0 || q.Words > wire.MaxCount):
		return out, fault("", fmt.Sprintf("words %d", q.Words), fmt.Sprintf("say how many registers the string has, 1 to %d", wire.MaxCount))
	case width > 0 && q.Words != 0 && q.Words != width:
		return out, fault(".words", fmt.Sprintf("words %d: %s takes %d", q.Words, q.Type, width), "leave it out")
	case !slices.Contains(units[:], q.Unit):
		return out, fault(".unit", fmt.Sprintf("unit %q is none of %s", q.Unit, strings.Join(units[1:], " ")), "use one of them with a scale")
	case q.Verified != nil && !*q.Verified && q.Note == "":
		return out, fault(".verified", "not verified, and no note", "say why")
	case len(q.Absent) > 0 && q.AbsentMeans == "":
		return out, fault(".absent", "absent without absent_means", "say when the device answers so")
	case q.Scale < -18 || q.Scale > 18:
		return out, fault(".scale", fmt.Sprintf("scale %d", q.Scale), "want -18 to 18")
	case q.Modulus != "" && kind != int(wire.Counter):
		return out, fault(".modulus", "modulus", "only a counter starts again")
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
			return fault(".modulus", fmt.Sprintf("modulus %q", q.Modulus), "want the raw count at which it starts again, such as 4294967296")
		}
	}
	for _, a := range q.Absent {
		w, err := parseWords(string(a))
		if err != nil || len(w) != int(out.Words) {
			return fault(".absent", fmt.Sprintf("absent %q", a), fmt.Sprintf("want %d words of four hexadecimal digits", out.Words))
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
