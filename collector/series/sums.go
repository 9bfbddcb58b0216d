package series

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// closingCRC covers a row of closings: where it stands and what it says.
func closingCRC(register string, day int64, text []byte) int64 {
	var room [128]byte
	b := append(append(room[:0], register...), 0)
	sum := crc32.Checksum(binary.BigEndian.AppendUint64(b, uint64(day)), castagnoli)
	return int64(crc32.Update(sum, castagnoli, text))
}

func checkClosing(register string, day int64, text []byte, crc int64) error {
	if closingCRC(register, day, text) != crc {
		return fmt.Errorf("%w: closing of %q on %d: the CRC is another one", errPayload, register, day)
	}
	return nil
}

// settledCRC covers the row of settled.
func settledCRC(cursor int64, state []byte) int64 {
	b := binary.BigEndian.AppendUint64(nil, uint64(cursor))
	return int64(crc32.Checksum(append(b, state...), castagnoli))
}

// markCRC covers a row of marks.
func markCRC(key string, value []byte) int64 {
	return int64(crc32.Checksum(append(append([]byte(key), 0), value...), castagnoli))
}

// tailCRC covers a row of the tail: its number may change, its rows may not.
func tailCRC(rows []byte) int64 { return int64(crc32.Checksum(rows, castagnoli)) }
