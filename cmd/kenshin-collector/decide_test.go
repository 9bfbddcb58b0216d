package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"kenshin/collector"
)

// desk is the folder of a person who has a logger's file of a year that is over and a
// list of the weighbridge, and no edge yet.
func desk(t *testing.T) (dir string, do func(want int, args ...string) string) {
	dir = write(t, map[string]string{
		"collector.yaml": "name: desk\ndata: DATA\nbroker: {listen: \"127.0.0.1:1\"}\nhttp: {listen: \"127.0.0.1:1\"}\nmethodologies: [m.yaml]\nprojects: [p.yaml]\nlog: {level: error}\n",
		"m.yaml": `number: XX_AM009
version: "1.0"
country: X
title: "Power and waste"
family: W1
status: published
sources: [{document: d, url: "https://example.org", tag: S}]
parameters:
  - {symbol: EG, description: electricity, unit: MWh, monitored: true, per: unit, options: [C]}
  - {symbol: WA, description: waste, unit: t, monitored: true, per: project, options: [B]}
  - {symbol: EF, description: factor, unit: tCO2/MWh, monitored: false, per: project}
  - {symbol: EF_W, description: avoided, unit: tCO2/t, monitored: false, per: project}
formulas: {RE: "sum(EG) * EF + WA * EF_W", PE: "0", ER: "RE - PE"}
rounding: {ER: floor}
examples:
  - title: one
    source: invented
    parameters: {WA: 10, EF: 0.5, EF_W: 0.2}
    units: {a: {EG: 10}}
    result: {RE: 7, PE: 0, ER: 7}
`,
		"p.yaml": `reference: desk-1
title: A plant of before
country: X
zone: Asia/Bangkok
methodology: {number: XX_AM009, version: "1.0"}
periods: [{start: 2024-01-01, end: 2024-12-31}]
parameters: {EF: {value: "0.5", unit: tCO2/MWh, source: invented, evidence: 5be2aa8ec1bda821de239f11caa5e71888df421fa4dd29987281a29d15c44977}, EF_W: {value: "0.2", unit: tCO2/t, source: invented, evidence: 5be2aa8ec1bda821de239f11caa5e71888df421fa4dd29987281a29d15c44977}}
allocation: [{name: Japan, percent: 50}, {name: Host, percent: 50}]
inputs: [{parameter: WA, option: B}]
meters:
  - {key: pv, register: site-1/pv/Wh, rated_kW: 100, rated_source: plate, parameter: EG}
`,
		"old.csv":    "time,kWh\n2024-01-01 00:00:00,1000\n2024-06-01 12:00:00,81000\n2024-06-01 13:00:00,500\n2024-07-01 12:00:00,20500\n2025-01-01 00:00:00,60500\n",
		"weighed.md": "weighbridge list 7",
	})
	text, err := os.ReadFile(filepath.Join(dir, "collector.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"m.yaml", "p.yaml"} {
		text = []byte(strings.Replace(string(text), name, filepath.Join(dir, name), 1))
	}
	text = []byte(strings.Replace(string(text), "DATA", filepath.Join(dir, "data"), 1))
	if err := os.WriteFile(filepath.Join(dir, "collector.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, func(want int, args ...string) string {
		t.Helper()
		for i := range args {
			args[i] = strings.Replace(args[i], "DIR/", dir+"/", 1)
		}
		out, code, err := command(t, append(args, "-config", filepath.Join(dir, "collector.yaml"))...)
		if err != nil {
			out += err.Error()
		}
		if code != want {
			t.Fatalf("kenshin-collector %s: exit %d, want %d:\n%s", strings.Join(args, " "), code, want, out)
		}
		return out
	}
}

func holds(t *testing.T, out string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("lacks %q:\n%s", w, out)
		}
	}
}

// TestFromFileToSeal is a year without an edge, from the logger's file to sealed and
// divided tonnes, as a person types it; at each step what was forgotten is asked for.
func TestFromFileToSeal(t *testing.T) {
	dir, do := desk(t)
	if err := os.WriteFile(filepath.Join(dir, "ahead.csv"), []byte("time,value\n2024-01-01 00:00:00,1\n2199-01-01 00:00:00,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	holds(t, do(2, "import", "DIR/ahead.csv", "-project", "desk-1", "-meter", "pv", "-unit", "kWh", "-dry-run"), "ahead.csv: line 3 is of 2198-12-31T17:00:00Z", "correct --zone")
	in := []string{"import", "DIR/old.csv", "-project", "desk-1", "-meter", "pv", "-unit", "kWh"}
	holds(t, do(0, append(in, "-dry-run")...), "readings   5", "dry run: nothing is written")
	holds(t, do(2, in...), "--who and --why")
	in = append(in, "-who", "K. Sato", "-why", "logger of the old plant")
	holds(t, do(0, in...), "5 readings are in the book")
	holds(t, do(1, in...), "in the book already")
	holds(t, do(0, "totals", "desk-1"), `"ER_tCO2": "40"`, `"cause": "fall"`, `"state": "closing"`) // 80 MWh, the fall pending

	holds(t, do(2, "rule", "desk-1", "r-1", "-meter", "pv", "-from", "2024-06-01T12:30:00+07:00", "-who", "K. Sato", "-why", "protocol 4", "-cause", "restart", "-initial-kwh=-5"), "initial value -5 kWh: want 0 or more")
	rule := []string{"rule", "desk-1", "r-1", "-meter", "pv", "-from", "2024-06-01T12:30:00+07:00", "-who", "K. Sato", "-why", "protocol 4"}
	holds(t, do(2, append(rule, "-cause", "eaten")...), `cause "eaten"`)
	holds(t, do(0, append(rule, "-cause", "replacement", "-final-kwh", "81020", "-initial-kwh", "480")...), "rule r-1 of project desk-1 is in the book")
	holds(t, do(2, "input", "desk-1", "w-1", "-parameter", "WA", "-from", "2024-01-01", "-to", "2199-12-31", "-unit", "t", "-document", "weighbridge list 7", "-who", "K. Sato", "-value", "1", "-evidence-file", "DIR/weighed.md"), "days up to 2199-12-31", "when its days are over")
	weighed := []string{"input", "desk-1", "w-1", "-parameter", "WA", "-from", "2024-01-01", "-to", "2024-12-31", "-unit", "t", "-document", "weighbridge list 7", "-who", "K. Sato"}
	holds(t, do(2, append(weighed, "-value", "100", "-evidence", "abc")...), "64 hexadecimal digits")
	holds(t, do(2, append(weighed, "-value", "a hundred", "-evidence-file", "DIR/weighed.md")...), "want a decimal")
	holds(t, do(2, append(weighed, "-value=-100", "-evidence-file", "DIR/weighed.md")...), "want 0 or more")
	holds(t, do(0, append(weighed, "-value", "100", "-evidence-file", "DIR/weighed.md")...), "input w-1 of project desk-1 is in the book")

	explained := do(0, "totals", "desk-1", "-explain")
	holds(t, explained, "registers that ended between", "140040 kWh", "w-1: WA, 2024-01-01..2024-12-31, option B: 100 t, vintage 2024",
		"= 140.04 × 0.5 + 100 × 0.2 = 90.02 tCO2", "brought in by an operator 4", "not decided")
	if same := do(0, "methodology", "explain", "-project", "desk-1"); same != explained {
		t.Error("methodology explain --project differs from totals --explain")
	}
	holds(t, do(0, "export", "days", "-project", "desk-1"), "meter,role,day,measured,unit,without_reading\n", "pv,,2024-06-01,80040,kWh,false\n", "pv,,2024-06-02,0,kWh,true\n")

	split := []string{"split", "desk-1", "s-1", "-vintage", "2024", "-who", "JC", "-why", "decision 3"}
	holds(t, do(2, append(split, "-account", "Japan=46", "-account", "Host=45")...), "add up to 91 tCO2, vintage 2024 has 90")
	holds(t, do(2, append(split, "-account", "Japan=45", "-account", "Host=45", "-period", "2")...), "has no period 2")
	holds(t, do(0, append(split, "-account", "Japan=46", "-account", "Host=44")...), "split s-1")

	holds(t, do(2, "totals", "desk-1", "-sealed"), "is not sealed")
	holds(t, do(2, "seal", "desk-1", "-who", "K. Sato"), "--why")
	holds(t, do(0, "seal", "desk-1", "-who", "K. Sato", "-why", "to the verifier"), "is sealed as revision 1: 90 tCO2, on the first", "kenshin/desk\n")
	holds(t, do(2, "seal", "desk-1", "-who", "K. Sato", "-why", " "), "say who seals and why")
	holds(t, do(2, "seal", "desk-1", "-who", "K. Sato", "-why", "x", "-period", "7"), "has no period 7")
	holds(t, do(1, "seal", "desk-1", "-who", "K. Sato", "-why", "to the verifier"), "nothing has changed since")
	holds(t, do(0, "rule", "desk-1", "r-1", "-withdraw", "-who", "K. Sato", "-why", "wrong meter"), "rule r-1")
	if text := do(0, "totals", "desk-1", "-explain"); strings.Contains(text, "decided for") {
		t.Errorf("the split of what was sealed does not add up any more:\n%s", text)
	}
	holds(t, do(0, "totals", "desk-1", "-explain"), "state of the period: sealed", "sealed emission reductions", "ER_tCO2: sealed 90, now 60")
	holds(t, do(0, "totals", "desk-1", "-sealed"), "90 tCO2 and every other sealed figure come out of the first")
	holds(t, do(0, "seal", "desk-1", "-who", "K. Sato", "-why", "ruling withdrawn"), "revision 2: 60 tCO2", "ruling")
	file := filepath.Join(dir, "p.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(strings.Replace(string(text), "country: X", "country: X\nstatus: illustration", 1), "parameter: EG}", "parameter: EG, every: 1h}", 1))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	holds(t, do(0, "rule", "desk-1", "r-2", "-meter", "pv", "-cause", "replacement", "-from", "2024-06-01T12:30:00+07:00", "-final-kwh", "81020", "-initial-kwh", "480", "-who", "K. Sato", "-why", "protocol 4"), "rule r-2")
	holds(t, do(0, "seal", "desk-1", "-who", "K. Sato", "-why", "shown"), "revision 3", "an illustration, its numbers are invented: it gives no credits", "meter pv: completeness 0.04 %, below 95 %")
	holds(t, do(0, "totals", "desk-1", "-recompute"), `"state": "revised"`, `"what": "ruling"`)
	holds(t, do(0, "totals", "desk-1", "-sealed"), "revision 3", " tCO2 and every other")
}

// TestDecisionsBesideARunningCollector: the same commands give their decision to the
// collector that has the book open.
func TestDecisionsBesideARunningCollector(t *testing.T) {
	dir, do := desk(t)
	do(0, "import", "DIR/old.csv", "-project", "desk-1", "-meter", "pv", "-unit", "kWh", "-who", "K. Sato", "-why", "logger")
	c, err := load(filepath.Join(dir, "collector.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	col, err := c.open(t.Context(), collector.Open, nobody{}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.listenOrders()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- col.Run(ctx) }()
	go c.takeOrders(ctx, l, col, func(string) {}, zap.NewNop())
	holds(t, do(0, "rule", "desk-1", "r-1", "-meter", "pv", "-cause", "restart", "-from", "2024-06-01T12:30:00+07:00", "-who", "K. Sato", "-why", "seen"), "is in the book")
	holds(t, do(2, "rule", "desk-1", "r-2", "-meter", "zz", "-cause", "restart", "-from", "2024-06-01T12:30:00+07:00", "-who", "K. Sato", "-why", "seen"), "none of that key")
	for wait := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		r, err := col.Report(ctx, "desk-1", 0)
		if err != nil {
			t.Fatal(err)
		}
		if r.ER == "70" { // 80 and 60 MWh
			break
		}
		if time.Now().After(wait) {
			t.Fatalf("the figures do not follow the ruling: %s tCO2", r.ER)
		}
	}
	// 70 tonnes; each of the other decisions goes the same way.
	holds(t, do(2, "split", "desk-1", "s-1", "-vintage", "2024", "-account", "Japan=1", "-who", "JC", "-why", "d"), "add up to 1 tCO2, vintage 2024 has 70")
	holds(t, do(0, "split", "desk-1", "s-1", "-vintage", "2024", "-account", "Japan=35", "-account", "Host=35", "-who", "JC", "-why", "d"), "split s-1")
	holds(t, do(0, "split", "desk-1", "s-1", "-withdraw", "-who", "JC", "-why", "d"), "split s-1")
	holds(t, do(0, "input", "desk-1", "w-1", "-parameter", "WA", "-from", "2024-12-31", "-to", "2025-01-01", "-unit", "t", "-value", "5", "-document", "list 1", "-evidence-file", "DIR/weighed.md", "-who", "K. Sato"), "input w-1")
	sealed := func() (out string) {
		// What was just settled may still be on its way to the disk.
		for range 600 {
			text, code, err := command(t, "seal", "desk-1", "-who", "K. Sato", "-why", "final", "-config", filepath.Join(dir, "collector.yaml"))
			if code == 0 {
				return text
			}
			if code != 1 {
				t.Errorf("a refused seal: exit %d, want 1: %v", code, err)
			}
			if out = err.Error(); !strings.Contains(out, "being settled") {
				return out
			}
			time.Sleep(100 * time.Millisecond)
		}
		return out
	}
	// It reaches over the year's end, and so nobody has said what came in 2024.
	holds(t, sealed(), "nobody gave an amount of WA in 2024")
	holds(t, do(0, "input", "desk-1", "w-1", "-parameter", "WA", "-from", "2024-12-31", "-to", "2024-12-31", "-unit", "t", "-value", "0", "-document", "list 1", "-evidence-file", "DIR/weighed.md", "-who", "K. Sato"), "input w-1")
	holds(t, sealed(), "sealed as revision 1: 70 tCO2")
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := col.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, do(0, "totals", "desk-1"), `"state": "sealed"`)
}
