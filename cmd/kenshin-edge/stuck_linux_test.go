package main

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"kenshin/edge"
	"kenshin/edge/plant"
)

// TestStuckReload: a configuration file that hangs, as on a network that is gone,
// keeps nothing from being polled, and the agent from ending when it is told to.
func TestStuckReload(t *testing.T) {
	manager, socket := listenAsSystemd(t)
	t.Setenv("NOTIFY_SOCKET", socket)
	at := serveUnits(t, "tcp://127.0.0.1:0", map[uint8]plant.Unit{1: sunspecUnit(t, 103, "inv-1")})
	file := configured(t, "  - name: roof\n    endpoint: "+at+"\n    devices:\n      - { id: inv-1, unit: 1, profile: sunspec }\n")
	stop := startAgent(t, file)
	eventually(t, "READY", func() bool { return manager.times("READY=1") == 1 })
	if err := errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600), syscall.Kill(os.Getpid(), syscall.SIGHUP)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "RELOADING", func() bool { return manager.times("RELOADING=1") == 1 })
	stop() // and fails when the agent does not end
	if n := manager.times("READY=1"); n != 1 {
		t.Error("the reload did not hang, so this tests nothing")
	}
	if f, err := os.OpenFile(file, os.O_RDWR, 0); err == nil {
		f.Close() // whoever still reads it gets an empty file
	}
}

// TestStuckReloadIsSeen: a watchdog is not fed while a reload hangs.
func TestStuckReloadIsSeen(t *testing.T) {
	s := &service{agent: edge.New(edge.Config{Clock: edge.RealClock()})}
	for ago, want := range map[time.Duration][]string{time.Second: nil, stuckAfter + time.Second: {"the reload"}} {
		began := time.Now().Add(-ago)
		s.began.Store(&began)
		if got := s.stalled(); !slices.Equal(got, want) {
			t.Errorf("a reload since %v: %q stall, want %q", ago, got, want)
		}
	}
}
