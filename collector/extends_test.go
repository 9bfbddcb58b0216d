package collector

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

const childYAML = `
number: T-2
version: "1.0"
title: solar power of a country
status: published
extends: {number: T-1, version: "1.0"}
sources: [{document: none, tag: S}]
examples:
  - title: one
    source: invented
    parameters: {EF: "0.5"}
    units: {a: {EG: "10"}}
    result: {RE: "5", PE: "0", ER: "5"}
`

// TestMethodologyThatExtends: a project under a methodology that takes its formulas
// over from another one, whose file comes later, has the same figures as one under
// that other; from the book alone too. What cannot be put together is refused with
// file and line, and nothing is opened.
func TestMethodologyThatExtends(t *testing.T) {
	a, b := twoSites(3)
	r := newRig(t, a, b)
	r.send(a.all(t), b.all(t))
	r.catchUp()
	hash := regexp.MustCompile(`"methodology_sha256": "[0-9a-f]{64}"`) // number and version are part of it
	want := hash.ReplaceAllString(strings.ReplaceAll(r.totals("plant", 2), "T-1 1.0", "T-2 1.0"), "")
	r.Close()
	good := r.cfg
	r.cfg.Methodologies = append([]File{{"a-child.yaml", []byte(childYAML)}}, good.Methodologies...)
	r.cfg.Projects = []File{{"plant.yaml", []byte(strings.Replace(projectYAML, "T-1", "T-2", 1))}}
	r.open()
	r.catchUp()
	if got := hash.ReplaceAllString(r.totals("plant", 2), ""); got != want {
		t.Errorf("totals\n%s\nwant\n%s", got, want)
	}
	if _, m, err := r.Project("plant"); err != nil || m.Number != "T-2" || m.Formulas.RE != "sum(EG * EF)" || m.Extends != nil {
		t.Errorf("the methodology of the project: %+v, %v", m, err)
	}
	r.Close()
	for spoilt, want := range map[string]string{
		strings.Replace(childYAML, "T-1", "T-9", 1):         "a-child.yaml:6: T-2 1.0 extends T-9 1.0, which is not among the methodology files",
		strings.Replace(childYAML, "T-1", "T-2", 1):         "a-child.yaml:6: T-2 1.0 extends T-2 1.0, which extends it",
		strings.Replace(childYAML, `RE: "5"`, `RE: "6"`, 1): "a-child.yaml:13: example 1 (one): RE comes out as 5 tCO2, the file says 6",
	} {
		cfg := r.cfg
		cfg.Methodologies = slices.Concat([]File{{"a-child.yaml", []byte(spoilt)}}, good.Methodologies)
		c, err := Open(t.Context(), cfg)
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open: %v, want %q", err, want)
		}
	}
	r.open()
}
