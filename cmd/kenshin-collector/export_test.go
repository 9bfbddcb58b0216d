package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kenshin/configs"
)

// TestWriteWhole: a file is replaced; what is no file is left as it is.
func TestWriteWhole(t *testing.T) {
	dir := write(t, map[string]string{"old": "old", "kept": "kept", "aside": "aside"})
	at := func(name string) string { return filepath.Join(dir, name) }
	for link, to := range map[string]string{"link": "kept", "dangling": "none", "behind.part": "aside"} {
		if err := os.Symlink(at(to), at(link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ name, want string }{
		{"new", ""},
		{"old", ""},
		{"link", "is a symbolic link"},
		{"dangling", "is a symbolic link"},
		{"behind", "is a symbolic link"},
		{".", "is a directory"},
	} {
		err := writeWhole(at(tt.name), nil, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err })
		if tt.want == "" {
			if b, _ := os.ReadFile(at(tt.name)); err != nil || string(b) != "new" {
				t.Errorf("%s: %q, %v", tt.name, b, err)
			}
		} else if err == nil || configs.ExitCode(err) != 2 || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", tt.name, err, tt.want)
		}
	}
	for _, name := range []string{"kept", "aside"} {
		if b, _ := os.ReadFile(at(name)); string(b) != name {
			t.Errorf("%s was written through a link: %q", name, b)
		}
	}
	if info, err := os.Lstat(at("link")); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
}
