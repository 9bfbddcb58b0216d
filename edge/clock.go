package edge

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// PlantClock is the clock of a simulated plant in another process, spoken to in
// lines over TCP; see edge/plant. It is for rigs: with it an agent takes its
// time from the plant, which goes on as soon as the agent has followed.
type PlantClock struct {
	addr string

	mu   sync.Mutex // guards now
	now  time.Time
	call sync.Mutex // one conversation at a time
	conn net.Conn
	in   *bufio.Reader
}

// DialPlantClock connects to the clock and reads it once.
func DialPlantClock(ctx context.Context, addr string) (*PlantClock, error) {
	c := &PlantClock{addr: addr}
	if err := c.ask(ctx, "now\n"); err != nil {
		return nil, fmt.Errorf("plant clock %s: %w", addr, err)
	}
	return c, nil
}

// Follow moves the plant's clock forward to a time the agent has already
// recorded, so that a plant that was started again goes on where the log ends.
func (c *PlantClock) Follow(ctx context.Context, at time.Time) error {
	if err := c.ask(ctx, fmt.Sprintf("sleep %d %d\n", at.UnixMilli(), at.UnixMilli())); err != nil {
		return fmt.Errorf("plant clock %s: %w", c.addr, err)
	}
	return nil
}

// Now returns the plant's time as of the last answer: it stands still while the
// agent works.
func (c *PlantClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Sleep waits until the plant's clock has moved by d. While the plant is away it
// goes on asking, once a second, so that a plant can be started again.
func (c *PlantClock) Sleep(ctx context.Context, d time.Duration) error {
	now := c.Now()
	line := fmt.Sprintf("sleep %d %d\n", now.UnixMilli(), now.Add(d).UnixMilli())
	for {
		err := c.ask(ctx, line)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if err := RealClock().Sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// ask sends a line and takes the answer for the time.
func (c *PlantClock) ask(ctx context.Context, line string) error {
	c.call.Lock()
	defer c.call.Unlock()
	if c.conn == nil {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", c.addr)
		if err != nil {
			return err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) // wakes a blocked read
	defer stop()
	ms, err := c.exchange(line)
	if err != nil {
		c.conn.Close()
		c.conn = nil
		return err
	}
	c.mu.Lock()
	c.now = time.UnixMilli(ms)
	c.mu.Unlock()
	return nil
}

func (c *PlantClock) exchange(line string) (int64, error) {
	if _, err := c.conn.Write([]byte(line)); err != nil {
		return 0, err
	}
	answer, err := c.in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(answer), 10, 64)
}
