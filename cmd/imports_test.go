package cmd

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rule says what each package may import of ours: the table of the README. A
// name ending in /... stands for all below it; a leading ! takes one away.
var rule = []struct {
	pkg  string
	from []string
}{
	{"calc", nil},
	{"configs", nil},
	{"edge/wire", []string{"edge/wire/wirepb"}},
	{"edge/wire/wirepb", nil},
	{"edge/journal/simfs", nil},
	{"edge/modbus", nil},
	{"edge/journal", nil},
	{"collector/broker", nil},
	{"edge/device", []string{"edge/wire", "edge/journal"}},
	{"edge/outbox", []string{"edge/wire", "edge/journal"}},
	{"edge", []string{"edge/...", "!edge/plant"}},
	{"edge/plant", []string{"edge/modbus", "edge/device"}},
	{"collector/ca", []string{"configs"}},
	{"collector/store", []string{"edge/journal", "edge/wire"}},
	{"collector/series", []string{"edge/wire", "calc"}},
	{"collector", []string{"calc", "configs", "collector/store", "collector/series", "edge/wire"}},
	{"collector/influx", []string{"calc", "collector", "edge/wire"}},
	{"collector/api", []string{"calc", "edge/wire"}},
	{"collector/web", []string{"calc", "edge/wire"}},
}

// TestImports parses the sources: a package that is not in the table, or that
// imports what the table does not give it, is where the house stops being simple.
func TestImports(t *testing.T) {
	fset := token.NewFileSet()
	seen := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		pkg, err := filepath.Rel("..", filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg = filepath.ToSlash(pkg)
		f, err := parser.ParseFile(fset, path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		seen++
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if of, ours := strings.CutPrefix(name, "kenshin/"); ours && !allowed(pkg, of) {
				t.Errorf("%s imports %s; the rule for %s does not give it that", path, of, pkg)
			}
		}
		if !known(pkg) {
			t.Errorf("%s: package %s is not in the rule; add it there and to the README, with what it promises", path, pkg)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 20 {
		t.Fatalf("only %d files seen", seen)
	}
}

func known(pkg string) bool {
	if strings.HasPrefix(pkg, "cmd/") {
		return true
	}
	for _, r := range rule {
		if r.pkg == pkg {
			return true
		}
	}
	return false
}

func allowed(pkg, of string) bool {
	if strings.HasPrefix(pkg, "cmd/") {
		return !strings.HasPrefix(of, "cmd/")
	}
	for _, r := range rule {
		if r.pkg != pkg {
			continue
		}
		if slices.Contains(r.from, "!"+of) {
			return false
		}
		for _, f := range r.from {
			if all, ok := strings.CutSuffix(f, "..."); f == of || ok && strings.HasPrefix(of, all) {
				return true
			}
		}
	}
	return false
}
