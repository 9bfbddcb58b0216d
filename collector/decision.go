package collector

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kenshin/calc"
	"kenshin/collector/store"
	"kenshin/configs"
)

// What a decision can put in force.
const (
	decideEdge        = "edge"
	decideMethodology = "methodology"
	decideProject     = "project"
	decideRuling      = "ruling"   // on a counter, of a project; Name is "project id"
	decideInput       = "input"    // a dated input
	decideSplit       = "split"    // credits of a vintage, in whole tonnes
	decideSeal        = "seal"     // figures of a period that were handed over; Name is "project period/revision"
	decideToken       = "token"    // for an edge, see registry.go
	decideKey         = "edge-key" // admits one
	decideKeyEnd      = "edge-key-end"
)

// decision is the payload of a store.Decision record: who put what in force,
// and why. Text is the file itself, so that a figure can be recomputed from the
// book alone.
type decision struct {
	Version int    `json:"version"`
	Kind    string `json:"kind"`
	Name    string `json:"name"` // file name, edge id, or project and id of a ruling, input, split or seal
	Who     string `json:"who"`
	Why     string `json:"why"`
	Text    string `json:"text"`            // the YAML text, the edge's public key in base64, the hash of a token, or JSON of a ruling, input, split or seal; "" takes it out of force
	Token   string `json:"token,omitempty"` // edge-key: hash of the token that was used up
	Until   int64  `json:"until,omitempty"` // token: last moment it is taken, ms UTC

	at uint64 // position in the book
}

const decisionVersion = 1

// key is what a later decision must have to take this one's place.
func (d *decision) key() string { return d.Kind + " " + d.Name }

// File is a configuration text with the name it is known by in messages.
type File struct {
	Name string
	Text []byte
}

// Edge is an edge whose batches are taken.
type Edge struct {
	ID  string
	Key ed25519.PublicKey
}

// rules is what the decisions of the book add up to.
type rules struct {
	registry
	methodologies map[string]*calc.Methodology // by "number version"
	origins       map[string]decision          // of methodologies, by the same
	projects      []*calc.Project              // in the order they came in force
	names         map[string]string            // file a project came from, by reference
	texts         map[string]string            // by kind and name, to see what is new
	serials       serials                      // that devices told
}

func newRules() *rules {
	return &rules{
		registry:      newRegistry(),
		methodologies: make(map[string]*calc.Methodology),
		origins:       make(map[string]decision),
		names:         make(map[string]string),
		texts:         make(map[string]string),
	}
}

// take puts one decision of the book in force. It returns the project that
// changed, nil when it was something else.
func (r *rules) take(rec *store.Record) (*calc.Project, error) {
	var d decision
	if err := json.Unmarshal(rec.Payload, &d); err != nil {
		return nil, fmt.Errorf("decision in record %d: %w", rec.Index, err)
	}
	if d.Version != decisionVersion {
		return nil, fmt.Errorf("decision in record %d: version %d, this program reads %d", rec.Index, d.Version, decisionVersion)
	}
	d.at = rec.Index
	p, err := r.apply(d)
	if err != nil {
		return nil, fmt.Errorf("decision in record %d: %w", rec.Index, err)
	}
	return p, nil
}

func (r *rules) apply(d decision) (*calc.Project, error) {
	switch d.Kind {
	case decideRuling, decideInput, decideSplit, decideSeal:
		return r.applyDecided(d)
	}
	if d.Text == "" {
		r.withdraw(d)
		return nil, nil
	}
	switch d.Kind {
	case decideToken, decideKey, decideKeyEnd:
		return nil, r.admission(d)
	case decideEdge:
		if err := r.admission(d); err != nil {
			return nil, err
		}
	case decideMethodology:
		var m calc.Methodology
		if err := configs.Decode(d.Name, []byte(d.Text), &m); err != nil {
			return nil, err
		}
		// What it extends may come later; check does the rest.
		if m.Extends == nil {
			if err := m.Validate(); err != nil {
				return nil, located(d, err)
			}
		}
		r.methodologies[methodologyKey(m.Number, m.Version)] = &m
		r.origins[methodologyKey(m.Number, m.Version)] = d
	case decideProject:
		var p calc.Project
		if err := configs.Decode(d.Name, []byte(d.Text), &p); err != nil {
			return nil, err
		}
		if err := p.Validate(); err != nil {
			return nil, located(d, err)
		}
		// The file may have held another project before.
		r.projects = slices.DeleteFunc(r.projects, func(q *calc.Project) bool { return q.Reference != p.Reference && r.names[q.Reference] == d.Name })
		r.names[p.Reference] = d.Name
		r.texts[d.key()] = d.Text
		var err error
		if p.Decided, err = r.decided(p.Reference); err != nil {
			return nil, err
		}
		r.put(&p)
		return &p, nil
	default:
		return nil, fmt.Errorf("kind %q is unknown", d.Kind)
	}
	r.texts[d.key()] = d.Text
	return nil, nil
}

// withdraw takes out of force what was decided under a name.
func (r *rules) withdraw(d decision) {
	delete(r.texts, d.key())
	switch d.Kind {
	case decideEdge:
		r.endConfigured(d)
	case decideProject:
		r.projects = slices.DeleteFunc(r.projects, func(p *calc.Project) bool { return r.names[p.Reference] == d.Name })
	}
	// A methodology stays known: projects pin theirs by version.
}

func (r *rules) put(p *calc.Project) {
	for i := range r.projects {
		if r.projects[i].Reference == p.Reference {
			r.projects[i] = p
			return
		}
	}
	r.projects = append(r.projects, p)
}

func (r *rules) project(reference string) *calc.Project {
	for _, p := range r.projects {
		if p.Reference == reference {
			return p
		}
	}
	return nil
}

// decide writes into the book what the configuration puts in force and the book
// does not have yet. Everything is tried on a copy first: a configuration that
// does not hold changes nothing.
func (c *Collector) decide(ctx context.Context) error {
	wanted := c.cfg.decisions()
	trial, err := try(ctx, wanted)
	if err != nil {
		return err
	}
	for _, p := range trial.projects {
		if err := c.ingest.rules.keepsSealed(p); err != nil {
			return err
		}
	}
	var recs []*store.Record
	add := func(d decision, why string) error {
		d.Version, d.Who, d.Why = decisionVersion, "configuration of "+c.cfg.Name, why
		text, err := marshal(d)
		recs = append(recs, &store.Record{Kind: store.Decision, Received: c.cfg.Clock.Now().UnixMilli(), Subject: d.Kind, Payload: text})
		return err
	}
	for _, d := range wanted {
		if c.ingest.rules.texts[d.key()] == d.Text {
			continue
		}
		if err := add(d, "in force when the collector started"); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.ingest.rules.texts)) {
		kind, name, _ := strings.Cut(key, " ")
		if _, ok := trial.texts[key]; ok || kind != decideEdge && kind != decideProject {
			continue // what people decide one by one stays
		}
		if err := add(decision{Kind: kind, Name: name}, "no longer in the configuration"); err != nil {
			return err
		}
	}
	if len(recs) == 0 {
		return nil
	}
	if _, err := c.store.Append(recs...); err != nil {
		return err
	}
	for _, r := range recs {
		if _, err := c.ingest.rules.take(r); err != nil {
			return err
		}
	}
	return nil
}

// decisions lists what a configuration puts in force.
func (c *Config) decisions() (out []decision) {
	for _, e := range c.Edges {
		out = append(out, decision{Kind: decideEdge, Name: e.ID, Text: base64.StdEncoding.EncodeToString(e.Key)})
	}
	for _, f := range c.Methodologies {
		out = append(out, decision{Kind: decideMethodology, Name: f.Name, Text: string(f.Text)})
	}
	for _, f := range c.Projects {
		out = append(out, decision{Kind: decideProject, Name: f.Name, Text: string(f.Text)})
	}
	return out
}

// Check says what keeps methodologies and projects from being put in force
// together. Nothing is opened.
func Check(ctx context.Context, methodologies, projects []File) error {
	c := Config{Methodologies: methodologies, Projects: projects}
	_, err := try(ctx, c.decisions())
	return err
}

// try returns the rules that decisions come to, or what is wrong with them.
func try(ctx context.Context, wanted []decision) (*rules, error) {
	trial := newRules()
	for _, d := range wanted {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, ok := trial.texts[d.key()]; ok {
			return nil, fmt.Errorf("%s %s stands twice in the configuration; give each its own name", d.Kind, d.Name)
		}
		if d.Text == "" {
			return nil, fmt.Errorf("%s %s is empty", d.Kind, d.Name)
		}
		known := len(trial.projects)
		p, err := trial.apply(d)
		if err != nil {
			return nil, err
		}
		if p != nil && len(trial.projects) == known {
			return nil, fmt.Errorf("%s: another file is of project %s too; keep one of them", d.Name, p.Reference)
		}
	}
	return trial, trial.check()
}

// check reports a project that cannot be computed: its methodology is missing,
// does not fit, or another project has one of its counters.
func (r *rules) check() error {
	for _, key := range slices.Sorted(maps.Keys(r.methodologies)) {
		m := r.methodologies[key]
		if m.Extends == nil {
			continue
		}
		m, err := r.methodology(calc.Pin{Number: m.Number, Version: m.Version})
		if err == nil {
			err = m.Validate()
		}
		if err != nil {
			return located(r.origins[key], err)
		}
	}
	owners := make(map[string]string)
	for _, p := range r.projects {
		file := decision{Kind: decideProject, Name: r.names[p.Reference]}
		file.Text = r.texts[file.key()]
		m, err := r.methodology(p.Methodology)
		if err != nil {
			return fmt.Errorf("%s: project %s: methodology %w", file.Name, p.Reference, err)
		}
		if m == nil {
			return configs.At(file.Name, []byte(file.Text), "$.methodology", fmt.Sprintf("project %s: methodology %v is not among the methodology files", p.Reference, p.Methodology),
				"`kenshin-collector methodology check` lists those that come with the program; name others under `methodologies`")
		}
		if err := p.Documented(); err != nil {
			return located(file, err)
		}
		if err := p.Fits(m); err != nil {
			return located(file, err)
		}
		if err := p.Computable(m); err != nil {
			return located(file, err)
		}
		for _, spec := range p.Registers() {
			if other, ok := owners[spec.Key]; ok {
				return fmt.Errorf("register %s is in project %s and in project %s; a counter belongs to one project", spec.Key, other, p.Reference)
			}
			owners[spec.Key] = p.Reference
		}
	}
	return nil
}

// located says in which line of a decision's file an error lies.
func located(d decision, err error) error {
	var f *calc.Fault
	if errors.As(err, &f) {
		return configs.At(d.Name, []byte(d.Text), f.Path, f.Problem, cmp.Or(f.Remedy, remedies[d.Kind]))
	}
	return fmt.Errorf("%s: %w", d.Name, err)
}

var remedies = map[string]string{
	decideMethodology: "check it with `kenshin-collector methodology check`",
	decideProject:     "compare it with the methodology, `kenshin-collector methodology show`, and with configs/projects",
}

// methodology returns the one of a pin with all that it takes over from others,
// nil when it is not known.
func (r *rules) methodology(p calc.Pin) (*calc.Methodology, error) {
	find := func(p calc.Pin) *calc.Methodology { return r.methodologies[methodologyKey(p.Number, p.Version)] }
	m := find(p)
	if m == nil {
		return nil, nil
	}
	return m.Resolve(find)
}

func methodologyKey(number, version string) string { return number + " " + version }

// marshal writes JSON as people read it: without escaping <, > and &.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}
