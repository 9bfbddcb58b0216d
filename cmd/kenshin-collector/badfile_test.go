package main

import (
	"path/filepath"
	"strings"
	"testing"
)

const goodProject = `reference: CH-1
title: A chiller plant
country: Thailand
zone: Asia/Bangkok
methodology: {number: TH_AM005, version: "3.0"}
periods:
  - {start: 2026-01-01, end: 2026-12-31}
  - {start: 2028-01-01, end: 2028-12-31}
parameters:
  EF_elec: {value: "0.5", unit: tCO2/MWh, source: "PDD, table 2"}
units:
  chiller.1:
    parameters:
      COP_PJ:
        value: "6"
        unit: "1"
        source: "test report, page 3"
      COP_RE:
        value: "5"
        unit: "1"
        source: "methodology, table 1"
meters:
  - key: m-1
    register: site-1/m-1/import_kWh
    rated_kW: 250
    rated_source: plate
    parameter: EC_PJ
    unit: chiller.1
    records:
      - serial: "1"
        installed: 2026-01-01T00:00:00+07:00
        evidence: protocol 1
allocation:
  - {name: Japan, percent: 50}
  - {name: Thailand, percent: 50}
`

// TestBadProjectFiles: what people get wrong in a project's file is refused by
// check-config, with file, line and the numbers that disagree, and exit 2.
func TestBadProjectFiles(t *testing.T) {
	check := func(project string) (string, int) {
		dir := write(t, map[string]string{"p.yaml": project})
		config := filepath.Join(write(t, map[string]string{"c.yaml": "data: d\nbroker: {listen: \"127.0.0.1:1883\"}\nprojects: [" + filepath.Join(dir, "p.yaml") + "]\n"}), "c.yaml")
		out, code, err := command(t, "check-config", "-config", config)
		if err != nil {
			out += err.Error()
		}
		return out, code
	}
	if out, code := check(goodProject); code != 0 {
		t.Fatalf("a good project: exit %d\n%s", code, out)
	}
	for _, tt := range []struct{ was, is, want string }{
		{`unit: tCO2/MWh`, `unit: kgCO2/kWh`, `p.yaml:10: parameter EF_elec is given in kgCO2/kWh, methodology TH_AM005 3.0 wants tCO2/MWh`},
		{`EF_elec: {`, `EF_grid: {`, `p.yaml:10: parameter EF_grid is none that methodology TH_AM005 3.0 fixes ex ante; it fixes COP_PJ, COP_RE, EF_elec`},
		{`      COP_RE:`, `      COP_XX:`, `p.yaml:19: unit chiller.1: parameter COP_XX is none`},
		{"  EF_elec: {value: \"0.5\", unit: tCO2/MWh, source: \"PDD, table 2\"}\n", "", "p.yaml:9: "},
		{"      COP_RE:\n        value: \"5\"\n        unit: \"1\"\n        source: \"methodology, table 1\"\n", "", `p.yaml:13: parameter COP_RE of unit chiller.1 of methodology TH_AM005 3.0 is missing`},
		{`start: 2028-01-01`, `start: 2026-12-31`, `p.yaml:8: periods 2026-01-01..2026-12-31 and 2026-12-31..2028-12-31 share 2026-12-31`},
		{`zone: Asia/Bangkok`, `zone: Asia/Bankok`, `p.yaml:4: zone "Asia/Bankok" is not an IANA zone`},
		{`country: Thailand`, `country: Viet Nam`, `p.yaml:3: project CH-1 is in "Viet Nam", methodology TH_AM005 3.0 is one of Thailand`},
		{"country: Thailand\n", "", `project CH-1 is in "", methodology TH_AM005 3.0 is one of Thailand`},
		{`value: "0.5"`, `value: "533"`, `p.yaml:10: parameter EF_elec is 533 tCO2/MWh, it cannot be above 2.5 (carbon burnt at 16 %`},
		{`value: "0.5"`, `value: "533"`, `is its unit 1,000 times smaller than tCO2/MWh? then write 0.533`},
		{`value: "6"`, `value: "6000"`, `p.yaml:15: unit chiller.1: parameter COP_PJ is 6000, it cannot be above 15`},
		{`value: "5"`, `value: "0"`, `p.yaml:19: unit chiller.1: parameter COP_RE is 0, it cannot be below 1`},
		{`        value: "5"`, "        value: \"0\"\n        range_checked_by: \"K. Sato, by nothing\"", `p.yaml:19: COP_RE of unit chiller.1 is 0: what methodology TH_AM005 3.0 divides by, COP_RE,i, is 0`},
		{`source: "PDD, table 2"`, `source: "PDD, table 2", evidence: abc`, `p.yaml:10: parameter EF_elec: evidence "abc": want the SHA-256`},
		{`percent: 50`, `percent: 40`, `p.yaml:34: allocation: the percents add up to 90; want 100`},
		{`parameter: EC_PJ`, `parameter: EG`, `p.yaml:23: meter m-1 feeds EG, which methodology TH_AM005 3.0 does not monitor`},
		{`    unit: chiller.1`, `    unit: chiller.9`, `p.yaml:23: meter m-1: unit "chiller.9" is not among the units`},
		{`        evidence: protocol 1`, `        removed: 2025-01-01T00:00:00+07:00`, `p.yaml:30: meter m-1: record 1 (serial 1): removed 2025-01-01`},
		{`rated_kW: 250`, `rated_kW: 1e5`, `p.yaml:25: number "1e5": write it as a decimal`},
		{`reference: CH-1`, `reference: "CH 1"`, `p.yaml:1: reference "CH 1"`},
		{`number: TH_AM005`, `number: TH_AM905`, `p.yaml:5: project CH-1: methodology TH_AM905 3.0 is not among`},
	} {
		bad := strings.Replace(goodProject, tt.was, tt.is, 1)
		if out, code := check(bad); bad == goodProject || code != 2 || !strings.Contains(out, tt.want) {
			t.Errorf("%q in place of %q: exit %d, want 2 with %q:\n%s", tt.is, tt.was, code, tt.want, out)
		}
	}
	// What a person has checked is taken, whatever the range says.
	checked := strings.Replace(goodProject, `        value: "6"`, "        value: \"15.5\"\n        range_checked_by: \"K. Sato, test report 12 of the maker\"", 1)
	if out, code := check(checked); code != 0 {
		t.Errorf("a checked value: exit %d\n%s", code, out)
	}
	// 250 kW all year, COP 6 for 5: 250 kW x 8784 h x 0.2 x 0.5 t/MWh = 219.6 t at most.
	for estimate, want := range map[string]string{"150": "", "150000": "p.yaml:37: pdd_estimate of 2026 is 150000 tCO2; all meters at rated power for a whole year come to 219.6 tCO2", "0.2": "come to 219.6 tCO2"} {
		out, code := check(goodProject + "pdd_estimate:\n  2026: " + estimate + "\n")
		if code != 0 || !strings.Contains(out, want) || want == "" && strings.Contains(out, "pdd_estimate") {
			t.Errorf("an estimate of %s t: exit %d, want %q\n%s", estimate, code, want, out)
		}
	}
	// A file that an editor of Windows has saved is the same file.
	if out, code := check("\ufeff" + strings.ReplaceAll(goodProject, "\n", "\r\n")); code != 0 {
		t.Errorf("with byte order mark and CRLF: exit %d\n%s", code, out)
	}
}
