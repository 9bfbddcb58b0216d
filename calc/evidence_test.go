package calc

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestEvidenceOfFixedParameters: what is fixed ex ante stands in report and explanation
// with its source, the hash of it and who has checked a value outside of the range; and
// nothing is sealed on a source that could be another document tomorrow.
func TestEvidenceOfFixedParameters(t *testing.T) {
	m := solar()
	hash := strings.Repeat("5a", 32)
	ef := num("1.2")
	m.parameter("EF_RE").Max, m.parameter("EF_RE").Range = numberOf("1"), "of the test"
	p := &Project{Reference: "x", Title: "X", Zone: "UTC", Methodology: Pin{"KS-F1", "1.0"}, Periods: []Span{{day("2026-01-01"), day("2026-01-31")}},
		Parameters: map[string]Value{"EF_RE": {Value: &Number{ef}, Unit: "tCO2/MWh", Source: "PDD, table 2"}},
		Meters:     []Meter{{Key: "m", Register: "site-1/m/kWh", Parameter: "EG"}}}
	report := func() (*Report, error) {
		c := NewCurve(p.Registers()[0], time.UTC)
		for _, s := range []Sample{at(0, "0"), at(3000, "5")} {
			if err := c.Add(s); err != nil {
				t.Fatal(err)
			}
		}
		var b bytes.Buffer
		r, err := p.Report(m, 0, func(string) *Curve { return c })
		if err == nil && p.Explain(&b, m, 0, func(string) *Curve { return c }) == nil && r.Fixed[0].Evidence != "" && !strings.Contains(b.String(), "SHA-256 "+hash+"; outside of the methodology's range, checked by K. Sato, report 12") {
			t.Errorf("the explanation says nothing of it:\n%s", b.String())
		}
		return r, err
	}
	if _, err := report(); err == nil || !strings.Contains(err.Error(), "EF_RE is 1.2 tCO2/MWh, it cannot be above 1 (of the test)") {
		t.Errorf("a value outside of the range: %v", err)
	}
	set := func(evidence string) {
		p.Parameters["EF_RE"] = Value{Value: &Number{ef}, Unit: "tCO2/MWh", Source: "PDD, table 2", Evidence: evidence, RangeChecked: "K. Sato, report 12"}
	}
	later := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, x := range []struct{ evidence, status, want string }{{"", "", "parameter EF_RE has a source and no evidence"}, {hash, "", ""}, {"", Illustration, ""}} {
		set(x.evidence)
		p.Status = x.status
		r, err := report()
		if err != nil {
			t.Fatal(err)
		}
		if f := r.Fixed; len(f) != 1 || f[0] != (FixedReport{"EF_RE", "", "1.2", "tCO2/MWh", "PDD, table 2", x.evidence, "K. Sato, report 12"}) {
			t.Errorf("the report says %+v", f)
		}
		r.State = StateClosing
		if err := p.CanSeal(m, r, later); (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("evidence %q, status %q: %v, want %q", x.evidence, x.status, err, x.want)
		}
	}
}

// TestEvidenceOfNothing: the SHA-256 of an empty file, and zeros, show nothing; an input or
// ruling with it is refused, and so is a project's file.
func TestEvidenceOfNothing(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for hash, want := range map[string]string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855": "an empty file",
		"E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855": "an empty file",
		strings.Repeat("0", 64):  "64 zeros",
		strings.Repeat("5a", 32): "",
	} {
		p := &Project{Zone: "UTC", Parameters: map[string]Value{"EF": {Source: "PDD", Evidence: hash}}, Meters: []Meter{{Key: "m"}}}
		for what, err := range map[string]error{
			"file":  p.Documented(),
			"input": p.CheckInput(&Input{ID: "i-1", From: day("2026-01-01"), To: day("2026-01-31"), Document: "list 1", Evidence: hash, Who: "K. Sato"}, now),
			"rule":  p.CheckRuling(&Ruling{Meter: "m", Cause: CauseDip, Evidence: hash, Who: "K. Sato", Why: "seen"}, now),
		} {
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s, evidence %s: %v, want %q", what, hash, err, want)
			}
		}
	}
	p := &Project{Zone: "UTC"}
	if err := p.CheckInput(&Input{ID: "i-1", Document: " \u200b", Who: "K. Sato"}, now); err == nil || !strings.Contains(err.Error(), "name the document") {
		t.Errorf("a document of blanks: %v", err)
	}
}
