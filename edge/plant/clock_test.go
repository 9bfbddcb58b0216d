package plant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var noon = time.Date(2020, 5, 15, 12, 0, 0, 0, time.UTC)

// quarters returns n times a quarter of an hour apart, from noon on.
func quarters(n int) []time.Time {
	var times []time.Time
	for i := range n {
		times = append(times, noon.Add(time.Duration(i)*15*time.Minute))
	}
	return times
}

func TestScaled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewScaled(noon, 600)
		began := time.Now()
		if got := c.Now(); !got.Equal(noon) {
			t.Errorf("Now = %v at the start, want %v", got, noon)
		}
		if err := c.Sleep(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(began); got != 6*time.Second {
			t.Errorf("an hour at 600 times the speed took %v, want 6s", got)
		}
		if got := c.Now(); !got.Equal(noon.Add(time.Hour)) {
			t.Errorf("Now = %v after an hour", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Sleep = %v when ctx ends first", err)
		}
		if err := c.Sleep(ctx, -time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Sleep = %v with an ended ctx", err)
		}
		if err := c.Sleep(t.Context(), -time.Hour); err != nil {
			t.Errorf("Sleep of less than nothing = %v", err)
		}
	})
}

func TestScaledReachesItsHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, speed := range []float64{0.1, 1, 3, 777.7, 1e6} {
			c := NewScaled(noon, speed)
			until := noon
			for range 100 {
				d := 7*time.Second + time.Nanosecond
				until = c.Now().Add(d)
				if err := c.Sleep(t.Context(), d); err != nil {
					t.Fatal(err)
				}
				if now := c.Now(); now.Before(until) {
					t.Fatalf("speed %v: woke at %v, before %v", speed, now, until)
				}
			}
		}
	})
}

func TestLockstepVisitsEveryTimeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		times := quarters(50)
		gates := 0
		const pollers = 3
		c := NewLockstep(times, pollers, func(context.Context) error { gates++; return nil })
		ctx, cancel := context.WithCancel(t.Context())
		var seen [pollers][]time.Time
		var wg sync.WaitGroup
		for i := range pollers {
			wg.Go(func() {
				for {
					seen[i] = append(seen[i], c.Now())
					if err := c.Sleep(ctx, time.Duration(i+1)*15*time.Minute); err != nil {
						return
					}
				}
			})
		}
		<-c.Done()
		cancel()
		wg.Wait()
		if gates != len(times)-1 {
			t.Errorf("the gate was asked %d times for %d jumps", gates, len(times)-1)
		}
		for i := range pollers {
			step := i + 1
			for n, at := range seen[i] {
				if want := times[n*step]; !at.Equal(want) {
					t.Fatalf("poller %d woke at %v, want %v", i, at, want)
				}
			}
			if want := (len(times)-1)/step + 1; len(seen[i]) != want {
				t.Errorf("poller %d woke %d times, want %d", i, len(seen[i]), want)
			}
		}
	})
}

func TestLockstepStandsWhileOneWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewLockstep(quarters(3), 2, nil)
		woke := make(chan time.Time, 1)
		go func() {
			if c.Sleep(t.Context(), time.Minute) == nil {
				woke <- c.Now()
			}
		}()
		synctest.Wait()
		if got := c.Now(); !got.Equal(noon) {
			t.Fatalf("the clock went to %v with one of two asleep", got)
		}
		// One who sleeps and gives up does not count any more.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Sleep(ctx, time.Minute); !errors.Is(err, context.Canceled) {
			t.Errorf("Sleep = %v", err)
		}
		if err := c.Sleep(t.Context(), 0); err != nil {
			t.Errorf("Sleep of nothing = %v", err)
		}
		synctest.Wait()
		if got := c.Now(); !got.Equal(noon) {
			t.Fatalf("the clock went to %v", got)
		}
		if err := c.Sleep(t.Context(), 15*time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := <-woke; !got.Equal(quarters(2)[1]) {
			t.Errorf("woke at %v", got)
		}
	})
}

func TestLockstepGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refusal := errors.New("the chain has stopped")
		open := make(chan error)
		c := NewLockstep(quarters(3), 1, func(ctx context.Context) error {
			select {
			case err := <-open:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		ended := make(chan error, 1)
		sleep := func(ctx context.Context) { ended <- c.Sleep(ctx, time.Minute) }
		go sleep(t.Context())
		synctest.Wait()
		if got := c.Now(); !got.Equal(noon) {
			t.Errorf("the clock went to %v through a closed gate", got)
		}
		open <- refusal
		if err := <-ended; !errors.Is(err, refusal) {
			t.Errorf("Sleep = %v, want what the gate said", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go sleep(ctx)
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Sleep = %v when ctx ended at the gate", err)
		}
		go sleep(t.Context())
		open <- nil
		if err := <-ended; err != nil || !c.Now().Equal(quarters(2)[1]) {
			t.Errorf("Sleep = %v at %v after the gate opened", err, c.Now())
		}
	})
}

// Somebody who worked while the gate was asked may have made what the gate
// must see, so the gate is asked again.
func TestLockstepAsksTheGateAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan chan error)
		c := NewLockstep(quarters(2), 2, func(context.Context) error {
			answer := make(chan error)
			asked <- answer
			return <-answer
		})
		var wg sync.WaitGroup
		wg.Go(func() { c.Sleep(t.Context(), time.Minute) })
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { c.Sleep(ctx, time.Minute) })
		first := <-asked
		cancel() // one of the two leaves, if the gate runs in the other
		synctest.Wait()
		wg.Go(func() { c.Sleep(t.Context(), time.Minute) })
		synctest.Wait()
		first <- nil
		second := <-asked
		if got := c.Now(); !got.Equal(noon) {
			t.Errorf("the clock went to %v on the old answer", got)
		}
		second <- nil
		wg.Wait()
	})
}

func TestLockstepResume(t *testing.T) {
	times := quarters(5)
	for _, tt := range []struct {
		name     string
		at, want time.Time
	}{
		{"listed", times[2], times[2]},
		{"between", times[2].Add(time.Second), times[3]},
		{"before all", noon.Add(-time.Hour), times[0]},
		{"after all", noon.Add(24 * time.Hour), times[4]},
	} {
		c := NewLockstep(times, 1, nil)
		if c.Resume(tt.at); !c.Now().Equal(tt.want) {
			t.Errorf("%s: clock stands at %v, want %v", tt.name, c.Now(), tt.want)
		}
		if c.Resume(times[0]); !c.Now().Equal(tt.want) {
			t.Errorf("%s: clock went back to %v", tt.name, c.Now())
		}
	}
}

func TestLockstepSortsItsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := quarters(3)
		c := NewLockstep([]time.Time{q[2], q[0], q[1], q[0]}, 1, nil)
		for _, want := range q[1:] {
			if err := c.Sleep(t.Context(), time.Nanosecond); err != nil || !c.Now().Equal(want) {
				t.Fatalf("Sleep = %v at %v, want %v", err, c.Now(), want)
			}
		}
	})
}

// line sends one line and returns the next that comes.
func line(t *testing.T, conn net.Conn, format string, args ...any) string {
	t.Helper()
	if _, err := fmt.Fprintf(conn, format+"\n", args...); err != nil {
		t.Fatal(err)
	}
	return hear(t, conn)
}

func hear(t *testing.T, conn net.Conn) string {
	t.Helper()
	var b []byte
	for one := make([]byte, 1); ; {
		if _, err := io.ReadFull(conn, one); err != nil {
			t.Fatalf("after %q: %v", b, err)
		}
		if one[0] == '\n' {
			return string(b)
		}
		b = append(b, one[0])
	}
}

func TestClockProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := quarters(4)
		c := NewLockstep(q, 2, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		connect := func() net.Conn {
			client, server := net.Pipe()
			wg.Go(func() { tellTime(ctx, server, c) })
			return client
		}
		ms := func(i int) string { return fmt.Sprint(q[i].UnixMilli()) }
		a, b := connect(), connect()
		if got := line(t, a, "now"); got != ms(0) {
			t.Errorf("now: %s, want %s", got, ms(0))
		}
		if got := line(t, a, "sleep %s %s", ms(0), ms(0)); got != ms(0) {
			t.Errorf("sleep of nothing: %s", got)
		}
		fmt.Fprintf(a, "sleep %s %s\n", ms(0), ms(2))
		synctest.Wait()
		if got := line(t, b, "sleep %s %s", ms(0), ms(1)); got != ms(1) {
			t.Errorf("b woke at %s, want %s", got, ms(1))
		}
		if got := line(t, b, "sleep %s %s", ms(1), ms(2)); got != ms(2) {
			t.Errorf("b woke at %s, want %s", got, ms(2))
		}
		if got := hear(t, a); got != ms(2) {
			t.Errorf("a woke at %s, want %s", got, ms(2))
		}
		// One who hangs up in its sleep is not waited for, nor counted.
		fmt.Fprintf(a, "sleep %s %s\n", ms(2), ms(3))
		synctest.Wait()
		a.Close()
		synctest.Wait()
		fmt.Fprintf(b, "sleep %s %s\n", ms(2), ms(3))
		synctest.Wait()
		if !c.Now().Equal(q[2]) {
			t.Errorf("the clock went to %v for one sleeper and one that left", c.Now())
		}
		a = connect()
		if got := line(t, a, "sleep %s %s", ms(2), ms(3)); got != ms(3) {
			t.Errorf("the one that came again woke at %s", got)
		}
		hear(t, b)
		cancel()
		wg.Wait()
	})
}

func TestClockProtocolResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := quarters(4)
		c := NewLockstep(q, 1, nil)
		client, server := net.Pipe()
		var wg sync.WaitGroup
		wg.Go(func() { tellTime(t.Context(), server, c) })
		got := line(t, client, "sleep %d %d", q[2].UnixMilli(), q[3].UnixMilli())
		if want := fmt.Sprint(q[3].UnixMilli()); got != want {
			t.Errorf("a clock that was started again woke its client at %s, want %s", got, want)
		}
		client.Close()
		wg.Wait()
	})
}

func TestClockProtocolRefuses(t *testing.T) {
	for _, bad := range []string{"", "hello", "sleep", "sleep 1", "sleep 1 x", "sleep 1 2 3", "sleep 99999999999999999999 1"} {
		client, server := net.Pipe()
		var wg sync.WaitGroup
		wg.Go(func() { tellTime(t.Context(), server, NewLockstep(quarters(1), 1, nil)) })
		if got := line(t, client, "%s", bad); !strings.HasPrefix(got, "error ") {
			t.Errorf("%q answered with %q", bad, got)
		}
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%q: the connection goes on: %v", bad, err)
		}
		wg.Wait()
	}
	client, server := net.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() { tellTime(t.Context(), server, NewLockstep(quarters(1), 1, nil)) })
	client.Write([]byte(strings.Repeat("x", 2*maxLine))) // ends early: nobody reads on
	wg.Wait()
}

func TestServeClock(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	q := quarters(2)
	c := NewLockstep(q, 1, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- ServeClock(ctx, ln, c) }()
	conn := dial(t, ln.Addr().String())
	if got, want := line(t, conn, "sleep %d %d", noon.UnixMilli(), q[1].UnixMilli()), fmt.Sprint(q[1].UnixMilli()); got != want {
		t.Errorf("woke at %s, want %s", got, want)
	}
	fmt.Fprintf(conn, "sleep %d %d\n", q[1].UnixMilli(), q[1].UnixMilli()+1)
	<-c.Done()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ServeClock = %v after its ctx ended, want nil", err)
	}
}
