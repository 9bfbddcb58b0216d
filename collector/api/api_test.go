package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"kenshin/calc"
	"kenshin/edge/wire"
)

var update = flag.Bool("update", false, "write the golden files")

// fake is a source that answers, or fails at the call that fail names.
type fake struct {
	projects   []*calc.Project
	report     *calc.Report
	samples    []wire.Sample
	checkpoint string
	fail       string
	away       error // of the broker
	stalled    error // of settling
	entered    []calc.Input
	asked      int // period of the last report
}

var errBroken = errors.New("disk on fire at /var/lib/secret")

func (f *fake) Projects(context.Context) ([]*calc.Project, error) {
	if f.fail == "projects" {
		return nil, errBroken
	}
	return f.projects, nil
}

func (f *fake) Report(_ context.Context, _ string, period int) (*calc.Report, error) {
	f.asked = period
	if f.fail == "report" {
		return nil, errBroken
	}
	return f.report, nil
}

func (f *fake) Days(context.Context, string, int) (source, why string, days map[string]decimal.Decimal, err error) {
	if f.fail == "days" {
		return "", "", nil, errBroken
	}
	return "main", "", map[string]decimal.Decimal{"2020-05-16": dec("0"), "2020-05-15": dec("0.10")}, nil
}

func (f *fake) Readings(_ context.Context, register string, from, to, every int64) (source, why string, list []wire.Sample, err error) {
	if f.fail == "readings" {
		return "", "", nil, errBroken
	}
	return "series store", "main: down", []wire.Sample{{At: from, Number: dec("1234.50")}, {At: to - every, Number: dec("-3")}}, nil
}

func (f *fake) Stalled() error { return f.stalled }

func (f *fake) Latest(context.Context) ([]wire.Sample, error) {
	if f.fail == "latest" {
		return nil, errBroken
	}
	return f.samples, nil
}

func (f *fake) Edges(_ context.Context, fn func(string, wire.Epoch, uint64, int64)) error {
	if f.fail == "edges" {
		return errBroken
	}
	fn("site-1", wire.Epoch{0xab}, 4711, 1_591_000_000_000)
	fn("site-2", wire.Epoch{}, 0, 0)
	return nil
}

func (f *fake) Size() uint64           { return 12 }
func (f *fake) LastCheckpoint() string { return f.checkpoint }

func (f *fake) Tile(level int, n int64, width int) ([]byte, error) {
	if f.fail == "tile" {
		return nil, errBroken
	}
	if level > 0 || n > 0 {
		return nil, nil
	}
	return make([]byte, 32*width), nil
}

func (f *fake) Leaves(int64, int) ([]byte, error) { return []byte("site-1"), nil }

func date(text string) calc.Date {
	d, err := calc.ParseDate(text)
	if err != nil {
		panic(err)
	}
	return d
}

func dec(text string) decimal.Decimal { return decimal.RequireFromString(text) }

func newFake() *fake {
	p := &calc.Project{
		Reference: "pv-1", Title: "Solar <&> sun", Country: "IN", Zone: "Asia/Kolkata",
		Methodology: calc.Pin{Number: "solar", Version: "1.0"},
		Periods:     []calc.Span{{Start: date("2020-05-15"), End: date("2020-06-17")}, {Start: date("2020-07-01"), End: date("2020-12-31")}},
		Meters: []calc.Meter{
			{Key: "inv-1", Title: "Inverter 1", Register: "site-1/inv-1/WH", Power: "site-1/inv-1/W", RatedKW: calc.Number{Decimal: dec("12.5")}, Parameter: "EG"},
			{Key: "check", Register: "site-1/meter/kWh", Role: calc.RoleCheck},
		},
	}
	return &fake{
		projects: []*calc.Project{p, {Reference: "other-2", Title: "Chiller", Zone: "Asia/Bangkok"}},
		report: &calc.Report{
			Project: "pv-1", Zone: "Asia/Kolkata", Methodology: "solar 1.0", Rules: 1, Period: p.Periods[0],
			MeasuredKWh: dec("5381113"), ClaimableKWh: dec("5381012.250"),
			Months:   map[string]decimal.Decimal{"2020-05": dec("2757838"), "2020-06": dec("2623275")},
			Vintages: map[string]map[string]string{"2020": {"EG_MWh": "5381.01225", "RE_tCO2": "4073.42627325", "PE_tCO2": "0", "ER_tCO2": "4073"}},
			Meters: map[string]calc.MeterReport{"inv-1": {MeasuredKWh: dec("5381113"), ClaimableKWh: dec("5381012.250"),
				Days: map[string]decimal.Decimal{"2020-05-15": dec("0.10")}, First: &calc.Standing{At: time.UnixMilli(1_589_500_000_000).UTC(), KWh: dec("7")}}},
			Deductions: []calc.Deduction{{Meter: "inv-1", Cause: "jump", Rule: "counter rule 7", From: 1, To: 2, KWh: dec("100.750"), TCO2: "0.07626775", Note: "rose by 9 kWh, more than <8> kW & makes"}},
		},
		samples: []wire.Sample{
			{Edge: "site-1", Device: "inv-1", Point: "W", Unit: "W", At: 1_591_000_000_123, Number: dec("1234.50"), Epoch: wire.Epoch{0xab}, Seq: 9},
			{Edge: "site-1", Device: "inv-1", Point: "WH", Unit: "Wh", Kind: wire.Counter, At: 1_591_000_000_123, Quality: wire.NoAnswer, Reason: "timeout after 1 s", Seq: 10},
			{Edge: "site-1", Device: "inv-1", Point: "Mn", Kind: wire.Label, At: 0, Text: "0123"},
			{Edge: "site-9", Device: "x", Point: "y", Unit: "A", Number: dec("0"), At: 5},
		},
		checkpoint: "kenshin/test\n12\nroot\n\n— kenshin/test sig\n",
	}
}

func handler(t *testing.T, f *fake, token string) (http.Handler, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	h, err := New(Config{Figures: f, Charts: f, Deliveries: f, Book: f, Token: token, Version: "v1.2.3", Log: zap.New(core),
		Broker: func() error { return f.away }, Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "kenshin_x 1\n") })})
	if err != nil {
		t.Fatal(err)
	}
	return h, logs
}

func get(h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestTotalsAreTheReportsBytes compares with what the commands print, whose
// encoder does not escape HTML.
func TestTotalsAreTheReportsBytes(t *testing.T) {
	f := newFake()
	h, _ := handler(t, f, "")
	w := get(h, "/api/v1/projects/pv-1/periods/1/totals")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s %s", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	var want bytes.Buffer
	e := json.NewEncoder(&want)
	e.SetEscapeHTML(false)
	if err := e.Encode(f.report); err != nil {
		t.Fatal(err)
	}
	if got := w.Body.String(); got != want.String() {
		t.Errorf("got  %s\nwant %s", got, want.String())
	}
	if !strings.Contains(want.String(), `"100.75"`) || strings.Contains(want.String(), "e+") {
		t.Errorf("not plain exact decimals: %s", want.String())
	}
	if w = get(h, "/api/v1/projects/pv-1/periods/2/totals"); w.Code != http.StatusOK || f.asked != 1 {
		t.Errorf("period 2: %d, asked the source for its period %d; want 1", w.Code, f.asked)
	}
}

func TestGolden(t *testing.T) {
	h, _ := handler(t, newFake(), "")
	for name, path := range map[string]string{
		"projects":       "/api/v1/projects",
		"project":        "/api/v1/projects/pv-1",
		"meters":         "/api/v1/projects/pv-1/meters",
		"periods":        "/api/v1/projects/pv-1/periods",
		"totals":         "/api/v1/projects/pv-1/periods/1/totals",
		"days":           "/api/v1/projects/pv-1/periods/1/days",
		"chart":          "/api/v1/chart?register=site-1/inv-1/W&from=2020-06-01&to=2020-06-02T12:00:00Z&every=6h",
		"latest":         "/api/v1/latest",
		"project-latest": "/api/v1/projects/pv-1/latest",
		"edges":          "/api/v1/edges",
		"health":         "/healthz",
		"ready":          "/readyz",
	} {
		w := get(h, path)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d, %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		var got bytes.Buffer
		if err := json.Indent(&got, w.Body.Bytes(), "", "  "); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		file := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s differs from %s (go test -update writes it):\n%s", path, file, &got)
		}
	}
}

func TestPlainText(t *testing.T) {
	f := newFake()
	h, _ := handler(t, f, "")
	if w := get(h, "/api/v1/checkpoint"); w.Body.String() != f.checkpoint || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("checkpoint: %s %q", w.Header().Get("Content-Type"), w.Body)
	}
	if w := get(h, "/metrics"); w.Body.String() != "kenshin_x 1\n" {
		t.Errorf("metrics: %d %q", w.Code, w.Body)
	}
	for _, path := range []string{"/docs", "/schemas/Project.json", "/openapi.yaml"} {
		if w := get(h, path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestProblems(t *testing.T) {
	for _, tt := range []struct {
		path   string
		change func(*fake)
		status int
		says   []string
	}{
		{"/api/v1/projects/nope", nil, 404, []string{`"nope"`, "pv-1", "other-2"}},
		{"/api/v1/projects/nope/meters", nil, 404, []string{"pv-1"}},
		{"/api/v1/projects/nope/periods", nil, 404, []string{"pv-1"}},
		{"/api/v1/projects/nope/latest", nil, 404, []string{"pv-1"}},
		{"/api/v1/projects/nope/periods/1/totals", nil, 404, []string{"pv-1"}},
		{"/api/v1/projects/nope", func(f *fake) { f.projects = nil }, 404, []string{"name project files"}},
		{"/api/v1/projects/pv-1/periods/3/totals", nil, 404, []string{"no period 3", "1 is 2020-05-15..2020-06-17", "2 is"}},
		{"/api/v1/projects/pv-1/periods/0/totals", nil, 422, []string{"path.n"}},
		{"/api/v1/projects/pv-1/periods/-1/totals", nil, 422, []string{"path.n"}},
		{"/api/v1/projects/pv-1/periods/x/totals", nil, 422, []string{"path.n"}},
		{"/api/v1/projects/pv-1/periods/99999999999999999999/totals", nil, 422, []string{"path.n"}},
		{"/api/v1/projects/pv-1/periods/3/days", nil, 404, []string{"no period 3"}},
		{"/api/v1/projects/pv-1/periods/1/days", func(f *fake) { f.fail = "days" }, 500, []string{"its log says why"}},
		{"/api/v1/chart?from=2020-06-01", nil, 422, []string{"register"}},
		{"/api/v1/chart?register=site-1/inv-1/W", nil, 422, []string{"from"}},
		{"/api/v1/chart?register=site-1/inv-1/V&from=2020-06-01&to=2020-06-02", nil, 404, []string{"site-1/inv-1/V", "/api/v1/latest"}},
		{"/api/v1/chart?register=site-1/inv-1/W&from=yesterday", nil, 422, []string{"yesterday", "YYYY-MM-DD"}},
		{"/api/v1/chart?register=site-1/inv-1/W&from=0001-01-01", nil, 422, []string{"1970"}},
		{"/api/v1/chart?register=site-1/inv-1/W&from=2020-06-02&to=2020-06-01", nil, 422, []string{"not before"}},
		{"/api/v1/chart?register=site-1/inv-1/W&from=2020-06-01&to=2020-07-01&every=7m", nil, 422, []string{"every"}},
		{"/api/v1/chart?register=site-1/inv-1/W&from=2020-01-01&to=2021-01-01&every=1m", nil, 422, []string{"527040 windows", "10000"}},
		{"/api/v1/chart?register=site-1/inv-1/W&from=2020-06-01&to=2020-06-02", func(f *fake) { f.fail = "readings" }, 500, []string{"its log says why"}},
		{"/api/v1/nothing", nil, 404, []string{"/api/v1/nothing", "/openapi.json"}},
		{"/api/v1/checkpoint", func(f *fake) { f.checkpoint = "" }, 404, []string{"no checkpoint"}},
		{"/api/v1/projects", func(f *fake) { f.fail = "projects" }, 500, []string{"log"}},
		{"/api/v1/projects/pv-1/periods/1/totals", func(f *fake) { f.fail = "report" }, 500, []string{"log"}},
		{"/api/v1/latest", func(f *fake) { f.fail = "latest" }, 500, []string{"log"}},
		{"/api/v1/edges", func(f *fake) { f.fail = "edges" }, 500, []string{"log"}},
		{"/readyz", func(f *fake) { f.fail = "latest" }, 503, []string{"log"}},
	} {
		f := newFake()
		if tt.change != nil {
			tt.change(f)
		}
		h, logs := handler(t, f, "")
		w := get(h, tt.path)
		var p struct {
			Status        int
			Title, Detail string
			Errors        []struct{ Location string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		if w.Code != tt.status || p.Status != tt.status || p.Title == "" || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s %s; want %d and a problem", tt.path, w.Code, w.Header().Get("Content-Type"), w.Body, tt.status)
		}
		for _, s := range tt.says {
			if !strings.Contains(p.Detail+w.Body.String(), s) { // a wrong parameter stands under errors
				t.Errorf("%s: %s does not say %s", tt.path, w.Body, s)
			}
		}
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: tells the caller what is for the log: %s", tt.path, w.Body)
		}
		if tt.status >= 500 && !strings.Contains(logs.All()[0].ContextMap()["error"].(string), "disk on fire") {
			t.Errorf("%s: the log does not say why", tt.path)
		}
	}
}

func TestOnlyReads(t *testing.T) {
	h, _ := handler(t, newFake(), "")
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/api/v1/projects", strings.NewReader("{}")))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d, Allow %q; want 405", method, w.Code, w.Header().Get("Allow"))
		}
	}
}

func TestToken(t *testing.T) {
	h, _ := handler(t, newFake(), "s3cret")
	basic := func(password string) string {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth("anyone", password)
		return r.Header.Get("Authorization")
	}
	for _, path := range []string{"/api/v1/projects", "/openapi.json", "/metrics", "/readyz", "/healthz/", "/nothing"} {
		for _, given := range []string{"", "Bearer ", "Bearer wrong", "Bearer s3cret ", "Bearer S3CRET", "s3cret", basic(""), basic("wrong")} {
			w := get(h, path, "Authorization", given)
			if w.Code != http.StatusUnauthorized || len(w.Header().Values("WWW-Authenticate")) != 2 || strings.Contains(w.Body.String(), "pv-1") {
				t.Errorf("%s with %q: %d %s", path, given, w.Code, w.Body)
			}
		}
	}
	for _, given := range []string{"Bearer s3cret", basic("s3cret")} {
		if w := get(h, "/api/v1/projects", "Authorization", given); w.Code != http.StatusOK {
			t.Errorf("with %q: %d", given, w.Code)
		}
	}
	if w := get(h, "/healthz"); w.Code != http.StatusOK {
		t.Errorf("/healthz: %d", w.Code)
	}
}

// TestLog: hashes are for everybody, leaf data is not.
func TestLog(t *testing.T) {
	f := newFake()
	f.checkpoint = "note"
	h, logs := handler(t, f, "s3cret")
	for _, tt := range []struct {
		path  string
		token string
		code  int
		bytes int
		cache string
	}{
		{"/log/checkpoint", "", 200, 4, "no-store"},
		{"/log/tile/0/000", "", 200, 8192, "public, max-age=31536000, immutable"},
		{"/log/tile/0/000.p/7", "", 200, 224, "public, max-age=31536000, immutable"},
		{"/log/tile/0/000.p/256", "", 404, 0, "no-store"},
		{"/log/tile/0/0", "", 404, 0, "no-store"},
		{"/log/tile/00/000", "", 404, 0, "no-store"},
		{"/log/tile/1/000", "", 404, 0, "no-store"},
		{"/log/tile/8/0/000", "", 404, 0, "no-store"},
		{"/log/tile/data/000", "", 404, 0, "no-store"},
		{"/log/tile/0/x001/234", "", 404, 0, "no-store"},
		{"/log/tile/0/999999999999999999999", "", 404, 0, "no-store"},
		{"/log/tile/", "", 404, 0, "no-store"},
		{"/log/tile/entries/000", "", 401, 0, "no-store"},
		{"/log/tile/entr%69es/000", "", 401, 0, "no-store"},
		{"/log/tile/entries/000", "s3cret", 200, 6, "private, max-age=31536000, immutable"},
		{"/log/tile/entries/0", "s3cret", 404, 0, "no-store"},
		{"/log/", "", 401, 0, "no-store"},
		{"/log/tile/./entries/000", "", 307, 0, "no-store"},
	} {
		w := get(h, tt.path, "Authorization", "Bearer "+tt.token)
		if w.Code != tt.code || tt.code == 200 && w.Body.Len() != tt.bytes || w.Header().Get("Cache-Control") != tt.cache || tt.code != 200 && strings.Contains(w.Body.String(), "site-1") {
			t.Errorf("%s: %d, %d bytes, %q; want %+v", tt.path, w.Code, w.Body.Len(), w.Header().Get("Cache-Control"), tt)
		}
	}
	f.fail = "tile"
	if w := get(h, "/log/tile/0/000"); w.Code != 500 || strings.Contains(w.Body.String(), errBroken.Error()) || logs.Len() != 1 {
		t.Errorf("a tree that cannot be read: %d %s, %d lines", w.Code, w.Body, logs.Len())
	}
	f.checkpoint = ""
	if w := get(h, "/log/checkpoint"); w.Code != 404 {
		t.Errorf("no checkpoint: %d", w.Code)
	}
}

func TestDescriptionNamesEveryRoute(t *testing.T) {
	for _, token := range []string{"", "s3cret"} {
		h, _ := handler(t, newFake(), token)
		w := get(h, "/openapi.json", "Authorization", "Bearer "+token)
		var d struct {
			OpenAPI  string
			Info     struct{ Title, Version string }
			Paths    map[string]map[string]struct{ Security []map[string][]string }
			Security []map[string][]string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		want := []string{"/api/v1/chart", "/api/v1/checkpoint", "/api/v1/edges", "/api/v1/latest", "/api/v1/projects", "/api/v1/projects/{project}",
			"/api/v1/projects/{project}/latest", "/api/v1/projects/{project}/meters", "/api/v1/projects/{project}/periods",
			"/api/v1/projects/{project}/periods/{n}/days", "/api/v1/projects/{project}/periods/{n}/totals", "/healthz", "/metrics", "/readyz"}
		var got []string
		for path, ops := range d.Paths {
			got = append(got, path)
			if _, ok := ops["get"]; !ok || len(ops) != 1 {
				t.Errorf("%s: %v; want get alone", path, ops)
			}
			path = strings.NewReplacer("{project}", "pv-1", "{n}", "1", "/chart", "/chart?register=site-1/inv-1/W&from=2020-06-01&to=2020-06-02").Replace(path)
			if w := get(h, path, "Authorization", "Bearer "+token); w.Code != http.StatusOK {
				t.Errorf("%s is described and answers %d", path, w.Code)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("routes %q; want %q", got, want)
		}
		if d.OpenAPI != "3.1.0" || d.Info.Version != "v1.2.3" || (len(d.Security) > 0) != (token != "") {
			t.Errorf("%s %+v security %v", d.OpenAPI, d.Info, d.Security)
		}
		if body := w.Body.String(); strings.Contains(body, `"type":"number"`) {
			t.Error("a figure is described as a JSON number; want strings")
		}
	}
}

func TestMount(t *testing.T) {
	h, _ := handler(t, newFake(), "s3cret")
	all := Mount(h, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") }))
	for path, want := range map[string]int{"/": 200, "/events": 200, "/static/x": 200, "/projects/pv-1": 200, "/healthz": 200,
		"/api/v1/projects": 401, "/readyz": 401, "/metrics": 401, "/openapi.json": 401, "/api/": 401} {
		if w := get(all, path); w.Code != want || (w.Body.String() == "page") != (want == 200 && path != "/healthz") {
			t.Errorf("%s: %d %.40q; want %d", path, w.Code, w.Body, want)
		}
	}
}

func TestServerHasLimits(t *testing.T) {
	s := Server(http.NotFoundHandler(), zap.NewNop())
	if s.ReadHeaderTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 || s.WriteTimeout != 0 || s.ReadTimeout != 0 {
		t.Errorf("%+v", s)
	}
}

func TestNewWantsEverything(t *testing.T) {
	if _, err := New(Config{Log: zap.NewNop()}); err == nil {
		t.Error("a configuration without sources is taken")
	}
}

func BenchmarkTotals(b *testing.B) {
	f := newFake()
	h, err := New(Config{Figures: f, Charts: f, Deliveries: f, Book: f, Metrics: http.NotFoundHandler(), Broker: func() error { return nil }, Log: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if w := get(h, "/api/v1/projects/pv-1/periods/1/totals"); w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}
