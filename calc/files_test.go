package calc_test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kenshin/calc"
	"kenshin/configs"
)

// shipped returns the methodologies that come with the programs, as their files have
// them, and a function that finds one.
func shipped(t testing.TB) (map[calc.Pin]*calc.Methodology, func(calc.Pin) *calc.Methodology) {
	t.Helper()
	out := make(map[calc.Pin]*calc.Methodology)
	for name, text := range files(t, "methodologies/*.yaml") {
		var m calc.Methodology
		if err := configs.Decode(name, text, &m); err != nil {
			t.Fatal(err)
		}
		pin := calc.Pin{Number: m.Number, Version: m.Version}
		if out[pin] != nil {
			t.Errorf("%s: a second file of %v", name, pin)
		}
		out[pin] = &m
	}
	return out, func(p calc.Pin) *calc.Methodology { return out[p] }
}

// resolved returns them with all that they take over, in the order of their numbers.
func resolved(t testing.TB) []*calc.Methodology {
	t.Helper()
	all, find := shipped(t)
	var out []*calc.Methodology
	padded := func(p calc.Pin) string { // F2 before F10
		return digits.ReplaceAllStringFunc(p.String(), func(n string) string { return fmt.Sprintf("%04s", n) })
	}
	for _, pin := range slices.SortedFunc(maps.Keys(all), func(a, b calc.Pin) int { return strings.Compare(padded(a), padded(b)) }) {
		m, err := all[pin].Resolve(find)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

var digits = regexp.MustCompile(`[0-9]+`)

// literal finds numbers in a formula that are not part of a symbol.
var literal = regexp.MustCompile(`(^|[^A-Za-z0-9_.])([0-9][0-9.]*)`)

// TestMethodologiesThatShip loads every methodology as the programs do: examples come
// out, nothing from recall can be sealed, and no factor, COP or efficiency ships.
func TestMethodologiesThatShip(t *testing.T) {
	families := make(map[string]bool)
	for _, m := range resolved(t) {
		name := m.Number + " " + m.Version
		families[m.Family] = true
		for _, f := range m.Faults() {
			t.Errorf("%s: %s: %v", name, f.Path, f)
		}
		for i := range m.Parameters {
			switch p := &m.Parameters[i]; {
			case p.Calendar:
			case !p.Monitored && (p.Min == nil || p.Max == nil || len(p.Range) < 15):
				t.Errorf("%s: %s is fixed ex ante and any number passes for it: give min, max and range, why nothing outside can be meant", name, p.Symbol)
			case p.Monitored && p.Min == nil && !p.Signed:
				t.Errorf("%s: %s is monitored and may be negative: give min, or signed", name, p.Symbol)
			case p.Max != nil && p.Range == "":
				t.Errorf("%s: %s has a max without a reason", name, p.Symbol)
			}
		}
		recall := false
		for _, s := range m.Sources {
			recall = recall || s.Tag == "R"
			if s.Tag != "R" && !strings.HasPrefix(s.URL, "http") {
				t.Errorf("%s: source %q is published and has no address", name, s.Document)
			}
		}
		if recall && m.Status != calc.Unverified || (m.Sealable() == nil) != (m.Status != calc.Unverified) {
			t.Errorf("%s: from recall %v, status %s, sealable: %v", name, recall, m.Status, m.Sealable())
		}
		if family := strings.HasPrefix(m.Number, "KS-"); family != (m.Country == "") || m.Family == "" ||
			family && m.Status == calc.Published || !family && m.Status == calc.Template {
			t.Errorf("%s: country %q, family %q, status %s", name, m.Country, m.Family, m.Status)
		}
		for _, e := range m.Examples {
			if !strings.Contains(e.Source, "invented") && !strings.Contains(e.Source, "published") {
				t.Errorf("%s: example %q: source %q names no document and does not say that its numbers are invented", name, e.Title, e.Source)
			}
		}
		formulas := []string{m.Formulas.RE, m.Formulas.PE, m.Formulas.ER}
		for _, x := range m.Terms {
			formulas = append(formulas, x.Formula)
		}
		for _, f := range formulas {
			for _, n := range literal.FindAllStringSubmatch(f, -1) {
				if n[2] != "0" && n[2] != "1" {
					t.Errorf("%s: formula %s holds the number %s; it is the project's", name, f, n[2])
				}
			}
		}
		if len(m.Tables) > 0 {
			t.Errorf("%s ships a table of numbers: read its source again, then allow it here", name)
		}
	}
	for i := 1; i <= 22; i++ {
		if f := fmt.Sprintf("F%d", i); !families[f] {
			t.Errorf("family %s does not ship", f)
		}
	}
	if !families["W1"] || !families["A1"] {
		t.Error("waste or forest does not ship")
	}
}

// TestProjectsThatShip: each project fits its methodology.
func TestProjectsThatShip(t *testing.T) {
	all, find := shipped(t)
	projects := 0
	for name, text := range files(t, "projects/*.yaml") {
		var p calc.Project
		if err := configs.Decode(name, text, &p); err != nil {
			t.Fatal(err)
		}
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		m := all[p.Methodology]
		if m == nil {
			t.Fatalf("%s: methodology %v does not ship", name, p.Methodology)
		}
		m, err := m.Resolve(find)
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.Periods {
			if _, err := p.Report(m, i, func(string) *calc.Curve { return nil }); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		projects++
	}
	if projects < 3 {
		t.Errorf("%d projects, want at least 3", projects)
	}
}

// TestTableInTheDocs keeps the table of methodologies true, and the file that is
// shown there.
func TestTableInTheDocs(t *testing.T) {
	var table strings.Builder
	table.WriteString("| methodology | version | country | family | status | worked examples: RE, PE, ER in tCO2 |\n|---|---|---|---|---|---|\n")
	for _, m := range resolved(t) {
		var examples []string
		for _, e := range m.Examples {
			examples = append(examples, fmt.Sprintf("%s: %s, %s, %s", e.Title, e.Result.RE, e.Result.PE, e.Result.ER))
		}
		fmt.Fprintf(&table, "| %s %s | %s | %s | %s | %s | %s |\n", m.Number, m.Title, m.Version, m.Country, m.Family, m.Status, strings.Join(examples, "; "))
	}
	const file, begin, end = "../deploy/docs/methodologies.md", "<!-- table: go test ./calc -run TableInTheDocs -update -->\n", "<!-- end of the table -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no table between %q and %q", file, begin, end)
	}
	_, sample, _ := strings.Cut(string(text), "```yaml\n")
	sample, _, _ = strings.Cut(sample, "```")
	var m calc.Methodology
	if err := configs.Decode("sample", []byte(sample), &m); err != nil {
		t.Fatal(err)
	}
	_, find := shipped(t)
	if r, err := m.Resolve(find); err != nil || r.Validate() != nil {
		t.Errorf("the file shown in %s does not load: %v %v", file, err, r.Validate())
	}
	want := []byte(head + begin + table.String() + end + tail)
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(text, want) {
		t.Errorf("%s differs from the files; if that is meant: go test ./calc -run TableInTheDocs -update", file)
	}
}

func files(t testing.TB, pattern string) map[string][]byte {
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
