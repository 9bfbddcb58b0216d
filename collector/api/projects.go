package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"kenshin/calc"
)

// project is a project as the API shows it.
type project struct {
	Reference   string      `json:"reference" doc:"Number in the registry"`
	Title       string      `json:"title"`
	Country     string      `json:"country,omitempty"`
	Zone        string      `json:"zone" doc:"IANA zone on whose calendar days, months and vintages are cut"`
	Status      string      `json:"status,omitempty" doc:"illustration when the numbers are invented"`
	Methodology methodology `json:"methodology"`
	Periods     []period    `json:"periods"`
	Meters      []meter     `json:"meters"`
}

type methodology struct {
	Number  string `json:"number"`
	Version string `json:"version"`
}

type period struct {
	N     int       `json:"n" doc:"Counted from 1 in the order of the project's file"`
	Start calc.Date `json:"start" doc:"First local day"`
	End   calc.Date `json:"end" doc:"Last local day"`
}

type meter struct {
	Key       string `json:"key" doc:"Names the meter in totals"`
	Title     string `json:"title,omitempty"`
	Register  string `json:"register" doc:"Series of its counter: edge/device/point"`
	Power     string `json:"power,omitempty" doc:"Series of its momentary power, for display"`
	RatedKW   string `json:"rated_kW,omitempty" doc:"Most power that can flow through it"`
	Counts    string `json:"counts,omitempty" doc:"What its register counts when that is not kWh: GJ, m3, Nm3 or t"`
	RatedPerH string `json:"rated_per_h,omitempty" doc:"Most of that in an hour"`
	Parameter string `json:"parameter,omitempty" doc:"Symbol of the methodology that it feeds"`
	Unit      string `json:"unit" doc:"Unit i of the methodology that it belongs to"`
	Role      string `json:"role,omitempty" doc:"check: shown beside, in no total"`
}

func projectOf(p *calc.Project) project {
	out := project{
		Reference: p.Reference, Title: p.Title, Country: p.Country, Zone: p.Zone, Status: p.Status,
		Methodology: methodology{p.Methodology.Number, p.Methodology.Version},
		Periods:     []period{}, Meters: []meter{},
	}
	for i, s := range p.Periods {
		out.Periods = append(out.Periods, period{i + 1, s.Start, s.End})
	}
	for i := range p.Meters {
		m := &p.Meters[i]
		a := meter{Key: m.Key, Title: m.Title, Register: m.Register, Power: m.Power, Counts: m.Counts, Parameter: m.Parameter, Unit: m.UnitName(), Role: m.Role}
		if !m.RatedPerH.IsZero() {
			a.RatedPerH = m.RatedPerH.String()
		}
		if !m.RatedKW.IsZero() {
			a.RatedKW = m.RatedKW.String()
		}
		out.Meters = append(out.Meters, a)
	}
	return out
}

// body is an answer in JSON.
type body[T any] struct {
	Body T
}

type projectInput struct {
	Project string `path:"project" doc:"Reference of the project"`
}

type periodInput struct {
	Project string `path:"project" doc:"Reference of the project"`
	N       int    `path:"n" minimum:"1" doc:"Monitoring period, counted from 1"`
}

// operation describes a call that reads.
func operation(id, path, tag, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Tags: []string{tag}, Summary: summary}
}

func (s *server) projects(h huma.API) {
	huma.Register(h, operation("projects", "/api/v1/projects", "projects", "The projects in force"),
		func(ctx context.Context, _ *struct{}) (*body[[]project], error) {
			all, err := s.cfg.Figures.Projects(ctx)
			if err != nil {
				return nil, s.internal(err)
			}
			out := []project{}
			for _, p := range all {
				out = append(out, projectOf(p))
			}
			return &body[[]project]{out}, nil
		})
	huma.Register(h, operation("project", "/api/v1/projects/{project}", "projects", "A project"),
		func(ctx context.Context, in *projectInput) (*body[project], error) {
			p, err := s.find(ctx, in.Project)
			if err != nil {
				return nil, err
			}
			return &body[project]{projectOf(p)}, nil
		})
	huma.Register(h, operation("meters", "/api/v1/projects/{project}/meters", "projects", "The meters of a project"),
		func(ctx context.Context, in *projectInput) (*body[[]meter], error) {
			p, err := s.find(ctx, in.Project)
			if err != nil {
				return nil, err
			}
			return &body[[]meter]{projectOf(p).Meters}, nil
		})
	huma.Register(h, operation("periods", "/api/v1/projects/{project}/periods", "projects", "The monitoring periods of a project"),
		func(ctx context.Context, in *projectInput) (*body[[]period], error) {
			p, err := s.find(ctx, in.Project)
			if err != nil {
				return nil, err
			}
			return &body[[]period]{projectOf(p).Periods}, nil
		})
}

// find returns a project, or a problem that names those there are.
func (s *server) find(ctx context.Context, reference string) (*calc.Project, error) {
	all, err := s.cfg.Figures.Projects(ctx)
	if err != nil {
		return nil, s.internal(err)
	}
	i := slices.IndexFunc(all, func(p *calc.Project) bool { return p.Reference == reference })
	if i >= 0 {
		return all[i], nil
	}
	if len(all) == 0 {
		return nil, huma.Error404NotFound(fmt.Sprintf("there is no project %q, nor any other; name project files under `projects` in the collector's configuration", reference))
	}
	var there []string
	for _, p := range all {
		there = append(there, p.Reference)
	}
	return nil, huma.Error404NotFound(fmt.Sprintf("there is no project %q; there is %s", reference, strings.Join(there, ", ")))
}
