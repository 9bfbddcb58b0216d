package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// influxServer is a real InfluxDB 1.8 with the API of version 2, on a folder that
// outlives its process.
type influxServer struct {
	t    testing.TB
	dir  string
	addr string
	path string
	*program
}

func newInfluxServer(t testing.TB) *influxServer {
	t.Helper()
	path, err := exec.LookPath("influxd")
	if err != nil {
		lacking(t, "InfluxDB on the path: go install github.com/influxdata/influxdb/cmd/influxd@v1.8.3", err)
	}
	s := &influxServer{t: t, dir: t.TempDir(), addr: freeAddr(t), path: path}
	write(t, s.dir, "influxd.conf", fmt.Sprintf(`reporting-disabled = true
bind-address = %q
[meta]
  dir = "meta"
[data]
  dir = "data"
  wal-dir = "wal"
[monitor]
  store-enabled = false
[http]
  bind-address = %q
  flux-enabled = true
  log-enabled = false
`, freeAddr(t), s.addr))
	s.start()
	resp, err := http.PostForm("http://"+s.addr+"/query", url.Values{"q": {"CREATE DATABASE kenshin"}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return s
}

func (s *influxServer) start() {
	s.program = launch(s.t, s.dir, s.path, "run", "-config", "influxd.conf")
	eventually(s.t, 3*time.Minute, func() error { // it compiles its query language first
		resp, err := http.Get("http://" + s.addr + "/ping")
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
}

// flux runs a query and returns the answer as CSV.
func (s *influxServer) flux(query string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest("POST", "http://"+s.addr+"/api/v2/query", strings.NewReader(query))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/vnd.flux")
	req.Header.Set("Accept", "application/csv")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestInfluxKill9 ends collector and InfluxDB with kill -9 in turn while readings
// come. At the end nothing is missing in the server, and the dashboard of Grafana
// finds what it asks for.
func TestInfluxKill9(t *testing.T) {
	db := newInfluxServer(t)
	at := freeAddr(t)
	s := newStack(t, 2, at, at, false)
	config := read(t, s.dir, "collector.yaml")
	write(t, s.dir, "collector.yaml", config+fmt.Sprintf("influx: [{name: main, url: \"http://%s\", bucket: kenshin/autogen}]\n", db.addr))
	for n := range s.agents {
		s.startAgent(n)
	}
	s.startCenter()
	for round := range 4 {
		time.Sleep(time.Duration(500+rand.IntN(1000)) * time.Millisecond)
		if round%2 == 0 {
			s.center.kill9()
			s.startCenter()
			continue
		}
		db.kill9()
		time.Sleep(300 * time.Millisecond)
		db.start()
	}
	s.settle()
	out := s.run("collector", "influx", "check", "-config", "collector.yaml").stdout.String()
	if !strings.Contains(out, " 0 differ") {
		t.Errorf("check says: %s", out)
	}
	status, text := db.flux(`from(bucket: "kenshin/autogen") |> range(start: -1d) |> filter(fn: (r) => r._field == "ActWh") |> group() |> count()`)
	if status != http.StatusOK || strings.Contains(text, ",0\r\n") {
		t.Errorf("%d: %s", status, text)
	}
	t.Log(out, text)
	dashboard(t, db)
	s.startCenter()
	chart := "/api/v1/chart?register=site-0/inv-0/ActWh&every=5m&from=" + time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	from := func(source string) {
		t.Helper()
		eventually(t, time.Minute, func() error {
			text, err := get(s.page, chart)
			if err == nil && (!strings.Contains(string(text), `"source":"`+source) || !strings.Contains(string(text), `"value"`)) {
				err = fmt.Errorf("the chart is not from %s: %s", source, text)
			}
			return err
		})
	}
	from("main")
	db.kill9()
	from("series store")
}

// dashboard runs the queries of the dashboard, as Grafana would fill them in.
func dashboard(t *testing.T, db *influxServer) {
	text, err := os.ReadFile(filepath.Join("..", "deploy", "grafana", "dashboards", "kenshin.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Query string }
		}
		Templating struct {
			List []struct{ Name, Query string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	fill := strings.NewReplacer("v.defaultBucket", `"kenshin/autogen"`, "v.timeRangeStart", time.Now().Add(-2*day).Format(time.RFC3339), "v.timeRangeStop", time.Now().Add(day).Format(time.RFC3339),
		"v.windowPeriod", "1m", "${project:regex}", "(stack)", "${edge:regex}", "(site-0|site-1)", "${device:regex}", "(inv-0)", "${point:regex}", "(ActWh|W)")
	asked := 0
	ask := func(name, query, want string) {
		asked++
		if status, text := db.flux(fill.Replace(query)); status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: answer %d, want one with %q: %.600s\n%s", name, status, want, text, query)
		}
	}
	for _, v := range d.Templating.List {
		ask(v.Name, v.Query, map[string]string{"project": "stack", "edge": "site-1", "device": "inv-2", "point": "ActWh"}[v.Name])
	}
	for _, p := range d.Panels {
		want := ",stack"
		switch p.Title {
		case "Energy by day and meter":
			want = "site-0-1"
		case "${point}", "Readings without a value", "Why values are missing":
			want = "site-0"
		}
		for _, q := range p.Targets {
			ask(p.Title, q.Query, want)
		}
	}
	if asked < 12 {
		t.Errorf("only %d queries", asked)
	}
}
