package calc

import (
	"cmp"
	"errors"
	"fmt"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// Project is what a project's file in configs/projects says. Everything it
// fixes ex ante comes with its source.
type Project struct {
	Reference   string           `yaml:"reference"` // number in the registry, unique
	Title       string           `yaml:"title"`
	Country     string           `yaml:"country"`
	Zone        string           `yaml:"zone"`        // IANA name; days, months and vintages are cut there
	Status      string           `yaml:"status"`      // "" for a project, Illustration when its numbers are invented
	Methodology Pin              `yaml:"methodology"` // for good: a registered project stays on its version
	Periods     []Span           `yaml:"periods"`     // may leave gaps, must not overlap
	Parameters  map[string]Value `yaml:"parameters"`  // fixed ex ante, by symbol; for all units
	Units       map[string]Unit  `yaml:"units"`       // what is fixed for one unit only; may be left out
	Meters      []Meter          `yaml:"meters"`
	Inputs      []InputDecl      `yaml:"inputs"`       // monitored parameters that no meter gives
	Estimates   map[int]Number   `yaml:"pdd_estimate"` // ER of the design document by calendar year, tCO2
	Allocation  []Account        `yaml:"allocation"`   // who takes which part of the credits
	Decided     Decided          `yaml:"-"`            // from the book
}

// Illustration is the status of a project whose numbers are invented.
const Illustration = "illustration"

// Pin names one version of a methodology.
type Pin struct {
	Number  string `yaml:"number"`
	Version string `yaml:"version"`
}

// String returns "number version".
func (p Pin) String() string { return p.Number + " " + p.Version }

// Value is a parameter fixed ex ante.
type Value struct {
	Value  *Number `yaml:"value"`
	Unit   string  `yaml:"unit"`   // must be the methodology's; nothing is converted silently
	Source string  `yaml:"source"` // document a verifier can open

	Evidence     string `yaml:"evidence"`         // SHA-256 of that document, 64 hexadecimal digits; a period is sealed with it only
	RangeChecked string `yaml:"range_checked_by"` // who has found a value outside of the methodology's range to be right, and by what
}

// Unit is one unit i of the methodology with what is fixed for it alone.
type Unit struct {
	Title      string           `yaml:"title"`
	Parameters map[string]Value `yaml:"parameters"`
}

// Roles of a meter.
const (
	RoleCounts = ""      // its energy is claimed
	RoleCheck  = "check" // shown beside, never used in RE and PE
)

// Meter is one counter of the project.
type Meter struct {
	Key         string `yaml:"key"` // names it in the report
	Title       string `yaml:"title"`
	Register    string `yaml:"register"`     // counter, as edge/device/point
	Power       string `yaml:"power"`        // momentary power, as edge/device/point; only shown
	RatedKW     Number `yaml:"rated_kW"`     // most power that can flow through it; 0 when not known
	RatedSource string `yaml:"rated_source"` // where rated_kW is from
	StepKWh     Number `yaml:"step_kWh"`     // one step of the register's last digit; matters when it is coarse
	Parameter   string `yaml:"parameter"`    // symbol of the methodology it feeds
	Unit        string `yaml:"unit"`         // unit i it belongs to; its own when left out
	Role        string `yaml:"role"`         // RoleCounts or RoleCheck

	Counts     string        `yaml:"counts"`      // what the register counts when that is not energy in kWh: GJ, m3, Nm3 or t
	RatedPerH  Number        `yaml:"rated_per_h"` // in that unit per hour; in place of rated_kW, as are the next two of the keys with kWh
	Step       Number        `yaml:"step"`
	Modulus    Number        `yaml:"modulus"`
	ModulusKWh Number        `yaml:"modulus_kWh"` // where the register goes on from 0, like 1000000; 0 when not known
	Every      time.Duration `yaml:"every"`       // how often it is read; completeness is counted by it
	Hold       time.Duration `yaml:"hold"`        // the register is a power and each value holds so long at most: what is integrated is marked calculated
	Heat       *Heat         `yaml:"heat"`        // the register is a flow, and what is counted the heat that it carries
	Records    []MeterRecord `yaml:"records"`     // the physical meters that have been there, ascending
}

// Calculated reports whether the meter's energy is integrated from a power.
func (m *Meter) Calculated() bool { return m.Hold > 0 }

// UnitName returns the name of the unit i that the meter belongs to.
func (m *Meter) UnitName() string {
	if m.Unit != "" {
		return m.Unit
	}
	return m.Key
}

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	keyPattern  = regexp.MustCompile(`^[a-z0-9-]{3,40}/[A-Za-z0-9._-]+/[^/\s]+$`)
)

// Validate reports the first thing that does not hold, and what to do about it.
// Whether the project fits its methodology is left to Fits.
func (p *Project) Validate() error {
	wrong := func(key, format string, args ...any) error {
		return faultAt("$."+key, fmt.Errorf(format, args...))
	}
	switch {
	case !namePattern.MatchString(p.Reference):
		return wrong("reference", "reference %q: want 1 to 64 letters, digits, '.', '_' and '-'", p.Reference)
	case p.Title == "":
		return wrong("title", "project %s has no title", p.Reference)
	case p.Status != "" && p.Status != Illustration:
		return wrong("status", "status %q: leave it out, or write %q when the numbers are invented", p.Status, Illustration)
	case p.Methodology.Number == "" || p.Methodology.Version == "":
		return wrong("methodology", "methodology: give both number and version of the one it is registered under")
	case len(p.Periods) == 0:
		return wrong("periods", "periods: give at least one monitoring period, with start and end")
	case len(p.Meters) == 0 && len(p.Inputs) == 0:
		return wrong("meters", "meters: give at least one, or inputs for what no meter measures")
	}
	if _, err := location(p.Zone); err != nil {
		return faultAt("$.zone", err)
	}
	if err := checkPeriods(p.Periods); err != nil {
		return err
	}
	if err := checkValues("parameter", "$.parameters", p.Parameters); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(p.Units)) {
		if !namePattern.MatchString(name) {
			return wrong("units", "unit %q: want 1 to 64 letters, digits, '.', '_' and '-'", name)
		}
		if err := checkValues("unit "+name+": parameter", unitPath(name)+".parameters", p.Units[name].Parameters); err != nil {
			return err
		}
	}
	for _, year := range slices.Sorted(maps.Keys(p.Estimates)) {
		if n := p.Estimates[year]; year < 1990 || year > 2199 || !n.sane() || n.IsNegative() {
			return wrong("pdd_estimate", "pdd_estimate of %d: %s: want tCO2 by calendar year, 0 or more", year, n)
		}
	}
	if err := p.checkMeters(); err != nil {
		return err
	}
	if err := p.checkAllocation(); err != nil {
		return err
	}
	return p.checkInputs()
}

func checkValues(what, path string, values map[string]Value) error {
	for _, symbol := range slices.Sorted(maps.Keys(values)) {
		if err := values[symbol].check(what, symbol); err != nil {
			return faultAt(path+"."+symbol, err)
		}
	}
	return nil
}

func (v Value) check(what, symbol string) error {
	switch {
	case !token.IsIdentifier(symbol):
		return fmt.Errorf("%s %q is no symbol; write it as the methodology does, like EF_RE", what, symbol)
	case v.Value == nil:
		return fmt.Errorf("%s %s has no value", what, symbol)
	case !v.Value.sane():
		return fmt.Errorf("%s %s: its value has more than 30 digits before or after the point", what, symbol)
	case v.Unit == "":
		return fmt.Errorf("%s %s has no unit; write 1 when it is a plain number", what, symbol)
	case v.Source == "":
		return fmt.Errorf("%s %s has no source; name the document and table that a verifier can open", what, symbol)
	case v.Evidence != "" && !hashPattern.MatchString(v.Evidence):
		return fmt.Errorf("%s %s: evidence %q: want the SHA-256 of its source, 64 hexadecimal digits, as sha256sum prints it", what, symbol, v.Evidence)
	}
	if _, err := parseUnit(v.Unit); err != nil {
		return fmt.Errorf("%s %s: %w", what, symbol, err)
	}
	return nil
}

// faultAt says where in the project's file an error lies; one that has a place already
// is below path.
func faultAt(path string, err error) error {
	var f *Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return &Fault{path + f.Path, f.Problem, f.Remedy}
	}
	return &Fault{Path: path, Problem: err.Error()}
}

func unitPath(name string) string { return "$.units.'" + name + "'" }
func meterPath(i int) string      { return fmt.Sprintf("$.meters[%d]", i) }

func (p *Project) checkMeters() error {
	keys, registers := make(map[string]bool), make(map[string]string)
	for i := range p.Meters {
		m := &p.Meters[i]
		if err := m.check(); err != nil {
			return faultAt(meterPath(i), err)
		}
		if keys[m.Key] {
			return faultAt(meterPath(i), fmt.Errorf("meter %s: two meters have this key; give each its own", m.Key))
		}
		keys[m.Key] = true
		if other, ok := registers[m.Register]; ok {
			return faultAt(meterPath(i), fmt.Errorf("meter %s: register %s is already that of meter %s; its energy would count twice", m.Key, m.Register, other))
		}
		registers[m.Register] = m.Key
		if _, ok := p.Units[m.Unit]; m.Unit != "" && len(p.Units) > 0 && !ok {
			return faultAt(meterPath(i), fmt.Errorf("meter %s: unit %q is not among the units of the project", m.Key, m.Unit))
		}
	}
	return nil
}

// maxRatedKW bounds rated power: no meter measures more than 10 GW.
var maxRatedKW = decimal.New(1, 7)

func (m *Meter) check() error {
	if err := m.units(); err != nil {
		return err
	}
	rated, step, modulus := m.rating()
	switch {
	case !namePattern.MatchString(m.Key):
		return fmt.Errorf("meter %q: its key must be 1 to 64 letters, digits, '.', '_' and '-'", m.Key)
	case !keyPattern.MatchString(m.Register):
		return fmt.Errorf("meter %s: register %q: %s, like site-1/inv-1/ActWh", m.Key, m.Register, keyFault(m.Register))
	case m.Power != "" && !keyPattern.MatchString(m.Power):
		return fmt.Errorf("meter %s: power %q: %s, like site-1/inv-1/W", m.Key, m.Power, keyFault(m.Power))
	case m.Role != RoleCounts && m.Role != RoleCheck:
		return fmt.Errorf("meter %s: role %q: leave it out, or write %q for a meter that is only compared", m.Key, m.Role, RoleCheck)
	case m.Role == RoleCounts && m.Parameter == "":
		return fmt.Errorf("meter %s: parameter: name the symbol of the methodology that it feeds, like EG", m.Key)
	case m.Unit != "" && !namePattern.MatchString(m.Unit):
		return fmt.Errorf("meter %s: unit %q: want 1 to 64 letters, digits, '.', '_' and '-'", m.Key, m.Unit)
	case rated.IsZero() != (m.RatedSource == ""):
		return fmt.Errorf("meter %s: rated_kW and rated_source go together: a limit needs its nameplate or data sheet", m.Key)
	case rated.IsNegative() || !rated.sane() || rated.GreaterThan(maxRatedKW) || !rated.Shift(6).IsInteger():
		return fmt.Errorf("meter %s: rated_kW %s: want more than 0, at most 10000000, at most 6 decimals", m.Key, rated)
	case step.IsNegative() || !step.sane():
		return fmt.Errorf("meter %s: step_kWh %s: want 0 or more", m.Key, step)
	case step.IsPositive() && rated.IsZero():
		return fmt.Errorf("meter %s: step_kWh only matters beside rated_kW; give both or neither", m.Key)
	case modulus.IsNegative() || !modulus.sane():
		return fmt.Errorf("meter %s: modulus_kWh %s: want more than 0, like 1000000", m.Key, modulus)
	case modulus.IsPositive() && rated.IsZero():
		return fmt.Errorf("meter %s: modulus_kWh needs rated_kW: without it a rollover cannot be told from a restart", m.Key)
	case m.Every < 0 || m.Hold < 0 || m.Hold > 24*time.Hour:
		return fmt.Errorf("meter %s: every and hold: want durations like 15m; hold at most 24h", m.Key)
	case m.Calculated() && modulus.IsPositive():
		return fmt.Errorf("meter %s: modulus_kWh is of a counter; with hold its register is a power", m.Key)
	}
	if m.Heat != nil {
		if err := m.Heat.check(m); err != nil {
			return faultAt(".heat", fmt.Errorf("meter %s: %w", m.Key, err))
		}
	}
	return m.checkRecords()
}

// keyFault says which part of a key is none.
func keyFault(key string) string {
	parts := strings.Split(key, "/")
	switch {
	case len(parts) != 3:
		return "want edge/device/point"
	case !keyPattern.MatchString(parts[0] + "/d/p"):
		return fmt.Sprintf("edge id %q: want 3 to 40 small letters, digits and hyphens (a-z, 0-9, -)", parts[0])
	case !keyPattern.MatchString("any/" + parts[1] + "/p"):
		return fmt.Sprintf("device %q: want letters, digits, '.', '_' and '-'", parts[1])
	}
	return fmt.Sprintf("point %q: want a name without blanks", parts[2])
}

// Base returns the unit that the meter's register is followed in.
func (m *Meter) Base() string { return cmp.Or(m.Counts, "kWh") }

// units reports a key that is in another unit than the meter counts in. It puts what is
// said in its own unit where it is looked for.
func (m *Meter) units() error {
	if m.Counts == "" {
		if !m.RatedPerH.IsZero() || !m.Step.IsZero() || !m.Modulus.IsZero() {
			return fmt.Errorf("meter %s: rated_per_h, step and modulus are of a meter that says what it counts; this one counts kWh: write rated_kW, step_kWh, modulus_kWh", m.Key)
		}
		return nil
	}
	if !slices.Contains([]string{"GJ", "m3", "Nm3", "t"}, m.Counts) {
		return fmt.Errorf("meter %s: counts %q: want GJ, m3, Nm3 or t, or leave it out for kWh", m.Key, m.Counts)
	}
	kWh := !m.RatedKW.IsZero() || !m.StepKWh.IsZero() || !m.ModulusKWh.IsZero()
	for i := range m.Records {
		kWh = kWh || m.Records[i].InstalledKWh != nil || m.Records[i].RemovedKWh != nil
	}
	if kWh {
		return fmt.Errorf("meter %s counts %s: write rated_per_h, step, modulus, installed_value and removed_value, not the keys in kW and kWh", m.Key, m.Counts)
	}
	return nil
}

// rating returns what rated power, step and modulus are, in the unit of the meter.
func (m *Meter) rating() (rated, step, modulus Number) {
	if m.Counts != "" {
		return m.RatedPerH, m.Step, m.Modulus
	}
	return m.RatedKW, m.StepKWh, m.ModulusKWh
}

// Location returns the project's zone.
func (p *Project) Location() (*time.Location, error) { return location(p.Zone) }

// Registers returns the counters to follow, check meters included, in the order
// of the file.
func (p *Project) Registers() []Register {
	out := make([]Register, len(p.Meters))
	for i := range p.Meters {
		out[i] = p.register(&p.Meters[i])
	}
	return out
}

// Fits reports what of the project does not fit a methodology: another version,
// a parameter that is missing, unknown or in another unit, a meter that feeds
// nothing, a unit i without one of its meters.
func (p *Project) Fits(m *Methodology) error {
	if pin := (Pin{m.Number, m.Version}); pin != p.Methodology {
		return faultAt("$.methodology", fmt.Errorf("project %s is registered under methodology %v, this is %v", p.Reference, p.Methodology, pin))
	}
	if err := p.fit(m, "parameter", "$.parameters", p.Parameters, false); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(p.Units)) {
		if err := p.fit(m, "unit "+name+": parameter", unitPath(name)+".parameters", p.Units[name].Parameters, true); err != nil {
			return err
		}
	}
	known := make(map[[2]string]bool) // of parameters and units that meters count in
	for i := range p.Meters {
		k := &p.Meters[i]
		if k.Parameter == "" || known[[2]string{k.Parameter, k.Counts}] {
			continue // a check meter of nothing in particular
		}
		a := m.parameter(k.Parameter)
		if a == nil || !a.Monitored {
			return faultAt(meterPath(i), fmt.Errorf("meter %s feeds %s, which methodology %v does not monitor; it monitors %s", k.Key, k.Parameter, p.Methodology, m.list(true)))
		}
		if _, err := conversion(unit{k.Base(): 1}, a.Unit); err != nil {
			return faultAt(meterPath(i), fmt.Errorf("meter %s feeds %s, which is in %s: a meter that counts %s cannot give it; say what it counts, GJ, m3, Nm3 or t", k.Key, k.Parameter, a.Unit, k.Base()))
		}
		known[[2]string{k.Parameter, k.Counts}] = true
	}
	for i := range p.Inputs {
		d := &p.Inputs[i]
		a := m.parameter(d.Parameter)
		switch {
		case a == nil || !a.Monitored:
			return faultAt(fmt.Sprintf("$.inputs[%d]", i), fmt.Errorf("input of %s: methodology %v does not monitor that; it monitors %s", d.Parameter, p.Methodology, m.list(true)))
		case d.Role == RoleCounts && !slices.Contains(a.Options, d.Option):
			return faultAt(fmt.Sprintf("$.inputs[%d]", i), fmt.Errorf("input of %s: methodology %v offers monitoring option %v for it, not %s", d.Parameter, p.Methodology, a.Options, d.Option))
		case a.each() && d.Unit == "" && d.Role == RoleCounts:
			return faultAt(fmt.Sprintf("$.inputs[%d]", i), fmt.Errorf("input of %s: methodology %v has one for each unit; name the unit", d.Parameter, p.Methodology))
		}
	}
	if err := p.complete(m); err != nil {
		return err
	}
	return p.checkFixed(m)
}

// fit checks values against the parameters of a methodology.
func (p *Project) fit(m *Methodology, what, path string, values map[string]Value, unit bool) error {
	for _, symbol := range slices.Sorted(maps.Keys(values)) {
		if err := p.fits(m, what, symbol, values[symbol], unit); err != nil {
			return faultAt(path+"."+symbol, err)
		}
	}
	return nil
}

func (p *Project) fits(m *Methodology, what, symbol string, v Value, unit bool) error {
	a := m.parameter(symbol)
	switch {
	case a == nil || a.Monitored || a.Calendar:
		return fmt.Errorf("%s %s is none that methodology %v fixes ex ante; it fixes %s", what, symbol, p.Methodology, m.list(false))
	case unit && a.Per != PerUnit:
		return fmt.Errorf("%s %s is one number for the whole project in methodology %v; give it under parameters", what, symbol, p.Methodology)
	case !sameUnit(a.Unit, v.Unit):
		return fmt.Errorf("%s %s is given in %s, methodology %v wants %s; convert it in the file, nothing is converted silently",
			what, symbol, v.Unit, p.Methodology, a.Unit)
	}
	if err := a.within(*v.Value); err != nil && (v.RangeChecked == "" || !v.Value.sane()) {
		return &Fault{Problem: fmt.Sprintf("%s %v", what, err), Remedy: "correct the value or its unit; if it is right, say who has checked it and by what: range_checked_by"}
	}
	return nil
}

// complete reports a parameter without value, meter or input.
func (p *Project) complete(m *Methodology) error {
	units, fed := p.unitNames(m), p.fed()
	for _, name := range slices.Sorted(maps.Keys(p.Units)) {
		if !slices.Contains(units, name) {
			return faultAt(unitPath(name), fmt.Errorf("unit %s has no meter and no input that counts; give it one, or take it out", name))
		}
	}
	for i := range m.Parameters {
		a := &m.Parameters[i]
		if _, ok := p.Parameters[a.Symbol]; ok || a.Calendar {
			continue
		}
		owners := units
		if !a.each() {
			owners = []string{""}
		}
		for _, unit := range owners {
			if a.Monitored && !fed[feed{a.Symbol, unit}] {
				return faultAt("$.meters", fmt.Errorf("parameter %s%s of methodology %v has no meter; let one feed it, or name it under inputs", a.Symbol, of(unit), p.Methodology))
			}
			if _, ok := p.Units[unit].Parameters[a.Symbol]; !a.Monitored && !ok {
				path := "$.parameters"
				if _, ok := p.Units[unit]; ok {
					path = unitPath(unit)
				}
				return faultAt(path, fmt.Errorf("parameter %s%s of methodology %v is missing; give it with value, unit (%s) and source", a.Symbol, of(unit), p.Methodology, a.Unit))
			}
		}
	}
	return nil
}

func of(unit string) string {
	if unit == "" {
		return ""
	}
	return " of unit " + unit
}

// feed is a parameter of a unit i, or of the project or any unit when unit is "".
type feed struct{ symbol, unit string }

// fed returns what meters and inputs feed.
func (p *Project) fed() map[feed]bool {
	out := make(map[feed]bool)
	add := func(role, symbol, unit string) {
		if role == RoleCounts {
			out[feed{symbol, unit}], out[feed{symbol, ""}] = true, true
		}
	}
	for i := range p.Meters {
		add(p.Meters[i].Role, p.Meters[i].Parameter, p.Meters[i].UnitName())
	}
	for i := range p.Inputs {
		add(p.Inputs[i].Role, p.Inputs[i].Parameter, p.Inputs[i].Unit)
	}
	return out
}

// unitNames returns the units i whose energy or amounts are claimed, in the order
// of meters and inputs; those of the file when the methodology monitors nothing of
// a unit.
func (p *Project) unitNames(m *Methodology) []string {
	var out []string
	seen := make(map[string]bool)
	add := func(role, symbol, unit string) {
		if a := m.parameter(symbol); role == RoleCounts && a != nil && a.each() && !seen[unit] {
			seen[unit] = true
			out = append(out, unit)
		}
	}
	for i := range p.Meters {
		add(p.Meters[i].Role, p.Meters[i].Parameter, p.Meters[i].UnitName())
	}
	for i := range p.Inputs {
		add(p.Inputs[i].Role, p.Inputs[i].Parameter, p.Inputs[i].Unit)
	}
	if !slices.ContainsFunc(m.Parameters, func(a Parameter) bool { return a.Monitored && a.each() }) {
		return slices.Sorted(maps.Keys(p.Units)) // nothing of a unit is monitored: those of the file count
	}
	return out
}

// metered reports whether a meter feeds a parameter, of one unit unless unit is "".
func (p *Project) metered(symbol, unit string) bool {
	return slices.ContainsFunc(p.Meters, func(m Meter) bool {
		return m.Role == RoleCounts && m.Parameter == symbol && (unit == "" || m.UnitName() == unit)
	})
}
