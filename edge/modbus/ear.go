package modbus

import (
	"io"
	"sync"
	"time"
)

// wire is what RTU frames travel on: a network connection or a serial port.
type wire interface {
	io.ReadWriteCloser
	SetWriteDeadline(time.Time) error
}

// ear listens to a wire all the time, so that what comes unasked is known before
// the next request and when each byte came is known at all. Reading is its
// goroutine's, which Close ends; all else is for one goroutine at a time.
type ear struct {
	wire  wire
	paced bool          // bytes take their time on it, as on a real serial line
	more  chan struct{} // holds a token when there is news
	done  chan struct{} // closed when the goroutine has ended

	mu   sync.Mutex // guards the rest
	buf  []byte     // what came and was not taken
	from time.Time  // what comes before it is no answer
	n    int        // bytes that came since the last clear
	at   time.Time  // the last byte
	err  error      // why nothing comes any more
}

// earMost is how much is kept of what nobody takes.
const earMost = 2 * rtuMost

func newEar(w wire, paced bool) *ear {
	e := &ear{wire: w, paced: paced, more: make(chan struct{}, 1), done: make(chan struct{}), buf: make([]byte, 0, earMost)}
	go e.listen()
	return e
}

func (e *ear) listen() {
	defer close(e.done)
	chunk := make([]byte, rtuMost)
	for {
		n, err := e.wire.Read(chunk)
		e.hear(chunk[:n], err)
		select {
		case e.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (e *ear) hear(chunk []byte, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = err
	if len(chunk) == 0 {
		return
	}
	now := time.Now()
	e.n, e.at = e.n+len(chunk), now
	if !now.Before(e.from) {
		e.buf = append(e.buf, chunk[:min(len(chunk), cap(e.buf)-len(e.buf))]...)
	}
}

// clear throws away what came and returns how many bytes there were since it was
// called last, when the last came, and whether the wire is gone.
func (e *ear) clear() (n int, at time.Time, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n, e.n, e.buf = e.n, 0, e.buf[:0]
	return n, e.at, e.err
}

// send writes a request and throws away what comes before from. It returns how
// many bytes were written.
func (e *ear) send(adu []byte, from, deadline time.Time) (int, error) {
	e.mu.Lock()
	e.n, e.buf, e.from = 0, e.buf[:0], from
	e.mu.Unlock()
	if err := e.wire.SetWriteDeadline(deadline); err != nil {
		return 0, err
	}
	return e.wire.Write(adu)
}

// take moves what came into b. With an error nothing will come any more.
func (e *ear) take(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := copy(b, e.buf)
	e.buf = append(e.buf[:0], e.buf[n:]...)
	if len(e.buf) > 0 {
		return n, nil
	}
	return n, e.err
}

// Close closes the wire and returns when the goroutine has ended.
func (e *ear) Close() error {
	err := e.wire.Close()
	<-e.done
	return err
}
