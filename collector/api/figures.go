package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"kenshin/calc"
	"kenshin/edge/wire"
)

// reading is the newest sample of a series, with what is needed to find the
// record that it came in.
type reading struct {
	Key     string     `json:"key" doc:"Series: edge/device/point"`
	At      int64      `json:"at" doc:"When it was read, ms since 1970 UTC"`
	Time    string     `json:"time" format:"date-time" doc:"The same as RFC 3339, UTC"`
	Value   *string    `json:"value" doc:"Decimal number in the unit, or text; null when there is none"`
	Unit    string     `json:"unit,omitempty" doc:"As the device declares it"`
	Quality string     `json:"quality" doc:"good, or why the value may not be used"`
	Reason  string     `json:"reason,omitempty" doc:"For people, when the quality is not good"`
	Edge    string     `json:"edge"`
	Epoch   wire.Epoch `json:"epoch" doc:"With edge and seq the identity of the record"`
	Seq     uint64     `json:"seq"`
}

func readingOf(s *wire.Sample) reading {
	out := reading{
		Key: s.Key(), At: s.At, Time: time.UnixMilli(s.At).UTC().Format("2006-01-02T15:04:05.000Z"),
		Unit: s.Unit, Quality: s.Quality.String(), Reason: s.Reason, Edge: s.Edge, Epoch: s.Epoch, Seq: s.Seq,
	}
	if s.Quality == wire.Good {
		value := s.Text
		if s.Kind != wire.Label {
			value = s.Number.String()
		}
		out.Value = &value
	}
	return out
}

func (s *server) figures(h huma.API) {
	huma.Register(h, operation("totals", "/api/v1/projects/{project}/periods/{n}/totals", "figures", "The totals of a monitoring period as they are settled now"),
		func(ctx context.Context, in *periodInput) (*body[*calc.Report], error) {
			p, err := s.find(ctx, in.Project)
			if err != nil {
				return nil, err
			}
			if in.N > len(p.Periods) {
				return nil, huma.Error404NotFound(fmt.Sprintf("project %s has no period %d; %s", p.Reference, in.N, periodsOf(p)))
			}
			r, err := s.cfg.Figures.Report(ctx, p.Reference, in.N-1)
			if err != nil {
				return nil, s.internal(err)
			}
			return &body[*calc.Report]{r}, nil
		})
	huma.Register(h, operation("latest", "/api/v1/latest", "readings", "The newest sample of every series"),
		func(ctx context.Context, _ *struct{}) (*body[[]reading], error) {
			return s.latest(ctx, func(string) bool { return true })
		})
	huma.Register(h, operation("project-latest", "/api/v1/projects/{project}/latest", "readings", "The newest sample of the registers and powers of a project's meters"),
		func(ctx context.Context, in *projectInput) (*body[[]reading], error) {
			p, err := s.find(ctx, in.Project)
			if err != nil {
				return nil, err
			}
			ours := make(map[string]bool)
			for i := range p.Meters {
				ours[p.Meters[i].Register], ours[p.Meters[i].Power] = true, true
			}
			return s.latest(ctx, func(key string) bool { return ours[key] })
		})
}

func periodsOf(p *calc.Project) string {
	var out []string
	for i, s := range p.Periods {
		out = append(out, fmt.Sprintf("%d is %v", i+1, s))
	}
	return strings.Join(out, ", ")
}

func (s *server) latest(ctx context.Context, wanted func(key string) bool) (*body[[]reading], error) {
	samples, err := s.cfg.Figures.Latest(ctx)
	if err != nil {
		return nil, s.internal(err)
	}
	out := []reading{}
	for i := range samples {
		if wanted(samples[i].Key()) {
			out = append(out, readingOf(&samples[i]))
		}
	}
	return &body[[]reading]{out}, nil
}
