package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"kenshin/configs"
)

// put writes a file of a test and returns its path.
func put(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// example returns an example file of configs with every port left to the system.
func example(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../configs", name))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	free := strings.NewReplacer("127.0.0.1:5020", "127.0.0.1:0", "127.0.0.1:5021", "127.0.0.1:0", "rtu:///tmp/kenshin-line", "rtu://"+filepath.Join(dir, "line"))
	return put(t, dir, name, free.Replace(string(text)))
}

// TestPlantExample runs the example of a plant file and lets things go wrong in
// it by command.
func TestPlantExample(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("has a serial line, which needs Linux")
	}
	r := start(t, "--plant", example(t, "plant.example.yaml"), "--control", free)
	if got := ask(t, r.addr["roof"], 1, 3, 40000, 2); string(got) != "SunS" {
		t.Errorf("inv-1 at 40000: %q", got)
	}
	if got := ask(t, r.addr["roof"], 2, 3, 40070, 1); !bytes.Equal(got, []byte{701 >> 8, 701 & 0xFF}) {
		t.Errorf("inv-2 has model % x first, want 701", got)
	}
	if !strings.HasPrefix(r.addr["line"], "/dev/pts/") {
		t.Errorf("the line is %q", r.addr["line"])
	}
	said := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if err := run(t.Context(), append(args, "--control", r.addr["control"]), &out, io.Discard); err != nil {
			return "error: " + err.Error()
		}
		return out.String()
	}
	if got := said("fault", "inv-1", "exception-9", "times=2"); got != "inv-1: fault injected\n" {
		t.Errorf("fault: %q", got)
	}
	for i, want := range []string{"\xEE\x09", "\xEE\x09", "SunS"} {
		if got := ask(t, r.addr["roof"], 1, 3, 40000, 2); string(got) != want {
			t.Errorf("request %d: %q, want %q", i, got, want)
		}
	}
	if got := said("list"); !strings.Contains(got, "inv-1            roof           unit 1   hit 2\n") || !strings.Contains(got, "late 300ms for 10s every 5m0s") {
		t.Errorf("list:\n%s", got)
	}
	if got := said("clear"); got != "3 faults ended\n" {
		t.Errorf("clear: %q, want the three of the file", got)
	}
	if got := said("fault", "inv-1", "late", "soon"); !strings.Contains(got, `error: late "soon": want a time`) {
		t.Errorf("fault with a wrong time: %q", got)
	}
}

// TestScenarioExample gives the faults of the example to the simulated plant.
func TestScenarioExample(t *testing.T) {
	r := start(t, "--scenario", example(t, "scenario.example.yaml"), "--control", free, "--fault", "unit=3 exception-9",
		"--listen", free, "--listen-meter", free, "--listen-chiller", free, "--start", "2024-01-20T12:00")
	for range 2 {
		if got := ask(t, r.addr["export meter"], 1, 4, 0, 2); !bytes.Equal(got, []byte{0xEE, 6}) {
			t.Errorf("the export meter answers % x, want busy", got)
		}
	}
	if got := ask(t, r.addr["export meter"], 1, 4, 0, 2); len(got) != 4 {
		t.Errorf("the third answer of the export meter is % x", got)
	}
	if got := ask(t, r.addr["inverters"], 3, 3, 40000, 2); !bytes.Equal(got, []byte{0xEE, 9}) {
		t.Errorf("unit 3 answers % x, want what -fault says", got)
	}
}

// TestPlantOfFiles serves dumps and a counter, by the clock of its readings.
func TestPlantOfFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "counter.csv", "time,value\n2026-06-01 12:00,100.5\n2026-06-01 12:15,101\n")
	put(t, dir, "dump.txt", "# a dump\n[10]: 0x1234\n[11]: 0x5678\n")
	put(t, dir, "frame.hex", "000100000005010302abcd\n")
	file := put(t, dir, "plant.yaml", `zone: Asia/Tokyo
clock_listen: 127.0.0.1:0
endpoints:
  - name: roof
    listen: tcp://127.0.0.1:0
    units:
      - { id: dump, unit: 1, dump: [{ file: dump.txt }, { file: frame.hex, base: 20 }] }
      - { id: meter, unit: 2, profile: schneider-pm5100, csv: { file: counter.csv, unit: kWh } }
      - { id: sun, unit: 3, sunspec: 203, csv: { file: counter.csv, unit: kWh } }
faults: [dump frozen]
`)
	r := start(t, "--plant", file, "--control", "none")
	for _, tt := range []struct {
		unit           uint8
		address, count uint16
		want           []byte
	}{
		{1, 10, 2, []byte{0x12, 0x34, 0x56, 0x78}},
		{1, 20, 1, []byte{0xAB, 0xCD}},
		{1, 11, 2, []byte{0xEE, 2}},
		{2, 3203, 4, []byte{0, 0, 0, 0, 0, 1, 0x88, 0x94}}, // 100500 Wh
		{3, 40116, 2, []byte{0, 1, 0x88, 0x94}},            // TotWhImp
		{4, 10, 1, []byte{0xEE, 0x0B}},
	} {
		if got := ask(t, r.addr["roof"], tt.unit, 3, tt.address, tt.count); !bytes.Equal(got, tt.want) {
			t.Errorf("unit %d registers %d+%d: % x, want % x", tt.unit, tt.address, tt.count, got, tt.want)
		}
	}
	if r.addr["clock"] == "" {
		t.Error("no clock")
	}
}

func TestPlantFileRefuses(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "dump.txt", "[10]: 0x1234\n")
	put(t, dir, "bad.txt", "[10]: 0x12345\n")
	put(t, dir, "fine.csv", "1000,35089.902\n")
	put(t, dir, "bad.csv", "1000,1\n1000,2\n")
	unit := "endpoints:\n  - name: roof\n    listen: tcp://127.0.0.1:0\n    units:\n      - %s\n"
	for i, tt := range []struct{ text, want string }{
		{"endpoint: []\n", `:1: key "endpoint" is unknown here`},
		{"zone: Mars\n", `:1: zone "Mars" is none this machine knows`},
		{"zone: UTC\n", "no `endpoints`"},
		{"speed: -1\nendpoints: []\n", ":1: speed -1"},
		{"endpoints:\n  - listen: tcp://127.0.0.1:0\n", `:2: endpoint name ""`},
		{"endpoints:\n  - name: a\n", "endpoint without `listen`"},
		{"endpoints:\n  - name: a\n    listen: tcp://127.0.0.1:0\n", "endpoint without `units`"},
		{"start: noon\n" + fmt.Sprintf(unit, "{id: a, unit: 1, sunspec: 103}"), `:1: start "noon": want now`},
		{"clock_listen: 127.0.0.1:0\n" + fmt.Sprintf(unit, "{id: a, unit: 1, sunspec: 103}"), ":1: a clock that jumps from reading to reading, and no unit with a `csv`"},
		{fmt.Sprintf(unit, "{id: a, unit: 0, sunspec: 103}"), ":5: unit number 0; want 1 to 247"},
		{fmt.Sprintf(unit, "{id: a, unit: 1, sunspec: 103}\n      - {id: b, unit: 1, sunspec: 103}"), ":6: unit number 1; want 1 to 247, each once"},
		{fmt.Sprintf(unit, "{id: a, unit: 1, sunspec: 103}\n      - {id: a, unit: 2, sunspec: 103}"), `:6: unit id "a" is also unit 1 at roof`},
		{fmt.Sprintf(unit, "{id: a, unit: 1}"), `:5: unit "a": want one of sunspec, profile and dump`},
		{fmt.Sprintf(unit, "{id: a, unit: 1, sunspec: 103, profile: x}"), "want one of sunspec, profile and dump"},
		{fmt.Sprintf(unit, "{id: a, unit: 1, sunspec: 104}"), "SunSpec model 104 is not simulated"},
		{fmt.Sprintf(unit, "{id: a, unit: 1, profile: none}"), `there is no profile "none"`},
		{fmt.Sprintf(unit, "{id: a, unit: 1, profile: ../x}"), `profile "../x": want its name`},
		{fmt.Sprintf(unit, "{id: a, unit: 1, profile: goodwe-dt, vector: 99}"), "has no vector 99"},
		{fmt.Sprintf(unit, "{id: a, unit: 1, dump: [{file: none.txt}]}"), "no such file"},
		{fmt.Sprintf(unit, "{id: a, unit: 1, dump: [{file: bad.txt}]}"), "bad.txt: line 1"},
		{fmt.Sprintf(unit, "{id: a, unit: 1, dump: [{file: dump.txt, base: 4}]}"), "base is for a .hex frame"},
		{fmt.Sprintf(unit, "{id: a, unit: 1, dump: [{file: dump.txt}, {file: dump.txt}]}"), "register 10 is in two dumps"},
		{fmt.Sprintf(unit, "{id: a, unit: 1, dump: [{file: dump.txt}], power_W: 3}"), "a dump stands still"},
		{fmt.Sprintf(unit, "{id: a, unit: 1, sunspec: 203, csv: {file: none.csv, unit: kWh}}"), "no such file"},
		{fmt.Sprintf(unit, "{id: a, unit: 1, sunspec: 203, csv: {file: bad.csv, unit: kWh}}"), "bad.csv: line 2: time 1000 is not after"},
		{fmt.Sprintf(unit, "{id: a, unit: 1, sunspec: 203, csv: {file: fine.csv, unit: kw}}"), `unit "kw": want Wh, kWh or MWh`},
		{fmt.Sprintf(unit, "{id: a, unit: 1, profile: generic-energy-meter, csv: {file: fine.csv, unit: kWh}}"), "counts in steps of 10 Wh"},
		{fmt.Sprintf(unit, "{id: a, unit: 1, sunspec: 103}") + "faults:\n  - a late\n  - b late\n", `:8: no unit "b"; want one of a, or all`},
		{fmt.Sprintf(unit, "{id: a, unit: 1, sunspec: 103}") + "faults:\n  - a late 3\n", `:7: late "3": want a time`},
		{fmt.Sprintf(unit, "{id: a, unit: 1, dump: [{file: dump.txt}]}") + "faults:\n  - a dip\n", ":7: a: what its registers mean is not known"},
		{strings.Replace(fmt.Sprintf(unit, "{id: a, unit: 1, sunspec: 103}"), "tcp://127.0.0.1:0", "udp://127.0.0.1:0", 1), "want tcp://HOST:PORT, rtutcp://HOST:PORT or rtu:///LINK"},
	} {
		file := put(t, dir, fmt.Sprintf("plant%d.yaml", i), tt.text)
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // a file that is not refused must not serve for ever
		var stdout bytes.Buffer
		err := run(ctx, []string{"--plant", file, "--control", "none"}, &stdout, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) || configs.ExitCode(err) != 2 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s\nrun = %v (exit %d), want one line with %q and exit 2", tt.text, err, configs.ExitCode(err), tt.want)
		}
		if stdout.Len() > 0 {
			t.Errorf("%s\nsaid %q before it gave up", tt.text, &stdout)
		}
	}
}
