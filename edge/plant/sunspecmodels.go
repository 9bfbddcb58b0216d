package plant

import (
	"fmt"
	"math"
)

// SunSpecModel returns a SunSpec unit of one measuring model behind the common
// model, from register 40000 on, function 3: 103 an inverter in integers (with
// 122, see SunSpecInverter), 113 one in float32, 701 a DER, 203 a meter in
// integers, 213 one in float32. A meter counts the energy as import, an inverter
// as produced; the other counter of those that have two stays at 0, which reads
// as not accumulated.
func SunSpecModel(model uint16, plate Nameplate, energy Energy, clock Clock) (Unit, error) {
	if model == 103 {
		return SunSpecInverter(plate, func() (Output, bool) {
			mWh, watts, ok := energy(clock.Now())
			return Output{MicroWatts: watts * 1_000_000, WattHours: uint64(mWh / 1000), State: stateMPPT}, ok
		}), nil
	}
	build := map[uint16]func(mWh, watts int64) []uint16{113: model113, 203: model203, 213: model213, 701: model701}[model]
	if build == nil {
		return nil, fmt.Errorf("SunSpec model %d is not simulated; want 103, 113, 203, 213 or 701, or serve a register dump", model)
	}
	return &sunspecUnit{plate, func() ([]uint16, bool) {
		mWh, watts, ok := energy(clock.Now())
		if !ok {
			return nil, false
		}
		return build(mWh, watts), true
	}}, nil
}

// sunspecUnit is a unit of the common model and one that measures.
type sunspecUnit struct {
	plate Nameplate
	model func() ([]uint16, bool)
}

// Read implements Unit.
func (u *sunspecUnit) Read(function uint8, address, count uint16) ([]uint16, uint8) {
	if function != readHolding {
		return nil, illegalFunction
	}
	m, ok := u.model()
	if !ok {
		return nil, noResponse
	}
	image := []uint16{0x5375, 0x6E53} // "SunS"
	image = append(image, (&sunspecInverter{plate: u.plate}).common()...)
	image = append(image, m...)
	image = append(image, 0xFFFF, 0) // end of the chain
	return cut(image, sunspecBase, address, count)
}

// floats puts float32 into a model, by offset from the ID word.
func floats(m []uint16, at map[int]float64) {
	for i, v := range at {
		bits := math.Float32bits(float32(v))
		m[i], m[i+1] = uint16(bits>>16), uint16(bits)
	}
}

// noFloats says of all float32 from one offset to before another that they are
// not implemented.
func noFloats(m []uint16, from, to int) {
	for i := from; i < to; i += 2 {
		m[i], m[i+1] = 0x7FC0, 0
	}
}

func fill(m []uint16, with uint16, at ...int) {
	for _, i := range at {
		m[i] = with
	}
}

// Sources of offsets: sunspec/models, json/model_113.json, model_203.json,
// model_213.json and model_701.json.

func model113(mWh, watts int64) []uint16 {
	m := model(113, 60)
	noFloats(m, 2, 48)
	floats(m, map[int]float64{16: 230, 22: float64(watts), 24: 50, 32: float64(mWh) / 1000})
	m[48], m[49] = stateMPPT, noUint16
	return m
}

func model203(mWh, watts int64) []uint16 {
	m := model(203, 105)
	for i := 2; i < 38; i++ {
		m[i] = noInt16
	}
	fill(m, noInt16, 54, 71, 104) // scale factors of accumulators
	m[7], m[8], m[15] = 2300, 2300, scale(-1)
	m[16], m[17] = 5000, scale(-2)
	w, sf := scaledInt16(watts, 0)
	m[18], m[22] = uint16(w), scale(sf)
	wh := mWh / 1000
	m[46], m[47], m[54] = uint16(wh>>16), uint16(wh), 0
	return m
}

func model213(mWh, watts int64) []uint16 {
	m := model(213, 124)
	noFloats(m, 2, 124)
	floats(m, map[int]float64{10: 230, 12: 230, 26: 50, 28: float64(watts), 60: 0, 68: float64(mWh) / 1000})
	return m
}

func model701(mWh, watts int64) []uint16 {
	m := model(701, 153)
	for i := 2; i < 123; i++ {
		m[i] = noUint16
	}
	for _, from := range []int{10, 41, 64, 87} { // W, VA, Var, PF, A: of the whole and of each phase
		fill(m, noInt16, from, from+1, from+2, from+3, from+4)
	}
	for i := 35; i < 41; i++ {
		m[i] = noInt16 // temperatures
	}
	for i := 113; i < 123; i++ {
		m[i] = noInt16 // scale factors
	}
	w, sf := scaledInt16(watts, 0)
	m[4], m[10], m[116] = 3, uint16(w), scale(sf) // InvSt: running
	m[16], m[114] = 2300, scale(-1)
	m[17], m[18], m[115] = 0, 5000, scale(-2)
	wh := mWh / 1000
	for i := range 4 {
		m[19+i], m[23+i] = uint16(wh>>(48-16*i)), 0
	}
	m[120] = 0
	return m
}
