package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kenshin/edge"
)

// report is what /status answers: how the agent does, and what it runs by.
type report struct {
	edge.Status
	Config   string   `json:"config"`             // the configuration in force
	Refused  string   `json:"refused,omitempty"`  // why what the file says now is not
	Memory   int64    `json:"memory"`             // resident, bytes; 0 where the system does not say
	Problems []string `json:"problems,omitempty"` // what somebody should look at
}

// status puts together how the service does.
func (s *service) status() report {
	s.mu.Lock()
	cfg, refused := s.cfg, s.refused
	s.mu.Unlock()
	r := report{Status: s.agent.Status(), Config: cfg.summary(), Refused: refused, Memory: resident()}
	r.Outbox.Bytes = size(cfg.outboxDir())
	r.Problems = r.Status.Problems()
	if refused != "" {
		r.Problems = append(r.Problems, "configuration: "+refused)
	}
	if waiting, limit := waitingBytes(&r.Outbox), cfg.Outbox.MaxBytes; waiting > limit/10*9 {
		r.Problems = append(r.Problems, fmt.Sprintf("%d of the outbox's %d bytes wait for the collector; when it is full, readings are lost", waiting, limit))
	}
	return r
}

// waitingBytes returns about how much of an outbox is not delivered: records
// that are stay while there is room.
func waitingBytes(b *edge.BoxStatus) int64 {
	if b.Acked >= b.Last {
		return 0
	}
	return int64(float64(b.Bytes) * float64(b.Last-b.Acked) / float64(b.Last-b.First+1))
}

// size returns the bytes of the files below dir.
func size(dir string) (n int64) {
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it was just deleted
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n
}

// resident returns the resident memory of this process.
func resident() int64 {
	text, err := os.ReadFile(filepath.Join("/proc/self", "statm"))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(text))
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// listen binds the address of the configuration, nil when it names none.
func listen(cfg *config) (net.Listener, error) {
	if cfg.HTTP.Listen == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", cfg.HTTP.Listen)
	if err != nil {
		return nil, fmt.Errorf("%s: http.listen: %w; choose another port, or \"\" for none", cfg.file, err)
	}
	return l, nil
}

// serveHTTP answers /status, /metrics and /healthz until ctx ends.
func serveHTTP(ctx context.Context, l net.Listener, s *service) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.Encode(s.status())
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		b := bufio.NewWriter(w)
		r := s.status()
		metrics(b, &r)
		b.Flush()
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if ill := unhealthy(s.agent.Status()); ill != "" {
			http.Error(w, ill, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	server.Serve(l)
}

// unhealthy says why the agent itself cannot do its work, "" when it can. That a
// device or the broker is away is no illness of the agent: see /status.
func unhealthy(s edge.Status) string {
	if s.Outbox.Held > 0 {
		return "the disk takes no records: " + s.Outbox.Cause
	}
	if s.Outbox.Lost > 0 {
		return "readings cannot be kept: " + s.Outbox.Cause
	}
	for _, b := range s.Buses {
		if b.Stalled {
			return "bus " + b.Name + " has stopped moving"
		}
	}
	return ""
}
