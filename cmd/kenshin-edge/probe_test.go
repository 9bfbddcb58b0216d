package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kenshin/edge/plant"
)

// TestProbeToReadings is an installer's first hour: three links are probed, what
// was found becomes a configuration, and the agent that runs by it reads all of
// it.
func TestProbeToReadings(t *testing.T) {
	tcp := serveUnits(t, "tcp://127.0.0.1:0", map[uint8]plant.Unit{1: sunspecUnit(t, 103, "inv-1"), 2: sunspecUnit(t, 701, "inv-2"), 7: sunspecMap(4096, 700, 800)})
	converter := serveUnits(t, "rtutcp://127.0.0.1:0", map[uint8]plant.Unit{1: profileUnit(t, "eastron-sdm630", 0), 2: profileUnit(t, "schneider-pm5100", 1)})
	line := serveUnits(t, "rtu://", map[uint8]plant.Unit{2: profileUnit(t, "generic-energy-meter", 0)})
	file := filepath.Join(t.TempDir(), "edge.yaml")
	data, out := t.TempDir(), ""
	for _, timeout := range []string{"300ms", "1s", "5s"} { // a busy machine takes longer
		out = must(t, "probe", strings.TrimPrefix(tcp, "tcp://"), converter, strings.TrimPrefix(strings.TrimSuffix(line, "?baud=9600"), "rtu://"),
			"--units", "1-2,7", "--timeout", timeout, "--write", file, "--force", "--collector-key", anyKey, "--data", data)
		if strings.Contains(out, "written, with 7 devices") {
			break
		}
	}
	wants(t, out,
		"simulated-model-103-1, unit 1: SunSpec map at 40000 with models [1 103 122]: Kenshin Simulated model 103, serial number inv-1",
		"POINT", "VALUE", "UNIT", "QUALITY", "REGISTERS",
		"ActWh *", "not-available: 0xFFFF", "* counts its energy.",
		"m1-7, unit 7: SunSpec map at 4096", "m2-7-sub1, unit 7", "device 2 behind this unit",
		"eastron-sdm630-1, unit 1: a guess", "GUESS: do not believe it", "UNVERIFIED profile eastron-sdm630",
		"schneider-pm5100-2, unit 2: register 49 holds",
		"generic-energy-meter-2, unit 2: a guess", "written, with 7 devices")
	wants(t, must(t, "check-config", "--config", file), "is good", "UNVERIFIED", "device 2 behind this unit")
	wants(t, must(t, "read", "--config", file), "m2-7-sub1  unit 7 on bus bus-1: SE M2 serial N2", "WH *    800", "import_kWh *")

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, string(text), "bases: [4096], sub: 1", "UNVERIFIED profile", "GUESS: compare")
	quick := strings.NewReplacer("interval: 60s", "interval: 1s", "listen: 127.0.0.1:9464", "listen: "+freePort(t)).Replace(string(text))
	if err := os.WriteFile(file, []byte(quick), 0o644); err != nil {
		t.Fatal(err)
	}
	stop := startAgent(t, file)
	defer stop()
	eventually(t, "all seven devices are read", func() bool {
		out, err := command(t, "status", "--config", file)
		return err != nil && strings.Count(out, " good\n") == 7
	})
}

// TestProbeSelfCheck: what a counter counts is compared with what power makes of
// it, and a device that does not fit is not to be believed.
func TestProbeSelfCheck(t *testing.T) {
	at := strings.TrimPrefix(serveUnits(t, "tcp://127.0.0.1:0", map[uint8]plant.Unit{1: sunspecUnit(t, 203, "grid")}), "tcp://")
	out := must(t, "probe", at, "--units", "1", "--for", "400ms", "--every", "100ms")
	wants(t, out, "self-check over", "simulated-model-203-1: too little to tell: ")
	_, err := command(t, "probe", at, "--units", "1", "--for", "1s", "--every", "1ms")
	refused(t, err, 2, "--every")
}

// TestProbeOneDeviceManyUnits: a device that does not look at the unit id is one
// device, and the rest of the units is not asked.
func TestProbeOneDeviceManyUnits(t *testing.T) {
	units := make(map[uint8]plant.Unit)
	same := sunspecMap(40000, 700)
	for u := range 247 {
		units[uint8(u+1)] = same
	}
	at := strings.TrimPrefix(serveUnits(t, "tcp://127.0.0.1:0", units), "tcp://")
	wants(t, must(t, "probe", at), "It answers every unit alike; units 5-247 were not asked.", "m1-1 answers as unit 2-4 too.")
}

// TestProbeWithoutSerialNumber: devices that were left with the serial number 0 are
// told apart by what they count, and one that is told to no unit is still one.
func TestProbeWithoutSerialNumber(t *testing.T) {
	blank := func(wh uint16) *registers {
		r := sunspecMap(40000, wh)
		r.words[40000+2+50] = '0' << 8
		return r
	}
	at := strings.TrimPrefix(serveUnits(t, "tcp://127.0.0.1:0", map[uint8]plant.Unit{1: blank(700), 2: blank(900), 3: blank(0), 4: blank(0)}), "tcp://")
	out := must(t, "probe", at, "--units", "1-4", "--timeout", "5s")
	wants(t, out, "m1-1, unit 1", "m1-2, unit 2", "m1-3, unit 3", "m1-4, unit 4")
	if strings.Contains(out, "too.") {
		t.Errorf("two devices are taken for one:\n%s", out)
	}
}

// TestProbeByProfile: a profile of one's own that names no identity registers is read
// when the command line says so.
func TestProbeByProfile(t *testing.T) {
	text, err := os.ReadFile("../../configs/profiles/generic-energy-meter.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "edge.yaml")
	own := strings.Replace(string(text), "name: generic-energy-meter", "name: my-meter", 1)
	if err := os.WriteFile(filepath.Join(dir, "my-meter.yaml"), []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	at := strings.TrimPrefix(serveUnits(t, "tcp://127.0.0.1:0", map[uint8]plant.Unit{5: profileUnit(t, "generic-energy-meter", 0)}), "tcp://")
	out := must(t, "probe", at, "--units", "5", "--timeout", "5s", "--profiles", dir, "--profile", "my-meter", "--write", file)
	wants(t, out, "my-meter-5, unit 5: taken for", "because --profile says so", "GUESS", "import_kWh *", "written, with 1 device")
	wants(t, must(t, "check-config", "--config", file), "my-meter: 5 points")
	_, err = command(t, "probe", at, "--units", "5", "--profile", "no-meter")
	refused(t, err, 2, `there is no profile "no-meter"`)
}

// TestProbeStopped: Ctrl-C ends a scan that would take minutes, and keeps what
// was found so far.
func TestProbeStopped(t *testing.T) {
	at := serveUnits(t, "rtutcp://127.0.0.1:0", map[uint8]plant.Unit{1: sunspecUnit(t, 103, "inv-1")})
	file := filepath.Join(t.TempDir(), "edge.yaml")
	ctx, stop := context.WithCancel(t.Context())
	var out, progress bytes.Buffer
	ended := make(chan error, 1)
	found := writerFunc(func(b []byte) (int, error) {
		if strings.Contains(string(b), "counts its energy") {
			stop()
		}
		return out.Write(b)
	})
	go func() {
		ended <- run(ctx, []string{"probe", at, "--timeout", "2s", "--write", file}, found, &progress)
	}()
	select {
	case err := <-ended:
		refused(t, err, 1, "stopped; units 2-247 were not asked")
	case <-time.After(time.Minute):
		t.Fatal("it goes on")
	}
	wants(t, out.String(), "serial number inv-1", "written, with 1 device")
	wants(t, progress.String(), "A unit that is not there costs 8.079s, so this takes up to 33m16s", "Ctrl-C")
	if _, err := load(file); err != nil {
		t.Error(err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestProbeRefuses: whatever is on the other side, probe ends, with an exit code
// and a word that says what to do.
func TestProbeRefuses(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	mute := serveUnits(t, "tcp://127.0.0.1:0", map[uint8]plant.Unit{})
	odd := serveUnits(t, "tcp://127.0.0.1:0", map[uint8]plant.Unit{1: refusing(2), 2: refusing(4)})
	quiet := serveUnits(t, "rtu://", map[uint8]plant.Unit{9: refusing(2)})
	closer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	go func() {
		for {
			c, err := closer.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	there := filepath.Join(t.TempDir(), "there.yaml")
	if err := os.WriteFile(there, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		code int
		want string // what the error says
	}{
		{[]string{freePort(t)}, 1, "connection refused; check address"},
		{[]string{"no-such-host.invalid"}, 1, "no-such-host.invalid"},
		{[]string{closer.Addr().String()}, 1, "many take one connection only"},
		{[]string{strings.TrimPrefix(web.URL, "http://"), "--timeout", "250ms"}, 1, "rtutcp://"},
		{[]string{mute}, 1, "a gateway answers, and says that none of these units is behind it"},
		{[]string{odd}, 1, "no device that is known here"},
		{[]string{strings.TrimPrefix(strings.TrimSuffix(quiet, "?baud=9600"), "rtu://"), "--timeout", "250ms"}, 1, "A and B swapped?"},
		{[]string{"/dev/no-such-tty"}, 1, "plug in the adapter"},
		{[]string{there}, 1, "is not a serial port"},
		{[]string{mute, freePort(t)}, 1, "connection refused"},
		{[]string{}, 2, "target"},
		{[]string{"http://127.0.0.1"}, 2, "it begins with none of these"},
		{[]string{"/dev/ttyS0", "--baud", "1234"}, 2, "9600"},
		{[]string{"/dev/ttyS0", "--parity", "some"}, 2, "none, even or odd"},
		{[]string{"/dev/ttyS0", "--units", "0-5"}, 2, "0 speaks to all of them"},
		{[]string{mute, "--units", "1-300"}, 2, "0 to 255"},
		{[]string{mute, "--units", "5-1"}, 2, "no range"},
		{[]string{mute, "--timeout=-1s"}, 2, "negative"},
		{[]string{mute, "--timeout", "soon"}, 2, "timeout"},
		{[]string{mute, "--edge", "Ä"}, 2, "--edge"},
		{[]string{mute, "--profiles", "/no/such/folder"}, 2, "folder of profiles"},
		{[]string{mute, "--write", there}, 2, "say --force"},
		{[]string{mute, "--write", "/no/such/folder/edge.yaml"}, 2, "a folder that is there"},
		{[]string{mute, strings.TrimPrefix(mute, "tcp://")}, 2, "named twice"},
	} {
		args := append([]string{"probe"}, tt.args...)
		if tt.code == 1 {
			args = append(args, "--units", "1-2")
			if !slices.Contains(args, "--timeout") {
				args = append(args, "--timeout", "20s")
			}
		}
		out, err := command(t, args...)
		if err == nil {
			t.Errorf("%v succeeds:\n%s", tt.args, out)
			continue
		}
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) { refused(t, err, tt.code, tt.want) })
	}
}
