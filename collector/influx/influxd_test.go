package influx

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
)

// influxd is a real InfluxDB for tests, started here on a free port with an empty
// folder. Those that leave it running also take one outside, such as InfluxDB 2.7, that
// the environment names: KENSHIN_INFLUX_URL, KENSHIN_INFLUX_ORG and KENSHIN_INFLUX_TOKEN.
type influxd struct {
	cmd    *exec.Cmd
	dir    string
	server Server
	log    *bytes.Buffer
}

const getInfluxd = "go install github.com/influxdata/influxdb/cmd/influxd@v1.8.3 puts one on the path"

// program returns the path of a program that tests need. Without it they are
// skipped, on the build machine they fail.
func program(t testing.TB, name, remedy string, places ...string) string {
	t.Helper()
	for _, p := range append(places, name) {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("no %s here; %s", name, remedy)
	}
	t.Skipf("no %s here; %s", name, remedy)
	return ""
}

// shared is the server of the tests that leave it running.
var shared struct {
	sync.Mutex
	server *influxd
	made   int
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		shared.server.kill()
		os.RemoveAll(shared.server.dir)
	}
	os.Exit(code)
}

// emptyBucket returns a server with an empty bucket of the test's own.
func emptyBucket(t testing.TB) Server {
	t.Helper()
	if u := os.Getenv("KENSHIN_INFLUX_URL"); u != "" {
		return outside(t, strings.TrimSuffix(u, "/")+"/")
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		dir, err := os.MkdirTemp("", "influxd")
		if err != nil {
			t.Fatal(err)
		}
		shared.server = newInfluxd(t, dir, "")
	}
	shared.made++
	name := fmt.Sprintf("test%d", shared.made)
	shared.server.query(t, "CREATE DATABASE "+name)
	s := shared.server.server
	s.Bucket = name + "/autogen"
	return s
}

// outside makes a bucket in the server of the environment, for as long as the test runs.
func outside(t testing.TB, url string) Server {
	t.Helper()
	s := Server{Name: "test", URL: url, Org: os.Getenv("KENSHIN_INFLUX_ORG"), Bucket: fmt.Sprintf("kenshin-test-%d", time.Now().UnixNano()), Token: token(os.Getenv("KENSHIN_INFLUX_TOKEN"))}
	c := influxdb2.NewClient(s.URL, os.Getenv("KENSHIN_INFLUX_TOKEN"))
	org, err := c.OrganizationsAPI().FindOrganizationByName(t.Context(), s.Org)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := c.BucketsAPI().CreateBucketWithName(t.Context(), org, s.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.BucketsAPI().DeleteBucket(context.Background(), bucket) })
	return s
}

// ownInfluxd starts a server that the test may end and start again.
func ownInfluxd(t testing.TB, extra string) *influxd {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server of its own")
	}
	s := newInfluxd(t, t.TempDir(), extra)
	t.Cleanup(s.kill)
	s.query(t, "CREATE DATABASE kenshin")
	return s
}

// newInfluxd starts a server on an empty folder; extra are lines of its section http.
func newInfluxd(t testing.TB, dir, extra string) *influxd {
	t.Helper()
	s := &influxd{dir: dir}
	port := freePort(t)
	s.server = Server{Name: "test", URL: fmt.Sprintf("http://127.0.0.1:%d/", port), Org: "any", Bucket: "kenshin/autogen", Token: token("admin:secret")}
	config := fmt.Sprintf(`reporting-disabled = true
bind-address = "127.0.0.1:%d"
[meta]
  dir = %q
[data]
  dir = %q
  wal-dir = %q
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:%d"
  flux-enabled = true
  auth-enabled = true
  log-enabled = false
%s`, freePort(t), filepath.Join(s.dir, "meta"), filepath.Join(s.dir, "data"), filepath.Join(s.dir, "wal"), port, extra)
	if err := os.WriteFile(filepath.Join(s.dir, "influxd.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	s.query(t, `CREATE USER admin WITH PASSWORD 'secret' WITH ALL PRIVILEGES`)
	return s
}

func token(text string) func() (string, error) { return func() (string, error) { return text, nil } }

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// start starts the server on the folder it had and waits until it answers.
func (s *influxd) start(t testing.TB) {
	t.Helper()
	home, _ := os.UserHomeDir()
	path := program(t, "influxd", getInfluxd, filepath.Join(home, "go", "bin", "influxd"))
	s.log = new(bytes.Buffer)
	s.cmd = exec.Command(path, "run", "-config", filepath.Join(s.dir, "influxd.conf"))
	s.cmd.Stderr = s.log
	dieWithUs(s.cmd)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, 3*time.Minute, "influxd answers", func() bool { // it compiles its query language first
		resp, err := http.Get(s.server.URL + "ping")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusNoContent
	})
}

// kill ends the server as a power cut would.
func (s *influxd) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// query runs a statement of InfluxQL, which makes users and databases.
func (s *influxd) query(t testing.TB, q string) { t.Helper(); s.queryIn(t, "", q) }

// queryIn runs one in a database.
func (s *influxd) queryIn(t testing.TB, database, q string) {
	t.Helper()
	resp, err := http.PostForm(s.server.URL+"query?u=admin&p=secret", url.Values{"q": {q}, "db": {database}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || bytes.Contains(text, []byte(`"error"`)) {
		t.Fatalf("%s: %s %s", q, resp.Status, text)
	}
}

// until waits for something that has to come.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	within(t, time.Minute, what, ok)
}

func within(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for !ok() {
		if sleep(ctx, 20*time.Millisecond) != nil {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}
