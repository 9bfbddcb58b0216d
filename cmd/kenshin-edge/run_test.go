package main

import (
	"bytes"
	"context"
	"testing"
	"time"
)

// startAgent runs the agent of a configuration until stop is called or the test ends.
func startAgent(t *testing.T, file string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"run", "--config", file}, &log, &log) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the agent ended: %v\n%s", err, log.String())
			}
		case <-time.After(30 * time.Second):
			t.Error("the agent does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}
