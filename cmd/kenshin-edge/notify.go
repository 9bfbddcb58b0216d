package main

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// notifier tells systemd how the service does. Without systemd it is silent.
// Source: sd_notify(3), sd_watchdog_enabled(3).
type notifier struct {
	socket string        // "" when nobody listens
	every  time.Duration // between two signs of life, 0 when none are wanted
}

// newNotifier reads what systemd has put into the environment.
func newNotifier(env func(string) string) *notifier {
	n := &notifier{socket: env("NOTIFY_SOCKET")}
	usec, err := strconv.ParseInt(env("WATCHDOG_USEC"), 10, 64)
	if pid := env("WATCHDOG_PID"); err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.every = time.Duration(usec) * time.Microsecond / 3
	}
	return n
}

// say sends a state such as "READY=1". That it does not arrive changes nothing.
func (n *notifier) say(state string) {
	if n.socket == "" {
		return
	}
	conn, err := net.Dial("unixgram", n.socket) // "@name" is an abstract socket
	if err != nil {
		return
	}
	defer conn.Close()
	conn.Write([]byte(state))
}

// watch gives signs of life until ctx ends, as long as no bus is stalled: systemd
// then restarts the agent, which is better than readings that nobody misses.
func (n *notifier) watch(ctx context.Context, stalled func() []string) {
	if n.socket == "" || n.every <= 0 {
		return
	}
	t := time.NewTicker(n.every)
	defer t.Stop()
	for {
		if s := stalled(); len(s) == 0 {
			n.say("WATCHDOG=1")
		} else {
			n.say("STATUS=stalled: " + strings.Join(s, ", "))
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
