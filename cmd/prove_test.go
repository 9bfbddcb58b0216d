package cmd

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ran runs a command to its end and returns its exit code and all it said.
func ran(t *testing.T, path string, args ...string) (code int, said string) {
	t.Helper()
	out, err := exec.Command(path, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %v: %v", path, args, err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return code, string(out)
}

// TestProve: beside a program that has the book open, records are written to a
// file, and the file is checked by somebody who has nothing but a key.
func TestProve(t *testing.T) {
	demo, collector := binary(t, "kenshin-demo"), binary(t, "kenshin-collector")
	dir := t.TempDir()
	replay := plantHead(t, "plant.csv", 400)
	if p := launch(t, dir, demo, "-replay", replay, "-json", "-addr", "127.0.0.1:0", "-dir", dir); p.wait(2*time.Minute) != 0 {
		t.Fatalf("%s: %v", p.name, p.log.tail)
	}
	going := launch(t, dir, demo, "-replay", replay, "-addr", "127.0.0.1:0", "-dir", dir)
	book, key := filepath.Join(dir, "collector"), filepath.Join(dir, "collector.pub")
	text, err := os.ReadFile(filepath.Join(dir, "edge.pub"))
	if err != nil {
		t.Fatal(err)
	}
	edge := "demo-edge=" + strings.TrimSpace(string(text))
	all, again, some, broken, out := filepath.Join(dir, "all"), filepath.Join(dir, "again"), filepath.Join(dir, "some"), filepath.Join(dir, "broken"), filepath.Join(dir, "none")
	prove := func(args ...string) []string {
		return append([]string{"prove", book, "--config", filepath.Join(dir, "none.yaml")}, args...)
	}
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"everything", prove("--records", "all", "--out", all), 0, "all records from 0 to "},
		{"once more", prove("--records", "all", "--out", again), 0, ""},
		{"an edge and a record", prove("--edge", "demo-edge", "--records", "3", "--out", some), 0, "all records from 3 to 3"},
		{"a dry run", prove("--edge", "demo-edge", "--dry-run", "--out", out), 0, "bytes"},
		{"checked", []string{"verify-export", all, "--key", key}, 0, "is good"},
		{"checked with the edge's key", []string{"verify-export", some, "--key", key, "--edge", edge}, 0, "without a gap"},
		{"checked with another key", []string{"verify-export", all, "--key", filepath.Join(dir, "edge.pub")}, 1, "the key that was given did not sign this"},
		{"checked without a key", []string{"verify-export", all}, 2, "--key"},
		{"checked with no key", []string{"verify-export", all, "--key", "x"}, 2, `"x" is not an Ed25519 public key`},
		{"no such file", []string{"verify-export", out, "--key", key}, 2, "no such file"},
		{"printed", []string{"dump-export", some}, 0, `"subject":"demo-edge"`},
		{"nothing asked for", prove(), 2, "name what to prove"},
		{"beyond the end", prove("--records", "7-999999"), 2, "the checkpoint speaks of"},
		{"no range", prove("--records", "7-x"), 2, "want a number, a range such as 0-4000, or all"},
		{"no such edge", prove("--edge", "site-9", "--dry-run"), 2, `edge "site-9"`},
		{"no such checkpoint", prove("--edge", "demo-edge", "--checkpoint", "1", "--dry-run"), 2, "no checkpoint speaks of 1 records"},
		{"no checkpoint to grow from", prove("--edge", "demo-edge", "--before", key, "--dry-run"), 1, "this book did not sign it"},
	} {
		if code, said := ran(t, collector, tt.args...); code != tt.code || !strings.Contains(said, tt.says) {
			t.Errorf("%s: exit code %d, want %d and %q\n%s", tt.name, code, tt.code, tt.says, said)
		}
	}
	going.kill9()
	a, errA := os.ReadFile(all)
	b, errB := os.ReadFile(again)
	if err := errors.Join(errA, errB); err != nil || string(a) != string(b) {
		t.Errorf("two exports of the same records differ, %v", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a dry run has written a file")
	}
	a[len(a)/2] ^= 1
	if err := os.WriteFile(broken, a, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, said := ran(t, collector, "verify-export", broken, "--key", key); code != 1 || !strings.Contains(said, "record ") || !strings.Contains(said, "bytes ") {
		t.Errorf("a byte changed: exit code %d\n%s", code, said)
	}
}
