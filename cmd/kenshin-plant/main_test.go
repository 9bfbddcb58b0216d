package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kenshin/configs"
)

const free = "127.0.0.1:0" // the system chooses the port

// running is a kenshin-plant in this process.
type running struct {
	lines chan string // what it prints
	addr  map[string]string
}

// start runs the command until the test ends, when it must end without an
// error, and reads where it serves what.
func start(t *testing.T, args ...string) running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	var ended error
	over := make(chan struct{})
	go func() {
		ended = run(ctx, args, in, io.Discard)
		close(over)
		in.Close()
	}()
	r := running{lines: make(chan string, 100), addr: make(map[string]string)}
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		cancel()
		if <-over; ended != nil {
			t.Errorf("run = %v after its ctx ended, want nil", ended)
		}
	})
	for line := range r.lines {
		if strings.HasPrefix(line, "next") {
			return r
		}
		for _, name := range []string{"inverters", "export meter", "chiller meter", "clock", "control", "roof", "converter", "line"} {
			if rest, ok := strings.CutPrefix(line, "  "+name+" "); ok {
				r.addr[name] = strings.Fields(rest)[0]
			}
		}
	}
	<-over
	t.Fatalf("ended at once: %v", ended)
	return r
}

// ask reads registers from an endpoint; the answer is without its function.
func ask(t *testing.T, addr string, unit, function uint8, address, count uint16) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	q := []byte{0, 1, 0, 0, 0, 6, unit, function}
	q = binary.BigEndian.AppendUint16(q, address)
	if _, err := conn.Write(binary.BigEndian.AppendUint16(q, count)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 9)
	if _, err := io.ReadFull(conn, head); err != nil {
		t.Fatal(err)
	}
	if head[7] != function {
		return []byte{0xEE, head[8]}
	}
	words := make([]byte, head[8])
	if _, err := io.ReadFull(conn, words); err != nil {
		t.Fatal(err)
	}
	return words
}

func TestSimulatedPlant(t *testing.T) {
	args := []string{"--listen", free, "--listen-meter", free, "--listen-chiller", free, "--seed", "5", "--start", "2024-01-20T12:00", "--speed", "10"}
	a := start(t, args...)
	for unit := range uint8(3) {
		if got := ask(t, a.addr["inverters"], unit+1, 3, 40000, 2); string(got) != "SunS" {
			t.Errorf("unit %d at 40000: %q", unit+1, got)
		}
		if got := ask(t, a.addr["inverters"], unit+1, 3, 40084, 1); got[0] == 0 && got[1] == 0 {
			t.Errorf("unit %d makes no power at noon", unit+1)
		}
	}
	if got := ask(t, a.addr["inverters"], 4, 3, 40000, 2); !bytes.Equal(got, []byte{0xEE, 0x0B}) {
		t.Errorf("unit 4 answers % x", got)
	}
	if got := ask(t, a.addr["export meter"], 1, 4, 0x4A, 2); bytes.Equal(got, make([]byte, 4)) {
		t.Error("the export meter shows nothing")
	}
	if got := ask(t, a.addr["chiller meter"], 1, 3, 0, 2); bytes.Equal(got, make([]byte, 4)) {
		t.Error("the chiller's meter shows nothing")
	}
	b := start(t, args...) // the same plant again
	for unit := range uint8(3) {
		serial := func(r running) []byte { return ask(t, r.addr["inverters"], unit+1, 3, 40052, 16) }
		if !bytes.Equal(serial(a), serial(b)) {
			t.Errorf("unit %d has serial %q and %q", unit+1, serial(a), serial(b))
		}
	}
}

func TestReplay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "generation.csv")
	text := "DATE_TIME,SOURCE_KEY,AC_POWER,TOTAL_YIELD\n" +
		"15-05-2020 12:00,b,10,100.5\n15-05-2020 12:15,a,0,7\n15-05-2020 12:15,b,10,103\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, "--replay", file, "--listen", free, "--clock-listen", free)
	for unit, want := range map[uint8][]byte{1: {0xEE, 0x0B}, 2: {0, 0, 0, 0, 0, 1, 0x88, 0x94}} {
		if got := ask(t, r.addr["inverters"], unit, 3, 40127, 4); !bytes.Equal(got, want) {
			t.Errorf("unit %d at 12:00: % x, want % x", unit, got, want)
		}
	}
	conn, err := net.Dial("tcp", r.addr["clock"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	at := time.Date(2020, 5, 15, 6, 30, 0, 0, time.UTC).UnixMilli()
	next := at + 15*60*1000
	fmt.Fprintf(conn, "sleep %d %d\n", at, next)
	in := bufio.NewReader(conn)
	if got, err := in.ReadString('\n'); err != nil || got != fmt.Sprintln(next) {
		t.Fatalf("the clock woke at %q, %v; want %d", got, err, next)
	}
	if got, want := ask(t, r.addr["inverters"], 1, 3, 40127, 4), []byte{0, 0, 0, 0, 0, 0, 0x1B, 0x58}; !bytes.Equal(got, want) {
		t.Errorf("unit 1 at 12:15: % x, want % x", got, want)
	}
	fmt.Fprintf(conn, "sleep %d %d\n", next, next+1)
	if line := <-r.lines; !strings.HasPrefix(line, "end ") {
		t.Errorf("at the end of the file it says %q", line)
	}
}

func TestRefuses(t *testing.T) {
	busy, err := net.Listen("tcp", free)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	dir := t.TempDir()
	broken, good := filepath.Join(dir, "broken.csv"), filepath.Join(dir, "good.csv")
	for name, last := range map[string]string{broken: "5.0001", good: "5"} {
		text := "DATE_TIME,SOURCE_KEY,AC_POWER,TOTAL_YIELD\n15-05-2020 12:00,b,10," + last + "\n"
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in := "address already in use; end the program that has it, or give another port with "
	for _, tt := range []struct {
		args string
		want string
	}{
		{"--start 2024-01-02 --listen " + busy.Addr().String(), in + "-listen"},
		{"--start 2024-01-02 --listen " + free + " --listen-meter " + busy.Addr().String(), in + "-listen-meter"},
		{"--replay " + good + " --listen " + free + " --clock-listen " + busy.Addr().String(), in + "-clock-listen"},
		{"--start 2024-01-02 --listen nowhere", "give host:port of this machine with -listen"},
		{"--replay " + filepath.Join(dir, "none.csv"), "no such file; give the path"},
		{"--replay " + broken, broken + `: line 2: TOTAL_YIELD "5.0001": want kWh`},
		{"--replay " + dir, "is a directory"},
		{"--zone Mars/Olympus", `-zone "Mars/Olympus": not a time zone`},
		{"--speed 0", "-speed 0: want a number above 0"},
		{"--speed NaN", "-speed NaN: want a number above 0"},
		{"--latitude 91", "want -90 to 90"},
		{"--start yesterday", `-start "yesterday": want now, 2026-06-01`},
		{"--start 2020-01-01", "the plant was built 2024-01-01"},
		{"--sped 3", "unknown flag --sped"},
		{"--seed many", "--seed"},
		{"--start 2024-01-02 --listen " + free + " --listen-meter " + free + " --listen-chiller " + free + " --control 0.0.0.0:0", `-control "0.0.0.0:0": want an address of this machine's loopback`},
		{"--start 2024-01-02 --listen " + free + " --listen-meter " + free + " --listen-chiller " + free + " --control " + busy.Addr().String(), in + "-control"},
		{"--fault inv-9=late", `-fault "inv-9=late": no unit "inv-9"; want one of inv-1, inv-2, inv-3, export-meter, chiller-meter, or all`},
		{"--fault inv-1=laet", `-fault "inv-1=laet": fault "laet": want one of late`},
		{"--scenario none.yaml", "none.yaml: no such file"},
		{"--plant none.yaml", "none.yaml: no such file"},
		{"--plant a.yaml --replay b.csv", "want one of them"},
		{"fault", "fault: say of which unit"},
		{"fault inv-1 late --control " + free, "start kenshin-plant, or name its control"},
	} {
		var stdout bytes.Buffer
		err := run(t.Context(), strings.Fields(tt.args), &stdout, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) || configs.ExitCode(err) != 2 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: run = %v (exit %d), want one line with %q and exit 2", tt.args, err, configs.ExitCode(err), tt.want)
		}
		if stdout.Len() > 0 {
			t.Errorf("%s: said %q before it gave up", tt.args, &stdout)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, tt := range []struct{ arg, want string }{
		{"--help", "--clock-listen"},
		{"faults", "sentinel-night     counters and gauges read not available"},
		{"version", "kenshin-plant "},
	} {
		var stdout bytes.Buffer
		if err := run(t.Context(), []string{tt.arg}, &stdout, io.Discard); err != nil || !strings.Contains(stdout.String(), tt.want) {
			t.Errorf("%s: %v, said %q, want %q in it", tt.arg, err, &stdout, tt.want)
		}
	}
}

// TestCheckConfig: a plant is built and not served, and a bad one is refused.
func TestCheckConfig(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"check-config"}, 0, "the plant is good: 3 endpoints"},
		{[]string{"check-config", "-plant", "../../configs/plant.example.yaml"}, 0, "the plant is good"},
		{[]string{"check-config", "-fault", "inv-1 late 300ms", "-scenario", "../../configs/scenario.example.yaml"}, 0, "the plant is good"},
		{[]string{"check-config", "-fault", "inv-9 late 300ms"}, 2, "inv-9"},
		{[]string{"check-config", "-zone", "Mars/Phobos"}, 2, "Mars/Phobos"},
		{[]string{"check-config", "-plant", "none.yaml"}, 2, "none.yaml"},
	} {
		var out bytes.Buffer
		err := run(t.Context(), tt.args, &out, io.Discard)
		if got := fmt.Sprint(out.String(), err); configs.ExitCode(err) != tt.code || !strings.Contains(got, tt.want) {
			t.Errorf("%v: exit %d, %s; want exit %d and %q", tt.args, configs.ExitCode(err), got, tt.code, tt.want)
		}
	}
}
