package plant

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// maxLine bounds a request to the clock, in bytes; the longest there is has 46.
const maxLine = 128

// ServeClock lets other processes live by a lockstep clock, until ctx ends,
// which is no error, or the listener fails. The listener is closed when it
// returns. Requests and answers are lines of text, times are ms since 1970 UTC:
//
//	now                          → the clock's time
//	sleep <own time> <until>     → the clock's time, once it has reached until
//	anything else                → "error" and what was expected; then the end
//
// A connection that sleeps is one sleeper of the clock, until it hangs up. Own
// time is what the client last heard: when the clock is behind it, because the
// plant was started again and its client was not, the clock first moves there.
func ServeClock(ctx context.Context, ln net.Listener, c *Lockstep) error {
	talk := func(ctx context.Context, conn net.Conn) { tellTime(ctx, conn, c) }
	if err := serveConns(ctx, ln, maxConnections, talk); err != nil {
		return fmt.Errorf("serve the clock on %s: %w", ln.Addr(), err)
	}
	return nil
}

// tellTime answers one connection. A goroutine of its own reads, so that a
// client that hangs up in its sleep is noticed and no longer waited for.
func tellTime(ctx context.Context, conn net.Conn, c *Lockstep) {
	ctx, hangUp := context.WithCancel(ctx)
	lines := make(chan string)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer hangUp()
		in := bufio.NewScanner(conn)
		in.Buffer(make([]byte, 0, maxLine), maxLine)
		for in.Scan() {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		hangUp()
		conn.Close()
		<-ended
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case line := <-lines:
			now, err := obey(ctx, line, c)
			answer := strconv.FormatInt(now.UnixMilli(), 10)
			if err != nil {
				answer = "error " + err.Error()
			}
			if conn.SetWriteDeadline(time.Now().Add(writeLimit)) != nil {
				return
			}
			if _, werr := conn.Write([]byte(answer + "\n")); err != nil || werr != nil {
				return
			}
		}
	}
}

// obey does what one line asks for and returns the clock's time after it.
func obey(ctx context.Context, line string, c *Lockstep) (time.Time, error) {
	words := strings.Fields(line)
	if len(words) == 1 && words[0] == "now" {
		return c.Now(), nil
	}
	if len(words) != 3 || words[0] != "sleep" {
		return time.Time{}, fmt.Errorf(`%q: want "now" or "sleep <own time> <until>"`, line)
	}
	var at [2]time.Time
	for i, w := range words[1:] {
		ms, err := strconv.ParseInt(w, 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("time %q: want ms since 1970", w)
		}
		at[i] = time.UnixMilli(ms)
	}
	c.Resume(at[0])
	if err := c.sleepUntil(ctx, at[1]); err != nil {
		return time.Time{}, err
	}
	return c.Now(), nil
}
