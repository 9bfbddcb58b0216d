package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"kenshin/configs"
)

type statusCmd struct {
	JSON bool `name:"json" help:"Print what the agent answers, as JSON."`
}

// run asks the agent that runs by the configuration. It fails when something
// should be looked at.
func (s *statusCmd) run(ctx context.Context, cfg *config, w io.Writer) error {
	if cfg.HTTP.Listen == "" {
		return configs.Setup(fmt.Errorf("%s: the agent answers nobody; set http.listen, such as 127.0.0.1:9464, and restart it", cfg.file))
	}
	text, err := fetch(ctx, "http://"+cfg.HTTP.Listen+"/status")
	if err != nil {
		return fmt.Errorf("ask the agent: %w; is it running with %s?", err, cfg.file)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("ask the agent at %s: its answer is not a status: %w; is that another program?", cfg.HTTP.Listen, err)
	}
	if s.JSON {
		_, err = w.Write(text)
	} else {
		err = r.print(w)
	}
	if err == nil && len(r.Problems) > 0 {
		err = fmt.Errorf("%s to look at", count(len(r.Problems), "problem", "problems"))
	}
	return err
}

func fetch(ctx context.Context, url string) ([]byte, error) {
	ctx, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(url + ": " + resp.Status)
	}
	return text, err
}

// print writes a report for people.
func (r *report) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "edge\t%s, version %s, up %s, clock %s\n", r.Edge, r.Version, span(r.At, r.Started), r.Clock)
	fmt.Fprintf(t, "config\t%s\n", r.Config)
	link := "connected to " + r.Link.Broker
	if !r.Link.Connected {
		link = "NOT connected to " + r.Link.Broker
	}
	if !r.Link.Since.IsZero() {
		link += " since " + span(r.At, r.Link.Since)
	}
	fmt.Fprintf(t, "link\t%s\n", link)
	waiting := r.Outbox.Last - r.Outbox.Acked
	box := fmt.Sprintf("epoch %.8s, record %d, %d to be delivered", r.Epoch, r.Outbox.Last, waiting)
	if !r.Outbox.Oldest.IsZero() {
		box += ", the oldest for " + span(r.At, r.Outbox.Oldest)
	}
	fmt.Fprintf(t, "outbox\t%s, %.1f MB on disk\n", box, float64(r.Outbox.Bytes)/1e6)
	fmt.Fprintf(t, "memory\t%.1f MB\n", float64(r.Memory)/1e6)
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range r.Buses {
		b := &r.Buses[i]
		fmt.Fprintf(w, "\nbus %s: %s, %d missed, the last took %v", b.Name, count(int(b.Cycles), "cycle", "cycles"), b.Missed, tidy(time.Duration(b.Took*float64(time.Second))))
		if k := b.Traffic; k != nil {
			fmt.Fprintf(w, "; %d requests, %d exceptions, %d timeouts, %d garbled", k.Requests, k.Exceptions, k.Timeouts, k.Malformed)
		}
		fmt.Fprintln(w)
		fmt.Fprintln(t, "  DEVICE\tUNIT\tWHAT\tENERGY\tLAST GOOD\tSTATE")
		for _, d := range b.Devices {
			energy := ""
			if e := d.Energy; e != nil && e.Value != "" {
				energy = e.Value + " " + e.Unit
			}
			o := observed{Manufacturer: d.Manufacturer, Model: d.Model, Serial: d.Serial}
			state := "good"
			switch {
			case d.Failing && !d.Backoff.IsZero():
				state = d.Reason + "; next try in " + span(d.Backoff, r.At)
			case d.Failing:
				state = d.Reason
			case d.Readings == 0:
				state = "not read yet"
			}
			fmt.Fprintf(t, "  %s\t%d\t%s\t%s\t%s\t%s\n", d.ID, d.Unit, o.name(), energy, ago(r.At, d.Good), state)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	for _, p := range r.Problems {
		fmt.Fprintf(w, "\n! %s", p)
	}
	if len(r.Problems) == 0 {
		fmt.Fprint(w, "\nall is well")
	}
	_, err := fmt.Fprintln(w)
	return err
}

// span returns the time between two moments for people.
func span(now, then time.Time) string {
	d := now.Sub(then)
	switch {
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < 48*time.Hour:
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func ago(now, then time.Time) string {
	if then.IsZero() {
		return "never"
	}
	return span(now, then) + " ago"
}
