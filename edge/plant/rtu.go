package plant

import (
	"encoding/binary"
	"errors"
	"os"
	"time"
)

// maxRTU is the longest RTU frame, in bytes.
// Source: MODBUS over Serial Line V1.02, 2.5.1.
const maxRTU = 256

// crc16 returns the checksum of an RTU frame, which travels low byte first.
// Source: MODBUS over Serial Line V1.02, 6.2.2.
func crc16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			carry := crc & 1
			crc >>= 1
			if carry != 0 {
				crc ^= 0xA001
			}
		}
	}
	return crc
}

// encodeRTU returns the frame as it goes over a serial line.
func (f frame) encodeRTU() []byte {
	b := append([]byte{f.unit}, f.pdu...)
	return binary.LittleEndian.AppendUint16(b, crc16(b))
}

// decodeRTU reads a whole RTU frame; false when it is none.
func decodeRTU(b []byte) (frame, bool) {
	if len(b) < 4 || len(b) > maxRTU || binary.LittleEndian.Uint16(b[len(b)-2:]) != crc16(b[:len(b)-2]) {
		return frame{}, false
	}
	return frame{unit: b[0], pdu: append([]byte(nil), b[1:len(b)-2]...)}, true
}

// requestLength returns how long the request that begins with b is, 0 when that
// cannot be told (yet).
// Source: MODBUS Application Protocol V1.1b3, 6.
func requestLength(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch fn := b[1]; {
	case fn >= 1 && fn <= 6, fn == 8:
		return 8
	case fn == 7 || fn == 11 || fn == 12 || fn == 17:
		return 4
	case (fn == 15 || fn == 16) && len(b) > 6:
		return 9 + int(b[6])
	case fn == 22:
		return 10
	case fn == 23 && len(b) > 10:
		return 13 + int(b[10])
	case fn == 24:
		return 6
	case fn == 43 && len(b) > 2 && b[2] == 14:
		return 7
	}
	return 0
}

// rtuReader finds RTU requests in a stream of bytes.
type rtuReader struct {
	port port
	gap  time.Duration // silence that ends a frame
	idle time.Duration // silence that ends the reader; 0 for never
	buf  [maxRTU]byte
	n    int
}

// read returns the next request. Bytes that are none are skipped up to the next
// silence, as a device does that listens to a line of others.
func (r *rtuReader) read() (frame, error) {
	lost := false // what is in buf is not a request
	for {
		if n := requestLength(r.buf[:r.n]); !lost && n > 0 && r.n >= n {
			f, ok := decodeRTU(r.buf[:n])
			if ok {
				r.n = copy(r.buf[:], r.buf[n:r.n])
				return f, nil
			}
			lost = true
		}
		if lost || r.n == len(r.buf) {
			lost, r.n = true, 0
		}
		n, err := r.wait(r.n > 0 || lost)
		r.n += n
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && (r.n > 0 || lost):
			f, ok := decodeRTU(r.buf[:r.n]) // of a function whose length is not known
			lost, r.n = false, 0
			if ok {
				return f, nil
			}
		case err != nil:
			return frame{}, err
		}
	}
}

// wait reads what comes next, until the silence that ends a frame when one has
// begun.
func (r *rtuReader) wait(begun bool) (int, error) {
	var until time.Time
	switch {
	case begun:
		until = time.Now().Add(r.gap)
	case r.idle > 0:
		until = time.Now().Add(r.idle)
	}
	if err := r.port.SetReadDeadline(until); err != nil {
		return 0, err
	}
	n, err := r.port.Read(r.buf[r.n:])
	if n > 0 {
		err = nil
	}
	return n, err
}
