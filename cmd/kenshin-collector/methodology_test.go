package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kenshin/configs"
)

// command runs the program in this process.
func command(t *testing.T, args ...string) (stdout string, code int, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	err = run(t.Context(), args, &out, &errs)
	return out.String(), configs.ExitCode(err), err
}

// write puts files into a folder of their own.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const goodMethodology = `number: XX_AM001
version: "1.0"
country: X
title: "Better chillers"
status: published
extends: {number: KS-F3, version: "1.0"}
sources: [{document: d, url: "https://example.org", tag: S}]
examples:
  - title: one
    source: invented
    parameters: {EF_elec: 0.5}
    units:
      c: {EC_PJ: 100, COP_PJ: 6, COP_RE: 5}
    result: {RE: 60, PE: 50, ER: 10}
`

// TestMethodologyCheckListsEverything: every fault of every file, with file, line and
// the numbers that disagree, and exit 1.
func TestMethodologyCheckListsEverything(t *testing.T) {
	standing := strings.NewReplacer("extends: {number: KS-F3, version: \"1.0\"}\n", `parameters:
  - {symbol: EG, description: e, unit: kWh, monitored: true, per: unit, options: [C]}
  - {symbol: EF, description: f, unit: tCO2/MWh, monitored: false, per: project}
formulas:
  RE: "sum(EG * EF)"
  PE: "0 * XX"
  ER: "RE - PE"
rounding: {ER: floor}
`, "XX_AM001", "XX_AM002")
	dir := write(t, map[string]string{
		"a-good.yaml":    goodMethodology,
		"b-units.yaml":   standing.Replace(goodMethodology),
		"c-example.yaml": strings.NewReplacer("XX_AM001", "XX_AM003", "RE: 60, PE: 50", "RE: 61, PE: 51").Replace(goodMethodology),
		"d-cycle.yaml":   strings.NewReplacer("XX_AM001", "XX_AM004", "KS-F3", "XX_AM005").Replace(goodMethodology),
		"e-cycle.yaml":   strings.NewReplacer("XX_AM001", "XX_AM005", "KS-F3", "XX_AM004").Replace(goodMethodology),
		"f-key.yaml":     strings.Replace(goodMethodology, "title:", "titel:", 1),
		"g-twice.yaml":   goodMethodology,
		"h-zero.yaml":    strings.NewReplacer("XX_AM001", "XX_AM006", "COP_RE: 5", "COP_RE: 0").Replace(goodMethodology),
		"i-divisor.yaml": strings.NewReplacer("XX_AM002", "XX_AM007", "unit: kWh", "unit: MWh", "sum(EG * EF)", "sum(EG * EF) * EF / EF", "0 * XX", "0", "EF_elec: 0.5", "EF: 0",
			"{EC_PJ: 100, COP_PJ: 6, COP_RE: 5}", "{EG: 100}").Replace(standing.Replace(goodMethodology)),
		"notes.txt": "not a methodology",
	})
	out, code, err := command(t, "methodology", "check", dir)
	if code != 1 || err == nil || !strings.Contains(err.Error(), "8 of 9 methodology files are not in order") {
		t.Errorf("exit %d, %v", code, err)
	}
	for _, want := range []string{
		"good   XX_AM001       1.0   published  F3      examples: 1",
		"b-units.yaml:10: formula RE = sum(EG * EF): comes out in kWh*tCO2/MWh, want tCO2",
		"b-units.yaml:11: formula PE = 0 * XX: column 5: XX is no parameter",
		"c-example.yaml:14: example 1 (one): RE comes out as 60 tCO2, the file says 61",
		"c-example.yaml:14: example 1 (one): PE comes out as 50 tCO2, the file says 51",
		"d-cycle.yaml:6: XX_AM005 1.0 extends XX_AM004 1.0, which extends it",
		"e-cycle.yaml:6: XX_AM004 1.0 extends XX_AM005 1.0, which extends it",
		`f-key.yaml:4: key "titel" is unknown here`,
		"g-twice.yaml:1: XX_AM001 1.0 is the number of " + filepath.Join(dir, "a-good.yaml") + " too",
		"h-zero.yaml:13: example 1 (one): unit c: COP_RE is 0, it cannot be below 1 (below 1 it would take more power",
		"i-divisor.yaml:16: example 1 (one): formula RE: column 19: 0 divided by 0 is no number",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
	if n := strings.Count(out, "FAULT"); n != 10 {
		t.Errorf("%d faults, want 10:\n%s", n, out)
	}
}

// TestMethodologyCommands: what ships is good, can be shown and explained by number or
// file, and wrong usage is exit 2.
func TestMethodologyCommands(t *testing.T) {
	file := filepath.Join(write(t, map[string]string{"xx.yaml": goodMethodology}), "xx.yaml")
	for _, tt := range []struct {
		args string
		code int
		want string // in output or error
	}{
		{"methodology check", 0, "all good"},
		{"methodology check " + file, 0, "methodology files: 1, all good"},
		{"methodology check nowhere", 2, "nowhere"},
		{"methodology check " + t.TempDir(), 2, "no .yaml file"},
		{"methodology show th_am005", 0, "RE_p  = Σ_i (EC_PJ,i,p × COP_PJ,i ÷ COP_RE,i × EF_elec)  [tCO2]"},
		{"methodology show " + file, 0, "XX_AM001 1.0  Better chillers"},
		{"methodology show KS-F8", 0, "unverified: no period under it can be sealed"},
		{"methodology show TH_AM999", 2, "TH_AM999 is no file and no number of a methodology"},
		{"methodology explain " + file, 0, "i = c: 100 × 6 ÷ 5 × 0.5 = 60"},
		{"methodology explain KS-F3 -example 2", 0, "ER_p  = RE_p - PE_p = 3.333333333 tCO2, rounded down 3 tCO2"},
		{"methodology explain KS-F3 -example 4", 2, "has 3 examples, there is no example 4"},
		{"methodology explain", 2, "name a methodology file, or a project with --project"},
		{"methodology explain -project none -config " + file, 2, "xx.yaml"},
	} {
		out, code, err := command(t, strings.Fields(tt.args)...)
		if err != nil {
			out += err.Error()
		}
		if code != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("%s: exit %d, want %d with %q:\n%s", tt.args, code, tt.code, tt.want, out)
		}
	}
}
