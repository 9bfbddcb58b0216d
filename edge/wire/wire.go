// Package wire is the contract between edge and collector: what a batch, an ack
// and a topic are, byte for byte, and how register words become values.
//
// It promises that a record has exactly one encoding, that the hash chain over
// those encodings is the same on both sides, that a signature covers the very
// bytes that travelled, and that edge, collector and verifier decode the same
// words to the same exact value. It opens no file, no socket and no clock;
// keeping, sending and judging records is left to others.
//
// FORMAT.md beside this file is the same contract in words.
package wire

import (
	"encoding/hex"
	"fmt"
	"regexp"
)

// Format is the version of the batch and record encodings this package writes.
const Format = 1

// Hash is a SHA-256: of a record in the chain, or of a declaration.
type Hash [32]byte

// String returns the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText returns the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads 64 hexadecimal digits.
func (h *Hash) UnmarshalText(b []byte) error { return fixedHex(h[:], b) }

// Epoch names one life of an outbox: 128 random bits made with it. A re-imaged
// box starts a new epoch, so its sequence numbers cannot be taken for old ones.
type Epoch [16]byte

// String returns the epoch in hexadecimal.
func (e Epoch) String() string { return hex.EncodeToString(e[:]) }

// MarshalText returns the epoch in hexadecimal.
func (e Epoch) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads 32 hexadecimal digits.
func (e *Epoch) UnmarshalText(b []byte) error { return fixedHex(e[:], b) }

func fixedHex(dst, b []byte) error {
	if hex.DecodedLen(len(b)) != len(dst) {
		return fmt.Errorf("%d hexadecimal digits, want %d", len(b), 2*len(dst))
	}
	_, err := hex.Decode(dst, b)
	return err
}

var idPattern = regexp.MustCompile(`^[a-z0-9-]{3,40}$`)

// CheckEdgeID says what is wrong with an edge id: it becomes a topic level, a
// user name and part of file names, so only [a-z0-9-]{3,40} is one
// (an id with + or # has bypassed broker ACLs before, CVE-2017-7650).
func CheckEdgeID(id string) error {
	if !idPattern.MatchString(id) {
		return fmt.Errorf("edge id %q: want 3 to 40 small letters, digits and hyphens (a-z, 0-9, -)", id)
	}
	return nil
}

// Record is one entry of an edge's log. Exactly one of Declaration, Reading and
// Event is set. Its identity is (edge, epoch, Seq).
type Record struct {
	Seq   uint64     // position in the epoch, from 1, without holes
	Wall  int64      // wall clock, ms since 1970 UTC, as the box had it
	Mono  int64      // ms since Boot on a clock that never steps
	Clock ClockState // what the box knew about its wall clock

	Declaration *Declaration
	Reading     *Reading
	Event       *Event
}

// ClockState says how far the wall clock of a record can be trusted.
type ClockState uint8

const (
	ClockUnknown  ClockState = iota // the box has no way to tell
	ClockSynced                     // disciplined by NTP, PTP or GNSS
	ClockHoldover                   // was synced since boot, source lost
	ClockUnsynced                   // never synced since boot
)

// Declaration says what a device's readings mean. A reading names it by hash;
// nothing about a device is known to the collector except through it.
type Declaration struct {
	Device         string // id of the device, unique on its edge
	Manufacturer   string
	Model          string
	Firmware       string
	Serial         string // as the device tells it, "" when it does not
	Profile        string // name of the profile or "sunspec"
	ProfileVersion string
	ProfileHash    Hash   // of the profile file, zero for SunSpec
	Unit           uint8  // Modbus unit id
	Energy         string // name of the point that counts this device's energy, "" when it has none
	Blocks         []Block
	Points         []Point
}

// Block is a run of registers read in one request.
type Block struct {
	Function uint8  // 3 holding registers, 4 input registers
	Address  uint16 // first register, counted from 0
	Count    uint16 // registers, 1 to 125
}

// Point names a value inside the blocks of its declaration.
type Point struct {
	Name     string
	Function uint8
	Address  uint16
	Type     Type
	Words    uint16    // registers; given by Type except for strings
	Order    WordOrder // of the registers of one value
	Scale    int8      // value = raw × 10^Scale; with ScaleAt added to the register's exponent
	ScaleAt  int32     // address of a SunSpec scale factor register, same function; NoScale when there is none
	Unit     string    // "Wh", "kWh", "W", "V", "A", "Hz", "Cel", "" for none
	Kind     Kind
	Modulus  string     // value at which a counter starts again, as decimal text in raw counts; "" when it does not
	Absent   [][]uint16 // register contents that mean "not available", beside those the type has by itself
}

// NoScale is the ScaleAt of a point without a scale factor register.
const NoScale int32 = -1

// Kind says how a point behaves in time.
type Kind uint8

const (
	Gauge   Kind = iota // a momentary value
	Counter             // counts up; energy is the difference of two readings
	State               // an enumeration or bit field
	Label               // text
)

// WordOrder is the order of the 16-bit registers of one value; the bytes of a
// register are always big-endian (Modbus application protocol 1.1b3, 4.2).
type WordOrder uint8

const (
	HighFirst WordOrder = iota
	LowFirst
)

// Type is how register words encode a number.
type Type uint8

const (
	Int16 Type = iota + 1
	Uint16
	Int32
	Uint32
	Int64
	Uint64
	Acc16 // SunSpec accumulators: 0 means not accumulated
	Acc32
	Acc64
	Float32
	Float64
	Enum16
	Enum32
	Bits16
	Bits32
	String
)

// Reading is what one device answered in one poll: raw words, nothing decoded.
// The record's times are those of the first block.
type Reading struct {
	Declaration Hash
	Blocks      []BlockResult // one for each block of the declaration, in order
}

// BlockResult is the answer to one block: words, or why there are none.
type BlockResult struct {
	Status Status
	Code   uint8    // exception code when Status is Exception
	Delta  int32    // ms from the record's time to the middle of this request and answer
	Words  []uint16 // Block.Count words when Status is OK, else nil
}

// Status is the outcome of one request.
type Status uint8

const (
	OK          Status = iota
	Exception          // the device refused, see Code
	Timeout            // no answer in time
	Unreachable        // no connection
	Malformed          // an answer that is not one to this request
	Skipped            // not asked: the device is being left alone after failures
)

// Event is something that happened to the box or its log rather than in a meter.
type Event struct {
	Code   EventCode
	Detail string // for people, one line
	From   int64  // ms UTC; span concerned, zero when it is a moment
	To     int64
	Count  uint64 // readings lost, for a gap
}

// EventCode names an event.
type EventCode uint8

const (
	EventBoot      EventCode = iota + 1 // the agent started
	EventClockStep                      // the wall clock moved against the monotonic one
	EventGap                            // readings were taken and could not be kept
	EventConfig                         // the configuration changed
	EventRepair                         // the log was repaired on opening
)
