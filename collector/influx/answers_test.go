package influx

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestAnswers has the answers that no real server gives on demand, as InfluxDB 2.7
// gives them: every line that is not at fault gets through, the one that is is kept
// aside, whatever comes in between.
func TestAnswers(t *testing.T) {
	answer := func(status int, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	cut := func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
	for _, tt := range []struct {
		name    string
		script  []http.HandlerFunc // before the server comes to itself
		partial bool               // 422 and the other lines stored, else 400 and none
		words   string
		retried bool
	}{
		{name: "busy", script: []http.HandlerFunc{answer(429, `{"code":"too many requests","message":"org over limit"}`, "Retry-After", "1"), answer(503, "", "Retry-After", "1"), answer(503, `{"code":"unavailable"}`)}, retried: true},
		{name: "broken", script: []http.HandlerFunc{answer(500, `{"code":"internal error","message":"engine: no space left on device"}`), answer(502, "<html>bad gateway</html>"), answer(504, ""), cut, cut}, retried: true},
		{name: "large", script: []http.HandlerFunc{answer(413, `{"code":"request too large"}`), answer(413, "<html>nginx</html>")}},
		{name: "moved and forbidden", script: []http.HandlerFunc{answer(403, `{"code":"forbidden","message":"insufficient permissions"}`), answer(404, `{"code":"not found","message":"bucket \"x\" not found"}`), answer(401, `{"code":"unauthorized"}`), answer(400, `{"error":"partial write: max-series-per-database limit exceeded: (3) dropped=18"}`, "X-Influxdb-Error", "partial write: max-series-per-database limit exceeded: (3) dropped=18")}, retried: true},
		{name: "conflict", partial: true, words: `field type conflict: input field "poison"`},
		{name: "malformed", words: "unable to parse"},
		{name: "everything refused for a while", script: []http.HandlerFunc{answer(400, `{"code":"invalid","message":"bucket is required"}`)}, words: "unable to parse"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			taken := make(map[string]bool)
			script := tt.script
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				body, _ := io.ReadAll(r.Body)
				if len(script) > 0 {
					next := script[0]
					script = script[1:]
					next(w, r)
					return
				}
				lines := strings.Split(string(body), "\n")
				bad := 0
				for _, l := range lines {
					if strings.Contains(l, "poison") {
						bad++
					}
				}
				for _, l := range lines {
					if !strings.Contains(l, "poison") && (bad == 0 || tt.partial) {
						taken[l] = true
					}
				}
				switch {
				case bad > 0 && tt.partial:
					answer(422, fmt.Sprintf(`{"code":"unprocessable entity","message":"failure writing points to database: partial write: field type conflict: input field \"poison\" on measurement \"m\" is type float, already exists as type integer dropped=%d"}`, bad))(w, r)
				case bad > 0:
					answer(400, `{"code":"invalid","message":"unable to parse 'poison': missing fields"}`)(w, r)
				default:
					w.WriteHeader(http.StatusNoContent)
				}
			}))
			defer server.Close()
			r := newRig(t, newSite("site-1", 1))
			p := r.project(Server{Name: "test", URL: server.URL + "/", Bucket: "x", Token: token("secret")})
			var lines []line
			for i := range 50 {
				lines = append(lines, line{fmt.Sprintf("m,edge=e v=%di,w=1i %d", i, i), 2})
			}
			if tt.words != "" {
				lines = append(lines[:20:20], append([]line{{"m,edge=e a=1i,poison=1 99", 2}}, lines[20:]...)...)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := p.deliver(ctx, lines); err != nil {
				t.Fatal(err)
			}
			for _, l := range lines {
				if !strings.Contains(l.text, "poison") && !taken[l.text] {
					t.Errorf("%s is lost", l.text)
				}
			}
			kept, _ := os.ReadFile(p.refusedFile())
			if n := strings.Count(string(kept), "\n"); tt.words == "" && n > 0 || tt.words != "" && (n != 1 || !taken["m,edge=e a=1i 99"] || !strings.Contains(strings.ReplaceAll(string(kept), `\`, ""), tt.words)) {
				t.Errorf("%d lines kept aside: %s", n, kept)
			}
			if s := p.Status(); s.Health != up {
				t.Errorf("it ends %s: %s", s.Health, s.Words)
			}
			if n := r.logs.count("is back"); tt.retried && n != 1 {
				t.Errorf("it came back %d times", n)
			}
		})
	}
}
