package broker

import (
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a connection that keeps what was written, a piece for each write.
type wire struct {
	net.Conn
	writes []string
}

func (w *wire) Write(b []byte) (int, error) {
	w.writes = append(w.writes, string(b))
	return len(b), nil
}

func (w *wire) SetWriteDeadline(time.Time) error { return nil }
func (w *wire) Close() error                     { return nil }

// TestPubacksTravelWithAcks: PUBACKs go out in the order of Done with what is written
// next, by themselves when nothing is, at once when many wait, and not after the end.
func TestPubacksTravelWithAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		c := &conn{Conn: w}
		done := func(ids ...uint16) {
			for _, id := range ids {
				c.ackOnce(id)()
			}
		}
		done(7, 3)
		if n, err := c.Write([]byte("ack")); n != 3 || err != nil {
			t.Errorf("Write = %d, %v; want 3", n, err)
		}
		time.Sleep(2 * pubackWithin)
		done(258)
		time.Sleep(2 * pubackWithin)
		many := make([]uint16, pubacksAtOnce)
		done(many...)
		synctest.Wait()
		want := []string{"\x40\x02\x00\x07\x40\x02\x00\x03ack", "\x40\x02\x01\x02"}
		if len(w.writes) != 3 || !slices.Equal(w.writes[:2], want) || len(w.writes[2]) != 4*pubacksAtOnce {
			t.Errorf("written %q, want %q and %d PUBACKs", w.writes, want, pubacksAtOnce)
		}
		done(1)
		c.Close()
		done(2)
		c.late.Wait()
		if time.Sleep(2 * pubackWithin); len(w.writes) != 3 {
			t.Errorf("written after the end: %q", w.writes[3:])
		}
	})
}
