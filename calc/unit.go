package calc

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// unit is a product of powers of unit names: "tCO2/MWh" is {tCO2: 1, MWh: -1}.
// Names of one quantity are different all the same: kWh against MWh does not
// cancel, so a factor of 1000 is always written down. A nil unit fits any: that
// of the number 0.
type unit map[string]int

// size returns the quantity a unit name measures and how large it is. Names of
// one quantity can be converted into each other; those of quantity "" cannot.
func size(name string) (quantity string, n int64, ok bool) {
	switch name {
	case "Wh", "kWh", "MWh", "GWh": // in J
		return "energy", 3600 * prefix(name), true
	case "J":
		return "energy", 1, true
	case "kJ", "MJ", "GJ", "TJ":
		return "energy", prefix(name), true
	case "g":
		return "mass", 1, true
	case "kg":
		return "mass", 1_000, true
	case "t":
		return "mass", 1_000_000, true
	case "gCO2":
		return "CO2", 1, true
	case "kgCO2":
		return "CO2", 1_000, true
	case "tCO2":
		return "CO2", 1_000_000, true
	case "L":
		return "volume", 1, true
	case "kL", "m3":
		return "volume", 1_000, true
	case "W":
		return "power", 1, true
	case "kW", "MW":
		return "power", prefix(name), true
	case "s":
		return "time", 1, true
	case "h":
		return "time", 3_600, true
	case "d":
		return "time", 86_400, true
	case "m2":
		return "area", 1, true
	case "ha":
		return "area", 10_000, true
	case "Nm3", "km", "lm", "K":
		return "", 1, true
	}
	return "", 0, false
}

func prefix(name string) int64 {
	switch name[0] {
	case 'k':
		return 1e3
	case 'M':
		return 1e6
	case 'G':
		return 1e9
	case 'T':
		return 1e12
	}
	return 1
}

// maxUnitText is the longest unit that is read, in bytes.
const maxUnitText = 40

// parseUnit reads "tCO2/MWh", "kWh/m3" or "1": names joined by * and /, read
// from left to right.
func parseUnit(text string) (unit, error) {
	if len(text) > maxUnitText {
		return nil, fmt.Errorf("unit of %d bytes: at most %d are read", len(text), maxUnitText)
	}
	u := unit{}
	rest, sign := text, 1
	for {
		end := strings.IndexAny(rest, "*/")
		name := rest
		if end >= 0 {
			name = rest[:end]
		}
		if name != "1" {
			if _, _, ok := size(name); !ok {
				return nil, fmt.Errorf("unit %q: %q is not known; known are Wh kWh MWh GWh J kJ MJ GJ TJ gCO2 kgCO2 tCO2 g kg t L kL m3 Nm3 W kW MW s h d m2 ha km lm K, and 1 for a plain number", text, name)
			}
			u.add(name, sign)
		}
		if end < 0 {
			return u, nil
		}
		sign = 1
		if rest[end] == '/' {
			sign = -1
		}
		rest = rest[end+1:]
	}
}

func (u unit) add(name string, power int) {
	if u[name] += power; u[name] == 0 {
		delete(u, name)
	}
}

// times returns u × v, or u ÷ v when sign is -1.
func (u unit) times(v unit, sign int) unit {
	if u == nil || v == nil && sign > 0 {
		return nil // 0 times anything is 0
	}
	out := maps.Clone(u)
	for name, power := range v {
		out.add(name, sign*power)
	}
	return out
}

func (u unit) fits(v unit) bool { return u == nil || v == nil || maps.Equal(u, v) }

// String returns the unit as parseUnit reads it.
func (u unit) String() string {
	var over, under []string
	for _, name := range slices.Sorted(maps.Keys(u)) {
		power := u[name]
		for range power {
			over = append(over, name)
		}
		for range -power {
			under = append(under, "/"+name)
		}
	}
	if len(over) == 0 {
		over = []string{"1"}
	}
	return strings.Join(over, "*") + strings.Join(under, "")
}

func sameUnit(a, b string) bool {
	u, err := parseUnit(a)
	if err != nil {
		return false
	}
	v, err := parseUnit(b)
	return err == nil && maps.Equal(u, v)
}

// conversion returns what a value in unit u is multiplied by to be in the unit
// named to. Both must be of one quantity: nothing but their size may differ.
func conversion(u unit, to string) (*big.Rat, error) {
	quantity, m, ok := size(to)
	if !ok {
		return nil, fmt.Errorf("%s is no unit", strconv.Quote(to))
	}
	if u == nil {
		return big.NewRat(1, 1), nil
	}
	if len(u) == 1 {
		for from, power := range u {
			if q, n, _ := size(from); power == 1 && (from == to || q == quantity && q != "") {
				return big.NewRat(n, m), nil
			}
		}
	}
	return nil, fmt.Errorf("%s cannot be converted to %s", u, to)
}

// energyFactor returns what kWh are multiplied by to be in a unit of energy.
func energyFactor(text string) (*big.Rat, error) { return conversion(unit{"kWh": 1}, text) }
