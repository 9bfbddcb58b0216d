package device

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"kenshin/edge/wire"
)

// Match is what a unit may be.
type Match struct {
	Chain   *Chain   // a SunSpec device; nil for a profile
	Profile *Profile // nil for a SunSpec device
	// Guess says that nothing the unit answers names it: what the profile makes
	// of its registers is merely plausible. A guess needs a person's eye and the
	// self-check before its values are believed.
	Guess bool
	Why   string // for people

	weight int // the heavier, the better
}

// Patience of Identify: how many requests in a row may stay without any answer,
// at first and once the unit is known to be there.
const (
	patience     = 3
	lastPatience = 8
)

// ErrSilent says that a unit answered nothing that Identify asked.
var ErrSilent = errors.New("no answer")

// Identify finds out what a unit may be: the devices of its SunSpec map, and the
// profiles whose identity registers hold what they should, best first. Only when
// there is neither, profiles that make plausible values of its registers are
// returned as guesses. Nothing found is no error; a unit that answers nothing at
// all is ErrSilent, and costs three requests. Only places where a SunSpec map can
// begin and registers that a profile names are read, each block once, forbidden
// ones never. A chain whose base is not one that Discover knows needs it named in
// the configuration.
func Identify(ctx context.Context, r Reader, unit uint8, profiles []Profile) ([]Match, error) {
	a := &asker{r: r, known: make(map[request]answer)}
	out, err := a.sunspec(ctx, unit)
	if err != nil {
		return nil, err
	}
	for i := range profiles {
		if a.tired() {
			break
		}
		if m, ok := a.named(ctx, unit, &profiles[i]); ok {
			out = append(out, m)
		}
	}
	for i := range profiles {
		if len(out) > 0 && !out[0].Guess || a.tired() {
			break
		}
		if m, ok := a.guess(ctx, unit, &profiles[i]); ok {
			out = append(out, m)
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case !a.answered && a.last != nil:
		return nil, fmt.Errorf("unit %d: %w to %d requests: %w", unit, ErrSilent, len(a.known), a.last)
	}
	slices.SortStableFunc(out, func(a, b Match) int { return cmp.Compare(b.weight, a.weight) })
	return out, nil
}

type request struct {
	function       uint8
	address, count uint16
}

type answer struct {
	words []uint16
	err   error
}

// asker is a Reader that asks everything once and notes whether the unit answers.
type asker struct {
	r        Reader
	known    map[request]answer
	answered bool
	silent   int // requests in a row without any answer
	last     error
}

func (a *asker) tired() bool {
	return !a.answered && a.silent >= patience || a.silent >= lastPatience
}

// Read implements Reader.
func (a *asker) Read(ctx context.Context, unit, function uint8, address, count uint16) ([]uint16, error) {
	q := request{function, address, count}
	if k, ok := a.known[q]; ok {
		return k.words, k.err
	}
	if a.tired() {
		return nil, a.last
	}
	words, err := a.r.Read(ctx, unit, function, address, count)
	if err == nil && len(words) != int(count) {
		err = fmt.Errorf("%d registers instead of %d", len(words), count)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err() // says nothing of the unit
	}
	a.known[q] = answer{words, err}
	if err == nil || refused(err) {
		a.answered, a.silent = true, 0
	} else {
		a.silent, a.last = a.silent+1, err
	}
	return words, err
}

// refused tells whether the device itself answered, if only with an exception.
// 10 and 11 come from a gateway that got no answer.
func refused(err error) bool {
	var e interface {
		error
		Exception() uint8
	}
	return errors.As(err, &e) && e.Exception() != 10 && e.Exception() != 11
}

// probeBases is where Identify looks for a SunSpec map: the places of the
// specification, and 4096, where meters of Accuenergy have it.
var probeBases = [...]uint16{40000, 50000, 0, 4096}

// sunspec returns the devices of the unit's SunSpec map. A failure of a unit
// that has none, or does not say, is no error here.
func (a *asker) sunspec(ctx context.Context, unit uint8) ([]Match, error) {
	chains, err := DiscoverAll(ctx, a, unit, probeBases[:]...)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var out []Match
	for _, c := range chains {
		who := strings.Join(strings.Fields(c.Manufacturer+" "+c.Model), " ")
		why := fmt.Sprintf("SunSpec map at %d with models %v: %s, serial number %s", c.Base, c.ids(), cmp.Or(who, "without a name"), cmp.Or(c.Serial, "unknown"))
		if c.Sub > 0 {
			why += fmt.Sprintf("; device %d behind this unit", c.Sub+1)
		}
		out = append(out, Match{Chain: c, Why: why, weight: 1<<20 - c.Sub})
	}
	if err != nil && !errors.Is(err, errNoMap) && a.answered && a.silent == 0 {
		return nil, err // it answered, and failed within its map
	}
	return out, nil
}

// named tells whether all identity registers of a profile hold what they should.
func (a *asker) named(ctx context.Context, unit uint8, p *Profile) (Match, bool) {
	m := Match{Profile: p}
	var seen []string
	for i := range p.Identity {
		words, ok := a.identity(ctx, unit, p, i)
		if !ok {
			return Match{}, false
		}
		m.weight += 1 + 16*len(words)
		seen = append(seen, fmt.Sprintf("register %d holds %s", p.Identity[i].Address, show(words)))
	}
	m.Why = strings.Join(seen, ", ") + ", as profile " + p.Name + " says"
	return m, len(p.Identity) > 0
}

// identity reads the i-th identity and tells whether it is the profile's.
func (a *asker) identity(ctx context.Context, unit uint8, p *Profile, i int) ([]uint16, bool) {
	id := &p.Identity[i]
	contents, err := id.contents()
	if err != nil || p.Limits.forbids(id.Function, int(id.Address), int(id.Address)+len(contents[0])) != nil {
		return nil, false
	}
	words, err := a.Read(ctx, unit, id.Function, id.Address, uint16(len(contents[0])))
	return words, err == nil && slices.ContainsFunc(contents, func(c []uint16) bool { return slices.Equal(c, words) })
}

// show gives words as text where they are, and as digits.
func show(words []uint16) string {
	var hex []string
	for _, w := range words {
		hex = append(hex, fmt.Sprintf("%04X", w))
	}
	s := strings.Join(hex, " ")
	if t := text(words); len(t) > 1 && strings.IndexFunc(t, func(r rune) bool { return r < ' ' || r > '~' }) < 0 {
		s += fmt.Sprintf(" (%q)", t)
	}
	return s
}

// guess tells whether a profile makes plausible values of the unit's registers.
func (a *asker) guess(ctx context.Context, unit uint8, p *Profile) (Match, bool) {
	d, err := p.Declare("probe", unit, wire.Hash{}, 0)
	if err != nil {
		return Match{}, false
	}
	reading := wire.Reading{Blocks: make([]wire.BlockResult, len(d.Blocks))}
	for i := range reading.Blocks {
		reading.Blocks[i].Status = wire.Skipped
	}
	var s signs
	for _, i := range tellingFirst(&d) {
		b := d.Blocks[i]
		words, err := a.Read(ctx, unit, b.Function, b.Address, b.Count)
		if err != nil {
			continue
		}
		reading.Blocks[i] = wire.BlockResult{Status: wire.OK, Words: words}
		if s = judge(&d, &reading); s.odd != "" || s.count == 0 {
			return Match{}, false // the first block is the one that tells most
		}
	}
	if s.count < 2 {
		return Match{}, false
	}
	m := Match{Profile: p, Guess: true, weight: s.count - 1<<10, Why: fmt.Sprintf("a guess: by profile %s %s; nothing names the device", p.Name, strings.Join(s.told, ", "))}
	for i := range p.Identity {
		if words, ok := a.identity(ctx, unit, p, i); !ok && len(words) > 0 {
			m.Why += fmt.Sprintf(", and register %d holds %s, which the profile does not know", p.Identity[i].Address, show(words))
			m.weight -= 1 << 9
			break
		}
	}
	return m, true
}

// tellingFirst returns the blocks of d, those with voltages and frequencies first.
func tellingFirst(d *wire.Declaration) []int {
	tells := make([]int, len(d.Blocks))
	order := make([]int, len(d.Blocks))
	for i := range d.Points {
		if p := &d.Points[i]; p.Unit == "V" || p.Unit == "Hz" {
			tells[d.BlockOf(p)]++
		}
	}
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(tells[b], tells[a]) })
	return order
}

// signs are what speaks for a profile, and the first value that speaks against.
type signs struct {
	count int
	told  []string
	odd   string
}

// bounds is what a value of a unit can be on any device, and what it can hardly
// be by chance. weight says how much the latter tells.
var bounds = [...]struct {
	unit        string
	least, most int64
	from, to    int64
	weight      int
}{
	{"Hz", 45, 65, 45, 65, 2},
	{"V", 0, 1500, 80, 760, 1},
	{"A", -20_000, 20_000, 0, 0, 0},
	{"W", -1_000_000_000, 1_000_000_000, 0, 0, 0},
	{"kW", -1_000_000, 1_000_000, 0, 0, 0},
	{"Wh", 0, 1_000_000_000_000, 0, 0, 0},
	{"kWh", 0, 1_000_000_000, 0, 0, 0},
	{"MWh", 0, 1_000_000, 0, 0, 0},
	{"Cel", -60, 200, 0, 0, 0},
	{"%", 0, 110, 0, 0, 0},
}

func judge(d *wire.Declaration, r *wire.Reading) signs {
	var s signs
	for i, v := range d.Values(r) {
		p := &d.Points[i]
		if v.Quality != wire.Good || p.Kind == wire.Label || p.Kind == wire.State {
			continue
		}
		for _, b := range bounds {
			if b.unit != p.Unit {
				continue
			}
			n := v.Number
			if n.LessThan(decimal.NewFromInt(b.least)) || n.GreaterThan(decimal.NewFromInt(b.most)) {
				s.odd = p.Name
				return s
			}
			if b.weight > 0 && !n.LessThan(decimal.NewFromInt(b.from)) && !n.GreaterThan(decimal.NewFromInt(b.to)) {
				s.count += b.weight
				s.told = append(s.told, fmt.Sprintf("%s is %s %s", p.Name, n.Round(2), p.Unit))
			}
		}
	}
	return s
}
