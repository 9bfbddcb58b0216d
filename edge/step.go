package edge

import (
	"fmt"
	"time"

	"go.uber.org/zap"

	"kenshin/edge/wire"
)

// stepLeast is what the wall clock must move against the monotonic one to be
// said to have stepped: an NTP daemon that slews stays far below it from one
// cycle to the next.
const stepLeast = 2 * time.Second

// clockStep appends an event when the wall clock has stepped since it was looked
// at last: readings before and after it are in one order by their monotonic
// times and in another by their wall times.
func (a *Agent) clockStep(recs []wire.Record, now time.Time) []wire.Record {
	elapsed := now.Sub(a.start)
	expected := a.startWall.Add(elapsed)
	a.tracking.Lock()
	offset := now.Round(0).Sub(expected)
	moved := offset - a.offset
	a.offset = offset
	a.tracking.Unlock()
	if moved.Abs() <= stepLeast {
		return recs
	}
	r := a.record(now)
	r.Event = &wire.Event{Code: wire.EventClockStep, Detail: fmt.Sprintf("the wall clock moved by %+.3f s", moved.Seconds()),
		From: now.Add(-moved).UnixMilli(), To: now.UnixMilli()}
	a.cfg.Log.Warn("the wall clock was set", zap.Duration("by", moved), zap.Time("to", now))
	return append(recs, r)
}
