package edge

import (
	"context"
	"time"

	"kenshin/edge/wire"
)

// realClock is the clock of the machine.
type realClock struct{}

// RealClock returns the clock of the machine. Where the kernel can tell whether
// its clock is disciplined, records say so.
func RealClock() Clock { return realClock{} }

// Now implements Clock.
func (realClock) Now() time.Time { return time.Now() }

// Sleep implements Clock.
func (realClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// State says what the kernel knows of the clock now.
func (realClock) State() wire.ClockState { return kernelClock() }
