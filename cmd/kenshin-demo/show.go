package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"kenshin/calc"
	"kenshin/collector"
)

// welcome says what runs and what to look at.
func (d *demo) welcome(w io.Writer, address string) {
	what := fmt.Sprintf("a simulated plant: 3 inverters, an export meter, a chiller's meter; %v times as fast as the world", d.cli.Speed)
	if d.cli.Replay != "" {
		what = "the readings of " + d.cli.Replay + ", as fast as the chain follows"
	}
	fmt.Fprintf(w, `Kenshin demo: %s

  page      %s
  totals    %sapi/v1/projects/%s/periods/1/totals
  API       %sopenapi.json
  metrics   %smetrics
  kept in   %s

Ctrl-C ends it.

`, what, address, address, d.project, address, address, d.dir)
}

// showEvery is how often the terminal gets a line, in the world's time.
const showEvery = 2 * time.Second

// show prints the live totals until ctx ends.
func (d *demo) show(ctx context.Context, w io.Writer) error {
	t := time.NewTicker(showEvery)
	defer t.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		r, err := d.report()
		if err != nil {
			return err
		}
		if line := d.line(r); line != last {
			last = line
			fmt.Fprintf(w, "%s  %s\n", d.clock.Now().In(d.zone).Format("2006-01-02 15:04"), line)
		}
	}
}

// line returns the totals of a report in one line.
func (d *demo) line(r *calc.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "measured %s kWh, claimable %s kWh", r.MeasuredKWh, r.ClaimableKWh)
	years := make([]string, 0, len(r.Vintages))
	for y := range r.Vintages {
		years = append(years, y)
	}
	slices.Sort(years)
	for _, y := range years {
		v := r.Vintages[y]
		fmt.Fprintf(&b, "; vintage %s RE %s PE %s ER %s tCO2", y, v["RE_tCO2"], v["PE_tCO2"], v["ER_tCO2"])
	}
	return b.String()
}

// replayProject writes the project of a replayed file: one meter for each
// inverter. There is no rated power in it: the file's source publishes none, and
// a rating read off the readings themselves would judge nothing.
func replayProject(keys []string) collector.File {
	var b strings.Builder
	b.WriteString(`# The plant of kenshin-demo -replay. An illustration, not a registered project.
reference: pv-plant1
title: Replayed solar plant
country: India
zone: Asia/Kolkata
methodology: {number: KS-F1, version: "1.0"}
periods:
  - {start: 2020-05-15, end: 2020-06-17}
parameters:
  EF_RE:
    value: "0.533"
    unit: tCO2/MWh
    source: >-
      illustration: diesel 72.6 tCO2/TJ x 3.6 / 0.49, as in the additional information of CL_AM001
      (https://www.jcm.go.jp/cl-jp/methodologies/68/attached_document2); a project takes the factor of its own approved design document
meters:
`)
	for _, k := range keys {
		fmt.Fprintf(&b, "  - {key: %q, title: %q, register: %q, power: %q, parameter: EG}\n", k, "Inverter "+k, edgeID+"/"+k+"/ActWh", edgeID+"/"+k+"/W")
	}
	return collector.File{Name: "pv-plant1.yaml", Text: []byte(b.String())}
}
