package modbus

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"time"
)

const (
	schemeTCP    = "tcp"
	schemeRTUTCP = "rtutcp"
	schemeRTU    = "rtu"
)

// endpoint is what Config.Endpoint says.
type endpoint struct {
	scheme  string
	address string     // host:port, or the path of a device file
	line    serialLine // of RTU
	stated  bool       // the speed of the line was given
}

// serialLine is how characters travel on a serial line. RTU has 8 data bits.
type serialLine struct {
	baud   int
	parity string // as in an endpoint
	stop   int
}

// bauds are the speeds serial ports are built for.
var bauds = []int{300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600}

// parseEndpoint reads an endpoint.
func parseEndpoint(text string) (endpoint, error) {
	u, err := url.Parse(text)
	if err != nil {
		return endpoint{}, wrongEndpoint(text, "it is no URL")
	}
	e := endpoint{scheme: u.Scheme, address: u.Host, line: serialLine{9600, "none", 1}}
	base := u.Scheme + "://" + u.Host
	switch u.Scheme {
	case schemeTCP, schemeRTUTCP:
		if _, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || u.Hostname() == "" {
			return e, wrongEndpoint(text, "host or port is missing")
		}
	case schemeRTU:
		e.address = u.Path
		base += u.Path
		if u.Host != "" || !path.IsAbs(u.Path) || u.Path == "/" {
			return e, wrongEndpoint(text, "the path of a device file is missing; three slashes stand before dev")
		}
	default:
		return e, wrongEndpoint(text, "it begins with none of these")
	}
	if u.RawQuery != "" {
		base += "?" + u.RawQuery
	}
	if base != text {
		return e, wrongEndpoint(text, "it says more than is read")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil || u.Scheme == schemeTCP && u.RawQuery != "" {
		return e, wrongEndpoint(text, "it says more than is read")
	}
	return e, e.parseLine(text, q)
}

func wrongEndpoint(text, why string) error {
	return fmt.Errorf("endpoint %q: %s; want tcp://host:port (Modbus TCP, such as tcp://192.168.1.20:502), "+
		"rtutcp://host:port (RTU through a serial converter) or rtu:///dev/ttyUSB0?baud=9600 (serial line)", text, why)
}

// parseLine takes the settings of a serial line from a query.
func (e *endpoint) parseLine(text string, q url.Values) error {
	for key, values := range q {
		value, ok := values[0], true
		want := ""
		switch key {
		case "baud":
			want = fmt.Sprint("one of ", bauds)
			e.line.baud, _ = strconv.Atoi(value)
			e.stated = true
			ok = slices.Contains(bauds, e.line.baud)
		case "parity":
			want = "none, even or odd"
			e.line.parity = value
			ok = value == "none" || value == "even" || value == "odd"
		case "stop":
			want = "1 or 2"
			e.line.stop, _ = strconv.Atoi(value)
			ok = e.line.stop == 1 || e.line.stop == 2
		case "data":
			want = "8, since a byte of RTU has so many bits"
			ok = value == "8"
		default:
			return fmt.Errorf("endpoint %q: setting %q is none of baud, parity, stop and data", text, key)
		}
		if !ok || len(values) > 1 {
			return fmt.Errorf("endpoint %q: %s %q: want %s, once", text, key, values, want)
		}
	}
	return nil
}

// bits of one character on the wire: start, data, parity, stop.
func (l serialLine) bits() int {
	n := 1 + 8 + l.stop
	if l.parity != "none" {
		n++
	}
	return n
}

// wire returns how long n characters are on the wire.
func (l serialLine) wire(n int) time.Duration {
	return time.Duration(n*l.bits()) * time.Second / time.Duration(l.baud)
}

// silence returns how long a line is silent between two frames: 3.5 characters,
// and the same for all speeds above 19200.
// Source: MODBUS over Serial Line V1.02, 2.5.1.1.
func (l serialLine) silence() time.Duration {
	if l.baud > 19200 {
		return 1750 * time.Microsecond
	}
	return l.wire(7) / 2
}
