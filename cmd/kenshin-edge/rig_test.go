package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"kenshin/configs"
	"kenshin/edge/plant"
)

// anyKey is a public key of nobody.
var anyKey = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))

// command runs kenshin-edge and returns what it prints.
func command(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out, progress bytes.Buffer
	err = run(t.Context(), args, &out, &progress)
	return out.String(), err
}

// must is command for what has to succeed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command(t, args...)
	if err != nil {
		t.Fatalf("kenshin-edge %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// wants checks what a command prints, however wide its columns are.
func wants(t *testing.T, out string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(squeezed(out), squeezed(p)) {
			t.Errorf("nothing says %q in\n%s", p, out)
		}
	}
}

var blanks = regexp.MustCompile(" +")

func squeezed(s string) string { return blanks.ReplaceAllString(s, " ") }

// refused checks how a command ends that should not succeed.
func refused(t *testing.T, err error, code int, parts ...string) {
	t.Helper()
	if configs.ExitCode(err) != code {
		t.Errorf("%v ends with %d, want %d", err, configs.ExitCode(err), code)
	}
	for _, p := range parts {
		if err != nil && !strings.Contains(err.Error(), p) {
			t.Errorf("%v: nothing says %q", err, p)
		}
	}
}

// serveUnits serves units until the test ends, and returns where.
func serveUnits(t *testing.T, endpoint string, units map[uint8]plant.Unit) string {
	t.Helper()
	s, err := plant.Open(endpoint, units)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s.Endpoint()
}

// running is when a plant's units began.
var running = time.Now()

func sunspecUnit(t *testing.T, model uint16, serial string) plant.Unit {
	t.Helper()
	u, err := plant.SunSpecModel(model, plant.Nameplate{Manufacturer: "Kenshin", Model: fmt.Sprintf("Simulated model %d", model), Version: "1", Serial: serial},
		plant.Steady(running, 123_456_000, 36_000_000/10), plant.NewScaled(running, 1))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func profileUnit(t *testing.T, name string, vector int) plant.Unit {
	t.Helper()
	all, err := allProfiles("")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		if k.profile.Name == name {
			u, err := plant.NewProfile(plant.ProfileConfig{Profile: &k.profile, Vector: vector})
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
	}
	t.Fatalf("no profile %q", name)
	return nil
}

// registers is a unit that holds what a test puts there, by function 3. Others
// are illegal.
type registers struct {
	mu    sync.Mutex
	words map[uint16]uint16
	asked int
}

func (r *registers) Read(function uint8, address, count uint16) ([]uint16, uint8) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if function != 3 {
		return nil, 1
	}
	var out []uint16
	for i := range count {
		w, ok := r.words[address+i]
		if !ok {
			return nil, 2
		}
		out = append(out, w)
	}
	return out, 0
}

// sunspecMap returns a SunSpec map at base with devices, each a common model and
// model 103 with an energy.
func sunspecMap(base uint16, wh ...uint16) *registers {
	image := []uint16{0x5375, 0x6E53}
	for i, e := range wh {
		common := make([]uint16, 68)
		common[0], common[1] = 1, 66
		copy(common[2:], []uint16{'S'<<8 | 'E'})
		copy(common[18:], []uint16{'M'<<8 | uint16('1'+i)})
		copy(common[50:], []uint16{'N'<<8 | uint16('1'+i)})
		model := make([]uint16, 52)
		model[0], model[1], model[25] = 103, 50, e
		image = append(append(image, common...), model...)
	}
	r := &registers{words: make(map[uint16]uint16)}
	for i, w := range append(image, 0xFFFF, 0) {
		r.words[base+uint16(i)] = w
	}
	return r
}

// refusing is a unit that answers everything with an exception.
type refusing uint8

func (e refusing) Read(uint8, uint16, uint16) ([]uint16, uint8) { return nil, uint8(e) }

// freePort returns an address nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// configured writes a configuration with buses and returns its path. edit may
// change the text.
func configured(t *testing.T, buses string, edit ...string) string {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf(`edge: site-1
data: %s
interval: 1s
broker:
  url: tcp://127.0.0.1:1
collector:
  key: %s
http:
  listen: ""
log:
  level: error
buses:
%s`, filepath.Join(dir, "data"), anyKey, buses)
	text = strings.NewReplacer(edit...).Replace(text)
	file := filepath.Join(dir, "edge.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in a minute: " + what)
		}
	}
}
