package configs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type sample struct {
	Name   string        `yaml:"name"`
	Count  uint8         `yaml:"count"`
	Wait   time.Duration `yaml:"wait"`
	On     bool          `yaml:"on"`
	List   []string      `yaml:"list"`
	Bases  []uint16      `yaml:"bases"`
	Limit  *uint16       `yaml:"limit"`
	Years  map[int]int   `yaml:"years"`
	Nested struct {
		Password string `yaml:"password"`
	} `yaml:"nested"`
}

func TestDecodeRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		line       int
		says       string
	}{
		{"unknown key", "name: a\ncuont: 3\n", 2, `"cuont" is unknown`},
		{"unknown key below", "nested:\n  pasword: x\n", 2, `"pasword" is unknown`},
		{"key twice", "name: a\nname: b\n", 2, ""},
		{"word for a number", "name: a\ncount: three\n", 2, "a whole number from 0 to 255"},
		{"number too large", "count: 300\n", 1, "a whole number from 0 to 255"},
		{"fraction for a whole number", "name: a\ncount: 2.7\n", 2, "2.7 is no whole number"},
		{"quoted fraction", "name: a\ncount: \"2.7\"\n", 2, "2.7 is no whole number"},
		{"fraction in a list", "bases: [0, 40000.5]\n", 1, "40000.5 is no whole number"},
		{"fraction behind a pointer", "name: a\nlimit: 1.5\n", 2, "1.5 is no whole number"},
		{"fraction behind an alias", "bases: [&x 1, 2]\nyears: {2026: *x, 2027: 1.5}\n", 2, "1.5 is no whole number"},
		{"year that is none", "years:\n  2026: 1\n  2027.5: 1\n", 3, `"2027.5" is no whole number`},
		{"powers of ten", "count: 1e2\n", 1, "1e2 is no whole number"},
		{"octal", "count: 010\n", 1, "010 is no whole number"},
		{"no value for a number", "name: a\ncount:\n", 2, "the key has no value"},
		{"no value for a duration", "name: a\nwait: null\n", 2, "the key has no value; want a duration"},
		{"UTF-16", "\xff\xfen\x00", 1, "UTF-16"},
		{"list for a text", "name: [a]\n", 1, "a text"},
		{"text for a list", "list: a\n", 1, "list"},
		{"not a duration", "name: a\nwait: soon\n", 2, "soon"},
		{"not true or false", "on: maybe\n", 1, "true or false"},
		{"not YAML", "name: \"a\ncount: 3\n", 1, "not YAML"},
		{"brackets without end", "name: a\nlist: " + strings.Repeat("[", 1000) + "\n", 2, "more than 100 brackets"},
		{"a list in a list in a list", strings.Repeat("- ", 1000) + "\n", 1, "hyphens"},
		{"groups without end", "name: a\n" + strings.Repeat(" ", 300) + "x: 1\n", 2, "more than 200 spaces"},
		{"too long", "name: a\n" + strings.Repeat("# comment\n", 1<<17), 0, "at most 1048576"},
		{"empty", "", 0, "empty"},
		{"only comments", "# nothing\n", 0, "empty"},
		{"two documents", "name: a\n---\nname: b\n", 3, "second document"},
	} {
		err := Decode("x.yaml", []byte(tt.text), &sample{})
		var e *Error
		if !errors.As(err, &e) || e.File != "x.yaml" || e.Line != tt.line || !strings.Contains(err.Error(), tt.says) || e.Remedy == "" {
			t.Errorf("%s: %v; want line %d and %q", tt.name, err, tt.line, tt.says)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", tt.name, err)
		}
	}
}

func TestDecode(t *testing.T) {
	var s sample
	if err := Decode("x.yaml", []byte("name: ${HOME}\ncount: 255\nwait: 1m30s\non: true\nlist: [a, b]\nnested: {password: p}\n---\n"), &s); err != nil {
		t.Fatal(err)
	}
	if s.Name != "${HOME}" || s.Count != 255 || s.Wait != 90*time.Second || !s.On || len(s.List) != 2 || s.Nested.Password != "p" {
		t.Errorf("decoded %+v; Decode must not look at the environment", s)
	}
}

// TestNumbersStayAsTheyAreWritten: where a text is wanted a number is one, and what an
// editor puts before the file is no part of its first key.
func TestNumbersStayAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]string{"name: 1.10": "1.10", "name: 0047": "0047", "name: 2.0": "2.0", "\ufeffname: a": "a", "name: &x 1.0\nlist: [*x]": "1.0", "name: a\nlimit:": "a"} {
		var s sample
		if err := Decode("x.yaml", []byte(text), &s); err != nil || s.Name != want || len(s.List) > 0 && s.List[0] != want || s.Limit != nil {
			t.Errorf("%q: %q %q, %v; want %q", text, s.Name, s.List, err, want)
		}
	}
	var s sample
	if err := Decode("x.yaml", []byte("count: \"200\"\nbases: [0x9C40, 0]"), &s); err != nil || s.Count != 200 || s.Bases[0] != 40000 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := At("x.yaml", []byte("\ufeffa: 1\nb: 2\n"), "$.a", "bad", "mend it"); err.Error() != "x.yaml:1: bad; mend it" {
		t.Error(err)
	}
	// An anchor that holds itself, and one that is used very often, end.
	for _, text := range []string{"list: &x [*x]", "years: &y {1: 1}\nlist: [" + strings.Repeat("*y, ", 1000) + "]"} {
		if err := Decode("x.yaml", []byte(text), &s); err == nil {
			t.Errorf("%.20q is good", text)
		}
	}
}

func TestLoadExpands(t *testing.T) {
	t.Setenv("KENSHIN_TEST_A", "it's: {yaml}\n- x")
	t.Setenv("KENSHIN_TEST_EMPTY", "")
	for _, tt := range []struct{ text, want, says string }{
		{"name: ${KENSHIN_TEST_A}", "it's: {yaml}\n- x", ""},
		{"name: a${KENSHIN_TEST_A}b", "ait's: {yaml}\n- xb", ""},
		{`name: "$${KENSHIN_TEST_A}"`, "${KENSHIN_TEST_A}", ""},
		{"name: ${KENSHIN_TEST_NO:-otherwise}", "otherwise", ""},
		{`name: "${KENSHIN_TEST_NO:-}"`, "", ""},
		{"name: ${KENSHIN_TEST_EMPTY:-otherwise}", "otherwise", ""},
		{"name: ${KENSHIN_TEST_EMPTY}", "", ""},
		{"count: 1\nname: ${KENSHIN_TEST_NO}", "", "x.yaml:2: environment variable KENSHIN_TEST_NO is not set"},
		{"name: ${KENSHIN_TEST_NO", "", "no closing brace"},
		{"name: ${A B}", "", "does not name"},
	} {
		path := filepath.Join(t.TempDir(), "x.yaml")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		var s sample
		_, err := Load(path, &s)
		if tt.says == "" && (err != nil || s.Name != tt.want) {
			t.Errorf("%q: %q, %v; want %q", tt.text, s.Name, err, tt.want)
		}
		if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%q: %v; want %q", tt.text, err, tt.says)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), &sample{}); err == nil || !strings.Contains(err.Error(), "none.yaml: no such file") {
		t.Errorf("missing file: %v", err)
	}
}

func TestAtFindsTheLine(t *testing.T) {
	text := []byte("edges:\n  - id: a\n  - id: b\n")
	if err := At("x.yaml", text, "$.edges[1].id", "bad", "mend it"); err.Error() != "x.yaml:3: bad; mend it" {
		t.Error(err)
	}
	if err := At("x.yaml", text, "$", "bad", "mend it"); err.Error() != "x.yaml: bad; mend it" {
		t.Error(err)
	}
}

func TestKeyIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	a, err := Key(dir, "edge")
	if err != nil {
		t.Fatal(err)
	}
	b, err := Key(dir, "edge")
	if err != nil || !a.Equal(b) {
		t.Fatalf("the second call gives another key, %v", err)
	}
	pub, err := PublicKey("", filepath.Join(dir, "edge.pub"))
	if err != nil || !pub.Equal(a.Public()) {
		t.Errorf("public file: %v", err)
	}
	path := filepath.Join(dir, "edge.key")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Key(dir, "edge"); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key others can read: %v", err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("nonsense"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Key(dir, "edge"); err == nil || !strings.Contains(err.Error(), "no Ed25519 private key") {
		t.Errorf("a damaged key: %v", err)
	}
	// Gone: nothing is made in its place while the public half is known.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Key(dir, "edge"); err == nil || !strings.Contains(err.Error(), "is gone; restore it") {
		t.Errorf("a lost key: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key was made in the place of the lost one: %v", err)
	}
}

func TestFlags(t *testing.T) {
	got := Flags([]string{"-config", "x", "--log", "-h", "-1", "-.5", "dump", "--", "-config"})
	want := []string{"--config", "x", "--log", "-h", "-1", "-.5", "dump", "--", "-config"}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("Flags = %q, want %q", got, want)
	}
}
