package plant

import "math"

// load is what an electricity meter sees at one moment.
type load struct {
	deciVolts  [3]uint16 // phase to neutral
	centiHertz uint16
	watts      int64 // import positive, export negative
	imported   int64 // Wh since the meter was installed
	exported   int64 // Wh
}

// sdm630 is a meter with the map of an Eastron SDM630: function 4, float32 in
// two registers, high word first, counted from 0. Registers between the values
// below read 0, as on the real one; behind the last is exception 2.
//
//	0x00 0x02 0x04  V   phase to neutral      0x38  VA   apparent power
//	0x06 0x08 0x0A  A   current of a phase    0x3E       power factor
//	0x0C 0x0E 0x10  W   power of a phase      0x46  Hz   frequency
//	0x2A            V   mean of the phases    0x48  kWh  import
//	0x30            A   sum of currents       0x4A  kWh  export
//	0x34            W   total power           0x156 kWh  import + export
//
// Function 3 has only the serial number, uint32 high word first, at 0xFC00.
// Source: Eastron SDM630Modbus protocol.
type sdm630 struct {
	serial uint32
	read   func() load
}

const (
	sdmLast   = 0x156 // the last value of the map
	sdmSerial = 0xFC00
)

// Read implements Unit.
func (m *sdm630) Read(function uint8, address, count uint16) ([]uint16, uint8) {
	if function == readHolding {
		return cut([]uint16{uint16(m.serial >> 16), uint16(m.serial)}, sdmSerial, address, count)
	}
	if function != readInput {
		return nil, illegalFunction
	}
	l := m.read()
	image := make([]uint16, sdmLast+2)
	put := func(at int, v float64) {
		bits := math.Float32bits(float32(v))
		image[at], image[at+1] = uint16(bits>>16), uint16(bits)
	}
	var meanVolts, amps, va float64
	for i, dv := range l.deciVolts {
		volts, watts := float64(dv)/10, float64(l.watts)/3
		amp := math.Abs(watts) / volts
		put(2*i, volts)
		put(0x06+2*i, amp)
		put(0x0C+2*i, watts)
		meanVolts += volts / 3
		amps += amp
		va += amp * volts
	}
	put(0x2A, meanVolts)
	put(0x30, amps)
	put(0x34, float64(l.watts))
	put(0x38, va)
	put(0x3E, 1)
	put(0x46, float64(l.centiHertz)/100)
	put(0x48, float64(l.imported)/1000)
	put(0x4A, float64(l.exported)/1000)
	put(0x156, float64(l.imported+l.exported)/1000)
	return cut(image, 0, address, count)
}

// genericMeter is an electricity meter with the map of this project's
// generic-energy-meter profile: function 3, counted from 0, high word first.
//
//	0  uint32  import energy, 0.01 kWh, starts again after 2^32-1
//	2  int32   active power, W, import positive
//	4  uint16  frequency, 0.01 Hz
//	5  uint16  voltage, phase to neutral, 0.1 V
//	6          two registers that read 0
//	8  uint32  serial number
//
// Any other function is exception 1, a register from 10 on exception 2.
type genericMeter struct {
	serial uint32
	read   func() load
}

// Read implements Unit.
func (m *genericMeter) Read(function uint8, address, count uint16) ([]uint16, uint8) {
	if function != readHolding {
		return nil, illegalFunction
	}
	l := m.read()
	energy, power := uint32(l.imported/10), uint32(int32(l.watts))
	return cut([]uint16{
		uint16(energy >> 16), uint16(energy),
		uint16(power >> 16), uint16(power),
		l.centiHertz,
		l.deciVolts[0],
		0, 0,
		uint16(m.serial >> 16), uint16(m.serial),
	}, 0, address, count)
}
