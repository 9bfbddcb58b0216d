package web

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sink is a browser's end of a stream, with the times at which messages came.
type sink struct {
	mu       sync.Mutex // guards the rest
	header   http.Header
	messages []message
	at       []time.Time
	failing  bool
}

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(int)     {}
func (s *sink) Flush()              {}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failing {
		return 0, errBroken
	}
	if data, ok := strings.CutPrefix(string(b), "data: "); ok {
		var m message
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			panic(err)
		}
		s.messages, s.at = append(s.messages, m), append(s.at, time.Now())
	}
	return len(b), nil
}

// received returns the messages so far and the times at which they came.
func (s *sink) received() ([]message, []time.Time) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages[:len(s.messages):len(s.messages)], s.at[:len(s.at):len(s.at)]
}

// open starts a stream. end ends it; over is closed when it has ended.
func open(t *testing.T, p *Page) (s *sink, end func(), over chan struct{}) {
	t.Helper()
	s, over = &sink{header: make(http.Header)}, make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(over)
		p.ServeHTTP(s, httptest.NewRequestWithContext(ctx, http.MethodGet, "/events?project=demo-pv", nil))
	}()
	synctest.Wait()
	return s, cancel, over
}

func TestStreamSendsChangesAtMostOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p := newPage(t, f)
		s, end, over := open(t, p)
		got, at := s.received()
		if len(got) != 1 || got[0].Cells["power"].Text != "54.7515" || s.header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("first: %v %+v", s.header, got)
		}
		for i := range 50 { // ten changes a second for five seconds
			f.change(func() { f.samples[0].Number = dec("18000").Add(dec("1").Shift(int32(i % 4))) })
			<-time.After(100 * time.Millisecond)
		}
		got, at = s.received()
		if n := len(got); n < 5 || n > 6 {
			t.Errorf("%d messages in 5 s; want one a second", n)
		}
		for i := 1; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d < atMost {
				t.Errorf("message %d came %v after the one before", i, d)
			}
		}
		for _, m := range got[1:] {
			if len(m.Cells) != 2 || m.Cells["power"].Text == "" || m.Cells["meter-inv-1-power"].Text == "" {
				t.Errorf("sent %+v; want the two cells that changed", m.Cells)
			}
		}
		end()
		<-over
		if f.listening() != 0 {
			t.Error("still subscribed")
		}
	})
}

func TestStreamTellsAgesAndThatItLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s, end, over := open(t, newPage(t, f))
		f.mu.Lock() // time passes and nothing else happens
		f.now = f.now.Add(5 * time.Second)
		f.mu.Unlock()
		<-time.After(atLeast + time.Second)
		got, _ := s.received()
		if len(got) != 2 || got[1].Cells["meter-inv-1-age"].Text != "9 s ago" || got[1].Cells["at"].Text != "2026-06-20 11:42:12" {
			t.Fatalf("%+v", got[1:])
		}
		<-time.After(heartbeat + atLeast) // not even time passes
		got, _ = s.received()
		if len(got) != 3 || len(got[2].Cells) != 0 || got[2].Shape != got[0].Shape {
			t.Errorf("heartbeat: %+v", got[2:])
		}
		end()
		<-over
	})
}

func TestStreamTellsOfAnotherShape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s, end, over := open(t, newPage(t, f))
		f.change(func() { f.report.Deductions = append(f.report.Deductions, f.report.Deductions[0]) })
		<-time.After(2 * time.Second)
		if got, _ := s.received(); len(got) != 2 || got[1].Shape == got[0].Shape {
			t.Errorf("%+v", got)
		}
		end()
		<-over
	})
}

func TestStreamSurvivesABrokenSourceAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p := newPage(t, f)
		s, _, over := open(t, p)
		f.change(func() { f.err = errBroken })
		<-time.After(10 * time.Second)
		f.change(func() { f.err, f.samples[0].Number = nil, dec("1") })
		<-time.After(2 * time.Second)
		got, _ := s.received()
		if n := len(got); n != 2 {
			t.Errorf("%d messages; want the first and one after the source is back", n)
		}
		p.Close()
		p.Close()
		<-over

		f.change(func() {})
		s, _, over = open(t, newPage(t, f))
		s.mu.Lock()
		s.failing = true
		s.mu.Unlock()
		f.change(func() { f.samples[0].Number = dec("2") })
		<-over // a browser that is gone
	})
}

func TestStreamsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(t, newFake())
		var overs []chan struct{}
		for range maxStreams {
			_, _, over := open(t, p)
			overs = append(overs, over)
		}
		if w := get(p, "/events"); w.Code != http.StatusServiceUnavailable {
			t.Errorf("stream %d: %d", maxStreams+1, w.Code)
		}
		p.Close()
		for _, over := range overs {
			<-over
		}
	})
}

// TestStreamOverHTTP reads the first message from a real server.
func TestStreamOverHTTP(t *testing.T) {
	p := newPage(t, newFake())
	server := httptest.NewServer(p)
	defer server.Close()
	defer p.Close() // a server waits for its streams
	r, err := http.Get(server.URL + "/events?project=demo-pv&period=1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var m message
			if err := json.Unmarshal([]byte(data), &m); err != nil || m.Cells["ER"].Text != "6" || m.Shape == "" {
				t.Errorf("%v %s", err, data)
			}
			return
		}
	}
	t.Errorf("no message: %v", lines.Err())
}
