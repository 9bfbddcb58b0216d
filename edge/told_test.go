package edge_test

import (
	"kenshin/edge/plant"
	"kenshin/edge/wire"
	"time"
)

// told is a unit whose words tell who answered which block when: two blocks of
// equal length, each a counter of ms × 100 + unit × 10 + block, with a scale
// factor of 0.
type told struct {
	unit  uint32
	clock plant.Clock
	start time.Time
}

const secondBlock = 100 // its first register; the first block begins at 0

// Read implements plant.Unit.
func (u *told) Read(function uint8, address, count uint16) ([]uint16, uint8) {
	if function != 3 {
		return nil, 1
	}
	ms := uint32(u.clock.Now().Sub(u.start).Milliseconds())
	regs := make(map[uint16]uint16)
	for block, at := range []uint16{0, secondBlock} {
		v := ms*100 + u.unit*10 + uint32(block)
		regs[at], regs[at+1], regs[at+2], regs[at+3] = uint16(v>>16), uint16(v), 0, 0
	}
	out := make([]uint16, count)
	for i := range out {
		w, ok := regs[address+uint16(i)]
		if !ok {
			return nil, 2
		}
		out[i] = w
	}
	return out, 0
}

// Points implements plant.Mapped.
func (u *told) Points() []plant.Point {
	return []plant.Point{
		{Function: 3, Address: 0, Words: 2, Type: "uint32", ScaleAt: 2, Counter: true},
		{Function: 3, Address: secondBlock, Words: 2, Type: "uint32", ScaleAt: secondBlock + 2, Counter: true},
	}
}

func (u *told) declaration(id string) *wire.Declaration {
	point := func(name string, at uint16) wire.Point {
		return wire.Point{Name: name, Function: 3, Address: at, Type: wire.Uint32, Words: 2, ScaleAt: int32(at) + 2, Unit: "Wh", Kind: wire.Counter}
	}
	return &wire.Declaration{
		Device: id, Profile: "told", ProfileVersion: "1", Unit: uint8(u.unit), Energy: "a",
		Blocks: []wire.Block{{Function: 3, Address: 0, Count: 3}, {Function: 3, Address: secondBlock, Count: 3}},
		Points: []wire.Point{point("a", 0), point("b", secondBlock)},
	}
}
