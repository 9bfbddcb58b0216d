package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/calc"
)

// longFake is a plant in the 200th day of its period.
func longFake() *fake {
	f := newFake()
	f.now = f.now.AddDate(0, 6, 0)
	f.source, f.days = "main", make(map[string]decimal.Decimal)
	for d := date("2026-06-01"); !date("2026-12-20").Before(d); d = d.Next() {
		if d.Month != 8 { // nothing was read in August
			f.days[d.String()] = dec("300").Add(decimal.New(int64(d.Day*7919%131), 0))
		}
	}
	return f
}

// TestLongChart has the chart of a whole period: it says where it comes from, is
// drawn once a minute whoever looks, and is not there while the other shows all.
func TestLongChart(t *testing.T) {
	get := func(p *Page) (int, string) {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		return w.Code, w.Body.String()
	}
	if _, html := get(newPage(t, newFake())); strings.Contains(html, "whole period") {
		t.Error("a period of 20 days has a second chart")
	}
	f := longFake()
	f.projects[0].Meters = append(f.projects[0].Meters, make([]calc.Meter, 2000)...)
	if _, html := get(newPage(t, f)); strings.Contains(html, "whole period") || f.drawn > 0 {
		t.Error("2,004 meters by 203 days are added up for a page")
	}
	f = longFake()
	p := newPage(t, f)
	for range 3 {
		code, html := get(p)
		for _, want := range []string{"Drawn from the time series server main at ", "no figure is made of it", `viewBox="0 0 203 100"`, "/api/v1/projects/demo-pv/periods/1/days", "500 kWh"} {
			if code != http.StatusOK || !strings.Contains(html, want) {
				t.Errorf("%d, no %q in the page", code, want)
			}
		}
	}
	if f.drawn != 1 {
		t.Errorf("drawn %d times for 3 pages", f.drawn)
	}
	f.change(func() {
		f.now = f.now.Add(2 * time.Minute)
		f.source, f.why = "series store", "main: down <&>"
	})
	if _, html := get(p); !strings.Contains(html, "Drawn from the series store (main: down &lt;&amp;&gt;).") || f.drawn != 2 {
		t.Errorf("after 2 minutes: drawn %d times", f.drawn)
	}
}

func TestDrawLong(t *testing.T) {
	days := map[string]decimal.Decimal{"2024-01-01": dec("50"), "2024-01-02": dec("-3"), "2025-12-31": dec("100")}
	for _, tt := range []struct {
		to       calc.Date
		slots    int
		each     string
		has, not string
	}{
		{date("2024-01-02"), minSlots, "of each day", "M0.08 100V0.00h", "M1"}, // 50 of 50
		{date("2025-12-31"), 366, "of every 2 days", "M365.08 100V0.00h", "M200"},
	} {
		c := drawLong(date("2024-01-01"), tt.to, days)
		if c.Slots != tt.slots || c.Each != tt.each || !strings.Contains(c.Path, tt.has) || strings.Contains(c.Path, tt.not+".") {
			t.Errorf("to %v: %+v", tt.to, c)
		}
	}
}
