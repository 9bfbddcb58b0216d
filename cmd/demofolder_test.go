package cmd

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// plantHead writes the first lines of the plant's file.
func plantHead(t *testing.T, name string, lines int) string {
	t.Helper()
	f, err := os.Open(data(t, plantFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, name, strings.Join(strings.SplitAfter(string(text), "\n")[:lines], ""))
	return filepath.Join(dir, name)
}

// TestDemoFolderBelongsToItsRun: readings of another kind of run in the same
// folder would move the totals, so another kind is refused and changes nothing.
func TestDemoFolderBelongsToItsRun(t *testing.T) {
	demo, dir := binary(t, "kenshin-demo"), t.TempDir()
	first, other := plantHead(t, "first.csv", 400), plantHead(t, "other.csv", 300)
	var totals string
	for _, tt := range []struct {
		name string
		args []string
		says string // "" when it must run
	}{
		{"the first run", []string{"-replay", first}, ""},
		{"a simulation", []string{"-for", "2s"}, "it was made by a replay of first.csv"},
		{"another file", []string{"-replay", other}, "this is a replay of other.csv"},
		{"the same again", []string{"-replay", first}, ""},
	} {
		p := launch(t, t.TempDir(), demo, append(tt.args, "-json", "-addr", "127.0.0.1:0", "-dir", dir)...)
		code := p.wait(time.Minute)
		var said []string
		for l := range p.lines {
			said = append(said, l)
		}
		all := strings.Join(said, "\n")
		switch {
		case tt.says != "":
			if code != 2 || !strings.Contains(all, tt.says) || !strings.Contains(all, "name another folder") {
				t.Errorf("%s: exit code %d\n%s\nwant 2, %q and the remedy", tt.name, code, all, tt.says)
			}
		case code != 0 || totals != "" && totals != p.stdout.String():
			t.Errorf("%s: exit code %d, totals\n%s\nwant\n%s", tt.name, code, p.stdout.String(), totals)
		default:
			totals = p.stdout.String()
		}
	}
}
