package plant

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// chain walks the models of a SunSpec unit and returns each by its id, with the
// address of its ID word.
func chain(t *testing.T, u Unit) (models map[uint16][]uint16, at map[uint16]uint16) {
	t.Helper()
	models, at = make(map[uint16][]uint16), make(map[uint16]uint16)
	if got := read(t, u, 3, 40000, 2); got[0] != 0x5375 || got[1] != 0x6E53 {
		t.Fatalf("registers 40000 and 40001 are %04x, want SunS", got)
	}
	for address := uint16(40002); ; {
		head := read(t, u, 3, address, 2)
		if head[0] == 0xFFFF {
			if head[1] != 0 {
				t.Errorf("the end marker is followed by %d, want 0", head[1])
			}
			return models, at
		}
		models[head[0]], at[head[0]] = read(t, u, 3, address, head[1]+2), address
		address += head[1] + 2
	}
}

func read(t *testing.T, u Unit, function uint8, address, count uint16) []uint16 {
	t.Helper()
	words, exception := u.Read(function, address, count)
	if exception != 0 || len(words) != int(count) {
		t.Fatalf("function %d registers %d+%d: %d words, exception %d", function, address, count, len(words), exception)
	}
	return words
}

func text(words []uint16) string {
	var b []byte
	for _, w := range words {
		b = append(b, byte(w>>8), byte(w))
	}
	return strings.TrimRight(string(b), "\x00")
}

func number(words []uint16) (n uint64) {
	for _, w := range words {
		n = n<<16 | uint64(w)
	}
	return n
}

func TestSunSpecChain(t *testing.T) {
	plate := Nameplate{Manufacturer: "Maker", Model: "Odd", Version: "1.2.3", Serial: strings.Repeat("S", 33), EnergyScale: 3}
	out := Output{
		MicroWatts: 49_876_500_000, WattHours: 7_602_960_123, State: stateMPPT,
		Grid: &Grid{DeciAmps: 7228, DeciVolts: [3]uint16{2300, 2311, 2322}, CentiHertz: 5001, CabinetDeciC: -55},
	}
	u := SunSpecInverter(plate, func() (Output, bool) { return out, true })
	m, at := chain(t, u)
	if len(m) != 3 || len(m[1]) != 68 || len(m[103]) != 52 || len(m[122]) != 46 {
		t.Fatalf("models at %v, want 1 (66), 103 (50) and 122 (44)", at)
	}
	for _, tt := range []struct {
		name string
		got  any
		want any
	}{
		{"Mn", text(m[1][2:18]), "Maker"},
		{"Md", text(m[1][18:34]), "Odd"},
		{"Vr", text(m[1][42:50]), "1.2.3"},
		{"SN", text(m[1][50:66]), strings.Repeat("S", 32)},
		{"A", number(m[103][2:3]), uint64(21684)},
		{"A_SF", int16(m[103][6]), int16(-1)},
		{"PPVphAB", m[103][7], uint16(0xFFFF)},
		{"PhVphC", m[103][12], uint16(2322)},
		{"V_SF", int16(m[103][13]), int16(-1)},
		{"W", m[103][14], uint16(4988)},
		{"W_SF", int16(m[103][15]), int16(1)},
		{"Hz", m[103][16], uint16(5001)},
		{"VA_SF", m[103][19], uint16(0x8000)},
		{"WH", number(m[103][24:26]), uint64(7_602_960)},
		{"WH_SF", m[103][26], uint16(3)},
		{"DCW", m[103][31], uint16(0x8000)},
		{"TmpCab", int16(m[103][33]), int16(-55)},
		{"St", m[103][38], uint16(4)},
		{"StVnd", m[103][39], uint16(0xFFFF)},
		{"Evt1", number(m[103][40:42]), uint64(0)},
		{"EvtVnd4", number(m[103][50:52]), uint64(0xFFFFFFFF)},
		{"PVConn", m[122][2], uint16(7)},
		{"ActWh", number(m[122][5:9]), uint64(7_602_960_123)},
		{"ActVAh", number(m[122][9:13]), uint64(0)},
		{"VArAval", m[122][29], uint16(0x8000)},
		{"Tms", number(m[122][41:43]), uint64(0xFFFFFFFF)},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestSunSpecRefuses(t *testing.T) {
	speaks := true
	u := SunSpecInverter(Nameplate{}, func() (Output, bool) { return Output{}, speaks })
	for _, tt := range []struct {
		function uint8
		address  uint16
		speaks   bool
		want     uint8
	}{
		{3, 40000, true, 0},
		{3, 40168, true, 0}, // the last two
		{3, 40169, true, 2},
		{3, 39999, true, 2},
		{3, 0, true, 2},
		{4, 40000, true, 1},
		{3, 40000, false, 0x0B},
	} {
		speaks = tt.speaks
		if _, got := u.Read(tt.function, tt.address, 2); got != tt.want {
			t.Errorf("function %d register %d: exception %d, want %d", tt.function, tt.address, got, tt.want)
		}
	}
	speaks = true
	m, _ := chain(t, u)
	for _, i := range []int{2, 10, 16} {
		if m[103][i] != 0xFFFF {
			t.Errorf("model 103 offset %d is %04x without a grid, want not implemented", i, m[103][i])
		}
	}
	for _, i := range []int{6, 13, 17, 33, 37} {
		if m[103][i] != 0x8000 {
			t.Errorf("model 103 offset %d is %04x without a grid, want not implemented", i, m[103][i])
		}
	}
}

func TestScaledInt16(t *testing.T) {
	for _, tt := range []struct {
		n     int64 // µ
		value int16
		sf    int16
	}{
		{0, 0, 0},
		{1, 1, -6},
		{3_585_714_286, 3586, 0},      // 3585.714286: four digits at unit, five do not fit
		{3_200_000_000, 3200, 0},      // no needless tenths
		{1_234_500_000, 12345, -1},    // exact
		{32_767_000_000, 32767, 0},    // the largest
		{32_768_000_000, 3277, 1},     // one more
		{50_000_000_000, 5000, 1},     // whole tens are exact
		{1_410_950_000_000, 14110, 2}, // half is away from zero
		{-45_000_000, -45, 0},
		{-1_410_950_000_000, -14110, 2},
		{327_675_000_000, 3277, 2}, // rounds up out of 32767
		{math.MaxInt64, 9223, 9},
	} {
		if value, sf := scaledInt16(tt.n, -6); value != tt.value || sf != tt.sf {
			t.Errorf("%d µ = %d × 10^%d, want %d × 10^%d", tt.n, value, sf, tt.value, tt.sf)
		}
	}
}

func TestMetersMap(t *testing.T) {
	l := load{deciVolts: [3]uint16{2300, 2310, 2320}, centiHertz: 5002, watts: -120_345, imported: 2_123_456, exported: 345_678_912}
	sdm := &sdm630{serial: 63_000_007, read: func() load { return l }}
	for _, tt := range []struct {
		address uint16
		want    float64
	}{
		{0x00, 230}, {0x02, 231}, {0x04, 232},
		{0x06, 174.413}, {0x0C, -40115},
		{0x30, 521.0}, {0x34, -120345}, {0x46, 50.02},
		{0x48, 2123.456}, {0x4A, 345678.912}, {0x156, 347802.368}, {0x20, 0},
	} {
		got := float64(math.Float32frombits(uint32(number(read(t, sdm, 4, tt.address, 2)))))
		if math.Abs(got-tt.want) > 1e-3*math.Max(1, math.Abs(tt.want)) {
			t.Errorf("SDM630 register %#x = %v, want %v", tt.address, got, tt.want)
		}
	}
	if got := number(read(t, sdm, 3, 0xFC00, 2)); got != 63_000_007 {
		t.Errorf("SDM630 serial = %d", got)
	}
	generic := &genericMeter{serial: 71_000_007, read: func() load { return l }}
	want := []uint16{0, 0, 0xFFFE, 0x29E7, 5002, 2300, 0, 0, 71_000_007 >> 16, 71_000_007 & 0xFFFF}
	want[0], want[1] = uint16(l.imported/10>>16), uint16(l.imported/10)
	if got := read(t, generic, 3, 0, 10); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("generic meter = %v, want %v", got, want)
	}
	for _, tt := range []struct {
		unit     Unit
		function uint8
		address  uint16
		want     uint8
	}{
		{sdm, 4, 0x158, 2}, {sdm, 3, 0, 2}, {sdm, 2, 0, 1},
		{generic, 3, 9, 2}, {generic, 4, 0, 1},
	} {
		if _, got := tt.unit.Read(tt.function, tt.address, 2); got != tt.want {
			t.Errorf("%T function %d register %#x: exception %d, want %d", tt.unit, tt.function, tt.address, got, tt.want)
		}
	}
}
