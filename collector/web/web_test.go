package web

import (
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"kenshin/calc"
	"kenshin/edge/wire"
)

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

var cellPattern = regexp.MustCompile(`<(?:span|pre) data-key="([^"]*)"[^>]*>([^<]*)</`)

// cellsOf returns the texts of a page by key.
func cellsOf(page string) map[string]string {
	out := make(map[string]string)
	for _, m := range cellPattern.FindAllStringSubmatch(page, -1) {
		out[m[1]] = html.UnescapeString(m[2])
	}
	return out
}

func TestPage(t *testing.T) {
	f := newFake()
	p := newPage(t, f)
	w := get(p, "/")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" || w.Header().Get("Content-Security-Policy") != policy {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	text := w.Body.String()
	for _, s := range []string{
		`<html lang="en">`, "<title>Kenshin 検針 · Rooftop solar, Bangkok &lt;demo&gt;</title>", "provisional until sealed", "illustration: its numbers are invented",
		"days of Asia/Bangkok", `href="/projects/demo-chiller"`, `<output id="said" aria-live="polite">`, "kenshin-collector totals demo-pv -period 1 -recompute",
		"jump of inv-2", "361.575", "0.192719475", "2026-06-18 09:42:07 to 2026-06-18 10:42:07", "counter rule 7", "/api/v1/projects/demo-pv/periods/1/totals", "<noscript>",
	} {
		if !strings.Contains(text, s) {
			t.Errorf("the page lacks %s", s)
		}
	}
	if strings.Contains(text, "<demo>") || strings.Contains(text, " style=") || strings.Contains(text, "ZgotmplZ") {
		t.Error("the page has unescaped text, a style attribute or a refused value")
	}
	got := cellsOf(text)
	for key, want := range map[string]string{
		"at":                    "2026-06-20 11:42:07",
		"power":                 "54.7515",
		"power-unit":            "kW",
		"power-note":            "from all 3 meters",
		"today":                 "145.5 kWh",
		"measured":              "12" + thin + "345.678",
		"claimable":             "11" + thin + "984.103",
		"held":                  "361.575",
		"held-note":             "1 item below",
		"RE":                    "6.387526899",
		"PE":                    "0",
		"ER":                    "6",
		"vintage-2026-EG_MWh":   "11.984103",
		"vintage-2026-ER_tCO2":  "6",
		"meter-inv-1-reading":   "104" + thin + "115" + thin + "226",
		"meter-inv-1-unit":      "Wh",
		"meter-inv-1-age":       "4 s ago",
		"meter-inv-1-quality":   "good",
		"meter-inv-1-record":    "record 48" + thin + "200 of demo-edge",
		"meter-inv-1-power":     "18.2505 kW",
		"meter-inv-1-power-age": "4 s ago, good",
		"meter-inv-1-today":     "48.5",
		"meter-export-reading":  notAvailable,
		"meter-export-quality":  "timeout: no answer within 1s",
		"meter-export-unit":     "in force: 12" + thin + "301.2 kWh",
		"meter-export-power":    "not measured",
		"day-2026-06-11":        noReading,
		"day-2026-06-12":        noReading,
		"day-2026-06-20":        "145.5",
		"edge-demo-edge-age":    "3 s ago",
		"edge-roof-2-received":  "nothing yet",
		"records":               "51" + thin + "234",
		"checkpoint":            f.checkpoint,
	} {
		if got[key] != want {
			t.Errorf("%s: %q; want %q", key, got[key], want)
		}
	}
	v, err := p.gather(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for key, c := range v.cells { // what a stream would send is what the page says
		if c.Text != "" && got[key] != c.Text {
			t.Errorf("%s: the page says %q, the stream %q", key, got[key], c.Text)
		}
	}
}

// TestUnknownIsNeverZero takes values away in every way and looks for what the
// power says.
func TestUnknownIsNeverZero(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fake)
		power  string
		unit   string
		note   string
	}{
		{"one not available", func(f *fake) { f.samples[0].Quality = wire.NotAvailable }, "36.501", "kW", "from 2 of 3 meters only"},
		{"one in another unit", func(f *fake) { f.samples[0].Unit = "VA" }, "36.501", "kW", "from 2 of 3 meters only"},
		{"one too old", func(f *fake) { f.samples[0].At -= maxAge.Milliseconds() }, "36.501", "kW", "from 2 of 3 meters only"},
		{"one never read", func(f *fake) { f.samples = f.samples[1:] }, "36.501", "kW", "from 2 of 3 meters only"},
		{"one in kW", func(f *fake) { f.samples[0].Unit, f.samples[0].Number = "kW", dec("18") }, "54.501", "kW", "from all 3 meters"},
		{"one in MW", func(f *fake) { f.samples[0].Unit, f.samples[0].Number = "MW", dec("1.5") }, "1" + thin + "536.501", "kW", "from all 3 meters"},
		{"night", func(f *fake) {
			for i := range f.samples {
				f.samples[i].Number = dec("0")
			}
		}, "0", "kW", "from all 3 meters"},
		{"none", func(f *fake) { f.samples = nil }, notAvailable, "", "from none of 3 meters"},
		{"no meter tells", func(f *fake) {
			for i := range f.projects[0].Meters {
				f.projects[0].Meters[i].Power = ""
			}
		}, notAvailable, "", "no meter of this project tells its power"},
	} {
		f := newFake()
		tt.change(f)
		got := cellsOf(get(newPage(t, f), "/").Body.String())
		if got["power"] != tt.power || got["power-unit"] != tt.unit || got["power-note"] != tt.note {
			t.Errorf("%s: %q %q, %q; want %q %q, %q", tt.name, got["power"], got["power-unit"], got["power-note"], tt.power, tt.unit, tt.note)
		}
	}
}

// TestStateOfThePeriod shows what was sealed beside what the book gives now, the split
// and the forecast; a seal that is made while the page is open has it fetched anew.
func TestStateOfThePeriod(t *testing.T) {
	f := newFake()
	p := newPage(t, f)
	before, err := p.gather(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	r := *f.report
	r.State = calc.StateSealed
	r.Seal = &calc.Seal{Revision: 2, Who: "K. <Sato>", Why: "to the verifier", At: f.now.UnixMilli(), Methodology: "JCM_TH_AM001 1.0", Records: 51_000, Figures: calc.Figures{ER: "1005", MeasuredKWh: dec("12000"), ClaimableKWh: dec("11000")},
		Late: []calc.Late{{First: 7, Last: 9, What: "readings"}}}
	r.Differences = []calc.Difference{{Figure: "ER_tCO2", Sealed: "1005", Now: "6"}}
	r.Forecast = &calc.Forecast{Note: "forecast: nothing of it is measured", Days: 20, PeriodDays: 214, SoFar: "6.387526899", Expected: "68.347", Estimate: "70.000"}
	r.Splits = map[string]calc.SplitReport{"2026": {Proposal: map[string]string{"Japan": "3", "Host": "3"}, Rule: calc.ProposalRule, Decided: map[string]int64{"Japan": 4, "Host": 3}, Who: "both sides", Problem: "decided for 7 tCO2, the vintage has 6"}}
	m := r.Meters["inv-1"]
	m.Completeness = &calc.Completeness{Percent: "98.41", Short: map[string]string{"2026-06-03": "40.00"}}
	r.Meters["inv-1"] = m
	f.report = &r
	text := get(p, "/").Body.String()
	for _, want := range []string{"revision 2 sealed 2026-06-20 11:42:07 by K. &lt;Sato&gt;", "what is below differs from it", "<dt>sealed</dt><dd>1" + thin + "005 tCO₂</dd>", "records 7 to 9, readings", "on the first 51" + thin + "000 records",
		"<h2>Split of 2026</h2>", "decided for 7 tCO2, the vintage has 6", "<h2>Forecast</h2>"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	got := cellsOf(text)
	for key, want := range map[string]string{"forecast-expected": "68.347", "forecast-estimate": "70.000", "forecast-days": "day 20 of 214", "split-2026-Japan-decided": "4",
		"meter-inv-1-complete": "98.41 % of its readings, days below 95 %: 1, of the days shown without a reading: 1", "meter-export-complete": ""} {
		if got[key] != want {
			t.Errorf("%s: %q; want %q", key, got[key], want)
		}
	}
	if strings.Contains(text, "provisional until sealed") {
		t.Error("a sealed period is called provisional")
	}
	if after, err := p.gather(t.Context(), "", 0); err != nil || after.Shape == before.Shape {
		t.Errorf("an open page does not see that the period was sealed: %v", err)
	}
}

func TestPeriods(t *testing.T) {
	f := newFake()
	p := newPage(t, f)
	for _, tt := range []struct {
		path, now   string
		period      int
		state, says string
	}{
		{"/", "2026-06-20", 1, "open", "2026-06-01 to 2026-12-31"},
		{"/", "2026-05-31", 1, "not begun", "2026-06-01 to 2026-12-31"},
		{"/", "2027-01-01", 2, "open", "2027-01-01 to 2027-12-31"},
		{"/", "2031-01-01", 2, "over", "2027-01-01 to 2027-12-31"},
		{"/projects/demo-pv?period=2", "2026-06-20", 2, "not begun", "2027-01-01 to 2027-12-31"},
		{"/projects/demo-pv?period=1", "2027-06-20", 1, "over", "2026-06-01 to 2026-12-31"},
	} {
		zone, err := time.LoadLocation("Asia/Bangkok")
		if err != nil {
			t.Fatal(err)
		}
		f.change(func() { f.now = date(tt.now).Start(zone) })
		v, err := p.view(func() *http.Request {
			r := httptest.NewRequest(http.MethodGet, tt.path, nil)
			if strings.HasPrefix(tt.path, "/projects/") {
				r.SetPathValue("project", "demo-pv")
			}
			return r
		}())
		if err != nil {
			t.Fatal(err)
		}
		if v.N != tt.period || v.State != tt.state || v.Period != tt.says {
			t.Errorf("%s on %s: period %d, %s, %s; want %d, %s, %s", tt.path, tt.now, v.N, v.State, v.Period, tt.period, tt.state, tt.says)
		}
	}
}

func TestRefusals(t *testing.T) {
	f := newFake()
	core, logs := observer.New(zap.DebugLevel)
	p, err := New(Config{Figures: f, Charts: f, Deliveries: f, Book: f, Live: f, Now: f.Now, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	for path, status := range map[string]int{
		"/projects/nope": 404, "/projects/demo-pv?period=3": 404, "/projects/demo-pv?period=0": 404, "/projects/demo-pv?period=x": 404,
		"/nothing": 404, "/static/app.js": 404, "/static/": 404, "/page.html": 404, "/events?project=nope": 404, "/events?project=demo-pv&period=9": 404,
	} {
		if w := get(p, path); w.Code != status || strings.Contains(w.Header().Get("Content-Type"), "html") {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
	}
	f.change(func() { f.err = errBroken })
	for _, path := range []string{"/", "/events?project=demo-pv"} {
		if w := get(p, path); w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s on a broken source: %d %s", path, w.Code, w.Body)
		}
	}
	if logs.Len() != 2 {
		t.Errorf("%d lines in the log; want 2", logs.Len())
	}
	if _, err := New(Config{Log: zap.NewNop()}); err == nil {
		t.Error("a configuration without sources is taken")
	}
}

func TestNoProject(t *testing.T) {
	f := newFake()
	f.projects = nil
	w := get(newPage(t, f), "/")
	if text := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(text, "No project is in force") || !strings.Contains(text, "demo-edge") {
		t.Errorf("%d %s", w.Code, text)
	}
}

func TestNothingReadYet(t *testing.T) {
	f := newFake()
	f.samples, f.checkpoint = nil, ""
	f.report = &calc.Report{Meters: map[string]calc.MeterReport{}, Deductions: []calc.Deduction{}}
	w := get(newPage(t, f), "/")
	got := cellsOf(w.Body.String())
	if w.Code != http.StatusOK || got["ER"] != notAvailable || got["today"] != noReading || got["meter-inv-1-reading"] != notAvailable || got["checkpoint"] != "none yet" {
		t.Errorf("%d %q", w.Code, got)
	}
	if !strings.Contains(w.Body.String(), "Nothing: all that was measured can be claimed so far.") {
		t.Error("no word on deductions")
	}
}

func TestStaticFiles(t *testing.T) {
	p := newPage(t, newFake())
	text := get(p, "/").Body.String()
	for name, kind := range map[string]string{"app.css": "text/css", "app.js": "javascript"} {
		if !strings.Contains(text, `"`+p.static[name]+`"`) {
			t.Errorf("the page does not name %s", p.static[name])
		}
		w := get(p, p.static[name])
		if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Content-Type"), kind) || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
		b, err := io.ReadAll(w.Body)
		if err != nil || strings.Contains(string(b), "http:") || strings.Contains(string(b), "https:") || strings.Contains(string(b), "innerHTML") {
			t.Errorf("%s loads from elsewhere or writes markup", name)
		}
	}
}

func TestGrouped(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "999": "999", "1000": "1 000", "1234567": "1 234 567", "-1234.5678": "-1 234.5678", "0.123456": "0.123456", "-123": "-123",
		"123456.000100": "123 456.0001", "5381113": "5 381 113",
	} {
		if got := grouped(dec(text)); got != strings.ReplaceAll(want, " ", thin) {
			t.Errorf("grouped(%s) = %q; want %q", text, got, want)
		}
	}
	if got := groupedText("not available"); got != "not available" {
		t.Errorf("other text became %q", got)
	}
}

func TestAge(t *testing.T) {
	now := time.UnixMilli(1_000_000_000_000)
	for before, want := range map[time.Duration]string{
		0: "0 s ago", 1900 * time.Millisecond: "1 s ago", 119 * time.Second: "119 s ago", 2 * time.Minute: "2 min ago", 119 * time.Minute: "119 min ago",
		2 * time.Hour: "2 h ago", 47 * time.Hour: "47 h ago", 48 * time.Hour: "2 d ago", -time.Second: "0 s ago", -5 * time.Second: "5 s ahead of the clock",
	} {
		if got := age(now, now.Add(-before).UnixMilli()); got != want {
			t.Errorf("age of %v = %q; want %q", before, got, want)
		}
	}
}

func TestRoundUp(t *testing.T) {
	for x, want := range map[float64]float64{0: 1, 1: 1, 1.1: 2, 2.1: 5, 5.1: 10, 99: 100, 101: 200, 5381: 10000} {
		if got := roundUp(x); got != want {
			t.Errorf("roundUp(%v) = %v; want %v", x, got, want)
		}
	}
}

func TestLongPeriodShowsTheNewestDays(t *testing.T) {
	f := newFake()
	f.now = f.now.AddDate(0, 4, 0)
	v, err := newPage(t, f).gather(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if d := v.Days; len(d.Bars) != maxDays || d.Older == 0 || d.To != "2026-10-20" || d.Bars[maxDays-1].Day != d.To {
		t.Errorf("%d bars from %s to %s, %d older", len(d.Bars), d.From, d.To, d.Older)
	}
}

func BenchmarkPage(b *testing.B) {
	p := newPage(b, newFake())
	b.ReportAllocs()
	for b.Loop() {
		if w := get(p, "/"); w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}

// TestCopies: a server that does not take its copy is seen, with its own words.
func TestCopies(t *testing.T) {
	f := newFake()
	p, err := New(Config{Figures: f, Charts: f, Deliveries: f, Book: f, Live: f, Now: f.Now, Log: zap.NewNop(), Copies: func() []Copy {
		return []Copy{{Name: "main", Health: "up"}, {Name: "spare", Health: "refused", Words: "unauthorized <b>", Behind: 12_345}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	for _, want := range []string{">main<", ">up<", ">spare<", "refused", "unauthorized &lt;b&gt;", "12\u202f345"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page has no %q", want)
		}
	}
}

// TestStalled: while figures stand still the page says so beside their time.
func TestStalled(t *testing.T) {
	f := newFake()
	for _, stalled := range []error{errors.New("figures stand still since noon: disk <full>"), nil} {
		f.stalled = stalled
		if got := strings.Contains(get(newPage(t, f), "/").Body.String(), `data-state="bad">figures stand still since noon: disk &lt;full&gt;</span>`); got != (stalled != nil) {
			t.Errorf("%v: said %v", stalled, got)
		}
	}
}
