package modbus

import (
	"errors"
	"fmt"

	"github.com/goburrow/modbus"
)

var (
	// ErrTimeout says that no whole answer came in time.
	ErrTimeout = errors.New("no answer in time")
	// ErrUnreachable says that there is no connection: it could not be made, was
	// closed instead of an answer, or is not tried again yet.
	ErrUnreachable = errors.New("no connection")
	// ErrMalformed says that what came is not an answer to the request.
	ErrMalformed = errors.New("malformed answer")
)

// ExceptionError is the answer of a device that refuses a request.
type ExceptionError struct {
	Function uint8 // as requested, 3 or 4
	Code     uint8 // exception code, 1 to 255
}

// Error names the exception as the standard does.
// Source: MODBUS Application Protocol V1.1b3, 7.
func (e *ExceptionError) Error() string {
	name := "unknown to the standard"
	switch e.Code {
	case modbus.ExceptionCodeIllegalFunction:
		name = "illegal function"
	case modbus.ExceptionCodeIllegalDataAddress:
		name = "illegal data address"
	case modbus.ExceptionCodeIllegalDataValue:
		name = "illegal data value"
	case modbus.ExceptionCodeServerDeviceFailure:
		name = "server device failure"
	case modbus.ExceptionCodeAcknowledge:
		name = "acknowledge"
	case modbus.ExceptionCodeServerDeviceBusy:
		name = "server device busy"
	case modbus.ExceptionCodeMemoryParityError:
		name = "memory parity error"
	case modbus.ExceptionCodeGatewayPathUnavailable:
		name = "gateway path unavailable"
	case modbus.ExceptionCodeGatewayTargetDeviceFailedToRespond:
		name = "gateway target device failed to respond"
	}
	return fmt.Sprintf("function %d: exception %d (%s)", e.Function, e.Code, name)
}

// Exception returns the code. Callers that know of no Modbus library tell a
// refusal from a failure by this method.
func (e *ExceptionError) Exception() uint8 { return e.Code }
