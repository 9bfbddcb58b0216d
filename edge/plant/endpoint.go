package plant

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"
)

const (
	// lineGap is how long a silence must be to end a frame where bytes come by a
	// network, or by a pseudo terminal on a busy machine.
	lineGap = 50 * time.Millisecond
	// lineLimit is how long a serial line may refuse bytes before they are lost.
	lineLimit = time.Second
)

// Serial is how a serial line runs. The zero value takes no time.
type Serial struct {
	Baud   int    // bit/s
	Data   int    // bits, 7 or 8
	Parity string // none, even or odd
	Stop   int    // bits, 1 or 2
}

// bits returns what one character takes on the line, start bit included.
func (s Serial) bits() int {
	n := 1 + s.Data + s.Stop
	if s.Parity != "none" {
		n++
	}
	return n
}

// characters returns how long n characters take.
func (s Serial) characters(n float64) time.Duration {
	if s.Baud == 0 {
		return 0
	}
	return time.Duration(n * float64(s.bits()) * float64(time.Second) / float64(s.Baud))
}

// silence returns how long nothing must come before a frame is at its end.
func (s Serial) silence() time.Duration { return max(lineGap, s.characters(3.5)) }

// time returns how long a request and its answer of so many bytes are on the
// line, with the silence between them.
// Source: MODBUS over Serial Line V1.02, 2.5.1.1; above 19200 bit/s the silence
// is 1750 µs.
func (s Serial) time(request, answer int) time.Duration {
	if s.Baud == 0 {
		return 0
	}
	gap := s.characters(3.5)
	if s.Baud > 19200 {
		gap = 1750 * time.Microsecond
	}
	return s.characters(float64(request+answer)) + gap
}

// Open binds an endpoint for the units given by their unit ids. It answers
// nobody before Serve.
//
//	tcp://127.0.0.1:5020      Modbus TCP
//	rtutcp://127.0.0.1:5020   RTU frames over TCP
//	rtu://                    RTU on a pseudo terminal that is made here
//	rtu:///run/line           the same, and /run/line is a link to it
//
// Behind rtu stand ?baud=9600&parity=none&stop=1&data=8, which are the defaults:
// an answer takes as long as on a line of that speed.
func Open(endpoint string, units map[uint8]Unit) (*Server, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", endpoint, err)
	}
	s := &Server{units: units, scheme: u.Scheme}
	switch {
	case (u.Scheme == "tcp" || u.Scheme == "rtutcp") && u.Host != "" && u.Path == "" && u.RawQuery == "":
		if u.Scheme == "rtutcp" {
			s.framing = framingRTU
		}
		if s.listener, err = net.Listen("tcp", u.Host); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", endpoint, err)
		}
		return s, nil
	case u.Scheme == "rtu" && u.Host == "":
		s.framing = framingRTU
		if s.line, err = parseSerial(u.Query()); err != nil {
			return nil, fmt.Errorf("endpoint %q: %w", endpoint, err)
		}
		if s.master, err = openPTY(u.Path); err != nil {
			return nil, fmt.Errorf("serial line for %q: %w", endpoint, err)
		}
		return s, nil
	}
	return nil, fmt.Errorf("endpoint %q: want tcp://HOST:PORT, rtutcp://HOST:PORT or rtu:///LINK?baud=9600", endpoint)
}

func parseSerial(q url.Values) (Serial, error) {
	s := Serial{Baud: 9600, Data: 8, Parity: "none", Stop: 1}
	for key := range q {
		text := q.Get(key)
		n, err := strconv.Atoi(text)
		switch {
		case key == "baud" && err == nil && n >= 300 && n <= 4_000_000:
			s.Baud = n
		case key == "data" && (text == "7" || text == "8"):
			s.Data = n
		case key == "stop" && (text == "1" || text == "2"):
			s.Stop = n
		case key == "parity" && slices.Contains([]string{"none", "even", "odd"}, text):
			s.Parity = text
		default:
			return s, fmt.Errorf("%s=%s: want baud=300 to 4000000, parity=none, even or odd, stop=1 or 2, data=7 or 8", key, text)
		}
	}
	return s, nil
}

// Endpoint returns where a client finds the server, as the edge's configuration
// takes it: with the port or the terminal the system chose, or the link to it.
func (s *Server) Endpoint() string {
	if s.listener != nil {
		return s.scheme + "://" + s.Addr()
	}
	path := s.master.slave
	if s.master.link != "" {
		path = s.master.link
	}
	e := fmt.Sprintf("rtu://%s?baud=%d", path, s.line.Baud)
	if s.line.Parity != "none" {
		e += "&parity=" + s.line.Parity
	}
	if s.line.Stop != 1 {
		e += fmt.Sprintf("&stop=%d", s.line.Stop)
	}
	if s.line.Data != 8 {
		e += fmt.Sprintf("&data=%d", s.line.Data)
	}
	return e
}

// serveLine answers over the pseudo terminal until ctx ends.
func (s *Server) serveLine(ctx context.Context) error {
	defer s.master.Close()
	stop := context.AfterFunc(ctx, func() { s.master.Close() })
	defer stop()
	s.converse(ctx, s.master, false)
	if ctx.Err() == nil {
		return fmt.Errorf("serve Modbus RTU on %s: %w", s.master.slave, os.ErrClosed)
	}
	return nil
}
