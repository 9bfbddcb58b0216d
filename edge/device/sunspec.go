package device

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kenshin/edge/wire"
)

// Reader reads registers of a unit: count from address on, by function 3
// (holding) or 4 (input). An error with a method Exception() uint8 says that
// the device refused, with the exception code of the Modbus standard.
type Reader interface {
	Read(ctx context.Context, unit, function uint8, address, count uint16) ([]uint16, error)
}

const (
	readHolding = 3
	maxModels   = 100 // of a chain; more is a map that leads in a circle
	commonModel = 1
	endModel    = 0xFFFF
)

// bases is where a SunSpec map may begin, counted from 0.
// Source: SunSpec Information Model Specification, device discovery.
var bases = [...]uint16{40000, 50000, 0}

// Chain is the SunSpec map of one device: its models, and what it says of itself.
type Chain struct {
	Base                                  uint16 // register of the marker "SunS"
	Sub                                   int    // 0 for the first device of the map, 1 for the second ...
	Manufacturer, Model, Firmware, Serial string // of model 1, "" when it has none
	Models                                []Model

	energy string // the counter that was seen to count, "" when none was
}

// Model is where a model stands in a chain.
type Model struct {
	ID      uint16
	Address uint16 // of its ID word
	Length  uint16 // registers behind the ID and length words
}

// Discover looks for a SunSpec map at the given bases and then at 40000, 50000
// and 0, and follows the chain of models, whatever their order; unknown models
// are kept in it and stepped over.
//
// The chain ends at the end marker, where the device refuses an address (some
// have no end marker), at a length of 0 or one that leads beyond register
// 65535, and after 100 models. It ends too where a second common model begins:
// that is another device behind the same unit id, such as the meter of an
// inverter, and only the first is this one; see DiscoverAll.
//
// Where several models count the energy, the counters are read once, so that
// one the device leaves empty is not chosen. A failure that is not a plain "no
// such register" is returned as it is: a device that is busy, slow or away is
// not one without a map.
func Discover(ctx context.Context, r Reader, unit uint8, bases ...uint16) (*Chain, error) {
	all, err := discover(ctx, r, unit, bases, false)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// DiscoverAll is Discover for every device behind the unit id: each common model
// of the map begins another one, told apart by Chain.Sub. The first is the
// one that Discover finds.
func DiscoverAll(ctx context.Context, r Reader, unit uint8, bases ...uint16) ([]*Chain, error) {
	return discover(ctx, r, unit, bases, true)
}

func discover(ctx context.Context, r Reader, unit uint8, configured []uint16, all bool) ([]*Chain, error) {
	base, err := locate(ctx, r, unit, configured)
	if err != nil {
		return nil, err
	}
	chains, err := follow(ctx, r, unit, base, all)
	if err != nil {
		return nil, fmt.Errorf("unit %d: SunSpec map at %d: %w", unit, base, err)
	}
	return chains, nil
}

// errNoMap is the part of an error that says that a device answered and has no
// SunSpec map.
var errNoMap = errors.New("no SunSpec map")

// locate returns the register of the marker "SunS".
func locate(ctx context.Context, r Reader, unit uint8, configured []uint16) (uint16, error) {
	tried := make([]string, 0, len(configured)+len(bases))
	var last error
	for i, base := range slices.Concat(configured, bases[:]) {
		if slices.Contains(slices.Concat(configured, bases[:])[:i], base) {
			continue
		}
		tried = append(tried, fmt.Sprint(base))
		words, err := r.Read(ctx, unit, readHolding, base, 2)
		switch {
		case err == nil && len(words) == 2 && words[0] == 0x5375 && words[1] == 0x6E53: // "SunS"
			return base, nil
		case err != nil && !noSuchRegister(err):
			return 0, fmt.Errorf("unit %d: look for a SunSpec map at %d: %w", unit, base, err)
		case err != nil:
			last = err
		}
	}
	err := fmt.Errorf("unit %d: %w at register %s; name its base, or a profile for the device", unit, errNoMap, strings.Join(tried, ", "))
	if last != nil {
		return 0, fmt.Errorf("%w: %w", err, last)
	}
	return 0, err
}

// follow walks the chain and reads what each device, or only the first, says of
// itself.
func follow(ctx context.Context, r Reader, unit uint8, base uint16, all bool) ([]*Chain, error) {
	c := &Chain{Base: base}
	chains := []*Chain{c}
	n := 0
	for at := int(base) + 2; n < maxModels && at < 0xFFFF; n++ {
		head, err := r.Read(ctx, unit, readHolding, uint16(at), 2)
		if err != nil && noSuchRegister(err) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("model %d of the chain: %w", n+1, err)
		}
		m := Model{ID: head[0], Address: uint16(at), Length: head[1]}
		next := at + 2 + int(m.Length)
		if m.ID == endModel || m.Length == 0 || next > 1<<16 {
			break
		}
		if m.ID == commonModel && len(c.Models) > 0 {
			if !all {
				break
			}
			c = &Chain{Base: base, Sub: len(chains)}
			chains = append(chains, c)
		}
		c.Models = append(c.Models, m)
		at = next
	}
	for _, c := range chains {
		if err := c.readCommon(ctx, r, unit); err != nil {
			return nil, err
		}
		if err := c.chooseEnergy(ctx, r, unit); err != nil {
			return nil, err
		}
	}
	return chains, nil
}

// readCommon reads model 1, if the chain begins with it.
func (c *Chain) readCommon(ctx context.Context, r Reader, unit uint8) error {
	if len(c.Models) == 0 || c.Models[0].ID != commonModel {
		return nil
	}
	table, err := models()
	if err != nil {
		return err
	}
	m := c.Models[0]
	words, err := r.Read(ctx, unit, readHolding, m.Address, min(m.Length+2, wire.MaxCount))
	if err != nil && noSuchRegister(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("common model: %w", err)
	}
	for _, f := range []struct {
		name string
		to   *string
	}{{"Mn", &c.Manufacturer}, {"Md", &c.Model}, {"Vr", &c.Firmware}, {"SN", &c.Serial}} {
		if e := find(table[commonModel], f.name); e != nil && int(e.offset+e.size) <= len(words) {
			*f.to = text(words[e.offset : e.offset+e.size])
		}
	}
	return nil
}

// text reads a SunSpec string: bytes up to the first NUL, without the blanks
// some devices fill it up with.
func text(words []uint16) string {
	b := make([]byte, 0, 2*len(words))
	for _, w := range words {
		b = append(b, byte(w>>8), byte(w))
	}
	s, _, _ := strings.Cut(string(b), "\x00")
	return strings.TrimSpace(strings.ToValidUTF8(s, "\uFFFD"))
}

// noSuchRegister tells whether a device said that a register is not there.
// Devices answer an address they do not have with exception 2, some with 3 or
// 1; busy (6), failure (4) and the gateway's 10 and 11 say nothing of the kind.
func noSuchRegister(err error) bool {
	var refused interface {
		error
		Exception() uint8
	}
	return errors.As(err, &refused) && refused.Exception() >= 1 && refused.Exception() <= 3
}
