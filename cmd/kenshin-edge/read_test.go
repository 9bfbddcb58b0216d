package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"kenshin/edge/plant"
)

// TestRead: one cycle of every device, for people and for programs; what a device
// does not give is told and is the exit code, and others are read all the same.
func TestRead(t *testing.T) {
	at := serveUnits(t, "tcp://127.0.0.1:0", map[uint8]plant.Unit{1: sunspecUnit(t, 701, "inv-1"), 2: profileUnit(t, "schneider-pm5100", 1), 3: refusing(4), 4: sunspecMap(40000, 7, 8)})
	device := func(id string, unit int, profile string) string {
		return fmt.Sprintf("      - { id: %s, unit: %d, profile: %s }\n", id, unit, profile)
	}
	bus := "  - name: roof\n    timeout: 20s\n    endpoint: " + at + "\n    devices:\n"
	good := configured(t, bus+device("inv", 1, "sunspec")+device("meter", 2, "schneider-pm5100")+device("second", 4, "sunspec, sub: 1"))
	out := must(t, "read", "--config", good)
	wants(t, out, "inv  unit 1 on bus roof: Kenshin Simulated model 701 serial inv-1; profile sunspec; at ", ", clock ",
		"POINT", "QUALITY", "REGISTERS", "TotWhInj *", "not-available: 0x8000", "kW           -0.6069646  kW    good     BF1B 6208", "second  unit 4", "WH *")
	if strings.Contains(out, "m701.ID") {
		t.Error("the marks of the chain are shown")
	}
	dec := json.NewDecoder(strings.NewReader(must(t, "read", "--config", good, "-json")))
	var all []observed
	for dec.More() {
		var o observed
		if err := dec.Decode(&o); err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	if len(all) != 3 || all[0].Energy != "TotWhInj" || all[0].Clock == "" || time.Since(all[0].At).Abs() > time.Minute || all[2].Serial != "N2" {
		t.Fatalf("as JSON: %+v", all)
	}
	for _, v := range all[2].Values {
		if v.Point == "WH" && (v.Value != "8" || v.Raw != "0000 0008" || v.Scale != "0000" || v.Unit != "Wh" || v.Quality != "good") {
			t.Errorf("WH is %+v", v)
		}
	}
	if out := must(t, "read", "--config", good, "--device", "meter"); strings.Contains(out, "inv-1") || !strings.Contains(out, "meter") {
		t.Errorf("one device is\n%s", out)
	}
	_, err := command(t, "read", "--config", good, "--device", "none")
	refused(t, err, 2, `no device "none"`, "check-config")

	bad := configured(t, bus+device("sick", 3, "eastron-sdm630")+device("lost", 9, "sunspec")+device("inv", 1, "sunspec")+device("third", 4, "sunspec, sub: 2"))
	out, err = command(t, "read", "--config", bad)
	refused(t, err, 1, "3 devices of 4 did not answer")
	wants(t, out, "exception 4", "exception 11 (gateway target device failed to respond)", "there is no device 2 behind it; it has 2, counted from 0", "TotWhInj *")
}

// TestPlan: what polling costs is told for every bus, SunSpec devices are asked,
// and an interval that cannot be met is a problem.
func TestPlan(t *testing.T) {
	at := serveUnits(t, "tcp://127.0.0.1:0", map[uint8]plant.Unit{1: sunspecUnit(t, 103, "inv-1")})
	roof := "  - name: roof\n    timeout: 20s\n    endpoint: " + at + "\n    devices:\n      - { id: inv, unit: 1, profile: sunspec }\n      - { id: lost, unit: 9, profile: sunspec }\n"
	file := configured(t, roof)
	wants(t, must(t, "plan", "--config", file), "DEVICE  UNIT  PROFILE  REQUESTS  REGISTERS  BYTES  BUS TIME",
		"inv     1     sunspec  2         48         138    40ms", "lost    9     sunspec  ~2", "a cycle", "~ a SunSpec device that did not say", "fits: 8.0 % of the interval of 1s")
	wants(t, must(t, "plan", "--config", file, "--offline"), "inv     1     sunspec  ~2")

	// The pause a meter wants before it is addressed is not taken from the others.
	mixed := configured(t, roof+"      - { id: meter, unit: 3, profile: eastron-sdm630 }\n")
	wants(t, must(t, "plan", "--config", mixed, "--offline"), "200ms of that are pauses between units")

	line := "  - name: line\n    endpoint: rtu:///dev/no-such-tty?baud=1200\n    switch_gap: 50ms\n    devices:\n"
	for i := range 4 {
		line += fmt.Sprintf("      - { id: m%d, unit: %d, profile: generic-energy-meter }\n", i, i+1)
	}
	out, err := command(t, "plan", "--config", configured(t, line))
	refused(t, err, 1, "1 bus cannot be read within the interval of 1s")
	wants(t, out, "m3      4     generic-energy-meter  1         10         33", "200ms of that are pauses between units", "DOES NOT FIT: 1.", "Take an interval of ")
	tight := configured(t, line, "baud=1200", "baud=2400")
	wants(t, must(t, "plan", "--config", tight), "tight: ")
}
