package modbus

import (
	"context"
	"net"
	"testing"
	"time"
)

// mirror is a wire in memory that answers each request at once with zeros.
type mirror struct {
	answers chan []byte
	answer  []byte
}

func (m *mirror) Read(b []byte) (int, error) {
	a, ok := <-m.answers
	if !ok {
		return 0, net.ErrClosed
	}
	return copy(b, a), nil
}

func (m *mirror) Write(b []byte) (int, error)      { m.answers <- m.answer; return len(b), nil }
func (m *mirror) Close() error                     { close(m.answers); return nil }
func (m *mirror) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkRTU is one request over RTU in memory: encode, write, listen, judge,
// decode. It leaves out the silence between frames, which is 1.75 ms at least.
func BenchmarkRTU(b *testing.B) {
	for name, count := range map[string]uint16{"2 registers": 2, "125 registers": 125} {
		b.Run(name, func(b *testing.B) {
			c, e, err := Config{Endpoint: "rtu:///dev/tty?baud=115200"}.parse()
			if err != nil {
				b.Fatal(err)
			}
			answer := sum(append([]byte{1, 3, byte(2 * count)}, make([]byte, 2*count)...))
			bus := newRTU(c, e, func(context.Context) (*ear, error) {
				return newEar(&mirror{make(chan []byte, 1), answer}, false), nil
			})
			defer bus.Close()
			bus.link.(*rtu).silence, bus.link.(*rtu).listened = 0, true
			b.ReportAllocs()
			b.SetBytes(int64(rtuRequest + len(answer)))
			for b.Loop() {
				if _, err := bus.Read(b.Context(), 1, 3, 0, count); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkJudge is the part of it that looks at bytes.
func BenchmarkJudge(b *testing.B) {
	f := rtuFraming()
	l := &rtu{packager: f.packager, debts: newDebts(), link: link[*ear]{counts: new(counts)}}
	q := question{1, 3, 0, 125}
	frame := sum(append([]byte{1, 3, 250}, make([]byte, 250)...))
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		if size, mine, err := l.judge(q, frame); size != len(frame) || !mine || err != nil {
			b.Fatal(size, mine, err)
		}
	}
}
