package calc_test

import (
	"io/fs"
	"testing"

	"kenshin/calc"
	"kenshin/configs"
)

// TestFilesThatShip loads every methodology and project as the programs do: their
// examples come out, and each project fits its methodology.
func TestFilesThatShip(t *testing.T) {
	methodologies := make(map[calc.Pin]*calc.Methodology)
	for name, text := range files(t, "methodologies/*.yaml") {
		var m calc.Methodology
		if err := configs.Decode(name, text, &m); err != nil {
			t.Fatal(err)
		}
		if err := m.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		methodologies[calc.Pin{Number: m.Number, Version: m.Version}] = &m
	}
	projects := 0
	for name, text := range files(t, "projects/*.yaml") {
		var p calc.Project
		if err := configs.Decode(name, text, &p); err != nil {
			t.Fatal(err)
		}
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		m := methodologies[p.Methodology]
		if m == nil {
			t.Fatalf("%s: methodology %v does not ship", name, p.Methodology)
		}
		for i := range p.Periods {
			if _, err := p.Report(m, i, func(string) *calc.Curve { return nil }); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		projects++
	}
	if len(methodologies) < 2 || projects < 3 {
		t.Errorf("%d methodologies and %d projects, want at least 2 and 3", len(methodologies), projects)
	}
}

func files(t *testing.T, pattern string) map[string][]byte {
	t.Helper()
	names, err := fs.Glob(configs.Files, pattern)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string][]byte)
	for _, n := range names {
		if out[n], err = configs.Files.ReadFile(n); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// Numbers arrive as they are written, quoted or not: never by way of a float.
func TestNumbersFromYAMLAreExact(t *testing.T) {
	for written, want := range map[string]string{
		`0.533`: "0.533", `"0.533"`: "0.533", `0.1234567890123456789`: "0.1234567890123456789", `12345678901234567890`: "12345678901234567890",
		`250`: "250", `0`: "0", `1.50`: "1.5", `-0.5`: "-0.5", `'7'`: "7", "2.5 # kW\n": "2.5",
	} {
		var p calc.Project
		text := "parameters:\n  A:\n    value: " + written + "\n    unit: \"1\"\nmeters:\n  - key: m\n    rated_kW: " + written + "\n"
		if err := configs.Decode("p.yaml", []byte(text), &p); err != nil {
			t.Errorf("%s: %v", written, err)
			continue
		}
		if got := p.Parameters["A"].Value; got == nil || got.String() != want {
			t.Errorf("value %s arrives as %v, want %s", written, got, want)
		}
		if got := p.Meters[0].RatedKW.String(); got != want {
			t.Errorf("rated_kW %s arrives as %s, want %s", written, got, want)
		}
		var m calc.Methodology
		text = "version: \"1.0\"\nexamples:\n  - parameters:\n      A: " + written + "\n    result:\n      RE: " + written + "\n"
		if err := configs.Decode("m.yaml", []byte(text), &m); err != nil {
			t.Errorf("%s: %v", written, err)
			continue
		}
		if a, re := m.Examples[0].Parameters["A"].String(), m.Examples[0].Result.RE.String(); a != want || re != want || m.Version != "1.0" {
			t.Errorf("example %s arrives as %s and %s, want %s; version %q", written, a, re, want, m.Version)
		}
	}
	for _, bad := range []string{`abc`, `0x10`, `1_000`, `.inf`, `.nan`, `[1]`, `1e3`, `"1 000"`, `1.`, `.5`, `{a: 1}`, `1,5`} {
		var p calc.Project
		if err := configs.Decode("p.yaml", []byte("parameters:\n  A:\n    value: "+bad+"\n"), &p); err == nil {
			t.Errorf("value %s arrives as %v, want an error", bad, p.Parameters["A"].Value)
		}
	}
}
