package calc

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/shopspring/decimal"
)

// Heat says how the power of a stream is made of its flow and two temperatures of one
// device: rule 16.
type Heat struct {
	Warm     string `yaml:"warm"`            // point of the device that has the register: the warmer side
	Cold     string `yaml:"cold"`            // the colder side
	Density  Number `yaml:"density_kg_m3"`   // of the liquid where its flow is measured
	Capacity Number `yaml:"capacity_kJ_kgK"` // its specific heat
	Source   string `yaml:"source"`          // of both
}

var pointPattern = regexp.MustCompile(`^[^/\s]+$`)

// What flows through a heat meter is water, brine or glycol.
var (
	leastDensity, mostDensity   = decimal.New(600, 0), decimal.New(1500, 0)
	leastCapacity, mostCapacity = decimal.New(1, 0), decimal.New(45, -1)
)

func (h *Heat) check(m *Meter) error {
	switch {
	case m.Counts != "GJ" || m.Hold <= 0:
		return errors.New("heat is integrated in GJ: write counts: GJ and hold, such as 15m")
	case !pointPattern.MatchString(h.Warm) || !pointPattern.MatchString(h.Cold) || h.Warm == h.Cold:
		return fmt.Errorf("heat: warm %q and cold %q: name two points of the device that has the register, such as T_return", h.Warm, h.Cold)
	case !h.Density.sane() || h.Density.LessThan(leastDensity) || h.Density.GreaterThan(mostDensity):
		return fmt.Errorf("heat: density_kg_m3 %s: want %s to %s, as water, brine and glycol have it", h.Density, leastDensity, mostDensity)
	case !h.Capacity.sane() || h.Capacity.LessThan(leastCapacity) || h.Capacity.GreaterThan(mostCapacity):
		return fmt.Errorf("heat: capacity_kJ_kgK %s: want %s to %s, as brine, glycol and water have it", h.Capacity, leastCapacity, mostCapacity)
	case h.Source == "":
		return errors.New("heat: source: name the table that density and capacity are from")
	}
	return nil
}

// Power returns flow × (warm − cold) × density × capacity as a sample of a power, kJ/h.
// It is good only if all three are, and in units that fit.
func (h *Heat) Power(flow, warm, cold Sample) Sample {
	out := Sample{At: flow.At, Unit: "kJ/h", Imported: flow.Imported}
	for _, x := range []struct {
		name string
		s    *Sample
	}{{"flow", &flow}, {h.Warm, &warm}, {h.Cold, &cold}} {
		if !x.s.Good {
			out.Reason = strings.TrimSuffix(x.name+": "+x.s.Reason, ": ")
			return out
		}
	}
	perHour, ok := inBase(flow.Unit, "m3", true)
	if !ok || !isTemperature(warm.Unit) || warm.Unit != cold.Unit {
		out.Good, out.Unit = true, fmt.Sprintf("%s × (%s − %s)", flow.Unit, warm.Unit, cold.Unit) // rule 2 says that it is unknown
		return out
	}
	out.Good = true
	out.Value = flow.Value.Mul(perHour).Mul(warm.Value.Sub(cold.Value)).Mul(h.Density.Decimal).Mul(h.Capacity.Decimal)
	return out
}

// isTemperature reports a unit whose differences are kelvins.
func isTemperature(unit string) bool { return unit == "Cel" || unit == "degC" || unit == "K" }
