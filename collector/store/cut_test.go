package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCutByHand: the file of the records is shorter than a checkpoint says. That is
// a loss, never the trace of a crash: opening does not cut off more, does not give
// positions again, and names the records that are missing.
func TestCutByHand(t *testing.T) {
	for _, tt := range []struct {
		name  string
		bytes func(whole int64) int64 // that are left of the file; -1 for no file
	}{
		{"in the middle", func(n int64) int64 { return n / 2 }},
		{"behind the header", func(int64) int64 { return 32 }},
		{"in the header", func(int64) int64 { return 20 }},
		{"to nothing", func(int64) int64 { return 0 }},
		{"the file removed", func(int64) int64 { return -1 }},
	} {
		dir := t.TempDir()
		s := open(t, dir)
		fill(t, s, 0, 12)
		must(s.Checkpoint())
		s.Close()
		name := filepath.Join(dir, recordsDir, "00000000000000000001.seg")
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		left := tt.bytes(int64(len(strings.TrimRight(string(content), "\x00"))))
		if left < 0 {
			err = os.Remove(name)
		} else {
			err = os.Truncate(name, left)
		}
		if err != nil {
			t.Fatal(err)
		}
		r, report, err := OpenReader(dir, Reader{Origin: options.Origin, Key: exportKey})
		text := fmt.Sprint(report, err)
		if err == nil {
			_, err = r.Scrub(t.Context(), nil, func(p Problem) { text += "; " + p.Error() })
			r.Close()
		}
		if err != nil || !strings.Contains(text, "record 11") && !strings.Contains(text, "to 11") && !strings.Contains(text, "to 12") || strings.Contains(text, "an append that is not finished") {
			t.Errorf("%s: reading it says %s, %v", tt.name, text, err)
		}
		w, report, err := Open(dir, options)
		if err == nil {
			if n := w.Size(); n < 12 || report.Clean() || report.Records.Cut > 0 || strings.Contains(report.String(), "a crash interrupted") {
				t.Errorf("%s: opened with %d records: %v", tt.name, n, report)
			}
			w.Close()
		} else if !strings.Contains(err.Error(), "12") || report.Records.Cut > 0 {
			t.Errorf("%s: %v, %v", tt.name, report, err)
		}
		if info, err := os.Stat(name); left > 0 && (err != nil || info.Size() != left) {
			t.Errorf("%s: the file was changed: %v", tt.name, err)
		}
	}
}
