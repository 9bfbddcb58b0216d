package plant

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault is one thing that goes wrong with a unit, and when.
//
// What each does is listed by [FaultNames]. On TCP a fault that ends a
// connection ends it for all units behind the endpoint, as on a real gateway; a
// serial line has no connections, and an answer that would have been cut off by
// one is not sent.
type Fault struct {
	Name  string        // of FaultNames; exception carries its Code
	Delay time.Duration // late, slow: from request to answer; split: between the pieces
	Code  uint8         // exception
	Steps uint64        // dip, rollover: counts of the register, of a float units of its value

	After time.Duration // from injection to the first occurrence
	For   time.Duration // how long an occurrence lasts; 0: until cleared
	Every time.Duration // from one occurrence to the next; 0: there is only one
	Times int           // requests hit in one occurrence, the others are spared; 0: all
}

// argument is what may stand behind the name of a fault.
type argument uint8

const (
	nothing argument = iota
	aDelay
	aCode
	aCount
)

// faultKind is a row of the table of faults.
type faultKind struct {
	name  string
	takes argument
	usual Fault  // what stands for an argument that is not given
	value bool   // it is in the registers, not on the line
	does  string // for people
}

const busy = 6 // server device busy

var faultKinds = [...]faultKind{
	{name: "late", takes: aDelay, usual: Fault{Delay: 300 * time.Millisecond}, does: "the answer comes after the delay, others go on meanwhile"},
	{name: "slow", takes: aDelay, usual: Fault{Delay: 200 * time.Millisecond}, does: "the answer takes the delay, all behind the endpoint wait"},
	{name: "silence", does: "no answer"},
	{name: "half-open", does: "connections that were open when it began never answer again, new ones do; silence on a serial line"},
	{name: "drop", does: "the connection is closed instead of an answer"},
	{name: "split", takes: aDelay, usual: Fault{Delay: 30 * time.Millisecond}, does: "the answer comes in three pieces, the delay between them"},
	{name: "short", does: "the answer's frame breaks off in the middle"},
	{name: "fewer", does: "a whole frame with a register less than asked for"},
	{name: "wrong-transaction", does: "the answer has another transaction id; RTU has none, there it is a good answer"},
	{name: "wrong-unit", does: "the answer has another unit id"},
	{name: "exception", takes: aCode, usual: Fault{Code: deviceFailure}, does: "refused with this code, 4 when none is given"},
	{name: "busy", usual: Fault{Code: busy}, does: "refused with exception 6, server device busy"},
	{name: "garbage", does: "random bytes instead of an answer"},
	{name: "crc", does: "the answer's checksum is wrong; on Modbus TCP, which has none, its protocol id"},
	{name: "sentinel-night", value: true, does: "counters and gauges read not available"},
	{name: "zero-at-dawn", value: true, does: "counters and gauges read 0"},
	{name: "dip", takes: aCount, usual: Fault{Steps: 100}, value: true, does: "counters read so many counts less"},
	{name: "rollover", takes: aCount, usual: Fault{Steps: 10}, value: true, does: "counters stand so many counts before their end and start again at 0"},
	{name: "restart", value: true, does: "the device starts again: its connections end, its counters go on from 0"},
	{name: "frozen", value: true, does: "registers keep what they first read"},
	{name: "scale-change", value: true, does: "every other answer has other scale factors and words for the same values"},
}

// FaultNames returns the name of each fault and, in words, what it does.
func FaultNames() [][2]string {
	var out [][2]string
	for _, k := range faultKinds {
		out = append(out, [2]string{k.name, k.does})
	}
	return out
}

func kindOf(name string) (faultKind, error) {
	i := slices.IndexFunc(faultKinds[:], func(k faultKind) bool { return k.name == name })
	if i < 0 {
		var names []string
		for _, k := range faultKinds {
			names = append(names, k.name)
		}
		return faultKind{}, fmt.Errorf("fault %q: want one of %s", name, strings.Join(names, ", "))
	}
	return faultKinds[i], nil
}

// ParseFault reads a fault of a unit from text such as
//
//	inv-1 late 300ms for 10s
//	unit=2 late=300ms every=60s for=5s
//	meter-1 exception-4 after 1m times 3
//
// The target comes first, by its id, or by its unit number behind "unit". Then
// the fault with its argument, and then after, for, every and times in any
// order. "=" is as good as a blank.
func ParseFault(text string) (target string, f Fault, err error) {
	words := strings.Fields(strings.ReplaceAll(text, "=", " "))
	if len(words) > 0 && words[0] == "unit" {
		words = words[1:]
	}
	if len(words) < 2 {
		return "", Fault{}, fmt.Errorf("fault %q: want a unit and a fault, such as `inv-1 late 300ms for 10s`", text)
	}
	target, words = words[0], words[1:]
	if words, err = f.takeName(words); err != nil {
		return "", Fault{}, err
	}
	seen := make(map[string]bool)
	for ; len(words) > 0; words = words[2:] {
		switch {
		case len(words) < 2:
			return "", Fault{}, fmt.Errorf("%q at the end: want a value behind it", words[0])
		case seen[words[0]]:
			return "", Fault{}, fmt.Errorf("%q stands twice", words[0])
		}
		seen[words[0]] = true
		if err := f.option(words[0], words[1]); err != nil {
			return "", Fault{}, err
		}
	}
	return target, f, f.Validate()
}

// takeName takes the name of a fault and its argument, and returns the rest.
func (f *Fault) takeName(words []string) ([]string, error) {
	name := words[0]
	if code, ok := strings.CutPrefix(name, "exception-"); ok {
		name, words = "exception", append([]string{"exception", code}, words[1:]...)
	}
	k, err := kindOf(name)
	if err != nil {
		return nil, err
	}
	*f, words = k.usual, words[1:]
	f.Name = k.name
	if len(words) == 0 || slices.Contains([]string{"after", "for", "every", "times"}, words[0]) {
		return words, nil
	}
	switch k.takes {
	case aDelay:
		f.Delay, err = duration(k.name, words[0])
	case aCode:
		f.Code, err = whole[uint8](k.name, words[0], 8)
	case aCount:
		f.Steps, err = whole[uint64](k.name, words[0], 64)
	default:
		err = fmt.Errorf("%s %q: %s takes no value; want after, for, every or times", k.name, words[0], k.name)
	}
	return words[1:], err
}

func (f *Fault) option(name, value string) (err error) {
	switch name {
	case "after":
		f.After, err = duration(name, value)
	case "for":
		f.For, err = duration(name, value)
	case "every":
		f.Every, err = duration(name, value)
	case "times":
		var n uint32
		n, err = whole[uint32](name, value, 31)
		f.Times = int(n)
	default:
		return fmt.Errorf("%q: want after, for, every or times", name)
	}
	return err
}

func duration(name, text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s %q: want a time above 0 such as 300ms, 10s or 5m", name, text)
	}
	return d, nil
}

func whole[T ~uint8 | ~uint32 | ~uint64](name, text string, bits int) (T, error) {
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s %q: want a whole number from 1 to %d", name, text, uint64(1)<<bits-1)
	}
	return T(n), nil
}

// Validate says what is wrong with the fault and what to do about it.
func (f *Fault) Validate() error {
	k, err := kindOf(f.Name)
	switch {
	case err != nil:
		return err
	case f.Delay < 0 || f.After < 0 || f.For < 0 || f.Every < 0 || f.Times < 0:
		return errors.New("a negative time or number; want 0 or more")
	case k.takes == aDelay && f.Delay == 0:
		return fmt.Errorf("%s without a delay; say how long, such as %s 300ms", f.Name, f.Name)
	case (f.Name == "exception" || f.Name == "busy") && (f.Code == 0 || f.Code > 0x7F):
		return fmt.Errorf("%s with code %d; want 1 to 127", f.Name, f.Code)
	case f.Every > 0 && f.For == 0 && f.Times == 0:
		return fmt.Errorf("every %v: say too how long it lasts (for 5s) or how many requests it hits (times 1)", f.Every)
	case f.Every > 0 && f.For >= f.Every:
		return fmt.Errorf("for %v is not less than every %v; leave out every, or let it last shorter", f.For, f.Every)
	}
	return nil
}

// String returns the fault as ParseFault reads it, without a target.
func (f *Fault) String() string {
	var b strings.Builder
	b.WriteString(f.Name)
	k, _ := kindOf(f.Name) // an unknown name takes no argument
	switch k.takes {
	case aDelay:
		fmt.Fprintf(&b, " %v", f.Delay)
	case aCode:
		fmt.Fprintf(&b, " %d", f.Code)
	case aCount:
		fmt.Fprintf(&b, " %d", f.Steps)
	}
	for _, o := range []struct {
		name string
		d    time.Duration
	}{{"after", f.After}, {"for", f.For}, {"every", f.Every}} {
		if o.d > 0 {
			fmt.Fprintf(&b, " %s %v", o.name, o.d)
		}
	}
	if f.Times > 0 {
		fmt.Fprintf(&b, " times %d", f.Times)
	}
	return b.String()
}

// occurrence returns which occurrence of the fault is on, counted from 0, when
// so much time has gone by since it was injected, and how long it has been on;
// ok is false when none is.
func (f *Fault) occurrence(since time.Duration) (n int64, on time.Duration, ok bool) {
	on = since - f.After
	if on < 0 {
		return 0, 0, false
	}
	if f.Every > 0 {
		n = int64(on / f.Every)
		on %= f.Every
	}
	return n, on, f.For == 0 || on < f.For
}

// over tells whether the fault will not occur again.
func (f *Fault) over(since time.Duration) bool {
	return f.Every == 0 && f.For > 0 && since >= f.After+f.For
}
