package outbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCutByHand: the file of the records is shorter than what was acked. That is
// a loss, never the trace of a crash: nothing is called an unfinished append, and
// no number is given again.
func TestCutByHand(t *testing.T) {
	for _, tt := range []struct {
		name  string
		bytes func(whole int64) int64 // that are left of the file; -1 for no file
	}{
		{"in the middle of what was acked", func(n int64) int64 { return n / 2 }},
		{"behind the header", func(int64) int64 { return 32 }},
		{"in the header", func(int64) int64 { return 20 }},
		{"to nothing", func(int64) int64 { return 0 }},
		{"the file removed", func(int64) int64 { return -1 }},
	} {
		dir, records, _ := filled(t, 14, 12)
		names, err := filepath.Glob(filepath.Join(records, "*.seg"))
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		content, err := os.ReadFile(names[0])
		if err != nil {
			t.Fatal(err)
		}
		whole := int64(len(strings.TrimRight(string(content), "\x00")))
		if n := tt.bytes(whole); n < 0 {
			err = os.Remove(names[0])
		} else {
			err = os.Truncate(names[0], n)
		}
		if err != nil {
			t.Fatal(err)
		}
		state, err := Inspect(dir, true)
		if text := fmt.Sprint(state, err); len(state.Epochs[0].Problems) == 0 || strings.Contains(text, "an append that is not finished") || !strings.Contains(text, "12") {
			t.Errorf("%s: verify says %s", tt.name, text)
		}
		old := state.Epochs[0].Epoch
		b, report, err := Open(dir, Options{Edge: "site-1"})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if text := report.String(); report.Journal.Cut > 0 || report.Renewed == "" || b.Epoch() == old || !strings.Contains(text, "12") || strings.Contains(text, "a crash interrupted") {
			t.Errorf("%s: %s", tt.name, text)
		}
		b.Close()
	}
}
