package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// changing is what differs from run to run: numbers, words of registers, times.
var changing = regexp.MustCompile(`/[\w/.-]+|\b[0-9A-F]{4}( [0-9A-F]{4})*\b|\b(unsynced|synced|holdover|unknown)\b|\bepoch \w+|sha256:\w+|-?[0-9]([0-9.:TZ-]*[0-9Z])?(ns|µs|ms|s|m|h)?([0-9.]+(ms|s|m))*|cycles?\b|version [^,]*`)

// shape returns a line without what differs from run to run.
func shape(line string) string {
	return strings.TrimSpace(squeezed(changing.ReplaceAllString(strings.ReplaceAll(line, "127.0.0.1", "HOST"), "#")))
}

// TestDocument runs the commands of the installer's guide against the plant it
// names and compares what they print, line by line.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../deploy/docs/edge.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ends := examplePlant(t, dir)
	t.Chdir(dir)
	http := freePort(t)
	ran := 0
	for _, block := range strings.Split(string(text), "```console\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		line, want, _ := strings.Cut(block, "\n")
		args, ok := strings.CutPrefix(line, "$ kenshin-edge ")
		if !ok {
			t.Fatalf("%q is no command of kenshin-edge", line)
		}
		ran++
		if strings.HasPrefix(args, "status") {
			edit(t, "edge.yaml", "127.0.0.1:9464", http, "tcp://127.0.0.1:1883", "tcp://"+freePort(t), "interval: 60s", "interval: 1s",
				"key_file: /etc/kenshin/collector.pub", "key: "+anyKey)
			startAgent(t, "edge.yaml")
			eventually(t, "everything is read", func() bool {
				out, _ := command(t, "status", "--config", "edge.yaml")
				return strings.Count(out, " good\n") == strings.Count(want, " good\n")
			})
		}
		here := strings.NewReplacer(ends...)
		var differ []string
		for try := range 5 { // on a busy machine a device may not answer in time
			if try == 1 {
				args = strings.ReplaceAll(args, "--write", "--force --write")
			}
			out, err := command(t, strings.Fields(here.Replace(args))...)
			if err != nil {
				out += "kenshin-edge: " + err.Error()
			}
			if differ = compare(here.Replace(want), out); len(differ) == 0 {
				break
			}
		}
		for _, d := range differ {
			t.Errorf("%s: %s", line, d)
		}
	}
	if ran < 4 {
		t.Errorf("the document shows %d commands, want probe, plan, read and status", ran)
	}
}

// compare says where what a command prints is not what the document shows.
func compare(want, got string) (differ []string) {
	lines := func(s string) (out []string) {
		for line := range strings.Lines(s) {
			if line = shape(line); line != "" && !strings.Contains(line, "clock is not") && !strings.Contains(line, "problem") {
				out = append(out, line)
			}
		}
		return out
	}
	w, g := lines(want), lines(got)
	for i := range max(len(w), len(g)) {
		switch {
		case i >= len(w):
			differ = append(differ, fmt.Sprintf("line %q is not in the document", g[i]))
		case i >= len(g):
			differ = append(differ, fmt.Sprintf("line %q of the document is not printed", w[i]))
		case w[i] != g[i]:
			differ = append(differ, fmt.Sprintf("\nprints   %q\ndocument %q", g[i], w[i]))
		}
	}
	return differ
}

// edit replaces texts in a file.
func edit(t *testing.T, file string, oldnew ...string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte(strings.NewReplacer(oldnew...).Replace(string(text))), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// examplePlant runs kenshin-plant with the example of a plant file on free ports,
// and returns what to replace in a document that says where that serves.
func examplePlant(t *testing.T, dir string) (replace []string) {
	t.Helper()
	text, err := os.ReadFile("../../configs/plant.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	line := filepath.Join(dir, "kenshin-line")
	file := filepath.Join(dir, "plant.yaml")
	free := strings.NewReplacer("127.0.0.1:5020", "127.0.0.1:0", "127.0.0.1:5021", "127.0.0.1:0", "/tmp/kenshin-line", line)
	if err := os.WriteFile(file, []byte(free.Replace(string(text))), 0o644); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "kenshin-plant")
	if out, err := exec.Command("go", "build", "-o", binary, "kenshin/cmd/kenshin-plant").CombinedOutput(); err != nil {
		t.Fatalf("build kenshin-plant: %v\n%s", err, out)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := exec.CommandContext(ctx, binary, "--plant", file, "--control", "none")
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); c.Wait() })
	for s := bufio.NewScanner(out); s.Scan(); {
		_, ends, ok := strings.Cut(s.Text(), "with these endpoints: ")
		if !ok {
			continue
		}
		ends, _, _ = strings.Cut(ends, ";")
		at := strings.Split(ends, ", ")
		return []string{"127.0.0.1:5020", strings.TrimPrefix(at[0], "tcp://"), "127.0.0.1:5021", strings.TrimPrefix(at[1], "rtutcp://"), "/tmp/kenshin-line", line}
	}
	t.Fatal("the plant does not start")
	return nil
}
