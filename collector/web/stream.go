package web

import (
	"encoding/json"
	"net/http"
	"time"

	"go.uber.org/zap"
)

const (
	maxStreams = 64               // open at once; each asks for a report a second at most
	atMost     = time.Second      // between two messages to one browser, at least
	atLeast    = 5 * time.Second  // ages change even when nothing else does
	heartbeat  = 15 * time.Second // a message without cells tells the browser that we are here; it cannot see comments
	sendWithin = 10 * time.Second
)

// message is what a browser is sent: the cells that have changed since the last
// one. With another shape than its own the page fetches itself anew.
type message struct {
	Shape string          `json:"shape"`
	Cells map[string]cell `json:"cells"`
}

// stream sends what changes to one browser until it leaves or the page is closed.
func (p *Page) stream(w http.ResponseWriter, r *http.Request) {
	if _, err := p.view(r); err != nil {
		p.refuse(w, err)
		return
	}
	select {
	case p.room <- struct{}{}:
		defer func() { <-p.room }()
	default:
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	changed, cancel := p.cfg.Live.Subscribe()
	defer cancel()
	w.Header().Set("Content-Type", "text/event-stream")
	s := &sender{w: w, control: http.NewResponseController(w)}
	if s.write("retry: 2000\n\n") != nil {
		return
	}
	for {
		v, err := p.view(r)
		if err != nil {
			if r.Context().Err() == nil {
				p.cfg.Log.Error("page", zap.Error(err)) // the browser sees that nothing comes
			}
		} else if s.send(v) != nil {
			return
		}
		if !p.pause(r, nil, atMost) || !p.pause(r, changed, atLeast-atMost) {
			return
		}
	}
}

// pause waits for a time or, if sooner, a change. It returns false when the
// stream has to end.
func (p *Page) pause(r *http.Request, changed <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.Context().Done():
		return false
	case <-p.closed:
		return false
	case <-changed:
	case <-t.C:
	}
	return true
}

// sender writes to one browser what it does not know yet.
type sender struct {
	w       http.ResponseWriter
	control *http.ResponseController
	shape   string
	known   map[string]cell
	last    time.Time
}

func (s *sender) send(v *view) error {
	m := message{Shape: v.Shape, Cells: make(map[string]cell)}
	for key, c := range v.cells {
		if was, ok := s.known[key]; !ok || was != c {
			m.Cells[key] = c
		}
	}
	if len(m.Cells) == 0 && m.Shape == s.shape && time.Since(s.last) < heartbeat {
		return nil
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	s.shape, s.known = v.Shape, v.cells
	return s.write("data: " + string(text) + "\n\n")
}

func (s *sender) write(text string) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(sendWithin)) // not every writer can
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	s.last = time.Now()
	return s.control.Flush()
}
