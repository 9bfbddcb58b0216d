package plant

import "math"

// sunspecBase is where the map of a SunSpec unit begins, counted from 0.
const sunspecBase = 40000

// Nameplate is what a SunSpec inverter says about itself in model 1, and what
// else stays the same for its life. Texts are cut at their fields' lengths.
type Nameplate struct {
	Manufacturer string // up to 32 bytes
	Model        string // up to 32 bytes
	Version      string // up to 16 bytes
	Serial       string // up to 32 bytes
	// EnergyScale is WH_SF, the power of ten of Wh in which model 103 counts.
	// Its counter has 32 bits: at 0 it starts again every 4.29 GWh.
	EnergyScale uint8
}

// Output is what an inverter does at one moment.
type Output struct {
	MicroWatts int64  // AC power
	WattHours  uint64 // since it was installed; 0 reads as not accumulated
	State      uint16 // St of model 103
	Grid       *Grid  // nil when not known: those points are then not implemented
}

// Grid is what an inverter measures beside power.
type Grid struct {
	DeciAmps     uint16    // per phase, the same in all three
	DeciVolts    [3]uint16 // phase to neutral
	CentiHertz   uint16
	CabinetDeciC int16 // temperature
}

// The operating states of this plant.
// Source: SunSpec model 103, point St.
const (
	stateSleeping  = 2 // night: no power, the electronics answer
	stateMPPT      = 4 // following the sun
	stateThrottled = 5 // limited, here by its own rating
)

// What a register holds when its point is not implemented.
// Source: SunSpec Information Model Specification, basic types.
const (
	noInt16  = 0x8000 // int16 and sunssf
	noUint16 = 0xFFFF // uint16, enum16 and half of a bitfield32
)

type sunspecInverter struct {
	plate  Nameplate
	output func() (Output, bool)
}

// SunSpecInverter returns a three-phase SunSpec inverter in integers: models 1
// (L=66), 103 (L=50) and 122 (L=44) in one chain from register 40000 on,
// function 3. Any other function is exception 1, a range that leaves the chain
// exception 2.
//
// output is called once for every request. When it says false the inverter has
// nothing to say and the request is refused with exception 0x0B, whatever it
// asks for.
func SunSpecInverter(plate Nameplate, output func() (Output, bool)) Unit {
	return &sunspecInverter{plate, output}
}

// Read builds the whole map, 168 registers, for every request: scale factors
// and values then always belong to one moment.
func (u *sunspecInverter) Read(function uint8, address, count uint16) ([]uint16, uint8) {
	if function != readHolding {
		return nil, illegalFunction
	}
	out, ok := u.output()
	if !ok {
		return nil, noResponse
	}
	image := make([]uint16, 0, 2+68+52+46+2)
	image = append(image, 0x5375, 0x6E53) // "SunS"
	image = append(image, u.common()...)
	image = append(image, u.inverter(out)...)
	image = append(image, measurements(out)...)
	image = append(image, 0xFFFF, 0) // end of the chain
	return cut(image, sunspecBase, address, count)
}

// common is model 1. Offsets here and below count from the model's ID word.
// Source: sunspec/models, json/model_1.json, model_103.json, model_122.json.
func (u *sunspecInverter) common() []uint16 {
	m := model(1, 66)
	putText(m[2:18], u.plate.Manufacturer)
	putText(m[18:34], u.plate.Model)
	putText(m[42:50], u.plate.Version) // Opt, 34 to 41, is empty
	putText(m[50:66], u.plate.Serial)
	m[66] = noUint16 // DA: this unit's id cannot be set
	m[67] = noInt16  // Pad
	return m
}

// inverter is model 103.
func (u *sunspecInverter) inverter(out Output) []uint16 {
	m := model(103, 50)
	for i := 2; i < 52; i++ {
		m[i] = noUint16
	}
	for _, i := range []int{6, 13, 15, 17, 18, 19, 20, 21, 22, 23, 28, 30, 31, 32, 33, 34, 35, 36, 37} {
		m[i] = noInt16 // scale factors and int16 points
	}
	if g := out.Grid; g != nil {
		m[2] = saturate(3 * uint32(g.DeciAmps)) // A
		m[3], m[4], m[5] = g.DeciAmps, g.DeciAmps, g.DeciAmps
		m[6] = scale(-1) // A_SF
		copy(m[10:13], g.DeciVolts[:])
		m[13] = scale(-1) // V_SF
		m[16] = g.CentiHertz
		m[17] = scale(-2)              // Hz_SF
		m[33] = uint16(g.CabinetDeciC) // TmpCab
		m[37] = scale(-1)              // Tmp_SF
	}
	w, sf := scaledInt16(out.MicroWatts, -6)
	m[14], m[15] = uint16(w), scale(sf)
	// WH counts whole units of its scale and starts again after 32 bits.
	wh := out.WattHours
	for range u.plate.EnergyScale {
		wh /= 10
	}
	m[24], m[25], m[26] = uint16(wh>>16), uint16(wh), scale(int16(u.plate.EnergyScale))
	m[38] = out.State
	copy(m[40:44], []uint16{0, 0, 0, 0}) // Evt1, Evt2: nothing happened
	return m
}

// measurements is model 122: its ActWh at offset 5 counts 64 bits of Wh and has
// no scale factor.
func measurements(out Output) []uint16 {
	m := model(122, 44)
	m[2], m[3], m[4] = 1, 0, 1 // PVConn: connected; no storage; ECPConn: connected
	if out.State != stateSleeping {
		m[2] |= 2 | 4 // available, operating
	}
	for i := range 4 {
		m[5+i] = uint16(out.WattHours >> (48 - 16*i))
	}
	// ActVAh and the four ActVArh, 9 to 28, stay 0, which is what an
	// accumulator that is not implemented holds; so does TmSrc, a text.
	for _, i := range []int{31, 33, 34, 35, 36, 41, 42, 43, 44} {
		m[i] = noUint16
	}
	for _, i := range []int{29, 30, 32, 45} {
		m[i] = noInt16
	}
	return m
}

// model returns the registers of a model: its id, its length, and zeros.
func model(id, length uint16) []uint16 {
	m := make([]uint16, 2+length)
	m[0], m[1] = id, length
	return m
}

// putText writes a text, high byte first, and leaves the rest NUL.
func putText(field []uint16, s string) {
	for i := 0; i < min(len(s), 2*len(field)); i++ {
		field[i/2] |= uint16(s[i]) << (8 * (1 - i%2))
	}
}

func scale(sf int16) uint16 { return uint16(sf) }

// saturate returns n, or the largest value that is not "not implemented".
func saturate(n uint32) uint16 { return uint16(min(n, noUint16-1)) }

// scaledInt16 returns n × 10^sf as a 16-bit value and its scale factor: exactly
// when five digits up to 32767 suffice, else rounded half away from zero to the
// finest scale that holds it. Factors between units (0) and sf, below 0, are
// used only where digits stand there.
func scaledInt16(n int64, sf int16) (int16, int16) {
	sign := int64(1)
	if n < 0 {
		sign, n = -1, -n
	}
	value := n
	for unit := int64(1); value > math.MaxInt16; {
		unit *= 10
		sf++
		value = n/unit + 2*(n%unit)/unit
	}
	for sf < 0 && value%10 == 0 {
		value /= 10
		sf++
	}
	return int16(sign * value), sf
}
