package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The form on disk; FORMAT.md says it in words. Numbers are little-endian.
const (
	magic       = "kenshinJ"
	version     = 1
	headerBytes = 32 // of a segment
	frameBytes  = 16 // of a frame before its payload

	begins  = 1 << 31 // in a frame's length: first of what one Append was given
	ends    = 1 << 30 // last of it
	lenMask = ends - 1
)

func crc(parts ...[]byte) uint32 {
	var sum uint32
	for _, p := range parts {
		sum = crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), p) // the table is made once, by the library
	}
	return sum
}

// appendHeader appends the header of the segment that begins with entry first.
func appendHeader(b []byte, first uint64) []byte {
	at := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, first)
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint32(b, crc(b[at:]))
}

// errVersion is wrapped when a whole header is of a version this program does
// not read: that is no damage, and nothing may be repaired.
var errVersion = errors.New("unknown version")

// checkHeader says what is wrong with the header of segment first.
func checkHeader(b []byte, first uint64) error {
	if len(b) < headerBytes || string(b[:8]) != magic || crc(b[:28]) != binary.LittleEndian.Uint32(b[28:]) {
		return errors.New("header is damaged")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return fmt.Errorf("%w %d, this program reads %d", errVersion, v, version)
	}
	if got := binary.LittleEndian.Uint64(b[16:]); got != first {
		return fmt.Errorf("header is that of segment %d", got)
	}
	return nil
}

// frame is one entry as it stands in a file.
type frame struct {
	seq     uint64
	off     int64 // in the file
	size    int64 // with header and padding
	begins  bool
	ends    bool
	payload []byte
}

// frameSize returns the bytes a payload of n bytes takes.
func frameSize(n int) int64 { return (frameBytes + int64(n) + 7) &^ 7 }

// appendFrame appends the frame of one entry. The checksum covers all of it but
// itself.
func appendFrame(b []byte, seq uint64, flags uint32, payload []byte) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, flags|uint32(len(payload)))
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = append(b, payload...)
	for int64(len(b)-at) < frameSize(len(payload)) {
		b = append(b, 0)
	}
	binary.LittleEndian.PutUint32(b[at+4:], crc(b[at:at+4], b[at+8:]))
	return b
}

// appendGroup appends the frames of entries, numbered from seq on.
func appendGroup(b []byte, seq uint64, entries [][]byte) []byte {
	for i, e := range entries {
		var flags uint32
		if i == 0 {
			flags |= begins
		}
		if i == len(entries)-1 {
			flags |= ends
		}
		b = appendFrame(b, seq+uint64(i), flags, e)
	}
	return b
}

// parseFrame reads the frame that b is, whole.
func parseFrame(b []byte, off int64) (frame, bool) {
	n := binary.LittleEndian.Uint32(b)
	if binary.LittleEndian.Uint32(b[4:]) != crc(b[:4], b[8:]) {
		return frame{}, false
	}
	return frame{
		seq: binary.LittleEndian.Uint64(b[8:]), off: off, size: int64(len(b)),
		begins: n&begins != 0, ends: n&ends != 0, payload: b[frameBytes : frameBytes+int(n&lenMask)],
	}, true
}
