package series

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"kenshin/edge/wire"
)

// The reader in Python, written from FORMAT.md, prints what Dump prints.
func TestIndependentReader(t *testing.T) {
	python, err := exec.LookPath("/usr/bin/python3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no /usr/bin/python3; apt-get install python3")
		}
		t.Skip("no /usr/bin/python3; apt-get install python3")
	}
	path := temp(t)
	db := open(t, path)
	var in []wire.Sample
	for i := range int64(300) {
		s := sample("e", 1_589_500_800_000+60_007*i, uint64(i+1), fmt.Sprint(6_987_759+i*i))
		w := sample("w", s.At, s.Seq, fmt.Sprintf("%d.%02d", i%7-3, i%100))
		w.Kind, w.Unit = wire.Gauge, "W"
		if i%50 == 49 {
			w = bad("w", s.At, s.Seq, wire.NoAnswer, "no answer in time")
			w.Kind, w.Unit = wire.Gauge, "W"
		}
		in = append(in, s, w)
	}
	for k, n := range []string{"18446744073709551615", "1.10000002384185791015625", "-4.9406564584124654e-324", "1e18", "0"} {
		in = append(in, sample(fmt.Sprint("odd", k), 1_589_500_800_001, 999, n))
	}
	in = append(in, wire.Sample{Edge: "site-1", Device: "inv-1", Point: "label", Kind: wire.Label, Text: "検針 \"1\"", At: 1_589_500_800_002, Epoch: wire.Epoch{1}, Seq: 1 << 63})
	apply(t, db, 1, in...)
	d := &wire.Declaration{Device: "m", Blocks: []wire.Block{{Function: 3, Count: 6}}, Points: []wire.Point{
		{Name: "f", Function: 3, Type: wire.Float32, Words: 2, Scale: -1, ScaleAt: wire.NoScale, Unit: "Hz"},
		{Name: "g", Function: 3, Address: 2, Type: wire.Float64, Words: 4, ScaleAt: wire.NoScale}}}
	u := Update{Cursor: 2}
	for i := range int64(20) {
		u.Readings = append(u.Readings, Reading{Edge: "site-2", Epoch: wire.Epoch{2}, Seq: uint64(i), Wall: 1_589_500_800_000 + i, Declaration: d,
			Reading: &wire.Reading{Blocks: []wire.BlockResult{{Words: []uint16{0x4248, uint16(i * 999), 0x4009, 0x21FB, 0x5444, uint16(i)}}}}})
	}
	if _, err := db.Apply(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if err := db.Merge(t.Context()); err != nil {
		t.Fatal(err)
	}
	var dump bytes.Buffer
	if err := db.Dump(t.Context(), &dump); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "read.py", Files(path)[3])
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("read.py: %v\n%s", err, stderr.String())
	}
	want, got := samplesOf(t, dump.Bytes()), samplesOf(t, out)
	if len(want) != len(in)+40 || !slices.Equal(got, want) {
		t.Errorf("%d samples from Python, %d from Dump", len(got), len(want))
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("%+v\nwant\n%+v", got[i], want[i])
			}
		}
	}
}

func samplesOf(t *testing.T, text []byte) (out []line) {
	t.Helper()
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b line) int {
		if a.Key != b.Key {
			return bytes.Compare([]byte(a.Key), []byte(b.Key))
		}
		return int(a.At - b.At)
	})
	return out
}
