package collector

import (
	"strings"
	"testing"

	"kenshin/edge/wire"
)

const heatYAML = `
reference: cold
title: cold of a plant
zone: Asia/Kolkata
methodology: {number: T-1, version: "1.0"}
periods:
  - {start: 2020-05-15, end: 2020-05-20}
parameters: {EF: {value: "0.5", unit: tCO2/MWh, source: invented}}
meters:
  - key: cold
    register: site-1/h-1/flow
    counts: GJ
    hold: 30m
    heat: {warm: T1, cold: T2, density_kg_m3: "1000", capacity_kJ_kgK: "4.2", source: invented}
    parameter: EG
`

// TestHeatOfReadings: heat is made of the flow and the temperatures of one reading, live, of
// readings that come late, and from the book alone. A reading without one of the three is none.
func TestHeatOfReadings(t *testing.T) {
	d := &wire.Declaration{Device: "h-1", Blocks: []wire.Block{{Function: 3, Address: 0, Count: 1}, {Function: 3, Address: 10, Count: 2}},
		Points: []wire.Point{
			{Name: "flow", Function: 3, Address: 0, Type: wire.Uint16, Words: 1, Scale: -1, ScaleAt: wire.NoScale, Unit: "m3/h", Kind: wire.Gauge},
			{Name: "T1", Function: 3, Address: 10, Type: wire.Int16, Words: 1, Scale: -1, ScaleAt: wire.NoScale, Unit: "Cel", Kind: wire.Gauge},
			{Name: "T2", Function: 3, Address: 11, Type: wire.Int16, Words: 1, Scale: -1, ScaleAt: wire.NoScale, Unit: "Cel", Kind: wire.Gauge},
		}}
	s := newSite("site-1", 1)
	s.declare(d)
	const minute = 60_000
	read := func(ms int64, flow, warm, cold int16) {
		s.add(wire.Record{Wall: start + ms, Mono: ms, Reading: &wire.Reading{Declaration: d.Hash(), Blocks: []wire.BlockResult{
			{Words: []uint16{uint16(flow)}}, {Delta: 40, Words: []uint16{uint16(warm), uint16(cold)}}}}})
	}
	read(0, 100, 120, 70)         // 10 m3/h × 5 K × 4200 kJ/(m3 K) = 210 MJ/h, for half an hour 105 MJ
	read(30*minute, 100, 120, 70) // the same: 210 MJ/h for 20 minutes: 70 MJ
	read(50*minute, 100, 70, 120) // the other way round: 0
	s.add(wire.Record{Wall: start + 60*minute, Mono: 60 * minute, Reading: &wire.Reading{Declaration: d.Hash(), Blocks: []wire.BlockResult{
		{Words: []uint16{100}}, {Status: wire.Timeout}}}}) // no temperatures: no value
	read(70*minute, 200, 110, 70)  // 336 MJ/h for 30 minutes at most: 168 MJ
	read(170*minute, 200, 110, 70) // the last one holds for nothing yet
	read(180*minute, 0, 110, 70)   // 10 minutes: 56 MJ
	r := newRig(t, s)
	r.Close()
	r.cfg.Projects = []File{{"cold.yaml", []byte(heatYAML)}}
	r.open()
	const want = "0.399"
	measured := func() string {
		r.totals("cold", 1) // compares with the book alone
		rep, err := r.Report(t.Context(), "cold", 0)
		if err != nil {
			t.Fatal(err)
		}
		if k := rep.Counters["cold"].Kind; k != "calculated" {
			t.Errorf("heat is marked %q", k)
		}
		return rep.Counters["cold"].Measured.String()
	}
	r.send(s.batch(t, 1, 3), s.batch(t, 6, 8)) // two readings are on their way
	r.catchUp()
	r.send(s.batch(t, 4, 5))
	if got := measured(); got != want {
		t.Errorf("heat is %s GJ, want %s", got, want)
	}
	// Something else is known of the meter: it is settled again from its stored samples.
	r.Close()
	r.cfg.Projects = []File{{"cold.yaml", []byte(strings.Replace(heatYAML, `"4.2"`, `"2.1"`, 1))}}
	r.open()
	if got := measured(); got != "0.1995" {
		t.Errorf("with half the capacity it is %s GJ, want 0.1995", got)
	}
}
