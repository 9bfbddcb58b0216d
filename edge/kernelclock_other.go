//go:build !linux

package edge

import "kenshin/edge/wire"

// kernelClock cannot tell on this system.
func kernelClock() wire.ClockState { return wire.ClockUnknown }
