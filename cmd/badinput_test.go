package cmd

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const goodEdge = `edge: site-1
data: DATA
broker: {url: "tcp://127.0.0.1:1"}
collector: {key: "` + someKey + `"}
buses:
  - name: b
    endpoint: tcp://127.0.0.1:1
    devices:
      - {id: one, unit: 1, profile: sunspec}
`

const goodCollector = `name: tokyo-1
data: DATA
broker: {listen: "127.0.0.1:0"}
edges: [{id: site-1, key: "` + someKey + `"}]
projects: [project.yaml]
http: {listen: "127.0.0.1:0"}
`

const someKey = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lQ=="

// TestBadInput: what is wrong with a file, a folder or an address is said in one
// line that names it and the remedy, with exit code 2, and nothing is started.
func TestBadInput(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	key := strings.Repeat("A", 43) + "="
	edge, center := strings.ReplaceAll(goodEdge, someKey, key), strings.ReplaceAll(goodCollector, someKey, key)
	replace := func(text, old, new string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not in the example", old)
		}
		return strings.Replace(text, old, new, 1)
	}
	project := strings.Replace(flowProject, "\n", "", 1)
	for _, tt := range []struct {
		name    string
		program string
		config  string // written as config.yaml, DATA replaced by a folder; "" passes no config
		project string
		args    []string
		says    []string
	}{
		{name: "edge: unknown key", program: "kenshin-edge", config: replace(edge, "buses:", "busses:"), says: []string{"config.yaml:5:", "busses", "spelling"}},
		{name: "edge: wrong type", program: "kenshin-edge", config: replace(edge, "unit: 1", "unit: one"), says: []string{"config.yaml:9:", "whole number from 0 to 255"}},
		{name: "edge: missing file", program: "kenshin-edge", args: []string{"-config", "none.yaml"}, says: []string{"none.yaml", "no such file", "configs/*.example.yaml"}},
		{name: "edge: duplicate device", program: "kenshin-edge", config: edge + "      - {id: one, unit: 2, profile: sunspec}\n", says: []string{"config.yaml:10:", `"one"`, "unique"}},
		{name: "edge: unknown profile", program: "kenshin-edge", config: replace(edge, "sunspec", "sunspek"), says: []string{"config.yaml:9:", "sunspek", "profile"}},
		{name: "edge: endpoint", program: "kenshin-edge", config: replace(edge, "endpoint: tcp://127.0.0.1:1", "endpoint: 127.0.0.1"), says: []string{"config.yaml", "127.0.0.1", "tcp://"}},
		{name: "edge: variable not set", program: "kenshin-edge", config: replace(edge, "edge: site-1", "edge: ${KENSHIN_NOT_SET}"), says: []string{"config.yaml:1:", "KENSHIN_NOT_SET"}},
		{name: "edge: no flag of that name", program: "kenshin-edge", args: []string{"-confg", "x"}, says: []string{"confg", "--help"}},
		{name: "edge: data is a file", program: "kenshin-edge", config: replace(edge, "DATA", "config.yaml/x"), says: []string{"data folder", "config.yaml/x", "folder it can write"}},
		{name: "collector: unknown zone", program: "kenshin-collector", config: center, project: replace(project, "Asia/Kolkata", "Asia/Kalkutta"), says: []string{"project.yaml", "Asia/Kalkutta", "IANA"}},
		{name: "collector: unknown key in a project", program: "kenshin-collector", config: center, project: replace(project, "country:", "contry:"), says: []string{"project.yaml:3:", "contry"}},
		{name: "collector: factor without source", program: "kenshin-collector", config: center, project: replace(project, `, source: "a round figure for this test"`, ""), says: []string{"project.yaml", "EF_RE", "source"}},
		{name: "collector: unknown methodology", program: "kenshin-collector", config: center, project: replace(project, `"1.0"`, `"9.0"`), says: []string{"flow", "KS-F1", "9.0"}},
		{name: "collector: name that cannot sign", program: "kenshin-collector", config: replace(center, "name: tokyo-1", `name: "a b+c"`), project: project, says: []string{"config.yaml:1:", `"a b+c"`, "checkpoints"}},
		{name: "collector: no broker", program: "kenshin-collector", config: replace(center, `broker: {listen: "127.0.0.1:0"}`, `broker: {url: "ftp://x"}`), project: project, says: []string{"config.yaml:3:", "ftp://x", "tcp://HOST:PORT"}},
		{name: "collector: broker without host", program: "kenshin-collector", config: replace(center, `broker: {listen: "127.0.0.1:0"}`, `broker: {url: nonsense}`), project: project, says: []string{"config.yaml:3:", "nonsense", "tcp://HOST:PORT"}},
		{name: "collector: wildcard in the topics", program: "kenshin-collector", config: replace(center, `listen: "127.0.0.1:0"}`, `listen: "127.0.0.1:0", root: "a/#"}`), project: project, says: []string{"config.yaml:3:", `"a/#"`, "kenshin/v1"}},
		{name: "collector: broker port", program: "kenshin-collector", config: replace(center, `broker: {listen: "127.0.0.1:0"}`, `broker: {listen: "127.0.0.1:99999"}`), project: project, says: []string{"config.yaml:3:", "99999", "65535"}},
		{name: "collector: page port", program: "kenshin-collector", config: replace(center, `http: {listen: "127.0.0.1:0"}`, `http: {listen: "127.0.0.1:99999"}`), project: project, says: []string{"config.yaml:6:", "99999", "65535"}},
		{name: "collector: page port in use", program: "kenshin-collector", config: replace(center, `http: {listen: "127.0.0.1:0"}`, `http: {listen: "`+taken.Addr().String()+`"}`), project: project, says: []string{"config.yaml", "address already in use"}},
		{name: "collector: broker port in use", program: "kenshin-collector", config: replace(center, `broker: {listen: "127.0.0.1:0"}`, `broker: {listen: "`+taken.Addr().String()+`"}`), project: project, says: []string{"config.yaml", "address already in use"}},
		{name: "collector: data is a file", program: "kenshin-collector", config: replace(center, "DATA", "config.yaml/x"), project: project, says: []string{"data folder", "config.yaml/x", "folder it can write"}},
		{name: "collector: certificates without names", program: "kenshin-collector", config: replace(center, `listen: "127.0.0.1:0"}`, `listen: "127.0.0.1:0", tls: mutual}`), project: project, says: []string{"config.yaml:3:", "tls.names"}},
		{name: "collector: unknown kind of TLS", program: "kenshin-collector", config: replace(center, `listen: "127.0.0.1:0"}`, `listen: "127.0.0.1:0", tls: "on"}`), project: project, says: []string{"config.yaml:3:", `"on"`, "mutual"}},
		{name: "collector: a key without its certificate", program: "kenshin-collector", config: replace(center, `http: {listen: "127.0.0.1:0"}`, `http: {listen: "127.0.0.1:0", key_file: x}`), project: project, says: []string{"config.yaml", "cert_file"}},
		{name: "collector: no such certificate", program: "kenshin-collector", config: replace(center, `http: {listen: "127.0.0.1:0"}`, `http: {listen: "127.0.0.1:0", cert_file: none.pem, key_file: none.key}`), project: project, says: []string{"config.yaml", "none.pem"}},
		{name: "edge: no such authority", program: "kenshin-edge", config: replace(edge, `"tcp://127.0.0.1:1"`, `"tls://127.0.0.1:1", ca_file: none.crt`), says: []string{"config.yaml", "none.crt"}},
		{name: "edge: authority is no certificate", program: "kenshin-edge", config: replace(edge, `"tcp://127.0.0.1:1"`, `"tls://127.0.0.1:1", ca_file: config.yaml`), says: []string{"config.yaml", "no certificate in PEM"}},
		{name: "edge: half a token", program: "kenshin-edge", config: edge, args: []string{"enrol", "-config", "config.yaml", "-token", "site-1.abc", "-collector", "https://127.0.0.1:1"}, says: []string{"no whole token"}},
		{name: "edge: token in the open", program: "kenshin-edge", config: edge, args: []string{"enrol", "-config", "config.yaml", "-token", "site-1.abc.", "-collector", "http://192.0.2.1:1"}, says: []string{"http://192.0.2.1:1", "https://"}},
		{name: "demo: port in use", program: "kenshin-demo", args: []string{"-addr", taken.Addr().String()}, says: []string{"address already in use", "-addr"}},
		{name: "demo: no such file", program: "kenshin-demo", args: []string{"-addr", "127.0.0.1:0", "-replay", "none.csv"}, says: []string{"none.csv", "no such file"}},
		{name: "demo: not a generation file", program: "kenshin-demo", args: []string{"-addr", "127.0.0.1:0", "-replay", "config.yaml"}, config: edge, says: []string{"config.yaml", "line 1", "DATE_TIME"}},
		{name: "demo: speed", program: "kenshin-demo", args: []string{"-addr", "127.0.0.1:0", "-speed", "nan"}, says: []string{"speed NaN", "want more than 0"}},
		{name: "plant: port in use", program: "kenshin-plant", args: []string{"-listen", taken.Addr().String()}, says: []string{"address already in use", "-listen"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			args := tt.args
			if tt.config != "" {
				write(t, dir, "config.yaml", strings.ReplaceAll(tt.config, "DATA", "data"))
			}
			if args == nil {
				args = []string{"-config", "config.yaml"}
			}
			if tt.project != "" {
				write(t, dir, "project.yaml", tt.project)
			}
			p := launch(t, dir, binary(t, tt.program), args...)
			if code := p.wait(30 * time.Second); code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
			var said []string
			for l := range p.lines {
				said = append(said, l)
			}
			// One line says it; a repair or a start-up notice would be a sign that something was started.
			if len(said) != 1 {
				t.Errorf("%d lines, want one:\n%s", len(said), strings.Join(said, "\n"))
			}
			for _, want := range tt.says {
				if !strings.Contains(strings.Join(said, "\n"), want) {
					t.Errorf("%q does not say %q", said, want)
				}
			}
		})
	}
}

// TestFullFolder: a data folder without space is found before anything starts.
func TestFullFolder(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=128k"); err != nil {
		lacking(t, "root, to mount a small file system", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	key := strings.Repeat("A", 43) + "="
	conf := t.TempDir()
	write(t, conf, "edge.yaml", strings.ReplaceAll(strings.ReplaceAll(goodEdge, someKey, key), "DATA", filepath.Join(dir, "data")))
	write(t, conf, "collector.yaml", strings.ReplaceAll(strings.ReplaceAll(goodCollector, someKey, key), "DATA", filepath.Join(dir, "data2")))
	write(t, conf, "project.yaml", strings.Replace(flowProject, "\n", "", 1))
	for _, name := range []string{"edge", "collector"} {
		p := launch(t, conf, binary(t, "kenshin-"+name), "-config", name+".yaml")
		code := p.wait(time.Minute)
		var said []string
		for l := range p.lines {
			said = append(said, l)
		}
		if text := strings.Join(said, "\n"); code != 2 || len(said) != 1 || !strings.Contains(text, "no space left") && !strings.Contains(text, "disk is full") || !strings.Contains(text, name+".yaml") {
			t.Errorf("%s: exit code %d, want 2 and one line about the space:\n%s", name, code, text)
		}
	}
}
