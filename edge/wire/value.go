package wire

import (
	"github.com/shopspring/decimal"
)

// Quality says whether a value may be used, and if not, why. A value that is
// not Good carries no number: there is nothing measured to carry.
type Quality uint8

const (
	Good         Quality = iota
	NotAvailable         // the device's own word for it: a sentinel, NaN, a missing scale factor
	Stale                // the device answered with an old value
	OutOfRange           // beyond what the point can be
	Decreased            // a counter below what it was
	Refused              // Modbus exception
	NoAnswer             // timeout, no connection, skipped or garbled
	Untimed              // a value at an unknown time: the clock was never synchronised
)

var qualityNames = [...]string{"good", "not-available", "stale", "out-of-range", "decreased", "exception", "timeout", "clock-unsynced"}

// String returns the quality as it is written in files and answers.
func (q Quality) String() string {
	if int(q) < len(qualityNames) {
		return qualityNames[q]
	}
	return "unknown"
}

// Value is one point of one reading, decoded.
type Value struct {
	Point   int // index in Declaration.Points
	Quality Quality
	Number  decimal.Decimal // in Point.Unit; only when Good and the point is not a Label
	Text    string          // only for a Label
	Reason  string          // for people, when not Good: "exception 2", "0xFFFFFFFF"
}

// Sample is a value with everything needed to find it again.
type Sample struct {
	Edge    string
	Device  string
	Point   string
	Unit    string
	Kind    Kind
	At      int64 // ms UTC
	Quality Quality
	Number  decimal.Decimal // in Unit, only when Good
	Text    string
	Reason  string
	Epoch   Epoch // with Edge and Seq the identity of the record it came in
	Seq     uint64
}

// Key names the series of a sample: "edge/device/point".
func (s *Sample) Key() string { return s.Edge + "/" + s.Device + "/" + s.Point }
