package cmd

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// TestCompose reads the compose files as an engine would, as far as one can without
// one: every service that is waited for and every file that is mounted is there, every
// command is one of ours, every variable is named in the text above, and the
// configurations that are mounted are in order.
func TestCompose(t *testing.T) {
	dir := filepath.Join("..", "deploy", "compose")
	type service struct {
		Image       string
		Build       struct{ Context, Dockerfile string }
		Command     []string
		DependsOn   any `yaml:"depends_on"`
		Volumes     []string
		Environment map[string]string
		User        string
		Ports       []string
		Restart     string
	}
	services, volumes := make(map[string]service), make(map[string]any)
	for _, name := range []string{"compose.yaml", "explore.yaml"} {
		text := read(t, dir, name)
		var file struct {
			Name     string
			Services map[string]service
			Volumes  map[string]any
		}
		if err := yaml.UnmarshalWithOptions([]byte(text), &file, yaml.Strict()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		head := text[:strings.Index(text, "services:")]
		for _, v := range regexp.MustCompile(`\$\{([A-Z_]+)`).FindAllStringSubmatch(text, -1) {
			if !strings.Contains(head, v[1]) {
				t.Errorf("%s: the variable %s is not told of above the services", name, v[1])
			}
		}
		for s, x := range file.Services {
			was := services[s]
			was.Image, was.Volumes = was.Image+x.Image, append(was.Volumes, x.Volumes...)
			if x.Build.Context != "" {
				was.Build, was.Command, was.DependsOn = x.Build, x.Command, x.DependsOn
			}
			services[s] = was
		}
		for v := range file.Volumes {
			volumes[v] = nil
		}
	}
	for name, s := range services {
		if (s.Image == "") == (s.Build.Context == "") {
			t.Errorf("%s: want an image or something to build", name)
		}
		if s.Build.Context != "" {
			for _, f := range []string{s.Build.Dockerfile, "Makefile"} {
				if _, err := os.Stat(filepath.Join(dir, s.Build.Context, f)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			made := strings.Fields(regexp.MustCompile(`(?m)^COMMANDS := (.*)$`).FindStringSubmatch(read(t, "..", "Makefile"))[1])
			if c := filepath.Base(s.Command[0]); !slices.Contains(made, c) {
				t.Errorf("%s: %s is not among what the image has: %q", name, c, made)
			}
		}
		switch d := s.DependsOn.(type) {
		case []any:
			for _, other := range d {
				if _, ok := services[other.(string)]; !ok {
					t.Errorf("%s waits for %v, which is not there", name, other)
				}
			}
		case map[string]any:
			for other := range d {
				if _, ok := services[other]; !ok {
					t.Errorf("%s waits for %s, which is not there", name, other)
				}
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(from, ".") {
				if _, err := os.Stat(filepath.Join(dir, from)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if _, ok := volumes[from]; !ok {
				t.Errorf("%s: the volume %s is not declared", name, from)
			}
		}
	}
	for file, command := range map[string]string{"collector.yaml": "kenshin-collector", "collector-explore.yaml": "kenshin-collector", "edge.yaml": "kenshin-edge"} {
		configs, err := filepath.Abs(filepath.Join("..", "configs"))
		if err != nil {
			t.Fatal(err)
		}
		at := t.TempDir()
		text := strings.NewReplacer("/usr/share/kenshin/configs", configs, "/var/lib/", at+"/").Replace(read(t, dir, file))
		if command == "kenshin-edge" {
			text += "broker: {url: \"tcp://broker:1883\"}\ncollector: {key: \"" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\"}\n" // known from enrolment there
		}
		for _, v := range []string{"KENSHIN_API_TOKEN", "INFLUX_TOKEN"} {
			t.Setenv(v, "secret-enough")
		}
		p := launch(t, at, binary(t, command), "check-config", "--config", write(t, at, file, text))
		if code := p.wait(time.Minute); code != 0 {
			t.Errorf("%s: check-config ends with %d:\n%s%s", file, code, p.stdout.String(), strings.Join(p.log.tail, "\n"))
		}
	}
}
