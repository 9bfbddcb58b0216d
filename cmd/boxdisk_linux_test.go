package cmd

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"kenshin/collector/store"
	"kenshin/configs"
	"kenshin/edge"
	"kenshin/edge/outbox"
	"kenshin/edge/wire"
)

// boxSite is an agent whose outbox is on a disk of its own, beside a collector
// that it cannot reach before link is closed.
type boxSite struct {
	t      *testing.T
	dir    string // of the collector
	center *program
	addr   string
	e      *loadEdge
	link   chan struct{} // closed when there is one
	seen   witness

	box   *outbox.Outbox
	agent *edge.Agent
	stop  context.CancelFunc
	done  chan error
}

func newBoxSite(t *testing.T) *boxSite {
	s := &boxSite{t: t, dir: t.TempDir(), e: newLoadEdge(1, 8), link: make(chan struct{}), seen: make(witness)}
	_, s.center = loadCenter(t, s.dir, []*loadEdge{s.e})
	s.addr = s.e.conn.RemoteAddr().String()
	s.e.conn.Close() // the agent takes its place
	return s
}

// start starts the agent with the outbox in dir. It polls as fast as it can.
func (s *boxSite) start(dir string) {
	s.t.Helper()
	box, _, err := outbox.Open(dir, outbox.Options{Edge: s.e.id, MaxBytes: 32 << 20, HoldBytes: 64 << 20})
	if err != nil {
		s.t.Fatal(err)
	}
	var key ed25519.PublicKey // the collector may be about to make it
	eventually(s.t, time.Minute, func() (err error) {
		key, err = configs.PublicKey("", filepath.Join(s.dir, "data", "collector.pub"))
		return err
	})
	s.box = box
	s.agent = edge.New(edge.Config{Edge: s.e.id, Key: s.e.key, Interval: 2 * time.Millisecond, Outbox: box, Clock: edge.RealClock(), Log: zap.NewNop(), Version: "rig",
		Buses: []edge.Bus{{Name: "bus", Reader: simMeters{start: time.Now()}, Devices: []edge.Device{{ID: "m-1", Unit: 1, Declaration: simDeclaration("m-1", 1, 2)}}}},
		Uplink: edge.Uplink{Broker: "tcp://" + s.addr, User: s.e.id, Password: "secret", Root: wire.DefaultRoot, CollectorKey: key, AckTimeout: 10 * time.Second,
			Dial: func() (net.Conn, error) {
				<-s.link
				return net.Dial("tcp", s.addr)
			}}})
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.done = stop, make(chan error, 1)
	go func() { s.done <- s.agent.Run(ctx) }()
	s.t.Cleanup(stop)
}

// until waits for a state of the agent, which must not end meanwhile.
func (s *boxSite) until(what string, so func(edge.Status) bool) edge.Status {
	s.t.Helper()
	var last edge.Status
	eventually(s.t, 2*time.Minute, func() error {
		select {
		case err := <-s.done:
			s.t.Fatalf("the agent ended: %v", err)
		default:
		}
		if last = s.agent.Status(); !so(last) {
			return errors.New("waits for " + what)
		}
		return nil
	})
	return last
}

// end ends the agent and returns what closing its outbox says.
func (s *boxSite) end() error {
	s.t.Helper()
	s.stop()
	if err := <-s.done; err != nil {
		s.t.Errorf("the agent: %v", err)
	}
	return s.box.Close()
}

// delivered ends the agent and wants the book to hold what its outbox does.
func (s *boxSite) delivered(dir string) {
	s.t.Helper()
	if err := s.end(); err != nil {
		s.t.Fatal(err)
	}
	s.center.interrupt(time.Minute)
	if err := s.seen.outboxes(map[string]string{s.e.id: dir}); err != nil {
		s.t.Fatal(err)
	}
	key, err := configs.Key(filepath.Join(s.dir, "data"), "collector")
	if err != nil {
		s.t.Fatal(err)
	}
	book, _, err := store.Open(filepath.Join(s.dir, "data", "book"), store.Options{Origin: "kenshin/load", Key: key})
	if err != nil {
		s.t.Fatal(err)
	}
	defer book.Close()
	if err := checkBook(book, s.seen); err != nil {
		s.t.Error(err)
	}
}

// boxDiskFull: an agent whose disk is full goes on in memory and says so, and
// when there is room everything goes to disk and from there into the book.
func boxDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=300k"); err != nil {
		lacking(t, "root, to mount a small file system", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	s := newBoxSite(t)
	box := filepath.Join(dir, "outbox")
	s.start(box)
	full := s.until("a full disk", func(s edge.Status) bool { return s.Outbox.Held > 100 })
	if full.Outbox.Lost > 0 || !strings.Contains(full.Outbox.Cause, "no space") {
		t.Errorf("with a full disk: %+v", full.Outbox)
	}
	// It also starts on a full disk. What was in memory is told of as lost.
	if err := s.end(); !errors.Is(err, outbox.ErrHeld) {
		t.Errorf("Close = %v, want that what was held in memory is lost", err)
	}
	s.start(box)
	full = s.until("a full disk after a start", func(s edge.Status) bool { return s.Outbox.Held > 100 })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	again := s.until("the disk to take what was held", func(s edge.Status) bool { return s.Outbox.Held == 0 })
	if again.Outbox.Lost > 0 || again.Outbox.Last < full.Outbox.Last+uint64(full.Outbox.Held) {
		t.Errorf("with room again: %+v, before %+v", again.Outbox, full.Outbox)
	}
	close(s.link)
	s.until("delivery", func(s edge.Status) bool { return s.Outbox.Acked > again.Outbox.Last })
	s.delivered(box)
}

// boxDiskFails: the file system of an agent answers every call with EIO. The agent
// goes on in memory and says so; what was on disk before is there afterwards.
func boxDiskFails(t *testing.T) {
	d, err := newDisk(t.TempDir())
	if err != nil {
		lacking(t, "root, loop devices and ext4 (apt-get install e2fsprogs)", err)
	}
	defer func() {
		if err := d.down(); err != nil {
			t.Error(err)
		}
	}()
	s := newBoxSite(t)
	box := filepath.Join(d.mount, "outbox")
	s.start(box)
	before := s.until("some records", func(s edge.Status) bool { return s.Outbox.Last > 100 })
	if err := d.cut(); err != nil {
		t.Fatal(err)
	}
	failed := s.until("a failed disk", func(s edge.Status) bool { return s.Outbox.Held > 100 })
	if failed.Outbox.Lost > 0 || !strings.Contains(failed.Outbox.Cause, "input/output error") {
		t.Errorf("with a failed disk: %+v", failed.Outbox)
	}
	if err := s.end(); !errors.Is(err, outbox.ErrHeld) {
		t.Errorf("Close = %v, want that what was held in memory is lost", err)
	}
	if err := errors.Join(d.down(), d.up()); err != nil {
		t.Fatal(err)
	}
	close(s.link)
	s.start(box)
	after := s.until("delivery", func(s edge.Status) bool { return s.Outbox.Acked > before.Outbox.Last+10 })
	if after.Epoch != before.Epoch || after.Outbox.Held > 0 {
		t.Errorf("on the mended disk: %v %+v, before %v %+v", after.Epoch, after.Outbox, before.Epoch, before.Outbox)
	}
	s.delivered(box)
}

// boxOldCopy: a box is put back to how it was a while ago. It finds that the
// collector has other records under its numbers, ends, and started again goes on
// in a new epoch with what it read since.
func boxOldCopy(t *testing.T) {
	s := newBoxSite(t)
	close(s.link)
	box, copied := filepath.Join(t.TempDir(), "outbox"), filepath.Join(t.TempDir(), "copy")
	s.start(box)
	s.until("some records", func(s edge.Status) bool { return s.Outbox.Acked > 50 })
	if err := errors.Join(s.end(), os.CopyFS(copied, os.DirFS(box))); err != nil {
		t.Fatal(err)
	}
	s.start(box)
	was := s.box.Acked()
	before := s.until("more records", func(s edge.Status) bool { return s.Outbox.Acked > was+20 })
	if err := errors.Join(s.end(), os.RemoveAll(box), os.Rename(copied, box)); err != nil {
		t.Fatal(err)
	}
	s.start(box)
	select {
	case err := <-s.done:
		if !errors.Is(err, outbox.ErrOldCopy) {
			t.Fatalf("the agent ended with %v, want that its outbox is an old copy", err)
		}
	case <-time.After(3 * time.Minute):
		t.Fatal("the agent did not find out")
	}
	if err := s.box.Close(); err != nil {
		t.Fatal(err)
	}
	s.start(box)
	after := s.until("delivery", func(s edge.Status) bool { return s.Outbox.Acked > 20 })
	if after.Epoch == before.Epoch {
		t.Error("it went on in the old epoch")
	}
	s.seen.of(stream{s.e.id, before.Epoch}).mixed = true
	s.delivered(box)
}
