package influx

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestOutage ends the server while readings come, as a power cut would, and then fills
// its disk: they are taken and settled all the time, and the server has them all once
// it is back. The projection is ended and opened anew in between, without its last
// state.
func TestOutage(t *testing.T) {
	db := ownInfluxd(t, "")
	s := newSite("site-1", 1)
	d := meter("m-1")
	s.declare(d)
	r := newRig(t, s)
	p := r.project(db.server)
	stop := r.run(p)
	for round := range 2 {
		s.minutes(d, round*300, round*300+100)
		r.take(s)
		if round > 0 {
			until(t, "something of the round is written", func() bool { return p.position() > uint64(round) })
		}
		if round == 0 || !fillDisk(t, db) { // else it ends later, as 1.8 needs it to write again
			db.kill()
		}
		s.minutes(d, round*300+100, round*300+200)
		r.take(s) // waits for nobody
		until(t, "the outage shows", func() bool { return p.Status().Health == "down" })
		if round == 1 { // of the collector as well: what it had not saved is gone
			text, err := os.ReadFile(p.stateFile())
			if err != nil {
				t.Fatal(err)
			}
			stop()
			if err := os.WriteFile(p.stateFile(), text, 0o600); err != nil {
				t.Fatal(err)
			}
			p = r.project(db.server)
			stop = r.run(p)
		}
		s.minutes(d, round*300+200, round*300+300)
		r.take(s)
		db.kill()
		db.start(t)
		r.caughtUp(p)
	}
	for _, text := range []string{"the time series server is back", "the time series server is down"} {
		if n := r.logs.count(text); n < 1 || n > 4 {
			t.Errorf("%d log lines %q for 2 outages", n, text)
		}
	}
}

// TestRefused has servers that do not take what they are given, for reasons that go
// away: ingest goes on, one line of the log says what is wrong, and nobody has to
// touch the collector for everything to be written in the end.
func TestRefused(t *testing.T) {
	var secret atomic.Value
	query := func(q string) func(*testing.T) { return func(t *testing.T) { shared.server.query(t, q) } }
	for _, tt := range []struct {
		name, own string             // configuration of a server of its own
		before    func(*Server)      // makes it refuse
		health    string             // that shows; "" when nothing has to
		after     func(t *testing.T) // mends it; nil: it stays so
	}{
		{name: "token", health: "refuses us", after: func(*testing.T) { secret.Store("admin:secret") },
			before: func(s *Server) {
				secret.Store("admin:wrong")
				s.Token = func() (string, error) { return secret.Load().(string), nil }
			}},
		{name: "bucket", health: "refuses us", before: func(s *Server) { s.Bucket = "later/autogen" }, after: query("CREATE DATABASE later")},
		{name: "policy", health: "refuses us", before: func(s *Server) { s.Bucket = strings.Replace(s.Bucket, "autogen", "later", 1) },
			after: func(t *testing.T) {
				shared.server.query(t, fmt.Sprintf("CREATE RETENTION POLICY later ON test%d DURATION INF REPLICATION 1", shared.made))
			}},
		{name: "large", own: "  max-body-size = 3000\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var server Server
			if tt.own != "" {
				server = ownInfluxd(t, tt.own).server
			} else {
				server = emptyBucket(t)
			}
			if tt.before != nil {
				if shared.server == nil {
					t.Skip("a server outside is not changed")
				}
				tt.before(&server)
			}
			s := newSite("site-1", 1)
			d := meter("m-1")
			s.declare(d)
			s.minutes(d, 0, 60)
			r := newRig(t, s)
			p := r.project(server)
			stop := r.run(p)
			r.take(s)
			if tt.health != "" {
				until(t, "it shows", func() bool { return p.Status().Health == tt.health && p.Status().Words != "" })
				s.minutes(d, 60, 120)
				r.take(s) // waits for nobody
				t.Log(p.Status().Words)
			}
			if tt.after != nil {
				tt.after(t)
			}
			if tt.after != nil || tt.health == "" {
				r.caughtUp(p)
			}
			stop()
			if n := r.logs.count("the time series server " + tt.health); tt.health != "" && tt.after != nil && n != 1 {
				t.Errorf("%d log lines that it %s", n, tt.health)
			}
			if _, err := os.Stat(p.refusedFile()); err == nil {
				t.Error("lines were set aside that are not at fault")
			}
		})
	}
}

// TestPoison has lines that the server refuses by themselves: they alone are kept
// aside, with its words.
func TestPoison(t *testing.T) {
	db := emptyBucket(t)
	s := newSite("site-1", 1)
	d := meter("m-1")
	s.declare(d)
	s.minutes(d, 0, 40)
	s.read(d, 9_000_000_000_000, numbers{energy: 1}) // in the year 2309
	r := newRig(t, s)
	p := r.project(db)
	if err := p.link.authorize(); err != nil {
		t.Fatal(err)
	}
	taken := line{fmt.Sprintf("kenshin_int,edge=site-1,device=m-1 power=1.5 %d", start+86_400_000), 1}
	if err := p.link.send(t.Context(), []line{taken}); err != nil {
		t.Fatal(err)
	}
	r.run(p)
	r.take(s)
	until(t, "the server has all records", func() bool { s := p.Status(); return s.Health == up && s.Behind == 0 })
	text, err := os.ReadFile(p.refusedFile())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n != 40 || strings.Count(string(text), "power=") != n || strings.Count(string(text), "conflict") != n {
		t.Errorf("%d lines set aside, want the 40 of power with the server's words: %.400s", n, text)
	}
	if got := r.values(p, "m-1", "signed"); len(got["kenshin_int"]) != 40 {
		t.Errorf("%d values of the field beside the one that is refused", len(got["kenshin_int"]))
	}
}

// TestHalfOpen has a connection on which nothing comes back any more.
func TestHalfOpen(t *testing.T) {
	server := emptyBucket(t)
	to := strings.TrimSuffix(strings.TrimPrefix(server.URL, "http://"), "/")
	proxy := newProxy(t, to)
	server.URL, server.Timeout = "http://"+proxy.addr+"/", 2*time.Second
	s := newSite("site-1", 1)
	d := meter("m-1")
	s.declare(d)
	s.minutes(d, 0, 100)
	r := newRig(t, s)
	p := r.project(server)
	r.run(p)
	r.take(s)
	r.caughtUp(p)
	proxy.hold.Store(true)
	s.minutes(d, 100, 200)
	r.take(s)
	until(t, "it shows", func() bool { return p.Status().Health == "down" })
	proxy.hold.Store(false)
	r.caughtUp(p)
}

// proxy passes bytes on, or keeps them while connections stay open.
type proxy struct {
	addr string
	hold atomic.Bool
}

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String()}
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			c.Close()
		}
	})
	pass := func(dst, src net.Conn) {
		defer dst.Close()
		b := make([]byte, 32<<10)
		for {
			n, err := src.Read(b)
			if err != nil {
				return
			}
			if p.hold.Load() {
				continue // swallowed: to the other side the line is just silent
			}
			if _, err := dst.Write(b[:n]); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			mu.Lock()
			open = append(open, a, b)
			mu.Unlock()
			go pass(a, b)
			go pass(b, a)
		}
	}()
	return p
}

// TestOneLine has one line of the log for each change of state, and for each other
// reason to refuse: whoever has mended the token has to know of the bucket.
func TestOneLine(t *testing.T) {
	r := newRig(t, newSite("site-1", 1))
	p := r.project(Server{Name: "test", URL: "http://127.0.0.1:1/", Bucket: "x", Token: token("")})
	for _, health := range []string{down, refuses} {
		for _, words := range []string{"401 wrong token", "401 wrong token", "404 no bucket", "404 no bucket"} {
			p.is(health, errors.New(words), time.Now())
		}
	}
	p.is(up, nil, time.Now())
	for text, want := range map[string]int{"the time series server is down;": 1, "the time series server refuses us;": 2, "401 wrong token": 2, "404 no bucket": 1, "the time series server is back": 1} {
		if n := r.logs.count(text); n != want {
			t.Errorf("%d lines with %q, want %d", n, text, want)
		}
	}
}
