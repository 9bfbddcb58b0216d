package collector

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// hours is a clock on which some sleeps pass at once, and the next ends with its context.
type hours struct {
	clock
	left *int
}

func (h hours) Sleep(ctx context.Context, _ time.Duration) error {
	if *h.left--; *h.left >= 0 {
		return nil
	}
	return context.Canceled
}

// TestCheckpointThatCannotBeWritten: the hour says so, and the next one tries again.
func TestCheckpointThatCannotBeWritten(t *testing.T) {
	a, b := twoSites(4)
	r := newRig(t, a, b)
	r.send(a.all(t))
	core, logs := observer.New(zap.ErrorLevel)
	left := 3
	r.Collector.cfg.Log, r.Collector.cfg.Clock = zap.New(core), hours{left: &left}
	good := r.Collector.store
	if err := good.Close(); err != nil {
		t.Fatal(err)
	}
	r.Collector.upkeep(t.Context())
	if n := logs.FilterMessage("no checkpoint this hour").Len(); n != 3 {
		t.Errorf("%d of 3 hours say that there is no checkpoint", n)
	}
}
