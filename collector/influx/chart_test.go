package influx

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestCharts has long charts drawn by a real server and by the series store: they are
// the same, and the server draws none while it is not known to have everything.
func TestCharts(t *testing.T) {
	db := emptyBucket(t)
	s := newSite("site-1", 1)
	d := meter("m-1")
	s.declare(d)
	for hour := range 5 * 24 { // with holes, a value that is no number, and another size of window
		s.read(d, int64(hour)*3_600_000+int64(hour%7)*60_000, numbers{energy: uint32(hour * 25), power: uint16(hour % 7), signed: int64(hour) - (1 << 62), float: float32(hour) / 3, text: "on"})
		if hour%11 == 0 {
			s.fail(d, int64(hour)*3_600_000+900_000)
		}
	}
	r := newRig(t, s)
	p := r.project(db)
	r.take(s)
	stop := r.run(p) // after that: figures are written at once, then every minute
	r.caughtUp(p)
	c := &Charts{Collector: r.Collector, Copies: []*Projection{p}}
	stored := &Charts{Collector: r.Collector}
	from, to := start-3_600_000, start+6*dayMs
	readings := func(c *Charts, point string, every int64) (source, why, text string) {
		t.Helper()
		source, why, list, err := c.Readings(t.Context(), "site-1/m-1/"+point, from, to, every)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			text += fmt.Sprintf("%s=%s ", stamp(x.At), floatText(x.Number.InexactFloat64()))
		}
		return source, why, text
	}
	for _, point := range []string{"energy", "power", "signed", "float", "odd, name=x", "text", "nothing"} {
		for _, every := range []int64{60_000, 3_600_000, dayMs} {
			_, _, want := readings(stored, point, every)
			until(t, "the server draws", func() bool {
				source, why, got := readings(c, point, every)
				if got != want || (source == "test") != (why == "") {
					t.Fatalf("%s every %v: from %s (%s)\n%.300s\nwant\n%.300s", point, time.Duration(every)*time.Millisecond, source, why, got, want)
				}
				return source == "test"
			})
			if every != 3_600_000 || point == "text" {
				continue
			}
			flux, err := p.askFlux(t.Context(), "site-1", "m-1", point, from-mod(from, every), to, every)
			if err != nil {
				t.Fatal(err)
			}
			text := ""
			for _, x := range flux {
				text += fmt.Sprintf("%s=%s ", stamp(x.At), floatText(x.Number.InexactFloat64()))
			}
			if text != want {
				t.Errorf("%s in Flux:\n%.300s\nwant\n%.300s", point, text, want)
			}
		}
	}

	until(t, "the server has the days", func() bool {
		source, _, days, err := c.Days(t.Context(), "plant", 0)
		if err != nil {
			t.Fatal(err)
		}
		_, _, want, err := stored.Days(t.Context(), "plant", 0)
		if err != nil || len(want) != 5 || len(days) != len(want) {
			t.Fatalf("%d days, want %d, %v", len(days), len(want), err)
		}
		for day, kWh := range want {
			if !days[day].Equal(kWh) {
				t.Errorf("%s from %s: %v, want %v", day, source, days[day], kWh)
			}
		}
		return source == "test"
	})

	// From here on the server is not to be believed.
	is := func(what, point, says string) {
		t.Helper()
		_, _, want := readings(stored, point, 3_600_000)
		until(t, what, func() bool { // not: an answer that does not come in time
			source, why, got := readings(c, point, 3_600_000)
			if source != SeriesStore || got != want {
				t.Fatalf("%s: from %s because %q:\n%.300s\nwant\n%.300s", what, source, why, got, want)
			}
			return strings.Contains(why, says)
		})
	}
	send := func(text string) {
		t.Helper()
		if err := p.link.send(t.Context(), []line{{text, 1}}); err != nil {
			t.Fatal(err)
		}
	}
	send(fmt.Sprintf("kenshin_int,edge=site-1,device=m-1 power=77i %d", start)) // somebody else writes
	is("another first value", "power", "it has 77")
	send(fmt.Sprintf("kenshin_day,project=plant,meter=one measured_kWh=99 %d", start+dayMs))
	until(t, "days that are not the report's", func() bool {
		source, why, _, err := c.Days(t.Context(), "plant", 0)
		if source != SeriesStore || err != nil {
			t.Fatalf("days that are not the report's are from %s, %q, %v", source, why, err)
		}
		return strings.Contains(why, "the report says")
	})
	p.mu.Lock()
	p.lacks(edgeDay{"site-1", utcDay(start) + 1})
	p.mu.Unlock()
	is("a day that is known to differ", "signed", "has not all of 2024-05-15")
	p.mu.Lock()
	p.current = time.Now().Add(-2 * currentFor)
	p.mu.Unlock()
	stop()
	is("a server that is behind", "signed", "0 records behind")
	p.is("down", fmt.Errorf("no answer"), time.Now())
	is("a server that is down", "signed", "down")
	p.cfg.Server.Rounding = true
	is("a server that rounds", "energy", "rounds")

	for _, tt := range []struct {
		text string
		want edgeDay
	}{
		{`kenshin_int,edge=site-1,device=m\ 1 a\ b=1i,c="x y 9" 1715711400000`, edgeDay{"site-1", 19857}},
		{`kenshin_float,edge=a\,b\ c,device=d v=1 -1`, edgeDay{"a,b c", -1}},
		{`kenshin_day,project=p,meter=m measured_kWh=1 86400000`, edgeDay{"", 1}},
	} {
		if got := dayOf(line{tt.text, 1}); got != tt.want {
			t.Errorf("dayOf(%s) = %v, want %v", tt.text, got, tt.want)
		}
	}
}

// TestChartOfALostBucket has a server whose data somebody has deleted.
func TestChartOfALostBucket(t *testing.T) {
	db := emptyBucket(t)
	if shared.server == nil {
		t.Skip("a server outside is not changed")
	}
	s := newSite("site-1", 1)
	d := meter("m-1")
	s.declare(d)
	s.minutes(d, 0, 300)
	r := newRig(t, s)
	p := r.project(db)
	r.run(p)
	r.take(s)
	r.caughtUp(p)
	name := strings.TrimSuffix(db.Bucket, "/autogen")
	c := &Charts{Collector: r.Collector, Copies: []*Projection{p}}
	for _, statement := range []string{"DELETE FROM kenshin_int WHERE time < " + stampNs(start+3_600_000), "DROP SERIES FROM /.*/"} {
		shared.server.queryIn(t, name, statement)
		until(t, statement, func() bool {
			source, why, list, err := c.Readings(t.Context(), "site-1/m-1/signed", start, start+dayMs, 60_000)
			if source != SeriesStore || len(list) != 300 || err != nil {
				t.Fatalf("%s: %d windows from %s, %q, %v", statement, len(list), source, why, err)
			}
			return strings.Contains(why, "has nothing of")
		})
	}
}

func stampNs(ms int64) string { return fmt.Sprintf("%d000000", ms) }
