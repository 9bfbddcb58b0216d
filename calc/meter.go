package calc

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// MeterRecord is one physical meter at a measuring point: what its papers say.
// Readings outside of its time are none (rule 13).
type MeterRecord struct {
	Serial       string        `yaml:"serial"`
	Class        string        `yaml:"class"`         // accuracy, as its plate says: 0.5S
	Ratio        Number        `yaml:"ratio"`         // CT × PT ratio, only where the register shows the secondary side; 1 when left out
	Installed    Instant       `yaml:"installed"`     // 2026-01-31T09:30:00+07:00
	Removed      Instant       `yaml:"removed"`       // left out while it is there
	InstalledKWh *Number       `yaml:"installed_kWh"` // what its register showed then, before the ratio
	RemovedKWh   *Number       `yaml:"removed_kWh"`
	InstalledVal *Number       `yaml:"installed_value"` // in place of the two above, of a meter that counts something else than kWh
	RemovedVal   *Number       `yaml:"removed_value"`
	Evidence     string        `yaml:"evidence"`     // document, with hash, that shows it
	MPE          Number        `yaml:"mpe_percent"`  // maximum permissible error, percent of the energy
	MPESource    string        `yaml:"mpe_source"`   // standard and class, or certificate
	Calibrations []Calibration `yaml:"calibrations"` // days that none covers take the error against the project
}

// Calibration is a certificate of a meter.
type Calibration struct {
	From        Date   `yaml:"from"`
	Through     Date   `yaml:"through"` // last day it is valid
	Certificate string `yaml:"certificate"`
}

// Instant is a time as people write it with its offset: 2026-01-31T09:30:00+07:00.
type Instant struct{ time.Time }

// UnmarshalText reads RFC 3339.
func (t *Instant) UnmarshalText(text []byte) (err error) {
	if t.Time, err = time.Parse(time.RFC3339, string(text)); err != nil {
		return fmt.Errorf("time %q: want date, time and offset, like 2026-01-31T09:30:00+07:00", text)
	}
	return nil
}

// MarshalText writes RFC 3339.
func (t Instant) MarshalText() ([]byte, error) { return []byte(t.Format(time.RFC3339Nano)), nil }

// Ruling is what a person has decided about a counter. It changes no reading: it
// says which are accepted, and where one register ends and another begins.
type Ruling struct {
	Meter      string           `json:"meter"`                   // Meter.Key
	Cause      string           `json:"cause"`                   // CauseDip or CauseSpike of a span; CauseRestart, CauseReplacement, CauseCorrection or CauseRollover of an instant
	From       Instant          `json:"from"`                    // first instant that it is about
	To         Instant          `json:"to,omitzero"`             // last one, of a span
	FinalKWh   *decimal.Decimal `json:"final_kWh,omitempty"`     // what the register showed at From as it ended, times the ratio of its record
	InitialKWh *decimal.Decimal `json:"initial_kWh,omitempty"`   // what it showed as it began, likewise
	FinalVal   *decimal.Decimal `json:"final_value,omitempty"`   // in place of the two above, of a meter that counts something else than kWh; older records have those
	InitialVal *decimal.Decimal `json:"initial_value,omitempty"` // of such a meter
	Evidence   string           `json:"evidence,omitempty"`      // SHA-256 of a document
	Who        string           `json:"who"`
	Why        string           `json:"why"`
}

// span reports whether a ruling is about a span of readings.
func (r *Ruling) span() bool { return r.Cause == CauseDip || r.Cause == CauseSpike }

func (r *Ruling) final() *decimal.Decimal   { return cmp.Or(r.FinalVal, r.FinalKWh) }
func (r *Ruling) initial() *decimal.Decimal { return cmp.Or(r.InitialVal, r.InitialKWh) }

func (r *Ruling) validate() error {
	switch {
	case r.Who == "" || r.Why == "":
		return fmt.Errorf("ruling on meter %s: say who rules and why", r.Meter)
	case r.From.IsZero():
		return fmt.Errorf("ruling on meter %s: say from when", r.Meter)
	case r.span() && (r.To.IsZero() || r.To.Before(r.From.Time)):
		return fmt.Errorf("ruling on meter %s: a %s is a span of readings; give its end, not before its beginning", r.Meter, r.Cause)
	case r.span() && (r.final() != nil || r.initial() != nil):
		return fmt.Errorf("ruling on meter %s: in a %s the register goes on; it has no final and initial value", r.Meter, r.Cause)
	case r.span():
		return nil
	case r.Cause != CauseRestart && r.Cause != CauseReplacement && r.Cause != CauseCorrection && r.Cause != CauseRollover:
		return fmt.Errorf("ruling on meter %s: cause %q: want %s or %s of a span, %s, %s, %s or %s of an instant", r.Meter, r.Cause,
			CauseDip, CauseSpike, CauseRestart, CauseReplacement, CauseCorrection, CauseRollover)
	case !r.To.IsZero():
		return fmt.Errorf("ruling on meter %s: a %s is at one instant; leave out its end", r.Meter, r.Cause)
	case r.Cause == CauseRollover && (r.final() == nil || r.initial() == nil):
		return fmt.Errorf("ruling on meter %s: a rollover ends at its modulus and begins at 0; give both as final and initial value", r.Meter)
	}
	return nil
}

// SerialChange is a device that began to tell another serial number.
type SerialChange struct {
	Device string `json:"device"` // edge/device
	At     int64  `json:"at"`     // ms UTC of the first reading under it
	Serial string `json:"serial"`
}

// Decided is what the book holds of a project beside its file.
type Decided struct {
	Rulings []Ruling
	Serials []SerialChange // ascending by At for each device, the first one of each included
	Inputs  []Input
	Splits  []Split
	Seals   []Seal
}

// checkRecords reports meter records that contradict each other.
func (m *Meter) checkRecords() error {
	for i := range m.Records {
		r := &m.Records[i]
		wrong := func(format string, args ...any) error {
			return faultAt(fmt.Sprintf(".records[%d]", i), fmt.Errorf("meter %s: record %d (serial %s): %s", m.Key, i+1, r.Serial, fmt.Sprintf(format, args...)))
		}
		switch {
		case r.Serial == "":
			return wrong("give the serial number on its plate")
		case r.Installed.IsZero():
			return wrong("installed: say when, like 2026-01-31T09:30:00+07:00")
		case !r.Removed.IsZero() && !r.Removed.After(r.Installed.Time):
			return wrong("removed %v is not after installed %v", r.Removed, r.Installed)
		case i > 0 && (m.Records[i-1].Removed.IsZero() || r.Installed.Before(m.Records[i-1].Removed.Time)):
			return wrong("it is installed before the one before it is removed; a measuring point has one meter at a time")
		case cmp.Or(r.RemovedKWh, r.RemovedVal) != nil && r.Removed.IsZero():
			return wrong("removed_kWh without removed")
		case m.Counts == "" && cmp.Or(r.InstalledVal, r.RemovedVal) != nil:
			return wrong("installed_value and removed_value are of a meter that says what it counts; write installed_kWh and removed_kWh")
		case r.Ratio.IsNegative() || !r.Ratio.sane():
			return wrong("ratio %s: want more than 0", r.Ratio)
		case r.Evidence == "":
			return wrong("evidence: name the document that shows it")
		case r.MPE.IsZero() != (r.MPESource == ""):
			return wrong("mpe_percent and mpe_source go together")
		case r.MPE.IsNegative() || !r.MPE.sane() || r.MPE.GreaterThan(decimal.New(20, 0)):
			return wrong("mpe_percent %s: want percent, more than 0 and at most 20", r.MPE)
		case len(r.Calibrations) > 0 && r.MPE.IsZero():
			return wrong("calibrations without mpe_percent: say what a day without one costs")
		}
		if class, ok := classPercent(r.Class); ok && !r.MPE.IsZero() && r.MPE.LessThan(class) {
			return wrong("mpe_percent %s is less than its class %s; is it a factor? write percent, 0.5 for 0.5 %%", r.MPE, r.Class)
		}
		for _, k := range r.Calibrations {
			if k.Certificate == "" || (Span{k.From, k.Through}).Validate() != nil {
				return wrong("calibration %s: want from, through (not before from) and certificate", k.Certificate)
			}
		}
	}
	return nil
}

// classPercent returns the error limit that an accuracy class such as 0.5S or 1 is named by.
func classPercent(class string) (decimal.Decimal, bool) {
	d, err := decimal.NewFromString(strings.TrimRight(class, "sS"))
	return d, err == nil
}

// register returns what has to be known of the meter's counter: from its file,
// its records, the serial numbers its device told, and rulings.
func (p *Project) register(m *Meter) Register {
	rated, step, modulus := m.rating()
	out := Register{Key: m.Register, Base: m.Counts, RatedKW: rated.Decimal, StepKWh: step.Decimal, Modulus: modulus.Decimal,
		GapMs: max(gapMs, 2*m.Every.Milliseconds()), HoldMs: m.Hold.Milliseconds(), Heat: m.Heat, Installed: true}
	for i := range m.Records {
		m.install(&out, i)
	}
	device := m.Register[:max(0, strings.LastIndexByte(m.Register, '/'))]
	known := false
	for _, s := range p.Decided.Serials {
		if s.Device != device {
			continue
		}
		if known && !slices.ContainsFunc(m.Records, func(r MeterRecord) bool { return r.Serial == s.Serial }) {
			out.Changes = append(out.Changes, Change{At: s.At - 1, Cause: CauseReplacement, Why: "the device told another serial number: " + s.Serial})
		}
		known = true
	}
	for i := range p.Decided.Rulings {
		r := &p.Decided.Rulings[i]
		why := r.Why + " (ruled by " + r.Who + ")"
		switch {
		case r.Meter != m.Key:
		case r.span():
			out.Excluded = append(out.Excluded, Exclusion{r.From.UnixMilli(), r.To.UnixMilli(), r.Cause, why})
		default:
			out.Changes = append(out.Changes, Change{At: r.From.UnixMilli(), Cause: r.Cause, Final: r.final(), Initial: r.initial(), Why: why})
		}
	}
	slices.SortStableFunc(out.Changes, func(a, b Change) int { return cmp.Compare(a.At, b.At) })
	out.Changes = oneEach(out.Changes)
	factor := out.Factor
	for i := range out.Changes { // a change that says nothing of it leaves the ratio as it is
		k := &out.Changes[i]
		if strings.HasPrefix(k.Why, recordWhy) {
			factor = k.Factor
		}
		k.Factor = factor
	}
	return out
}

// oneEach leaves one change of each instant: what a record says holds before a ruling,
// and says that the other has no effect.
func oneEach(in []Change) (out []Change) {
	for _, x := range in {
		if n := len(out) - 1; n >= 0 && out[n].At == x.At {
			out[n].Why += "; of the same instant and without effect: " + x.Why
			continue
		}
		out = append(out, x)
	}
	return out
}

const recordWhy = "meter record, "

// install adds the changes of a meter record.
func (m *Meter) install(out *Register, i int) {
	r := &m.Records[i]
	factor := r.Ratio.Decimal
	if factor.Equal(decimal.New(1, 0)) {
		factor = decimal.Zero
	}
	at := r.Installed.UnixMilli()
	put := Change{At: at, Cause: CauseInstalled, Initial: scaled(cmp.Or(r.InstalledKWh, r.InstalledVal), factor), Factor: factor, Why: recordWhy + "serial " + r.Serial + ": " + r.Evidence}
	if n := len(out.Changes); n > 0 && out.Changes[n-1].Out && out.Changes[n-1].At == at {
		put.Cause, put.Final = CauseReplacement, out.Changes[n-1].Final
		out.Changes = out.Changes[:n-1]
	}
	if i == 0 {
		out.Installed = false
	}
	out.Changes = append(out.Changes, put)
	if !r.Removed.IsZero() {
		out.Changes = append(out.Changes, Change{At: r.Removed.UnixMilli(), Cause: CauseRemoved, Final: scaled(cmp.Or(r.RemovedKWh, r.RemovedVal), factor), Out: true, Factor: factor,
			Why: recordWhy + "serial " + r.Serial + ": " + r.Evidence})
	}
}

func scaled(n *Number, factor decimal.Decimal) *decimal.Decimal {
	if n == nil {
		return nil
	}
	v := n.Decimal
	if !factor.IsZero() {
		v = v.Mul(factor)
	}
	return &v
}

// uncovered returns the meter with the largest error of those that were there on any of
// some days on which no certificate of it covers, nil for none.
func (m *Meter) uncovered(from, to Date, zone *time.Location) (worst *MeterRecord) {
	for d := from; !to.Before(d); d = d.Next() {
		begin, end := d.Start(zone), d.Next().Start(zone)
		for i := range m.Records {
			r := &m.Records[i]
			there := r.Installed.Before(end) && (r.Removed.IsZero() || r.Removed.After(begin))
			if there && !r.MPE.IsZero() && !r.calibrated(d) && (worst == nil || r.MPE.GreaterThan(worst.MPE.Decimal)) {
				worst = r
			}
		}
	}
	return worst
}

// calibrated reports whether a certificate covers a day.
func (r *MeterRecord) calibrated(d Date) bool {
	return slices.ContainsFunc(r.Calibrations, func(k Calibration) bool { return (Span{k.From, k.Through}).Contains(d) })
}
