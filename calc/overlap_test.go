package calc

import (
	"bytes"
	"strings"
	"testing"
)

// TestOverlappingInputs: one document is not added twice under two names, and what two
// documents say of the same days is added with a word of it.
func TestOverlappingInputs(t *testing.T) {
	p, m, curve := everything(t)
	other := strings.Repeat("5b", 32)
	now := inst("2027-06-01T00:00:00Z").Time
	second := func(change func(*Input)) *Input {
		x := p.Decided.Inputs[0]
		x.ID, x.Document, x.From, x.To = "w-3", "list 12, a copy", day("2026-12-24"), day("2026-12-31")
		change(&x)
		return &x
	}
	for what, tt := range map[string]struct {
		want   string
		change func(*Input)
	}{
		"the same file":       {"inputs w-1 and w-3", func(*Input) {}},
		"in capitals":         {"withdraw", func(x *Input) { x.Evidence = strings.ToUpper(x.Evidence) }},
		"another file":        {"", func(x *Input) { x.Evidence = other }},
		"other days":          {"", func(x *Input) { x.From, x.To = day("2026-11-01"), day("2026-11-30") }},
		"in place of it":      {"", func(x *Input) { x.ID = "w-1" }},
		"another parameter's": {"", func(x *Input) { x.Parameter = "EG" }},
	} {
		if err := p.CheckInput(second(tt.change), now); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", what, err, tt.want)
		}
	}
	p.Decided.Inputs = append(p.Decided.Inputs, *second(func(x *Input) { x.Evidence = other }))
	r, err := p.Report(m, 0, curve)
	if err != nil {
		t.Fatal(err)
	}
	notes := make(map[string]string)
	for _, x := range r.Inputs {
		notes[x.ID] = x.Note
	}
	if !strings.Contains(notes["w-1"], "days 2026-12-24..2026-12-31 are in w-3 too") || !strings.Contains(notes["w-3"], "are in w-1 too") || strings.Contains(notes["w-2"], "too") {
		t.Errorf("the report's notes: %q", notes)
	}
	var b bytes.Buffer
	if err := p.Explain(&b, m, 0, curve); err != nil || !strings.Contains(b.String(), "100 t, vintage 2026; its days 2026-12-24..2026-12-31 are in w-3 too: both are added") {
		t.Errorf("the explanation lacks it: %v\n%s", err, b.String())
	}
}
