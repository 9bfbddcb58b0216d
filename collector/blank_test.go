package collector

import (
	"strings"
	"testing"
	"time"

	"kenshin/calc"
)

// TestBlankNames: a decision that nobody stands for, or that rests on no document, is
// refused and nothing is written, also when the name is made of blanks.
func TestBlankNames(t *testing.T) {
	r, _ := sealed(t)
	ruling := func(who, why string) *calc.Ruling {
		return &calc.Ruling{Meter: "two", Cause: calc.CauseRestart, From: calc.Instant{Time: time.UnixMilli(start + day)}, Who: who, Why: why}
	}
	blanks := []string{"", " ", "\t\n", "\u00a0\u2003", "\u200b"}
	for _, blank := range blanks {
		for what, do := range map[string]func() error{
			"seal who":     func() error { _, err := r.Seal("plant", 0, blank, "x"); return err },
			"seal why":     func() error { _, err := r.Seal("plant", 0, "K. Sato", blank); return err },
			"rule who":     func() error { return r.Rule("plant", "r-1", ruling("K. Sato", "x"), blank, "x") },
			"ruling's why": func() error { return r.Rule("plant", "r-1", ruling("K. Sato", blank), "K. Sato", "x") },
			"input who":    func() error { return r.Enter("plant", "i-1", &calc.Input{}, blank, "x") },
			"withdraw why": func() error { return r.Enter("plant", "i-1", nil, "K. Sato", blank) },
			"split who":    func() error { return r.Divide("plant", "s-1", nil, blank, "x") },
			"token who":    func() error { _, err := r.Invite("site-1", time.Minute, blank, "x"); return err },
			"admit why":    func() error { return r.Admit("site-1", public(secondKey(9)), "K. Sato", blank) },
			"revoke who":   func() error { _, err := r.Revoke("site-1", "", blank, "x"); return err },
			"import who": func() error {
				return r.Import(t.Context(), ImportInfo{Project: "plant", Meter: "two", Who: blank, Why: "x"}, nil, nil)
			},
		} {
			size := r.store.Size()
			if err := do(); err == nil || !strings.Contains(err.Error(), "say who") || r.store.Size() != size {
				t.Errorf("%s %q: %v, %d records written", what, blank, err, r.store.Size()-size)
			}
		}
	}
	for was, want := range map[string]string{
		"0.533\", unit: tCO2/MWh, source: invented": "EF: its source is blank",
		"evidence: 5be2aa":                          "EF: range_checked_by is blank",
		"rated_source: invented":                    "meter one: rated_source is blank",
	} {
		is := strings.Replace(was, "invented", "\"\u200b \"", 1)
		if is == was {
			is = "range_checked_by: \" \", " + was
		}
		file := File{"plant.yaml", []byte(strings.Replace(projectYAML, was, is, 1))}
		err := Check(t.Context(), []File{{"t-1.yaml", []byte(methodologyYAML)}}, []File{file})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "plant.yaml:") {
			t.Errorf("%s: %v, want %q and the line", is, err, want)
		}
	}
}
