package api

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/shopspring/decimal"

	"kenshin/calc"
	"kenshin/edge/wire"
)

// Charts gives what long charts show: from a copy of the samples where one has all of
// it, else from the series store. source names which of them was asked, and why says
// what the copies lack when it was none of them.
type Charts interface {
	// Readings returns the last good number of a register in each window of every ms,
	// counted from 1970, from an instant to before another, ms UTC. At is the beginning
	// of the window.
	Readings(ctx context.Context, register string, from, to, every int64) (source, why string, list []wire.Sample, err error)
	// Days returns the energy in kWh of each local day of a period on which something
	// was read; period counts from 0.
	Days(ctx context.Context, project string, period int) (source, why string, days map[string]decimal.Decimal, err error)
}

// drawn is what an answer for a chart says of itself.
type drawn struct {
	Display bool   `json:"display" doc:"Always true: to look at, no figure of record. Those are in totals"`
	Source  string `json:"source" doc:"Name of the time series server that was asked, or series store"`
	Why     string `json:"why,omitempty" doc:"What the servers lack, when the series store was asked in their place"`
}

type daysChart struct {
	drawn
	Project string     `json:"project"`
	Period  calc.Span  `json:"period"`
	Unit    string     `json:"unit"`
	Days    []dayEntry `json:"days" doc:"Local days on which something was read, in order"`
}

type dayEntry struct {
	Day string `json:"day" format:"date"`
	KWh string `json:"kWh" doc:"Measured by the meters that count"`
}

type readingsChart struct {
	drawn
	Register string      `json:"register"`
	Unit     string      `json:"unit" doc:"As the device declared it last"`
	Every    string      `json:"every"`
	Windows  []chartStep `json:"windows" doc:"Those with a good number, in order"`
}

type chartStep struct {
	At    int64  `json:"at" doc:"Beginning of the window, ms since 1970 UTC"`
	Value string `json:"value" doc:"The last good number of the window; of two numbers of a counter the difference is what it counted between them"`
}

type readingsInput struct {
	Register string `query:"register" required:"true" doc:"Series: edge/device/point"`
	From     string `query:"from" required:"true" doc:"First UTC day or RFC 3339 instant"`
	To       string `query:"to" doc:"UTC day or instant before which it ends; now when left out"`
	Every    string `query:"every" default:"1h" enum:"1m,5m,15m,1h,6h,1d" doc:"Length of a window, counted from 1970 UTC"`
}

const maxWindows = 10_000 // of one answer

var windows = map[string]time.Duration{"1m": time.Minute, "5m": 5 * time.Minute, "15m": 15 * time.Minute, "1h": time.Hour, "6h": 6 * time.Hour, "1d": 24 * time.Hour}

func (s *server) charts(h huma.API) {
	huma.Register(h, operation("days", "/api/v1/projects/{project}/periods/{n}/days", "charts", "The energy of each day of a monitoring period, for a chart"),
		func(ctx context.Context, in *periodInput) (*body[*daysChart], error) {
			p, err := s.find(ctx, in.Project)
			if err != nil {
				return nil, err
			}
			if in.N > len(p.Periods) {
				return nil, huma.Error404NotFound(fmt.Sprintf("project %s has no period %d; %s", p.Reference, in.N, periodsOf(p)))
			}
			source, why, days, err := s.cfg.Charts.Days(ctx, p.Reference, in.N-1)
			if err != nil {
				return nil, s.internal(err)
			}
			out := &daysChart{drawn{true, source, why}, p.Reference, p.Periods[in.N-1], "kWh", []dayEntry{}}
			for _, day := range slices.Sorted(maps.Keys(days)) {
				out.Days = append(out.Days, dayEntry{day, days[day].String()})
			}
			return &body[*daysChart]{out}, nil
		})
	huma.Register(h, operation("chart", "/api/v1/chart", "charts", "The last reading of a register in each window of a long time, for a chart"), s.readings)
}

func (s *server) readings(ctx context.Context, in *readingsInput) (*body[*readingsChart], error) {
	from, err := instant(in.From)
	if err != nil {
		return nil, huma.Error422UnprocessableEntity("from: " + err.Error())
	}
	to := time.Now()
	if in.To != "" {
		if to, err = instant(in.To); err != nil {
			return nil, huma.Error422UnprocessableEntity("to: " + err.Error())
		}
	}
	every := windows[in.Every]
	switch n := to.Sub(from) / every; {
	case !from.Before(to):
		return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("from %s is not before to %s", from.Format(time.RFC3339), to.Format(time.RFC3339)))
	case n > maxWindows:
		return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("%d windows of %s; an answer has at most %d: ask for longer ones or a shorter time", n, in.Every, maxWindows))
	}
	latest, err := s.cfg.Figures.Latest(ctx)
	if err != nil {
		return nil, s.internal(err)
	}
	i := slices.IndexFunc(latest, func(x wire.Sample) bool { return x.Key() == in.Register })
	if i < 0 {
		return nil, huma.Error404NotFound(fmt.Sprintf("there is no register %q; /api/v1/latest names those there are", in.Register))
	}
	source, why, list, err := s.cfg.Charts.Readings(ctx, in.Register, from.UnixMilli(), to.UnixMilli(), every.Milliseconds())
	if err != nil {
		return nil, s.internal(err)
	}
	out := &readingsChart{drawn{true, source, why}, in.Register, latest[i].Unit, in.Every, []chartStep{}}
	for _, x := range list {
		out.Windows = append(out.Windows, chartStep{x.At, x.Number.String()})
	}
	return &body[*readingsChart]{out}, nil
}

// instant reads a UTC day or an RFC 3339 time of the years 1970 to 2200.
func instant(text string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		t, err = time.Parse(time.RFC3339, text)
	}
	if err != nil || t.Year() < 1970 || t.Year() > 2200 {
		return t, fmt.Errorf("%q: want YYYY-MM-DD or YYYY-MM-DDThh:mm:ssZ, from 1970 to 2200", text)
	}
	return t, nil
}
