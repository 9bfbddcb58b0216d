package cmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests of this file run the programs as a user does: built binaries, real
// processes, signals.

var built struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// binary builds a command once and returns its path.
func binary(t testing.TB, name string) string { t.Helper(); return binaryFor(t, name, runtime.GOARCH) }

// binaryFor builds it for another architecture.
func binaryFor(t testing.TB, command, arch string) string {
	t.Helper()
	name := command
	if arch != runtime.GOARCH {
		name += "-" + arch
	}
	built.Lock()
	defer built.Unlock()
	if p := built.paths[name]; p != "" {
		return p
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "kenshin-bin-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir, built.paths = dir, make(map[string]string)
	}
	path := filepath.Join(built.dir, name)
	c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./"+command)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	built.paths[name] = path
	return path
}

// data returns a file of the measured data. Without it the test is skipped, in
// CI it fails.
func data(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("KENSHIN_DATA")
	if dir == "" {
		dir = "../../shared/data"
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		lacking(t, "the measured data: set KENSHIN_DATA to its folder", err)
	}
	return path
}

// lacking skips a test for want of something, or fails it in CI.
func lacking(t testing.TB, what string, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s: %v", what, err)
	}
	t.Skipf("needs %s: %v", what, err)
}

// program is a running command.
type program struct {
	t      testing.TB
	name   string
	cmd    *exec.Cmd
	lines  chan string // of stderr and, when not captured, stdout
	stdout bytes.Buffer
	done   chan struct{} // closed when it has ended
	err    error         // of Wait, once done
	log    struct {
		sync.Mutex
		tail []string
	}
}

// launch starts a command in dir; it is killed at the end of the test if it has
// not ended by then.
func launch(t testing.TB, dir, path string, args ...string) *program {
	t.Helper()
	p := &program{t: t, name: filepath.Base(path), cmd: exec.Command(path, args...), lines: make(chan string, 4096), done: make(chan struct{})}
	p.cmd.Dir = dir
	out, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	std, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	readers.Go(func() { p.follow(out) })
	readers.Go(func() { p.follow(io.TeeReader(std, &p.stdout)) })
	go func() {
		readers.Wait()
		p.err = p.cmd.Wait()
		close(p.lines)
		close(p.done)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			p.log.Lock()
			defer p.log.Unlock()
			t.Logf("last words of %s:\n%s", p.name, strings.Join(p.log.tail, "\n"))
		}
	})
	return p
}

func (p *program) follow(r io.Reader) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		p.log.Lock()
		p.log.tail = append(p.log.tail, s.Text())
		if n := len(p.log.tail); n > 40 {
			p.log.tail = p.log.tail[n-40:]
		}
		p.log.Unlock()
		select {
		case p.lines <- s.Text():
		default: // nobody waits for lines any more
		}
	}
}

// waitLine returns the first line with text in it.
func (p *program) waitLine(text string, within time.Duration) string {
	p.t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		select {
		case l, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("%s ended (%v) before it said %q", p.name, p.err, text)
			}
			if strings.Contains(l, text) {
				return l
			}
		case <-timer.C:
			p.t.Fatalf("%s did not say %q within %v", p.name, text, within)
		}
	}
}

// wait returns the exit code.
func (p *program) wait(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		p.t.Fatalf("%s did not end within %v", p.name, within)
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		p.t.Fatalf("%s: %v", p.name, p.err)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *program) kill9() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
}

// interrupt ends it as Ctrl-C does and wants it to end well.
func (p *program) interrupt(within time.Duration) {
	p.t.Helper()
	p.cmd.Process.Signal(os.Interrupt)
	if code := p.wait(within); code != 0 {
		p.t.Errorf("%s: exit code %d after Ctrl-C, want 0", p.name, code)
	}
}

// freeAddr returns a loopback address nobody listens on. Its port is below those the
// system gives to connections (Linux: from 32768 on), so that nobody takes it while
// who had it is started again.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port from 10000 to 29999 in a hundred tries")
	return ""
}

// mosquitto starts Debian's mosquitto on addr with an empty folder.
func mosquitto(t *testing.T, addr string) *program {
	t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		if path = "/usr/sbin/mosquitto"; !executable(path) {
			lacking(t, "mosquitto (Debian: apt-get install mosquitto)", err)
		}
	}
	dir := t.TempDir()
	_, port, _ := net.SplitHostPort(addr)
	conf := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n", port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, dir, path, "-c", conf)
	waitPort(t, addr)
	return p
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

// waitPort waits until somebody listens on addr.
func waitPort(t testing.TB, addr string) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// eventually asks f until it is content.
func eventually(t testing.TB, within time.Duration, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %v: %v", within, err)
		case <-tick.C:
		}
	}
}
