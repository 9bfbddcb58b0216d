package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"kenshin/collector"
	"kenshin/collector/influx"
	"kenshin/collector/web"
	"kenshin/configs"
)

// influxConfig is a server that is given a copy of what is settled.
type influxConfig struct {
	Name      string `yaml:"name"`
	URL       string `yaml:"url"`
	Org       string `yaml:"org"`
	Bucket    string `yaml:"bucket"`
	Token     string `yaml:"token"`
	TokenFile string `yaml:"token_file"` // read again when the token is refused
	Gzip      bool   `yaml:"gzip"`
	Rounding  bool   `yaml:"rounding"` // keeps float64 only: VictoriaMetrics
}

var serverName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

func (c *config) validateInflux(wrong func(path, problem, remedy string) error) error {
	var seen []string
	for i, s := range c.Influx {
		at := func(key string) string { return fmt.Sprintf("$.influx[%d].%s", i, key) }
		u, err := url.Parse(s.URL)
		switch {
		case !serverName.MatchString(s.Name):
			return wrong(at("name"), fmt.Sprintf("name %q", s.Name), "want 1 to 40 of a-z, 0-9 and -: it names files and metrics")
		case slices.Contains(seen, s.Name):
			return wrong(at("name"), fmt.Sprintf("server %q stands here twice", s.Name), "a name is unique")
		case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
			return wrong(at("url"), fmt.Sprintf("url %q", s.URL), "want http://HOST:PORT or https://HOST:PORT, with the path before /api/v2 if there is one")
		case s.Bucket == "" && !s.Rounding:
			return wrong(fmt.Sprintf("$.influx[%d]", i), "`bucket` is missing", "name the bucket, or database/policy of an InfluxDB 1.8")
		case s.Token != "" && s.TokenFile != "":
			return wrong(at("token_file"), "there is a `token` as well", "want one of the two")
		}
		seen = append(seen, s.Name)
	}
	return nil
}

func (c *config) describeInflux(w io.Writer) {
	for _, s := range c.Influx {
		note := ""
		if s.Rounding {
			note = ", rounded: for dashboards only"
		}
		fmt.Fprintf(w, "influx    %s: %s, bucket %s%s\n", s.Name, s.URL, s.Bucket, note)
	}
}

// projections are the copies of the samples in servers.
type projections []*influx.Projection

// openCopies opens those of the configuration.
func (c *config) openCopies(col *collector.Collector, registry *prometheus.Registry, log *zap.Logger) error {
	for i := range c.Influx {
		p, err := c.projection(col, &c.Influx[i], log.Named("influx"))
		if err != nil {
			return err
		}
		registry.MustRegister(p.Metrics()...)
		c.copies = append(c.copies, p)
	}
	return nil
}

func (c *config) projection(col *collector.Collector, s *influxConfig, log *zap.Logger) (*influx.Projection, error) {
	base := s.URL
	if !strings.HasSuffix(base, "/") {
		base += "/" // else the client drops the last part of the path
	}
	p, err := influx.Open(influx.Config{
		Server: influx.Server{Name: s.Name, URL: base, Org: s.Org, Bucket: s.Bucket, Token: s.token, Gzip: s.Gzip, Rounding: s.Rounding},
		Dir:    filepath.Join(c.Data, "influx"), Collector: col, Log: log,
	})
	if err != nil {
		return nil, configs.Setup(fmt.Errorf("%s: influx %s: %w", c.file, s.Name, err))
	}
	return p, nil
}

// token returns the token as it is now.
func (s *influxConfig) token() (string, error) {
	if s.TokenFile == "" {
		return s.Token, nil
	}
	text, err := os.ReadFile(s.TokenFile)
	return strings.TrimSpace(string(text)), err
}

// ServeHTTP answers how the copies stand.
func (p projections) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	out := []influx.Status{}
	for _, x := range p {
		out = append(out, x.Status())
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out) // the client is gone
}

// list is what the page says of the copies.
func (p projections) list() (out []web.Copy) {
	for _, x := range p {
		s := x.Status()
		out = append(out, web.Copy{Name: s.Server, Health: s.Health, Words: s.Words, Behind: s.Behind})
	}
	return out
}

// keepCopy runs a projection until ctx ends. One that cannot write its own state
// holds nothing else up.
func keepCopy(ctx context.Context, p *influx.Projection, log *zap.Logger) {
	defer p.Close()
	for ctx.Err() == nil {
		if err := p.Run(ctx); err != nil {
			log.Error("the copy in the time series server stands still for a minute", zap.String("server", p.Status().Server), zap.Error(err))
		}
		t := time.NewTimer(time.Minute)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

type influxCommands struct {
	Rebuild struct {
		Server string `arg:"" optional:"" help:"Name of the server in the configuration; the first one when left out."`
	} `cmd:"" help:"Give a server the whole book again. What is there already stays as it is; for a clean copy make a new bucket first."`
	Check struct {
		Server string `arg:"" optional:"" help:"Name of the server in the configuration; the first one when left out."`
		From   string `help:"First UTC day, the first of the book when left out." placeholder:"YYYY-MM-DD"`
		To     string `help:"Last UTC day, today when left out." placeholder:"YYYY-MM-DD"`
		Repair bool   `help:"Write again what differs."`
	} `cmd:"" help:"Give a server what it lacks, then compare it with the series store, by edge and day. Exit 1 when something differs."`
}

func (c *config) influxCommand(ctx context.Context, f *influxCommands, verb string, stdout, stderr io.Writer) error {
	verb, _, _ = strings.Cut(verb, " ")
	name := f.Rebuild.Server
	if verb == "check" {
		name = f.Check.Server
	}
	i := slices.IndexFunc(c.Influx, func(s influxConfig) bool { return name == "" || s.Name == name })
	if i < 0 {
		return configs.Setup(fmt.Errorf("%s: there is no server %q below influx", c.file, name))
	}
	from, err1 := day(f.Check.From)
	to, err2 := day(f.Check.To)
	if err := errors.Join(err1, err2); err != nil {
		return configs.Setup(err)
	}
	if to.IsZero() {
		to = time.Now()
	}
	log, err := c.Log.Logger(stderr)
	if err != nil {
		return configs.Setup(err)
	}
	return c.with(ctx, stderr, func(col *collector.Collector) error {
		p, err := c.projection(col, &c.Influx[i], log)
		if err != nil {
			return err
		}
		defer p.Close()
		if verb == "rebuild" {
			if err := p.Rewind(); err != nil {
				return err
			}
		}
		if err := p.CatchUp(ctx, records(stderr, col.Store().Size())); err != nil {
			return err
		}
		if verb == "rebuild" {
			_, err := fmt.Fprintf(stdout, "%d records of the book are in server %s\n", col.Store().Size(), c.Influx[i].Name)
			return err
		}
		differ := 0
		n, err := p.Check(ctx, from, to, f.Check.Repair, func(d influx.Difference) {
			differ++
			fmt.Fprintf(stdout, "%s %s: %d values stored, %d in the server; devices %s\n", d.Edge, d.Day, d.Stored, d.Server, strings.Join(d.Devices, ", "))
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%d days of edges compared, %d differ\n", n, differ)
		if differ > 0 && !f.Check.Repair {
			return errors.New("the server is not what it should be; --repair writes again what differs")
		}
		return nil
	})
}

func day(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return t, fmt.Errorf("day %q: want YYYY-MM-DD", text)
	}
	return t, nil
}

// records returns a function that says once in a while how far a work is.
func records(w io.Writer, total uint64) func(uint64) {
	next := time.Now().Add(2 * time.Second)
	return func(done uint64) {
		if now := time.Now(); now.After(next) {
			fmt.Fprintf(w, "%d of %d records\n", done, total)
			next = now.Add(2 * time.Second)
		}
	}
}
