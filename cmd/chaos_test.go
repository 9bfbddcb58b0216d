package cmd

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands between clients and a broker and does to connections what
// networks do. It never changes bytes: that TCP does not do.
type proxy struct {
	to string
	l  net.Listener
	wg sync.WaitGroup

	mu     sync.Mutex // guards all below
	rng    *rand.Rand
	delay  time.Duration  // of every read
	held   chan struct{}  // not nil: nothing moves, nobody is told; closed when it moves again
	pairs  map[*pair]bool // connections that are open
	hellos [][]byte       // first bytes of connections, to be said twice
	closed bool
}

// pair is a client's connection and the one to the broker.
type pair struct{ near, far net.Conn }

func (p *pair) cut() {
	for _, c := range []net.Conn{p.near, p.far} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, and what is on its way is lost
		}
		c.Close()
	}
}

func newProxy(t testing.TB, to string, seed uint64) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{to: to, l: l, rng: rand.New(rand.NewPCG(seed, 4)), pairs: make(map[*pair]bool)}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		l.Close()
		p.hold(false)
		p.cutAll()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		near, err := p.l.Accept()
		if err != nil {
			return
		}
		far, err := net.DialTimeout("tcp", p.to, time.Second)
		if err != nil {
			near.Close()
			continue
		}
		c := &pair{near, far}
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			c.cut()
			return
		}
		p.pairs[c] = true
		p.mu.Unlock()
		p.wg.Go(func() { p.copy(c, far, near, true) })
		p.wg.Go(func() { p.copy(c, near, far, false) })
	}
}

func (p *proxy) copy(c *pair, to, from net.Conn, up bool) {
	defer func() {
		to.Close()
		from.Close()
		p.mu.Lock()
		delete(p.pairs, c)
		p.mu.Unlock()
	}()
	buf := make([]byte, 4096)
	for first := true; ; first = false {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		delay, held := p.delay, p.held
		if first && up && len(p.hellos) < 16 {
			p.hellos = append(p.hellos, append([]byte(nil), buf[:n]...))
		}
		p.mu.Unlock()
		if held != nil {
			<-held
		}
		if delay > 0 {
			t := time.NewTimer(delay)
			<-t.C
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// hold makes every connection stand still, half-open, or lets it move again.
func (p *proxy) hold(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.held == nil:
		p.held = make(chan struct{})
	case !on && p.held != nil:
		close(p.held)
		p.held = nil
	}
}

func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.cut()
	}
}

// again says the first bytes of a connection once more on another: the broker
// sees the same client twice and drops the one it had.
func (p *proxy) again() {
	p.mu.Lock()
	var hello []byte
	if len(p.hellos) > 0 {
		hello = p.hellos[p.rng.IntN(len(p.hellos))]
	}
	p.mu.Unlock()
	if c, err := net.DialTimeout("tcp", p.to, time.Second); err == nil {
		c.Write(hello)
		t := time.NewTimer(50 * time.Millisecond)
		<-t.C
		c.Close()
	}
}

// TestChaos: agents and collector, each behind a proxy of its own, at a real
// mosquitto that is killed and loses all it knew. KENSHIN_CHAOS says how many
// things go wrong (default 12), KENSHIN_SEED from which seed.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	events, seed := int(number(t, "KENSHIN_CHAOS", 12)), number(t, "KENSHIN_SEED", 1)
	rng := rand.New(rand.NewPCG(seed, 5))
	brokerAt := freeAddr(t)
	broker := mosquitto(t, brokerAt)
	proxies := []*proxy{newProxy(t, brokerAt, seed), newProxy(t, brokerAt, seed+1)} // of agents, of the collector
	s := newStack(t, 2, proxies[1].l.Addr().String(), proxies[0].l.Addr().String(), true)
	s.startCenter()
	for n := range s.edges {
		s.startAgent(n)
	}
	counts := make(map[string]int)
	for range events {
		timer := time.NewTimer(time.Duration(200+rng.IntN(1500)) * time.Millisecond)
		<-timer.C
		p := proxies[rng.IntN(2)]
		what := []string{"cut", "hold", "move", "delay", "no delay", "same client twice", "broker wiped"}[rng.IntN(7)]
		counts[what]++
		switch what {
		case "cut":
			p.cutAll()
		case "hold", "move":
			p.hold(what == "hold")
		case "delay", "no delay":
			p.mu.Lock()
			p.delay = 0
			if what == "delay" {
				p.delay = time.Duration(rng.IntN(800)) * time.Millisecond
			}
			p.mu.Unlock()
		case "same client twice":
			p.again()
		case "broker wiped":
			broker.kill9()
			broker = mosquitto(t, brokerAt) // in a new, empty folder
		}
	}
	for _, p := range proxies {
		p.hold(false)
		p.mu.Lock()
		p.delay = 0
		p.mu.Unlock()
	}
	t.Logf("seed %d: %v", seed, counts)
	s.settle()
}
