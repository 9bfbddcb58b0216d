package collector

import (
	"errors"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestRefusalsDoNotFillTheLog: of many refusals for one reason a line every ten
// seconds says how many there were; another reason has a line of its own.
func TestRefusalsDoNotFillTheLog(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	in := &ingest{cfg: &Config{Log: zap.New(core)}, told: make(map[string]told)}
	for i := range 500 {
		in.tell("a/topic", reasonTopic, errors.New("not an up topic"), 1_000_000+int64(i))
	}
	in.tell("a/topic", reasonFork, errFork, 1_000_600)
	in.tell("a/topic", reasonTopic, errors.New("not an up topic"), 1_000_000+tellEvery)
	in.tell("a/topic", reasonTopic, errors.New("not an up topic"), 999) // the clock was set back
	var more []any
	for _, l := range logs.All() {
		more = append(more, l.ContextMap()["more_since_the_last_line"])
	}
	if len(more) != 4 || more[0] != int64(0) || more[1] != int64(0) || more[2] != int64(499) || more[3] != int64(0) {
		t.Errorf("lines with %v refusals more, want 0, 0, 499 and 0", more)
	}
}
