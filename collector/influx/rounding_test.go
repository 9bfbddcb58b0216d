package influx

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
)

// TestVictoriaMetrics gives numbers to a real VictoriaMetrics: they can be charted,
// and what it cannot hold is not sent.
func TestVictoriaMetrics(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	path := program(t, "victoria-metrics", "apt-get install victoria-metrics")
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	cmd := exec.Command(path, "-storageDataPath="+t.TempDir(), "-httpListenAddr="+addr, "-retentionPeriod=100y", "-memory.allowedBytes=64MB")
	dieWithUs(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	get := func(query string) string {
		resp, err := http.Get("http://" + addr + query)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	until(t, "victoria-metrics answers", func() bool { return get("/health") == "OK" })
	s := newSite("site-1", 1)
	d := meter("m-1")
	s.declare(d)
	s.minutes(d, 0, 100)
	r := newRig(t, s)
	r.take(s)
	p := r.project(Server{Name: "vm", URL: "http://" + addr + "/", Rounding: true, Token: token("")})
	r.run(p)
	until(t, "the server has all records", func() bool { s := p.Status(); return s.Health == up && s.Behind == 0 })
	export := "/api/v1/export?match[]=" + url.QueryEscape(`{edge="site-1",device="m-1"}`)
	get("/internal/force_flush")
	until(t, "it can be asked", func() bool { return strings.Count(get(export), `"__name__"`) >= 6 })
	text := get(export)
	for _, want := range []string{`"kenshin_float_energy"`, `"kenshin_int_power"`, `"kenshin_int_signed"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %.500s", want, text)
		}
	}
	if strings.Contains(text, "exact") || strings.Contains(text, "quality") || strings.Contains(text, "text") {
		t.Errorf("what is no number was sent: %.500s", text)
	}
	if _, err := p.Check(t.Context(), p.since, p.since, false, nil); err == nil {
		t.Error("a server that rounds is compared")
	}
	if len(p.state.Days) != 0 {
		t.Errorf("days are to be compared: %v", p.state.Days)
	}
}
