package calc

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestParseDate(t *testing.T) {
	for _, bad := range []string{"", "2020-02-30", "2020-13-01", "2020-5-15", "15-05-2020", "2020-05-15T00:00", "20200515", "2020-05-15 "} {
		if d, err := ParseDate(bad); err == nil {
			t.Errorf("ParseDate(%q) = %v, want an error", bad, d)
		}
	}
	var s Span
	text := `{"start":"2020-05-15","end":"2024-02-29"}`
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(s); err != nil || string(again) != text {
		t.Errorf("%s, %v; want %s", again, err, text)
	}
}

// TestStart has the days on which midnight is not what it seems.
func TestStart(t *testing.T) {
	for _, tt := range []struct{ zone, day, want string }{
		{"Asia/Kolkata", "2020-05-15", "2020-05-14T18:30:00Z"},
		{"UTC", "2020-05-15", "2020-05-15T00:00:00Z"},
		{"America/Santiago", "2024-09-08", "2024-09-08T04:00:00Z"},    // 00:00 does not exist, 01:00 -03 does
		{"America/Santiago", "2024-09-07", "2024-09-07T04:00:00Z"},    //
		{"America/Havana", "2024-11-03", "2024-11-03T04:00:00Z"},      // 01:00 back to 00:00: twice midnight, the first counts
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"},   // 00:00 does not exist
		{"America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00:00Z"},   // 24:00 back to 23:00
		{"Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"},        // a day that was left out
		{"Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"},        // starts where it would have
		{"Australia/Lord_Howe", "2024-10-06", "2024-10-05T13:30:00Z"}, // by half an hour, not at midnight
	} {
		if got := day(tt.day).Start(zone(t, tt.zone)).UTC().Format(time.RFC3339); got != tt.want {
			t.Errorf("%s starts at %s in %s, want %s", tt.day, got, tt.zone, tt.want)
		}
	}
}

// TestDaysPartitionTime walks through the days of zones that change their clocks
// in every way known.
func TestDaysPartitionTime(t *testing.T) {
	for _, name := range []string{"UTC", "Asia/Bangkok", "Europe/Amsterdam", "America/Santiago", "America/Havana", "America/Goose_Bay",
		"Pacific/Apia", "Australia/Lord_Howe", "Asia/Ulaanbaatar", "Africa/Cairo", "Atlantic/Azores", "America/Sao_Paulo", "Asia/Kathmandu"} {
		z := zone(t, name)
		for d := day("1990-01-01"); d.Before(day("2030-01-01")); d = d.Next() {
			from, to := d.Start(z).UnixMilli(), d.Next().Start(z).UnixMilli()
			if to == from {
				continue // left out
			}
			if hours := (to - from) / 3_600_000; hours < 22 || hours > 26 {
				t.Errorf("%s %v has %d hours", name, d, hours)
			}
			if got := CalendarDay(from, z); got != d {
				t.Errorf("%s: CalendarDay(start of %v) = %v", name, d, got)
			}
			if got := ClosingDay(from, z); !got.Before(d) {
				t.Errorf("%s: ClosingDay(start of %v) = %v, want a day before", name, d, got)
			}
			if got := ClosingDay(to, z); got != d {
				t.Errorf("%s: ClosingDay(end of %v) = %v", name, d, got)
			}
			if got := ClosingDay(from+1, z); got != d {
				t.Errorf("%s: ClosingDay(start of %v + 1 ms) = %v", name, d, got)
			}
			if d.Next().Prev() != d {
				t.Errorf("%v is not before its next %v", d, d.Next())
			}
		}
	}
}

func TestZoneNames(t *testing.T) {
	for _, bad := range []string{"", "Local", "local", "Mars/Olympus", "+05:30", "../etc/passwd"} {
		if _, err := location(bad); err == nil || !strings.Contains(err.Error(), "Asia/Bangkok") {
			t.Errorf("zone %q: %v, want an error with an example", bad, err)
		}
	}
}

func TestSpans(t *testing.T) {
	s := Span{day("2019-11-30"), day("2021-01-01")}
	var vintages, months []string
	for _, v := range s.Vintages() {
		vintages = append(vintages, v.String())
	}
	for _, m := range s.Months() {
		months = append(months, m.String())
	}
	if got := strings.Join(vintages, " "); got != "2019-11-30..2019-12-31 2020-01-01..2020-12-31 2021-01-01..2021-01-01" {
		t.Errorf("vintages %s", got)
	}
	if len(months) != 15 || months[0] != "2019-11-30..2019-11-30" || months[3] != "2020-02-01..2020-02-29" || months[14] != "2021-01-01..2021-01-01" {
		t.Errorf("months %v", months)
	}
	a, b, c := Span{day("2020-01-01"), day("2020-03-31")}, Span{day("2020-03-31"), day("2020-06-30")}, Span{day("2020-05-01"), day("2020-05-01")}
	for _, tt := range []struct {
		name    string
		periods []Span
		want    string
	}{
		{"one day", []Span{c}, ""},
		{"a gap is legal, order does not matter", []Span{c, a}, ""},
		{"share a day", []Span{b, a}, "share 2020-03-31"},
		{"one within the other", []Span{b, c}, "share 2020-05-01"},
		{"twice the same", []Span{c, c}, "share 2020-05-01"},
		{"ends before it starts", []Span{{a.End, a.Start}}, "ends before it starts"},
		{"no end", []Span{{Start: a.Start}}, "give both"},
	} {
		err := checkPeriods(tt.periods)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func FuzzParseDate(f *testing.F) {
	for _, seed := range []string{"2020-05-15", "0000-01-01", "9999-12-31", "2020-02-30", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDate(text)
		if err != nil {
			return
		}
		if d.String() != text || d.Next().Prev() != d || !d.Before(d.Next()) {
			t.Errorf("%q is %v, next %v, before that %v", text, d, d.Next(), d.Next().Prev())
		}
	})
}

func FuzzNumber(f *testing.F) {
	for _, seed := range []string{"0.533", `"0.533"`, "'7'", "-1", "1e9", "0x10", `"`, ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var n, again Number
		if err := n.UnmarshalYAML(text); err != nil {
			return
		}
		if err := again.UnmarshalYAML([]byte(n.String())); err != nil || !again.Equal(n.Decimal) {
			t.Errorf("%q is %v, which reads again as %v, %v", text, n, again, err)
		}
	})
}
