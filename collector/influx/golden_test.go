package influx

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shopspring/decimal"

	"kenshin/collector"
	"kenshin/edge/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

// TestGolden fixes the lines of version 1: what is written differently does not
// overwrite what is in servers out there.
func TestGolden(t *testing.T) {
	x := func(device, point, number string, whole bool) collector.Followed {
		return collector.Followed{Integer: whole, Sample: wire.Sample{Edge: "site-1", Device: device, Point: point, At: 1_715_711_400_123, Number: decimal.RequireFromString(number), Seq: 7}}
	}
	list := []collector.Followed{
		x("m-1", "energy", "123456.78", false), x("m-1", "count", "9007199254740993", true), x("m-1", "state", "0", true), x("m-1", "time", "1", true),
		x("m-1", "_field", "0.00001", false), x("m-1", "big", "18446744073709551615", true), x("m-1", "fine", "12345678901234567.89", false), x("m-1", "large", "1e400", false),
		x("a b,c=d\\e%f\n", `p q,r=s"t`, "1", true), x("", "", "-0.5", false), x("Zähler", "Wärme", "20", true),
	}
	list[2].Kind, list[2].Quality = wire.State, wire.NotAvailable
	label := x("m-1", "name", "0", false)
	label.Kind, label.Text = wire.Label, "a \"b\" \\ c\nd\xff"
	beyond := x("m-1", "energy", "1", true)
	beyond.At, beyond.Seq = latest+1, 8
	e := newEncoder(false)
	e.add(append(list, label, beyond))
	var b strings.Builder
	for _, l := range e.lines {
		b.WriteString(l.text + "\n")
		parts := split(l)
		if l.fields > 1 && len(parts) != l.fields {
			t.Errorf("%d fields cut into %v", l.fields, parts)
		}
	}
	b.WriteString("# beyond what a server can keep\n")
	for _, l := range e.beyond {
		b.WriteString(l.text + "\n")
	}
	golden(t, "lines-v1.txt", b.String())

	s := state{Version: stateVersion, Next: 7, Leaf: "LFmfLbzI3ZWWZQJ2UMtYKtIVsf1ik1kzVSqqUVgFjKw=", Owed: []collector.Owed{{Key: "site-1/2024-05-17", First: 3, Last: 5}}}
	s.touch("site-1", 19858)
	s.touch("site-1", 19860)
	text, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "state-v1.json", string(text)+"\n")
	if _, err := loadState(filepath.Join("testdata", "state-v1.json")); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{`{"version":2}`: "version 2, this program reads 1; delete it", `{"ver`: "delete it"} {
		file := filepath.Join(t.TempDir(), "state.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadState(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
