package series

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFilesThatAreNotOurs(t *testing.T) {
	exec := func(path, query string) {
		db, err := sql.Open("sqlite", path)
		if err == nil {
			_, err = db.Exec(query)
		}
		if err = errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		make func(path string)
		want string
	}{
		{"newer version", func(p string) { open(t, p).Close(); exec(p, "PRAGMA user_version = 5") }, "version 5, this program reads 4"},
		{"no version", func(p string) { open(t, p).Close(); exec(p, "PRAGMA user_version = 0") }, "version 0, this program reads 4"},
		{"another program's", func(p string) { exec(p, "CREATE TABLE t (x); PRAGMA application_id = 7") }, "another program (application id 0x00000007)"},
		{"tables without an id", func(p string) { exec(p, "CREATE TABLE t (x)") }, "another program"},
		{"not a database", func(p string) { os.WriteFile(p, bytes.Repeat([]byte("reading\n"), 1000), 0o644) }, "not a database"},
		{"cut short", func(p string) {
			db := open(t, p)
			apply(t, db, 1, sample("a", 1, 1, "1"))
			db.Close()
			os.Truncate(p, 5000)
		}, "malformed"},
	} {
		path := temp(t)
		tt.make(path)
		before, _ := os.ReadFile(path)
		db, err := Open(path)
		if err == nil {
			_, err = db.Latest(t.Context())
			db.Close()
		}
		if !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "kenshin-collector rebuild") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v; want the file, %q and the remedy", tt.name, err, tt.want)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) && tt.name != "cut short" {
			t.Errorf("%s: the file was changed", tt.name)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "no", "such", "folder", "series.db")); err == nil {
		t.Error("a file in a folder that does not exist was opened")
	}
	odd := filepath.Join(t.TempDir(), "a b?c#d%e", "series.db")
	if err := os.Mkdir(filepath.Dir(odd), 0o755); err != nil {
		t.Fatal(err)
	}
	apply(t, open(t, odd), 1, sample("a", 1, 1, "1"))
	if _, err := os.Stat(odd); err != nil {
		t.Errorf("the file stands elsewhere: %v", err)
	}
}
