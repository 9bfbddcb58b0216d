// Package plant is a make-believe site on Modbus TCP: inverters and meters that
// answer as real ones do, so that everything behind them can be run and tested
// without a plant.
//
// It promises that what a unit answers is a function of its seed (or file) and
// the plant's clock alone: who polls, how often, and how often the program was
// started again make no difference. Energy registers are the exact integral of
// the power registers. It draws no conclusion from what it serves, and nothing
// that measures a real plant imports it.
//
// Two plants can be had: a simulated [Site], and a [Replay] of readings that
// were taken once. Both are units for a [Server], and take their time from a
// [Scaled] or a [Lockstep] clock.
package plant

import "time"

// Clock tells a plant what time it is.
type Clock interface {
	Now() time.Time
}

// Unit is one Modbus server behind an endpoint: a device with a unit id.
type Unit interface {
	// Read returns count registers from address on, counted from 0, as
	// function 3 (holding) or 4 (input) sees them; or the exception with which
	// the device refuses. count is 1 to 125 and address+count at most 65536.
	// All words belong to one moment. Several goroutines may call it.
	Read(function uint8, address, count uint16) (words []uint16, exception uint8)
}

// The functions and exceptions of this package.
// Source: MODBUS Application Protocol Specification V1.1b3, 6.3, 6.4 and 7.
const (
	readHolding = 3
	readInput   = 4

	illegalFunction = 0x01 // the device does not know the function
	illegalAddress  = 0x02 // a register asked for does not exist
	illegalValue    = 0x03 // the count, or the length of the request, is wrong
	deviceFailure   = 0x04 // the device broke down while answering
	noResponse      = 0x0B // gateway target failed to respond: nobody there, or nothing to say

	maxCount = 125 // registers in one request
)

// cut returns count words of a register image that begins at base, or the
// exception for a range that the image does not cover as a whole.
func cut(image []uint16, base, address, count uint16) ([]uint16, uint8) {
	from := int(address) - int(base)
	if from < 0 || from+int(count) > len(image) {
		return nil, illegalAddress
	}
	return image[from : from+int(count)], 0
}
