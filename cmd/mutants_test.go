package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mutant is a bug that is planted into a copy of one file.
type mutant struct {
	name string
	file string // below the top of the tree
	old  string // stands once in the file
	new  string
	rig  string // the test that must find it
	in   string // its package
}

// TestMutantsFit: each bug still has its place in the source. What changes the
// source so that one has none must find it another.
func TestMutantsFit(t *testing.T) {
	for _, m := range mutants {
		text, err := os.ReadFile(filepath.Join("..", m.file))
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			t.Errorf("%s: %s holds %q %d times, want once", m.name, m.file, m.old, n)
		}
	}
	if len(mutants) < 25 {
		t.Errorf("%d mutants, want 25 and more", len(mutants))
	}
}

// TestMutants plants one bug after the other and wants its rig to fail.
// KENSHIN_MUTANTS is "all", or a part of names; without it nothing is planted.
func TestMutants(t *testing.T) {
	which := os.Getenv("KENSHIN_MUTANTS")
	if which == "" {
		t.Skip("takes minutes: set KENSHIN_MUTANTS=all, or to a part of a name")
	}
	top, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	planted := 0
	for _, m := range mutants {
		if which != "all" && !strings.Contains(m.name, which) {
			continue
		}
		planted++
		began := time.Now()
		out, err := m.plant(t.Context(), top, t.TempDir())
		switch {
		case err == nil:
			t.Errorf("%s: lives: %s in %s finds nothing", m.name, m.rig, m.in)
		case strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
			t.Errorf("%s: is no program\n%.2000s", m.name, out)
		default:
			t.Logf("%-50s found by %s in %s, %v", m.name, m.rig, m.in, time.Since(began).Round(time.Second))
		}
	}
	t.Logf("%d bugs planted", planted)
}

// plant runs the rig on the tree with the bug in it.
func (m *mutant) plant(ctx context.Context, top, dir string) (string, error) {
	path := filepath.Join(top, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error() + " [setup failed]", err
	}
	changed := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o644); err != nil {
		return err.Error() + " [setup failed]", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		return err.Error() + " [setup failed]", err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o644); err != nil {
		return err.Error() + " [setup failed]", err
	}
	c := exec.CommandContext(ctx, "go", "test", "-overlay", list, "-vet=off", "-count=1", "-timeout", "4m", "-run", "^("+m.rig+")$", "./"+m.in)
	c.Dir = top
	c.Env = append(os.Environ(), "CI=", "KENSHIN_MUTANTS=", fmt.Sprint("TMPDIR=", dir))
	out, err := c.CombinedOutput()
	return string(out), err
}
