package api

import (
	"net/http"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/mod/sumdb/tlog"
)

// The hashes of the book, below /log/ as C2SP tlog-tiles has them. Whoever holds an
// earlier checkpoint can see for themselves that the book has only grown; no
// token is asked for, since hashes tell of the readings only how many batches
// there are. Leaf data names edges, and is for those who have the token.

const (
	logPrefix     = "/log/"
	tilePrefix    = logPrefix + "tile/"
	entriesPrefix = tilePrefix + "entries/"
)

// public says whether a path is one of the hashes of the book.
func public(path string) bool {
	return path == logPrefix+"checkpoint" || strings.HasPrefix(path, tilePrefix) && !strings.HasPrefix(path, entriesPrefix)
}

func (s *server) logRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+logPrefix+"checkpoint", func(w http.ResponseWriter, _ *http.Request) {
		text := s.cfg.Book.LastCheckpoint()
		if text == "" {
			problem(w, http.StatusNotFound, noCheckpoint)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(text)) // the client is gone
	})
	mux.HandleFunc("GET "+tilePrefix+"{path...}", func(w http.ResponseWriter, r *http.Request) {
		t, err := tlog.ParseTilePath("tile/8/" + r.PathValue("path"))
		s.tile(w, r, err == nil && t.L >= 0, "public", func() ([]byte, error) { return s.cfg.Book.Tile(t.L, t.N, t.W) })
	})
	mux.HandleFunc("GET "+entriesPrefix+"{path...}", func(w http.ResponseWriter, r *http.Request) {
		t, err := tlog.ParseTilePath("tile/8/data/" + r.PathValue("path"))
		s.tile(w, r, err == nil && t.L == -1, "private", func() ([]byte, error) { return s.cfg.Book.Leaves(t.N, t.W) })
	})
}

// tile answers with a tile or an entry bundle, which never change.
func (s *server) tile(w http.ResponseWriter, r *http.Request, named bool, cache string, read func() ([]byte, error)) {
	var b []byte
	var err error
	if named {
		b, err = read()
	}
	switch {
	case err != nil:
		s.cfg.Log.Error("tile", zap.String("path", r.URL.Path), zap.Error(err))
		problem(w, http.StatusInternalServerError, "the collector could not answer; its log says why")
	case b == nil:
		problem(w, http.StatusNotFound, "there is no "+r.URL.Path+" in the tree of the checkpoint; C2SP tlog-tiles says which there are")
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Header().Set("Cache-Control", cache+", max-age=31536000, immutable")
		_, _ = w.Write(b) // the client is gone
	}
}
