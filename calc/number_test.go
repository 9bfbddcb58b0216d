package calc_test

import (
	"testing"

	"kenshin/calc"
	"kenshin/configs"
)

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
