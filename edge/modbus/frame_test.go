package modbus

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// canned is a connection that answers any request with what it holds, in
// pieces, and then ends.
type canned struct {
	answer []byte
	piece  int
}

func (c *canned) Read(b []byte) (int, error) {
	if len(c.answer) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), c.piece)], c.answer)
	c.answer = c.answer[n:]
	return n, nil
}

func (c *canned) Write(b []byte) (int, error)      { return len(b), nil }
func (c *canned) Close() error                     { return nil }
func (c *canned) LocalAddr() net.Addr              { return nil }
func (c *canned) RemoteAddr() net.Addr             { return nil }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }

// FuzzAnswer throws bytes at the first request of a bus: transaction 1, unit 1,
// function 3, registers 16+2. Only the one right frame may yield words.
func FuzzAnswer(f *testing.F) {
	right := []byte{0, 1, 0, 0, 0, 7, 1, 3, 4, 0x12, 0x34, 0xAB, 0xCD}
	for _, seed := range [][]byte{
		right, {}, right[:8], append(slices.Clone(right), 0),
		{0, 1, 0, 0, 0, 3, 1, 0x83, 2},          // exception
		{0, 2, 0, 0, 0, 7, 1, 3, 4, 1, 2, 3, 4}, // another transaction
		{0, 1, 0, 0, 0, 2, 1, 3},                // no data
		{0, 1, 0, 0, 0, 3, 1, 3, 0},             // no registers
		{0, 1, 0, 0, 0, 3, 1, 0x83, 0},          // exception 0
		{0, 1, 0, 0, 0xFF, 0xFF, 1, 3, 4},       // a frame longer than any
		bytes.Repeat([]byte{0}, 260),
	} {
		f.Add(seed, uint8(3))
		f.Add(seed, uint8(255))
	}
	f.Fuzz(func(t *testing.T, answer []byte, piece uint8) {
		b := newTCP(Config{Timeout: time.Second, ConnectTimeout: time.Second}, func(context.Context) (net.Conn, error) {
			return &canned{slices.Clone(answer), max(1, int(piece))}, nil
		})
		words, err := b.Read(t.Context(), 1, 3, 16, 2)
		var refused *ExceptionError
		switch {
		case err == nil:
			// What lies behind the frame may not have been read yet.
			if !bytes.HasPrefix(answer, right[:9]) || !slices.Equal(words, []uint16{binary.BigEndian.Uint16(answer[9:]), binary.BigEndian.Uint16(answer[11:])}) {
				t.Errorf("% x was taken as %x", answer, words)
			}
		case errors.As(err, &refused):
			if len(answer) < 9 || answer[7] != 0x83 || answer[8] != refused.Code || refused.Code == 0 {
				t.Errorf("% x was taken as %v", answer, err)
			}
		case !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnreachable):
			t.Errorf("% x: %v is of no known kind", answer, err)
		}
		if err != nil && refused == nil && b.link.(*tcp).up {
			t.Errorf("% x: the connection was kept after %v", answer, err)
		}
	})
}

// FuzzRTU throws bytes at a request over RTU: unit 1, function 3, registers
// 16+2, while units 1 and 2 owe answers of three registers. Only the one right
// frame may yield words, alone or behind late ones.
func FuzzRTU(f *testing.F) {
	right := words(question{1, 3, 16, 2})
	late, other := words(question{1, 3, 700, 3}), words(question{2, 3, 700, 3})
	for _, seed := range [][]byte{
		right, {}, right[:5], append(slices.Clone(right), 0), append(slices.Clone(late), right...), append(slices.Clone(other), right...),
		slices.Concat(late, other, right), slices.Concat(other, other, right), slices.Concat(right[:4], right), slices.Concat([]byte{0}, right),
		refusal(question{1, 3, 16, 2}, 2), refusal(question{1, 3, 16, 2}, 0), refusal(question{2, 3, 16, 2}, 2), words(question{1, 4, 16, 2}),
		words(question{1, 3, 16, 1}), words(question{1, 3, 16, 125}), sum([]byte{1, 3}), sum([]byte{1, 3, 4}), bytes.Repeat([]byte{1, 3}, 300),
	} {
		f.Add(seed, uint8(3))
		f.Add(seed, uint8(255))
	}
	f.Fuzz(func(t *testing.T, answer []byte, piece uint8) {
		c, e, err := Config{Endpoint: "rtutcp://h:1", Timeout: time.Second}.parse()
		if err != nil {
			t.Fatal(err)
		}
		b := newRTU(c, e, func(context.Context) (*ear, error) {
			return newEar(&canned{slices.Clone(answer), max(1, int(piece))}, false), nil
		})
		defer b.Close()
		l := b.link.(*rtu)
		l.listened = true
		for unit := range uint8(2) {
			l.debts.owe(question{unit + 1, 3, 700, 3}, time.Now(), false)
		}
		if rest := l.pay(slices.Clone(answer)); len(rest) > rtuMost {
			t.Errorf("%d bytes of % x are taken for the beginning of an answer", len(rest), answer)
		}
		got, err := b.Read(t.Context(), 1, 3, 16, 2)
		var refused *ExceptionError
		switch {
		case err == nil:
			frame := []byte{1, 3, 4}
			for _, w := range got {
				frame = binary.BigEndian.AppendUint16(frame, w)
			}
			at := bytes.Index(answer, sum(frame))
			if len(got) != 2 || at < 0 || at > 0 && answer[0] != 1 && answer[0] != 2 {
				t.Errorf("% x was taken as %x", answer, got)
			}
		case errors.As(err, &refused):
			if refused.Code == 0 || !bytes.Contains(answer, refusal(question{1, 3, 16, 2}, refused.Code)) {
				t.Errorf("% x was taken as %v", answer, err)
			}
		case !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnreachable):
			t.Errorf("% x: %v is of no known kind", answer, err)
		}
	})
}
