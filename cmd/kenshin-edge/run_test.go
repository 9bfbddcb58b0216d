package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kenshin/edge/plant"
)

// startAgent runs the agent of a configuration until stop is called or the test ends.
func startAgent(t *testing.T, file string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"run", "--config", file}, io.Discard, &log) }()
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
		case <-time.After(time.Minute):
			t.Error("the agent does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

// systemd listens to what the service manager would be told.
type systemd struct {
	mu   sync.Mutex
	said []string
}

func listenAsSystemd(t *testing.T) (*systemd, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s := &systemd{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 1024)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.said = append(s.said, strings.Split(string(buf[:n]), "\n")...)
			s.mu.Unlock()
		}
	}()
	t.Cleanup(func() { conn.Close(); <-ended })
	return s, path
}

// times returns how often something was said.
func (s *systemd) times(state string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, x := range s.said {
		if x == state {
			n++
		}
	}
	return n
}

// page returns what the agent answers over its http.
func page(t *testing.T, addr, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestRun is the life of a service: it starts, is watched, takes a new
// configuration, refuses a bad one and says so, and stops.
func TestRun(t *testing.T) {
	manager, socket := listenAsSystemd(t)
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "300000")
	roof := serveUnits(t, "tcp://127.0.0.1:0", map[uint8]plant.Unit{1: sunspecUnit(t, 103, "inv-1"), 2: sunspecUnit(t, 113, "inv-2")})
	hall := serveUnits(t, "tcp://127.0.0.1:0", map[uint8]plant.Unit{1: sunspecUnit(t, 203, "grid")})
	http := freePort(t)
	one := "  - name: roof\n    timeout: 20s\n    endpoint: " + roof + "\n    devices:\n      - { id: inv-1, unit: 1, profile: sunspec }\n"
	two := "  - name: hall\n    timeout: 20s\n    endpoint: " + hall + "\n    devices:\n      - { id: grid, unit: 1, profile: sunspec }\n"
	file := configured(t, one+two, `listen: ""`, "listen: "+http)
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stop := startAgent(t, file)
	eventually(t, "READY and two signs of life", func() bool { return manager.times("READY=1") == 1 && manager.times("WATCHDOG=1") > 1 })
	status := func() string { out, _ := command(t, "status", "--config", file); return out }
	eventually(t, "both devices are read", func() bool { return strings.Count(status(), " good\n") == 2 })
	wants(t, status(), "edge    site-1", "NOT connected to tcp://127.0.0.1:1", "bus roof: ", "DEVICE", "LAST GOOD", "Kenshin Simulated model 203 serial grid", "! no connection to broker")
	_, err = command(t, "status", "--config", file)
	refused(t, err, 1, "to look at")
	if code, text := page(t, http, "/healthz"); code != 200 || text != "ok\n" {
		t.Errorf("/healthz answers %d %q", code, text)
	}
	_, text := page(t, http, "/metrics")
	wants(t, text, "# TYPE kenshin_edge_bus_cycles_total counter", `kenshin_edge_device_up{bus="hall",device="grid"} 1`, "kenshin_edge_broker_connected 0", "kenshin_edge_resident_memory_bytes ")
	out, err := command(t, "status", "--config", file, "--json")
	refused(t, err, 1)
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Buses) != 2 || r.Outbox.Bytes < 1000 || r.Outbox.First != 1 {
		t.Errorf("status as JSON: %v, %+v", err, r)
	}

	reload := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		ready := manager.times("READY=1")
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Signal(syscall.SIGHUP)
		}
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "READY again", func() bool { return manager.times("READY=1") > ready })
	}
	ask := func() report {
		t.Helper()
		_, text := page(t, http, "/status")
		var r report
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	reload(strings.Replace(string(first), "interval: 1s", "interval: often", 1))
	if r := ask(); !strings.Contains(r.Refused, "edge.yaml:3:") || len(r.Buses) != 2 || len(r.Problems) < 2 {
		t.Errorf("after a bad file: refused %q, problems %q", r.Refused, r.Problems)
	}
	_, text = page(t, http, "/metrics")
	wants(t, text, "kenshin_edge_config_current 0")
	reload(strings.Replace(string(first), "edge: site-1", "edge: site-2", 1))
	if r := ask(); !strings.Contains(r.Refused, "another edge needs a data folder of its own") || r.Edge != "site-1" {
		t.Errorf("after another edge: %s refuses %q", r.Edge, r.Refused)
	}
	more := strings.Replace(string(first), one, one+"      - { id: inv-2, unit: 2, profile: sunspec }\n", 1)
	reload(more)
	if r := ask(); r.Refused != "" {
		t.Errorf("a good file is refused: %s", r.Refused)
	}
	eventually(t, "the new device is read", func() bool { d := ask().Buses[0].Devices; return len(d) == 2 && !d[1].Good.IsZero() })
	r = ask()
	for _, b := range r.Buses {
		if b.Traffic == nil || b.Traffic.Connects != 1 {
			t.Errorf("bus %s was left for a change that does not concern its link: %+v", b.Name, b.Traffic)
		}
	}
	reload(strings.Replace(more, "level: error", "level: warn", 1))
	if r := ask(); !strings.Contains(r.Refused, "log changed") || !strings.Contains(r.Refused, "takes a restart") {
		t.Errorf("after a change that takes a restart: %q", r.Refused)
	}
	reload(strings.Replace(more, "level: error", "level: warn\n# a remark", 1))
	if r := ask(); !strings.Contains(r.Refused, "log changed") {
		t.Errorf("loaded again, and it still takes a restart: %q", r.Refused)
	}
	reload(more)
	if r := ask(); r.Refused != "" {
		t.Errorf("set back to what runs: %q", r.Refused)
	}
	if n := manager.times("RELOADING=1"); n != 6 {
		t.Errorf("RELOADING was said %d times, want 6", n)
	}
	stop()
	eventually(t, "STOPPING", func() bool { return manager.times("STOPPING=1") == 1 })
	_, err = command(t, "status", "--config", file)
	refused(t, err, 1, "is it running with")
	wants(t, must(t, "dump", filepath.Join(filepath.Dir(file), "data", "outbox")), "inv-2")
}

// TestWatchdog: a bus that does not move takes the signs of life away, which lets
// systemd start the agent again.
func TestWatchdog(t *testing.T) {
	manager, socket := listenAsSystemd(t)
	env := map[string]string{"NOTIFY_SOCKET": socket, "WATCHDOG_USEC": "30000", "WATCHDOG_PID": fmt.Sprint(os.Getpid())}
	n := newNotifier(func(k string) string { return env[k] })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go n.watch(ctx, func() []string { return []string{"roof"} })
	eventually(t, "it says what stalls", func() bool { return manager.times("STATUS=stalled: roof") > 3 })
	if n := manager.times("WATCHDOG=1"); n > 0 {
		t.Errorf("%d signs of life while a bus stalls", n)
	}
	env["WATCHDOG_PID"] = "1"
	if n := newNotifier(func(k string) string { return env[k] }); n.every != 0 {
		t.Error("the watchdog of another process is fed")
	}
	newNotifier(func(string) string { return "" }).say("READY=1") // without systemd: nothing
}

// TestRunRefuses: what keeps the agent from starting is told before anything else
// happens.
func TestRunRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	plain := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		edit []string
		want string
	}{
		{"its port is taken", []string{`listen: ""`, "listen: " + taken.Addr().String()}, "choose another port"},
		{"no collector's key", []string{"key: " + anyKey, "key_file: /no/such/file"}, "kenshin-collector identity"},
		{"data is a file", []string{"data: ", "data: " + plain + "/"}, "data folder"},
	} {
		_, err := command(t, "run", "--config", configured(t, oneBus, tt.edit...))
		t.Run(tt.name, func(t *testing.T) { refused(t, err, 2, "edge.yaml", tt.want) })
	}
	file := configured(t, oneBus, `listen: ""`, "listen: "+freePort(t))
	startAgent(t, file)
	eventually(t, "it runs", func() bool { out, _ := command(t, "status", "--config", file); return out != "" })
	_, err = command(t, "run", "--config", file)
	refused(t, err, 2, "that no other agent uses")
	_, err = command(t, "repair", filepath.Join(filepath.Dir(file), "data", "outbox"))
	refused(t, err, 2, "stop the agent first")
	_, err = command(t, "status", "--config", configured(t, oneBus))
	refused(t, err, 2, "set http.listen")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }))
	defer other.Close()
	_, err = command(t, "status", "--config", configured(t, oneBus, `listen: ""`, "listen: "+strings.TrimPrefix(other.URL, "http://")))
	refused(t, err, 1, "is that another program?")
}
