package modbus

import (
	"encoding/binary"
	"fmt"

	"github.com/goburrow/modbus"
)

// framing is how a PDU travels on a kind of link. The library builds and checks
// frames; where a frame ends on a stream is said here.
type framing struct {
	packager modbus.Packager
	setUnit  func(unit uint8) // of the next request
	// size returns how many bytes the frame that starts with head has, 0 while
	// head is too short to tell. Bytes that can start no frame are an error.
	size func(head []byte) (int, error)
}

const (
	tcpHeader = 7   // transaction 2, protocol 2, length 2, unit 1
	tcpMost   = 260 // header and a PDU of 253
)

// tcpFraming is that of Modbus TCP. Its transaction number goes on over
// reconnects, so that no answer to an old connection fits a new one.
func tcpFraming() framing {
	h := modbus.NewTCPClientHandler("") // only its packager is used; it never connects
	return framing{packager: h, setUnit: func(unit uint8) { h.SlaveId = unit }, size: tcpSize}
}

// tcpSize reads the MBAP header.
// Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3.
func tcpSize(head []byte) (int, error) {
	if len(head) < tcpHeader {
		return 0, nil
	}
	if p := binary.BigEndian.Uint16(head[2:]); p != 0 {
		return 0, fmt.Errorf("%w: protocol %d in the header, Modbus is 0", ErrMalformed, p)
	}
	// The length counts the unit id too; the shortest PDU is an exception's two bytes.
	n := tcpHeader - 1 + int(binary.BigEndian.Uint16(head[4:]))
	if n < tcpHeader+2 || n > tcpMost {
		return 0, fmt.Errorf("%w: a frame of %d bytes, want %d to %d", ErrMalformed, n, tcpHeader+2, tcpMost)
	}
	return n, nil
}
