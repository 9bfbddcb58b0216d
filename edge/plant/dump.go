package plant

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Dump is a unit that holds registers which were read once from a real device.
// It answers functions 3 and 4 alike, and refuses a range with a register that
// was not read with exception 2. It stands still.
type Dump struct{ regs map[uint16]uint16 }

// Read implements Unit.
func (d *Dump) Read(function uint8, address, count uint16) ([]uint16, uint8) {
	if function != readHolding && function != readInput {
		return nil, illegalFunction
	}
	out := make([]uint16, count)
	for i := range out {
		w, ok := d.regs[address+uint16(i)]
		if !ok {
			return nil, illegalAddress
		}
		out[i] = w
	}
	return out, 0
}

// Len returns how many registers the dump has.
func (d *Dump) Len() int { return len(d.regs) }

// Add puts the registers of another dump of the same device beside these. A
// register that both have is an error.
func (d *Dump) Add(o *Dump) error {
	for at := range o.regs {
		if _, ok := d.regs[at]; ok {
			return fmt.Errorf("register %d is in two dumps of the unit; want each once", at)
		}
	}
	for at, w := range o.regs {
		d.regs[at] = w
	}
	return nil
}

var dumpLine = regexp.MustCompile(`^\[(\d+)\]:\s*0[xX]([0-9A-Fa-f]{1,4})\s*(#.*)?$`)

// ReadDump reads a register dump as text: lines "[address]: 0xWORD", addresses
// counted from 0. Lines that do not begin with "[" are comments. A register that
// is given twice, or a line that begins with "[" and is no register, is an error
// that names the line.
func ReadDump(r io.Reader) (*Dump, error) {
	d := &Dump{regs: make(map[uint16]uint16)}
	in := bufio.NewScanner(r)
	n := 0
	for in.Scan() {
		n++
		line := strings.TrimSpace(in.Text())
		if !strings.HasPrefix(line, "[") {
			continue
		}
		f := dumpLine.FindStringSubmatch(line)
		if f == nil {
			return nil, fmt.Errorf("line %d: %.60q: want [address]: 0xWORD", n, line)
		}
		at, err := strconv.ParseUint(f[1], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("line %d: register %s: want 0 to 65535", n, f[1])
		}
		w, err := strconv.ParseUint(f[2], 16, 16)
		if err != nil {
			return nil, fmt.Errorf("line %d: word %s: want four hexadecimal digits", n, f[2])
		}
		if have, ok := d.regs[uint16(at)]; ok && have != uint16(w) {
			return nil, fmt.Errorf("line %d: register %d is given a second time, with another word", n, at)
		}
		d.regs[uint16(at)] = uint16(w)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("after line %d: %w", n, err)
	}
	if len(d.regs) == 0 {
		return nil, errors.New("no registers; want lines such as [40000]: 0x5375")
	}
	return d, nil
}

// ReadFrame reads a register dump that is one answer of a device in hexadecimal
// digits: a Modbus RTU frame, also behind the bytes AA55 that GoodWe inverters
// send, or a Modbus TCP frame, answering function 3 or 4. Its first register has
// the address base. A frame with a wrong length or checksum is an error.
//
// GoodWe's checksum travels low byte first, as RTU's does.
func ReadFrame(r io.Reader, base uint16) (*Dump, error) {
	text, err := io.ReadAll(io.LimitReader(r, 8192))
	if err != nil {
		return nil, err
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		return nil, fmt.Errorf("want the hexadecimal digits of one frame: %w", err)
	}
	f, ok := decodeRTU([]byte(strings.TrimPrefix(string(b), "\xAA\x55")))
	if !ok && len(b) > headerLength && binary.BigEndian.Uint16(b[2:]) == 0 && int(binary.BigEndian.Uint16(b[4:])) == len(b)-6 {
		f, ok = frame{unit: b[6], pdu: b[7:]}, true
	}
	n := len(f.pdu) - 2
	switch {
	case !ok:
		return nil, errors.New("neither an RTU frame with a good checksum nor a Modbus TCP frame of the right length")
	case n < 2 || f.pdu[0] != readHolding && f.pdu[0] != readInput || int(f.pdu[1]) != n || n%2 != 0:
		return nil, errors.New("the frame is not an answer with registers (function 3 or 4, byte count, words)")
	case int(base)+n/2 > 1<<16:
		return nil, fmt.Errorf("base %d: %d registers from there go beyond 65535", base, n/2)
	}
	d := &Dump{regs: make(map[uint16]uint16)}
	for i := range n / 2 {
		d.regs[base+uint16(i)] = binary.BigEndian.Uint16(f.pdu[2+2*i:])
	}
	return d, nil
}
