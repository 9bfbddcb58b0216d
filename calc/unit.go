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
// Power times time is energy. CO2, CH4, carbon and dry matter are weighed apart
// from other masses: a tonne of CH4 is no tonne of CO2.
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
	case "kgCH4":
		return "CH4", 1, true
	case "tCH4":
		return "CH4", 1_000, true
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
	case "Nm3":
		return "gas", 1, true
	case "kNm3":
		return "gas", 1_000, true
	case "tC", "tdm", "km", "lm", "K", "degC", "USRt", "ohm", "a":
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

const unitNames = "Wh kWh MWh GWh J kJ MJ GJ TJ gCO2 kgCO2 tCO2 kgCH4 tCH4 tC tdm g kg t L kL m3 Nm3 kNm3 W kW MW USRt s h d a m2 ha km lm K degC ohm"

// percentRemedy says how a share is written.
func percentRemedy(name string) string {
	if name == "%" {
		return "; write 92 % as 0.92 in unit 1"
	}
	return ""
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
				return nil, fmt.Errorf("unit %q: %q is not known; known are "+unitNames+", and 1 for a plain number%s", text, name, percentRemedy(name))
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
	if _, _, ok := size(to); !ok {
		return nil, fmt.Errorf("%s is no unit", strconv.Quote(to))
	}
	if u == nil {
		return big.NewRat(1, 1), nil
	}
	from, dims := u.scale()
	into, want := unit{to: 1}.scale()
	if !maps.Equal(dims, want) {
		return nil, fmt.Errorf("%s cannot be converted to %s", u, to)
	}
	return from.Quo(from, into), nil
}

// scale returns how large the unit is and the powers of the quantities it is of.
func (u unit) scale() (*big.Rat, map[string]int) {
	factor, dims := big.NewRat(1, 1), unit{}
	for name, power := range u {
		quantity, n, _ := size(name)
		for range max(power, -power) {
			if power > 0 {
				factor.Mul(factor, new(big.Rat).SetInt64(n))
			} else {
				factor.Quo(factor, new(big.Rat).SetInt64(n))
			}
		}
		switch quantity {
		case "":
			dims.add(name, power)
		case "power": // W is J/s
			dims.add("energy", power)
			dims.add("time", -power)
		default:
			dims.add(quantity, power)
		}
	}
	return factor, dims
}

// energyFactor returns what kWh are multiplied by to be in a unit of energy.
func energyFactor(text string) (*big.Rat, error) { return conversion(unit{"kWh": 1}, text) }
