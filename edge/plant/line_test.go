//go:build linux

package plant_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kenshin/edge/modbus"
	"kenshin/edge/plant"
)

// fixed is a unit of ten registers that hold its tag and their address.
type fixed uint16

func (f fixed) Read(function uint8, address, count uint16) ([]uint16, uint8) {
	if address+count > 10 {
		return nil, 2
	}
	words := make([]uint16, count)
	for i := range words {
		words[i] = uint16(f) + address + uint16(i)
	}
	return words, 0
}

// TestSerialLine: two units on a pseudo terminal that a link names; the time of
// the line goes by; nobody answers for a third; the link is gone afterwards.
func TestSerialLine(t *testing.T) {
	link := filepath.Join(t.TempDir(), "line")
	if err := os.Symlink("/dev/null", link); err != nil { // of a plant that was killed
		t.Fatal(err)
	}
	endpoint := "rtu://" + link + "?baud=19200&parity=even"
	s, err := plant.Open(endpoint, map[uint8]plant.Unit{1: fixed(100), 2: fixed(200)})
	if err != nil {
		t.Fatal(err)
	}
	if s.Endpoint() != endpoint {
		t.Errorf("Endpoint = %s, want %s", s.Endpoint(), endpoint)
	}
	if at, err := os.Readlink(link); err != nil || at != s.Addr() {
		t.Errorf("%s leads to %s, %v; want %s", link, at, err, s.Addr())
	}
	s.Close()
	if _, err := os.Lstat(link); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the link is still there after Close: %v", err)
	}
	bus := reach(t, endpoint, map[uint8]plant.Unit{1: fixed(100), 2: fixed(200)})
	for range 2 {
		for unit, tag := range map[uint8]uint16{1: 100, 2: 200} {
			begin := time.Now()
			words, err := bus.Read(t.Context(), unit, 3, 4, 2)
			if err != nil || words[0] != tag+4 || words[1] != tag+5 {
				t.Errorf("unit %d: %v, %v; want %d and %d", unit, words, err, tag+4, tag+5)
			}
			// 8 + 9 characters of 11 bits, and 3.5 between.
			if took := time.Since(begin); took < 11*time.Millisecond {
				t.Errorf("unit %d answered after %v, sooner than the line can carry it", unit, took)
			}
		}
	}
	if _, err := bus.Read(t.Context(), nobody, 3, 0, 1); !errors.Is(err, modbus.ErrTimeout) {
		t.Errorf("nobody is unit 3, and its answer is %v, want a timeout", err)
	}
	if _, err := plant.Open("rtu://"+t.TempDir(), nil); err == nil {
		t.Error("a folder was replaced by a line")
	}
}
