package plant

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const head = "DATE_TIME,PLANT_ID,SOURCE_KEY,DC_POWER,AC_POWER,DAILY_YIELD,TOTAL_YIELD\n"

// dataFile opens a file of the measured data, or skips the test without it.
func dataFile(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("KENSHIN_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	switch {
	case err == nil:
		return b
	case os.Getenv("CI") == "true":
		t.Fatalf("no measured data, which CI must have: %v", err)
	default:
		t.Skipf("no measured data: set KENSHIN_DATA to its folder (%v)", err)
	}
	return nil
}

func TestReplayTellsTheFile(t *testing.T) {
	packed := dataFile(t, "pv-plant1/Plant_1_Generation_Data.csv.gz")
	p, err := LoadReplay(bytes.NewReader(packed), ist)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rows = rows[1:]
	if len(rows) != 68_778 || len(p.Keys()) != 22 || len(p.Times()) != 3_158 {
		t.Fatalf("%d rows, %d keys, %d times; want 68778, 22, 3158", len(rows), len(p.Keys()), len(p.Times()))
	}
	clock := &hand{}
	units := p.Units(clock)
	for _, row := range rows {
		at, err := time.ParseInLocation("02-01-2006 15:04", row[0], ist)
		if err != nil {
			t.Fatal(err)
		}
		clock.now = at
		words, exception := units[uint8(slices.Index(p.Keys(), row[2])+1)].Read(3, 40070, 98)
		if exception != 0 {
			t.Fatalf("%s at %s: exception %d", row[2], row[0], exception)
		}
		tells(t, row, words)
	}
	// And nothing but the file: every other pair of inverter and time is refused.
	refused, counted := 0, 0
	for _, at := range p.Times() {
		clock.now = at
		counted += len(p.Readings(at))
		for _, u := range units {
			if _, exception := u.Read(3, 40000, 2); exception == noResponse {
				refused++
			}
		}
	}
	if counted != len(rows) || refused != 22*3_158-len(rows) {
		t.Errorf("%d readings, %d pairs refused; want %d, %d", counted, refused, len(rows), 22*3_158-len(rows))
	}
	clock.now = p.Times()[0]
	key := p.Keys()[0]
	if m, _ := chain(t, p.Unit(key, clock)); text(m[1][50:66]) != key || text(m[1][2:18]) != "Replay" {
		t.Errorf("model 1 says %q %q, want Replay and %q", text(m[1][2:18]), text(m[1][50:66]), key)
	}
}

// tells compares models 103 and 122 with a row of the file: ActWh exactly, W
// within half a step of its scale.
func tells(t *testing.T, row []string, words []uint16) {
	t.Helper()
	m103, m122 := words[0:52], words[52:98]
	yield := new(big.Rat).SetFrac64(int64(number(m122[5:9])), 1000)
	if want, ok := new(big.Rat).SetString(row[6]); !ok || yield.Cmp(want) != 0 {
		t.Fatalf("%s at %s: %s kWh, the file has %s", row[2], row[0], yield.FloatString(3), row[6])
	}
	step, _ := new(big.Rat).SetString(fmt.Sprintf("1e%d", int16(m103[15])))
	watts := new(big.Rat).Mul(step, new(big.Rat).SetInt64(int64(int16(m103[14]))))
	want, ok := new(big.Rat).SetString(row[4] + "e3")
	off := new(big.Rat).Sub(watts, want)
	if !ok || off.Abs(off).Cmp(step.Quo(step, big.NewRat(2, 1))) > 0 {
		t.Fatalf("%s at %s: %s W, the file has %s kW", row[2], row[0], watts.FloatString(6), row[4])
	}
}

func TestReplayUnit(t *testing.T) {
	p, err := LoadReplay(strings.NewReader("\ufeff"+head+
		"15-05-2020 12:00,1,b,0,1410.95,0,7602960.123\r\n"+
		"15-05-2020 12:15,1,b,0,0,0,7602961\r\n"+
		"15-05-2020 12:00,1,a,0,3.5857142857142,0,5.5\r\n"), ist)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2020, 5, 15, 6, 30, 0, 0, time.UTC)
	if want := []Reading{{"a", 5500, 3_585_714_285}, {"b", 7_602_960_123, 1_410_950_000_000}}; !slices.Equal(p.Readings(at), want) {
		t.Errorf("readings = %v, want %v", p.Readings(at), want)
	}
	if got := p.Times(); len(got) != 2 || !got[0].Equal(at) {
		t.Errorf("times = %v", got)
	}
	clock := &hand{now: at}
	units := p.Units(clock)
	for _, tt := range []struct {
		unit      uint8
		at        time.Time
		exception uint8
		state     uint16
	}{
		{1, at, 0, stateMPPT},
		{2, at, 0, stateMPPT},
		{1, at.Add(15 * time.Minute), noResponse, 0},
		{2, at.Add(15 * time.Minute), 0, stateSleeping},
		{2, at.Add(time.Minute), noResponse, 0},
		{2, at.Add(time.Nanosecond), noResponse, 0},
		{2, at.Add(-15 * time.Minute), noResponse, 0},
	} {
		clock.now = tt.at
		words, exception := units[tt.unit].Read(3, 40070+38, 1)
		if exception != tt.exception || exception == 0 && words[0] != tt.state {
			t.Errorf("unit %d at %v: St %v, exception %d; want %d, %d", tt.unit, tt.at, words, exception, tt.state, tt.exception)
		}
	}
}

func TestReplayRefuses(t *testing.T) {
	good := "15-05-2020 12:00,1,a,0,1,0,5\n"
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	var many strings.Builder
	many.WriteString(head)
	for i := range 248 {
		many.WriteString("15-05-2020 12:00,1,k" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + ",0,1,0,5\n")
	}
	var torn bytes.Buffer
	z := gzip.NewWriter(&torn)
	io.WriteString(z, head+good)
	z.Close()
	for _, tt := range []struct{ name, file, want string }{
		{"empty", "", "line 1: no column DATE_TIME"},
		{"no yield", "DATE_TIME,SOURCE_KEY,AC_POWER\n", "line 1: no column TOTAL_YIELD"},
		{"no lines", head, "no readings"},
		{"date", head + good + "2020-05-15 12:00,1,a,0,1,0,5\n", `line 3: DATE_TIME "2020-05-15 12:00": want dd-mm-yyyy HH:MM`},
		{"day", head + "31-06-2020 12:00,1,a,0,1,0,5\n", "line 2: DATE_TIME"},
		{"hour that was left out", head + "29-03-2020 02:30,1,a,0,1,0,5\n", "exists in Europe/Berlin"},
		{"no key", head + "15-05-2020 12:00,1,,0,1,0,5\n", "line 2: SOURCE_KEY"},
		{"long key", head + "15-05-2020 12:00,1," + strings.Repeat("k", 33) + ",0,1,0,5\n", "line 2: SOURCE_KEY"},
		{"decimals", head + good + good[:8] + "20 12:15,1,a,0,1,0,5.0001\n", `line 3: TOTAL_YIELD "5.0001": want kWh from 0 up with at most 3 decimals`},
		{"negative yield", head + "15-05-2020 12:00,1,a,0,1,0,-5\n", "line 2: TOTAL_YIELD"},
		{"no yield", head + "15-05-2020 12:00,1,a,0,1,0,\n", "line 2: TOTAL_YIELD"},
		{"NaN", head + "15-05-2020 12:00,1,a,0,1,0,NaN\n", "line 2: TOTAL_YIELD"},
		{"too much", head + "15-05-2020 12:00,1,a,0,1,0,99999999999999999\n", "line 2: TOTAL_YIELD"},
		{"power", head + "15-05-2020 12:00,1,a,0,1e3,0,5\n", `line 2: AC_POWER "1e3": want kW`},
		{"twice", head + good + "15-05-2020 12:15,1,a,0,1,0,5\n" + good, "line 4: a second reading of a at this time, after line 2"},
		{"fields", head + good + "15-05-2020 12:15,1,a\n", "line 3: wrong number of fields"},
		{"quote", head + "15-05-2020 12:15,1,\"a,0,1,0,5\n", "line 2: "},
		{"too many", many.String(), "248 inverters: want at most 247"},
		{"torn gzip", torn.String()[:torn.Len()-9], "unexpected EOF"},
		{"not gzip", "\x1f\x8bnothing", "unpack gzip"},
	} {
		if _, err := LoadReplay(strings.NewReader(tt.file), berlin); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: LoadReplay = %v, want %q", tt.name, err, tt.want)
		}
	}
}

func FuzzLoadReplay(f *testing.F) {
	f.Add([]byte(head + "15-05-2020 12:00,1,a,0,1.5,0,5.123\n15-05-2020 12:15,1,a,0,0,0,6\n"))
	f.Add([]byte(head + "15-05-2020 12:00,1,a,0,-1,0,5.1234\n"))
	f.Add([]byte("\ufeffTOTAL_YIELD,AC_POWER,SOURCE_KEY,DATE_TIME\r\n1,1,\"a\"\"b\",01-01-1600 00:00\r\n"))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := LoadReplay(bytes.NewReader(b), time.UTC)
		if err != nil {
			return
		}
		if len(p.Keys()) == 0 || len(p.Times()) == 0 || !slices.IsSorted(p.Keys()) {
			t.Fatalf("accepted with keys %q, %d times", p.Keys(), len(p.Times()))
		}
		clock := NewLockstep(p.Times(), 1, nil)
		units := p.Units(clock)
		for _, at := range p.Times() {
			clock.Resume(at)
			for _, r := range p.Readings(at) {
				i, _ := slices.BinarySearch(p.Keys(), r.Key)
				words, exception := units[uint8(i+1)].Read(3, 40127, 4)
				if exception != 0 || number(words) != r.WattHours {
					t.Errorf("%q at %v tells %v, exception %d; want %d", r.Key, at, words, exception, r.WattHours)
				}
			}
		}
	})
}
