package edge

import (
	"golang.org/x/sys/unix"

	"kenshin/edge/wire"
)

// kernelClock asks the kernel: an NTP or PTP daemon clears STA_UNSYNC, and the
// kernel sets it again when nobody has corrected the clock for long.
// Source: Linux adjtimex(2).
func kernelClock() wire.ClockState {
	var t unix.Timex
	switch _, err := unix.Adjtimex(&t); {
	case err != nil:
		return wire.ClockUnknown
	case t.Status&unix.STA_UNSYNC != 0:
		return wire.ClockUnsynced
	default:
		return wire.ClockSynced
	}
}
