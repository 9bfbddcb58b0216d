package cmd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// collectorDiskFull: a collector whose disk is full stops acking, goes on
// answering, says why, and takes up again by itself when there is room.
func collectorDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=10m"); err != nil {
		lacking(t, "root, to mount a small file system", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	e := newLoadEdge(1, 500)
	page, p := loadCenter(t, dir, []*loadEdge{e})
	defer p.kill9()
	if err := e.publish(20, time.Now(), true); err != nil {
		t.Fatal(err)
	}
	drained(t, []*loadEdge{e})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 10<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%v, want a full disk", err)
	}
	standing := uint64(0)
	eventually(t, 2*time.Minute, func() error { // until acks stand still below what was sent
		for full := false; !full; {
			select {
			case e.room <- struct{}{}: // there is room for one more on its way
				<-e.room
			case <-time.After(200 * time.Millisecond):
				full = true
				continue
			}
			if err := e.publish(20, time.Now(), true); err != nil {
				return err
			}
		}
		text, err := get(page, "/metrics")
		if err != nil {
			return err
		}
		e.mu.Lock()
		acked, before := e.acked, standing
		standing = e.acked
		e.mu.Unlock()
		if !strings.Contains(string(text), "kenshin_collector_book_blocked 1") || acked != before || acked == e.seq {
			return fmt.Errorf("%d of %d acked", acked, e.seq)
		}
		return nil
	})
	if _, err := get(page, "/healthz"); err != nil {
		t.Errorf("with a full disk: %v", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=400m"); err != nil {
		t.Fatal(err)
	}
	drained(t, []*loadEdge{e})
	eventually(t, time.Minute, func() error {
		text, err := get(page, "/metrics")
		if err == nil && (!strings.Contains(string(text), "kenshin_collector_book_blocked 0") || !strings.Contains(string(text), "kenshin_collector_settle_lag_records 0")) {
			err = fmt.Errorf("it does not settle what it took: %s", regexp.MustCompile(`kenshin_collector_(book_blocked|settle\w*) .*`).FindAllString(string(text), -1))
		}
		return err
	})
	t.Logf("%d records acked when the disk was full, %d in the end", standing, e.acked)
	p.interrupt(time.Minute)
}
