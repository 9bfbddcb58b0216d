package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const oneBus = `  - name: roof
    endpoint: tcp://127.0.0.1:5020
    devices:
      - { id: inv-1, unit: 1, profile: sunspec }
`

// TestConfigRefused: what is wrong in a configuration is told with its line and
// what to do, by every command that takes one, and nothing is started.
func TestConfigRefused(t *testing.T) {
	for _, tt := range []struct {
		name, buses string
		edit        []string
		line        string // of edge.yaml, "" when it is about the whole
		want        string
	}{
		{"an endpoint twice", oneBus + "  - name: again\n    endpoint: tcp://127.0.0.1:5020\n    devices:\n      - { id: inv-2, unit: 2, profile: sunspec }\n", nil, ":18:", "put all devices of an endpoint on one bus"},
		{"an endpoint in two framings", oneBus + "  - endpoint: rtutcp://127.0.0.1:5020?baud=9600\n    devices:\n      - { id: inv-2, unit: 2, profile: sunspec }\n", nil, ":17:", "put all devices of an endpoint on one bus"},
		{"a bus name twice", oneBus + "  - name: roof\n    endpoint: tcp://127.0.0.1:5021\n    devices:\n      - { id: inv-2, unit: 2, profile: sunspec }\n", nil, ":17:", "another bus is called"},
		{"an id twice", oneBus + "      - { id: inv-1, unit: 2, profile: sunspec }\n", nil, ":17:", "also on bus roof"},
		{"a device twice", oneBus + "      - { id: inv-2, unit: 1, profile: sunspec }\n", nil, ":17:", `device "inv-2" is device "inv-1"`},
		{"an unknown profile", oneBus, []string{"profile: sunspec", "profile: sunspeck"}, ":16:", `there is no profile "sunspeck"`},
		{"a profile outside its folder", oneBus, []string{"profile: sunspec", "profile: ../profiles/eastron-sdm630"}, ":16:", "there is no profile"},
		{"sub without sunspec", oneBus, []string{"profile: sunspec", "profile: eastron-sdm630, sub: 1"}, ":16:", "only profile sunspec takes them"},
		{"a unit too large", oneBus, []string{"unit: 1", "unit: 256"}, ":16:", "256"},
		{"unit 0 on a line", oneBus, []string{"tcp://127.0.0.1:5020", "rtu:///dev/ttyUSB0", "unit: 1", "unit: 0"}, ":16:", "unit 1 to 247"},
		{"a bad endpoint", oneBus, []string{"tcp://127.0.0.1:5020", "modbus://127.0.0.1:5020"}, ":14:", "want tcp://host:port"},
		{"a speed no port has", oneBus, []string{"tcp://127.0.0.1:5020", "rtu:///dev/ttyUSB0?baud=9601"}, ":14:", "9601"},
		{"a bus without devices", "  - name: roof\n    endpoint: tcp://127.0.0.1:5020\n", nil, ":13:", "no `devices`"},
		{"a negative pause", oneBus, []string{"    devices:", "    gap: -1s\n    devices:"}, ":15:", "gap -1s is negative"},
		{"a negative timeout of a device", oneBus, []string{"profile: sunspec", "profile: sunspec, timeout: -5s"}, ":16:", `device "inv-1": timeout -5s is negative`},
		{"a timeout of years", oneBus, []string{"    devices:", "    timeout: 999999h\n    devices:"}, ":15:", "1m0s is the longest"},
		{"an interval of years", oneBus, []string{"interval: 1s", "interval: 999999h"}, ":3:", "24h0m0s is the longest"},
		{"an interval that is nothing", oneBus, []string{"interval: 1s", "interval: null"}, ":3:", "the key has no value"},
		{"a device without unit", oneBus, []string{"unit: 1, ", ""}, ":16:", "has no `unit`"},
		{"half a unit", oneBus, []string{"unit: 1", "unit: 2.7"}, ":16:", "2.7 is no whole number"},
		{"a device without id", oneBus, []string{"id: inv-1, ", ""}, ":16:", "without an `id`"},
		{"a blank in an id", oneBus, []string{"id: inv-1", "id: inv 1"}, ":16:", "want letters"},
		{"an interval of 0", oneBus, []string{"interval: 1s", "interval: 0s"}, ":3:", "1s is the shortest"},
		{"an interval too short", oneBus, []string{"interval: 1s", "interval: 999ms"}, ":3:", "1s is the shortest"},
		{"an interval backwards", oneBus, []string{"interval: 1s", "interval: -5s"}, ":3:", "1s is the shortest"},
		{"an interval without unit", oneBus, []string{"interval: 1s", "interval: 5"}, ":3:", "want a duration such as"},
		{"a word for an interval", oneBus, []string{"interval: 1s", "interval: often"}, ":3:", "often"},
		{"a key that is none", oneBus, []string{"interval: 1s", "intervall: 1s"}, ":3:", "intervall"},
		{"an address others reach", oneBus, []string{`listen: ""`, "listen: 0.0.0.0:9464"}, ":9:", "not of this machine alone"},
		{"a port too large", oneBus, []string{`listen: ""`, "listen: 127.0.0.1:99999"}, ":9:", "a port up to 65535"},
		{"a port only", oneBus, []string{`listen: ""`, `listen: ":9464"`}, ":9:", "not of this machine alone"},
		{"a broker without scheme", oneBus, []string{"url: tcp://127.0.0.1:1", "url: 127.0.0.1:1883"}, ":5:", "want tcp://HOST:PORT"},
		{"a key that is cut", oneBus, []string{anyKey, anyKey[1:]}, ":7:", "kenshin-collector identity"},
		{"a bad level", oneBus, []string{"level: error", "level: loud"}, ":11:", "want debug, info, warn or error"},
		{"a small outbox", oneBus, []string{"log:\n", "outbox: { max_bytes: 1000 }\nlog:\n"}, ":10:", "too few"},
		{"a bad edge id", oneBus, []string{"edge: site-1", "edge: Site 1"}, ":1:", "choose an id"},
		{"no buses", "", []string{"buses:\n", "profiles: \"\"\n"}, "", "no `buses`"},
		{"no data", oneBus, []string{"data: ", "profiles: "}, "", "`data` is missing"},
	} {
		file := configured(t, tt.buses, tt.edit...)
		for _, args := range [][]string{{"check-config"}, {"run"}, {"read"}, {"plan"}, {"status"}} {
			_, err := command(t, append(args, "--config", file)...)
			t.Run(tt.name+" "+args[0], func(t *testing.T) {
				if err == nil {
					t.Fatal("it is taken")
				}
				refused(t, err, 2, "edge.yaml"+tt.line, tt.want)
			})
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), "data")); err == nil {
				t.Fatalf("%s: %s made the data folder", tt.name, args[0])
			}
		}
	}
}

// TestOwnProfiles: a profile of the operator's folder is taken before one of the
// program, and what is wrong in it is told with its line.
func TestOwnProfiles(t *testing.T) {
	text, err := os.ReadFile("../../configs/profiles/generic-energy-meter.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	own := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	own("my-meter", strings.Replace(string(text), "name: generic-energy-meter", "name: my-meter", 1))
	buses := "  - endpoint: tcp://127.0.0.1:5020\n    devices:\n      - { id: m, unit: 1, profile: my-meter }\n"
	file := configured(t, buses, "buses:\n", "profiles: "+dir+"\nbuses:\n")
	wants(t, must(t, "check-config", "--config", file), "my-meter: 5 points")
	// What the profile says the device gives in one answer is kept on the line too.
	own("my-meter", strings.Replace(string(text), "name: generic-energy-meter", "name: my-meter\nlimits: { registers: 10, source: its manual }", 1))
	c, err := load(file)
	if err != nil {
		t.Fatal(err)
	}
	if u := c.plan[0].link.Units[1]; u.Most != 10 || u.Exact {
		t.Errorf("the line takes the device for %+v, want at most 10 registers", u)
	}
	own("my-meter", string(text))
	_, err = command(t, "check-config", "--config", file)
	refused(t, err, 2, "my-meter.yaml:", `call it "my-meter"`)
	own("my-meter", "name: my-meter\nnonsense: 1\n")
	_, err = command(t, "check-config", "--config", file)
	refused(t, err, 2, "my-meter.yaml:2:", "nonsense")
}

// TestExamples: the example configuration is good, and what the agent still lacks
// to start is told.
func TestExamples(t *testing.T) {
	wants(t, must(t, "check-config", "--config", "../../configs/edge.example.yaml"), "is good", "! the agent cannot start by it yet", "collector.pub", "bus inverters at tcp://127.0.0.1:5020", "eastron-sdm630: 10 points in 2 requests; UNVERIFIED")
	_, err := command(t, "check-config", "--config", filepath.Join(t.TempDir(), "none.yaml"))
	refused(t, err, 2, "no such file")
}

// TestIdentity: the key of a box is made once, and stays.
func TestIdentity(t *testing.T) {
	file := configured(t, oneBus)
	first := must(t, "identity", "--config", file)
	wants(t, first, "edges:\n  - id: site-1\n    key: ")
	if again := must(t, "identity", "--config", file); again != first {
		t.Errorf("the key is another one: %s, %s", first, again)
	}
	wants(t, must(t, "version"), "kenshin-edge ")
	wants(t, must(t, "--help"), "probe", "check-config", "plan", "read", "run", "status", "systemctl reload")
}
