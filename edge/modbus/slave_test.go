package modbus

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// slave is an RTU line without a network: a pipe, on the time of the test.
type slave struct {
	paced  bool
	answer func(s *slave, q question) // may say anything at any time
	mu     sync.Mutex
	conn   net.Conn
	asked  []question
	at     []time.Time
	dials  int
}

func (s *slave) dial(context.Context) (*ear, error) {
	near, far := net.Pipe()
	s.mu.Lock()
	s.conn = far
	s.dials++
	s.mu.Unlock()
	go func() {
		defer far.Close()
		for {
			adu := make([]byte, rtuRequest)
			if _, err := io.ReadFull(far, adu); err != nil {
				return
			}
			q := question{adu[0], adu[1], binary.BigEndian.Uint16(adu[2:]), binary.BigEndian.Uint16(adu[4:])}
			s.mu.Lock()
			s.asked, s.at = append(s.asked, q), append(s.at, time.Now())
			answer := s.answer
			s.mu.Unlock()
			answer(s, q)
		}
	}()
	return newEar(near, s.paced), nil
}

func (s *slave) set(answer func(*slave, question)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// say writes after d, to the connection of that moment.
func (s *slave) say(d time.Duration, b []byte) {
	time.AfterFunc(d, func() {
		s.mu.Lock()
		conn := s.conn
		s.mu.Unlock()
		conn.Write(b)
	})
}

// seen returns what was asked, and how often the line was dialled.
func (s *slave) seen() (asked []question, dials int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked), s.dials
}

// counts returns for how many registers each request was.
func (s *slave) counts() (counts []uint16) {
	asked, _ := s.seen()
	for _, q := range asked {
		counts = append(counts, q.count)
	}
	return counts
}

// hangUp closes the connection of the moment.
func (s *slave) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn.Close()
}

// last returns what was asked last, and when.
func (s *slave) last() (question, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[len(s.asked)-1], s.at[len(s.at)-1]
}

// words is the right answer: register n holds n.
func words(q question) []byte {
	b := []byte{q.unit, q.function, byte(2 * q.count)}
	for i := range q.count {
		b = binary.BigEndian.AppendUint16(b, q.address+i)
	}
	return sum(b)
}

func sum(b []byte) []byte {
	c := uint16(0xFFFF)
	for _, x := range b {
		c ^= uint16(x)
		for range 8 {
			if c&1 == 1 {
				c = c>>1 ^ 0xA001
			} else {
				c >>= 1
			}
		}
	}
	return binary.LittleEndian.AppendUint16(slices.Clip(b), c)
}

func refusal(q question, code byte) []byte { return sum([]byte{q.unit, q.function | 0x80, code}) }

// after answers rightly after d.
func after(d time.Duration) func(*slave, question) {
	return func(s *slave, q question) { s.say(d, words(q)) }
}

func mute(*slave, question) {}

const thinking = 10 * time.Millisecond

// rtuBus returns a bus to s at 9600 baud, where a character takes 1.0417 ms. It
// has listened to the line already.
func rtuBus(c Config, s *slave, scheme string) *Bus {
	c.Endpoint = scheme + "://h:1"
	if scheme == schemeRTU {
		c.Endpoint = "rtu:///dev/tty"
	}
	c, e, err := c.parse()
	if err != nil {
		panic(err)
	}
	b := newRTU(c, e, s.dial)
	b.link.(*rtu).listened = true
	return b
}

var nine600 = serialLine{9600, "none", 1}

// ask reads and checks the words.
func ask(t *testing.T, b *Bus, unit uint8, address, count uint16) error {
	t.Helper()
	got, err := b.Read(t.Context(), unit, 3, address, count)
	for i, w := range got {
		if w != address+uint16(i) {
			t.Errorf("unit %d registers %d+%d: %d", unit, address, count, got)
			break
		}
	}
	if err == nil && len(got) != int(count) {
		t.Errorf("%d words, want %d", len(got), count)
	}
	return err
}
