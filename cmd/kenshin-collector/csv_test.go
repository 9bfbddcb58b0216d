package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"
	"time"
)

// How files are written that people bring: each gives the same two readings and
// one without a value, or says what is wrong.
func TestReadTable(t *testing.T) {
	amsterdam, err := time.LoadLocation("Europe/Amsterdam")
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte("t,v\n2025-01-01 00:00:00,1.5\n2025-01-01 01:00:00,\n2025-01-01 02:00:00,2\n"))
	z.Close()
	const want = "[{0 1.5} {3600 -} {7200 2}]"
	for _, tt := range []struct {
		name, text string
		set        func(*table)
		want       string
	}{
		{"gzip", zipped.String(), func(*table) {}, want},
		{"BOM and CRLF", "\xEF\xBB\xBFt,v\r\n2025-01-01 00:00:00,1.5\r\n2025-01-01 01:00:00,NaN\r\n2025-01-01 02:00:00,2\r\n", func(*table) {}, want},
		{"epoch, no head, scale", "1735686000;1500\n1735689600;\n1735693200;2000\n", func(f *table) { f.NoHead, f.TimeFormat, f.Delimiter, f.Scale = true, "unix", ";", "0.001" }, want},
		{"columns by name, lines to pass over, decimal comma", "x\na\tval\tcode\n01.01.2025 00:00\t1,5\tin\n01.01.2025 00:00\t9\tout\n01.01.2025 01:00\t?\tin\n01.01.2025 02:00\t2\tin\n",
			func(f *table) {
				f.Skip, f.Delimiter, f.Time, f.Value, f.Comma, f.NA, f.TimeFormat, f.Where = 1, "tab", "a", "val", true, []string{"?"}, "DD.MM.YYYY hh:mm", map[string]string{"code": "in"}
			}, want},
		{"the clocks are put back", "t,v\n2025-10-26 02:30:00,1\n2025-10-26 02:30:00,2\n2025-10-26 03:00:00,3\n", func(*table) {}, "[{25752600 1} {25756200 2} {25758000 3}]"},
		{"the clocks are put forward", "t,v\n2025-03-30 02:30:00,1\n", func(*table) {}, `line 2: time "2025-03-30 02:30:00" does not exist`},
		{"no such column", "t,v\n", func(f *table) { f.Value = "w" }, `column "w": the head line has ["t" "v"]`},
		{"no number", "t,v\n2025-01-01 00:00:00,1 500\n", func(*table) {}, `line 2: value "1 500" is no number`},
		{"no time", "t,v\nyesterday,1\n", func(*table) {}, "want it as YYYY-MM-DD hh:mm:ss"},
		{"cut short", zipped.String()[:40], func(*table) {}, "get the file again"},
		{"pattern", "t,v\n", func(f *table) { f.TimeFormat = "%d.%m.%Y" }, "want unix, unix-ms, rfc3339, or a pattern"},
		{"too short a line", "t,v\n2025-01-01 00:00:00\n", func(*table) {}, "line 2: 1 columns, want at least 2"},
	} {
		f := table{Delimiter: ",", Time: "1", Value: "2", TimeFormat: "YYYY-MM-DD hh:mm:ss", Scale: "1"}
		tt.set(&f)
		got, in := "", (*readings)(nil)
		if in, err = f.read([]byte(tt.text), amsterdam); err != nil {
			got = err.Error()
		} else if in.badCount > 0 {
			got = in.bad[0]
		} else {
			var rows []string
			for _, r := range in.rows {
				v := "-"
				if r.Value != nil {
					v = r.Value.String()
				}
				rows = append(rows, fmt.Sprintf("{%d %s}", r.At/1000-1735686000, v))
			}
			got = "[" + strings.Join(rows, " ") + "]"
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
