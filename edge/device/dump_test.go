package device_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"kenshin/edge/device"
	"kenshin/edge/modbus"
	"kenshin/edge/wire"
)

// dataFile opens a file of the collection of real readings, which is not part
// of the repository.
func dataFile(t *testing.T, name string) *os.File {
	t.Helper()
	dir := os.Getenv("KENSHIN_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) && os.Getenv("CI") != "true" {
		t.Skipf("no %s; set KENSHIN_DATA to the folder of real readings", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// image is a device that holds some registers and refuses all others, whatever
// the unit and function.
type image map[uint16]uint16

func (m image) Read(_ context.Context, _, function uint8, address, count uint16) ([]uint16, error) {
	words := make([]uint16, count)
	for i := range words {
		w, ok := m[address+uint16(i)]
		if !ok {
			return nil, &modbus.ExceptionError{Function: function, Code: 2}
		}
		words[i] = w
	}
	return words, nil
}

// put writes words from an address on and returns the address behind them.
func (m image) put(at uint16, words ...uint16) uint16 {
	for _, w := range words {
		m[at] = w
		at++
	}
	return at
}

var dumpLine = regexp.MustCompile(`^\[(\d+)\]:\s*0x([0-9A-Fa-f]{4})`)

// readDump reads a register dump: lines "[address]: 0xWORD" among others.
func readDump(t *testing.T, name string) image {
	t.Helper()
	m := make(image)
	lines := bufio.NewScanner(dataFile(t, "registers/"+name+".txt"))
	for lines.Scan() {
		f := dumpLine.FindStringSubmatch(lines.Text())
		if f == nil {
			continue
		}
		address, err := strconv.ParseUint(f[1], 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		word, err := strconv.ParseUint(f[2], 16, 16)
		if err != nil {
			t.Fatal(err)
		}
		m[uint16(address)] = uint16(word)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return m
}

// poll reads a declared device once, as the agent does, and decodes it: every
// point by its name, as a number or text, or the quality and reason in brackets.
func poll(t *testing.T, r device.Reader, d *wire.Declaration) map[string]string {
	t.Helper()
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	var reading wire.Reading
	for _, b := range d.Blocks {
		words, err := r.Read(t.Context(), d.Unit, b.Function, b.Address, b.Count)
		if err != nil {
			t.Fatalf("%s: block %d+%d: %v", d.Device, b.Address, b.Count, err)
		}
		reading.Blocks = append(reading.Blocks, wire.BlockResult{Words: words})
	}
	got := make(map[string]string)
	for i, v := range d.Values(&reading) {
		switch p := &d.Points[i]; {
		case v.Quality != wire.Good:
			got[p.Name] = "[" + v.Quality.String() + " " + v.Reason + "]"
		case p.Kind == wire.Label:
			got[p.Name] = v.Text
		default:
			got[p.Name] = v.Number.String()
		}
	}
	return got
}
