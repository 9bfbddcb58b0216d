package calc

import (
	"encoding/json"
	"time"

	"github.com/shopspring/decimal"
)

// Sample is one value of a counter, or of a power, as it was read.
type Sample struct {
	At       int64           // ms UTC
	Value    decimal.Decimal // in Unit
	Unit     string          // as the device declares it: Wh, kWh, MWh or GWh; W, kW or MW of a power
	Good     bool            // whether Value may be used
	Reason   string          // for people, when not Good
	Imported bool            // an operator brought it in from before the agent
}

// Register is what has to be known of a counter to follow it.
type Register struct {
	Key       string          // "edge/device/point"
	RatedKW   decimal.Decimal // most power that can flow through it, at most 10^7 in steps of 10^-6; 0 when not known
	StepKWh   decimal.Decimal // one step of its last digit; 0 when it need not be considered
	Modulus   decimal.Decimal // kWh at which it goes on from 0; 0 when not known
	GapMs     int64           // longest time between readings that is no gap; 0 for two hours
	Heat      *Heat           `json:",omitempty"` // it is a flow, and a Sample of it is what Power makes of it and two temperatures
	HoldMs    int64           // of a power, how long a value may hold; 0 for a counter
	Installed bool            // false when readings before the first change are none
	Base      string          // what it counts in when that is not kWh: GJ, m3, Nm3 or t; then all that says kWh here is in it, and kW is it per hour
	Factor    decimal.Decimal // what values are multiplied by before the first change; 0 for 1
	Changes   []Change        // ascending, no two of one instant
	Excluded  []Exclusion     // readings that a person has ruled out
}

// Change is an instant at which one register ends and another begins.
type Change struct {
	At      int64 // ms UTC
	Cause   string
	Final   *decimal.Decimal // what the one that ends showed, kWh; nil when nobody knows
	Initial *decimal.Decimal // what the one that begins showed, kWh; nil when nobody knows
	Out     bool             // none begins
	Factor  decimal.Decimal  // what values are multiplied by from now on; 0 for 1
	Why     string           // record or ruling, for people
}

// Exclusion is a span whose readings a person has ruled out, both ends included.
type Exclusion struct {
	From, To int64 // ms UTC
	Cause    string
	Why      string
}

// Reading is an accepted value of a counter. A Reading with At 0 is none.
type Reading struct {
	At  int64           `json:"at"` // ms UTC
	KWh decimal.Decimal `json:"kWh"`
}

func (r Reading) standing() *Standing { return &Standing{time.UnixMilli(r.At).UTC(), r.KWh} }

// What a counter did that is not plain counting, with the rule it comes from.
const (
	CauseUnit        = "unit"        // rule 2
	CauseGap         = "gap"         // rule 6
	CauseJump        = "jump"        // rule 7
	CauseFall        = "fall"        // rule 8, as long as it is pending
	CauseDip         = "dip"         // rule 8, over: the register is back
	CauseRecovered   = "recovered"   // rule 8, over: the register counted on past its old value
	CauseCorrection  = "correction"  // rule 8, or a ruling
	CauseRollover    = "rollover"    // rule 9
	CauseRestart     = "restart"     // rule 10, or a ruling
	CauseSpike       = "spike"       // rule 11, or a ruling
	CauseReplacement = "replacement" // rule 12
	CauseRemoved     = "removed"     // rule 12
	CauseInstalled   = "installed"   // rule 12
	CauseOut         = "outside"     // rule 13
	CauseExcluded    = "ruled out"   // rule 13
	CauseFrozen      = "frozen"      // rule 14
)

// Event is something a counter did that a verifier will ask about. Events of
// one cause that follow each other on one day are one event.
type Event struct {
	Cause  string          `json:"cause"`
	From   int64           `json:"from"`             // ms UTC of the reading before
	To     int64           `json:"to"`               // ms UTC of the reading that ended it
	Before decimal.Decimal `json:"before"`           // kWh of the register at From
	After  decimal.Decimal `json:"after"`            // kWh of the register at To
	Again  decimal.Decimal `json:"again,omitzero"`   // kWh that a register may have counted a second time after a fall that is over
	Held   decimal.Decimal `json:"held,omitzero"`    // kWh held back from what can be claimed
	Count  int             `json:"count"`            // how many, at least 1
	Lost   bool            `json:"lost,omitempty"`   // what was made between From and To is not known and not measured
	Detail string          `json:"detail,omitempty"` // the unit that is not known; who changed or ruled out
}

// State is what one day hands on to the next.
type State struct {
	InForce Reading         `json:"in_force,omitzero"` // newest accepted reading
	Base    decimal.Decimal `json:"base,omitzero"`     // kWh to add to it: what earlier registers counted, less where the later ones began
	Still   int64           `json:"still,omitempty"`   // ms UTC since when it has had this value
	Spare   micro           `json:"spare,omitempty"`   // kWh that rule 7 still allows beyond rated power
	Fall    *Fall           `json:"fall,omitempty"`    // pending
	Leap    *Leap           `json:"leap,omitempty"`    // a jump that may yet turn out to be a spike
	Opening *Event          `json:"opening,omitempty"` // a register has ended and the next one was not read yet
	Out     bool            `json:"out,omitempty"`     // no meter is installed
	Power   *Power          `json:"power,omitempty"`   // rule 15
}

// Total returns the count that goes on over exchanged registers, kWh.
func (s *State) Total() decimal.Decimal {
	if s.Base.IsZero() {
		return s.InForce.KWh
	}
	return s.Base.Add(s.InForce.KWh)
}

// Closing is what is known of a register at the end of a local day, or so far
// when the day is still running. It holds everything needed to go on from there.
type Closing struct {
	Rules    int     `json:"rules"` // version of the rules it was made by
	Day      Date    `json:"day"`
	Prev     Date    `json:"prev,omitzero"`     // day of the closing before; the zero Date for none
	Newest   Reading `json:"newest"`            // newest sample or change of any kind; later ones must not be before it
	Bad      bool    `json:"bad,omitempty"`     // the newest sample is no reading
	KnownBy  Date    `json:"known_by,omitzero"` // later day whose readings decided what is here
	State            // at the end of the day
	First    Reading `json:"first,omitzero"`     // the very first reading, if it closes this day
	Readings int     `json:"readings,omitempty"` // of this day, pending ones included
	Imported int     `json:"imported,omitempty"` // of them, how many an operator brought in
	Events   []Event `json:"events,omitempty"`   // of this day: those whose To it closes
}

// Equal reports whether a register is known to be the same.
func (r *Register) Equal(o *Register) bool {
	a, err1 := json.Marshal(r)
	b, err2 := json.Marshal(o)
	return err1 == nil && err2 == nil && string(a) == string(b)
}
