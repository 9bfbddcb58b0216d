package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"
)

// Server returns an HTTP server with limits that suit the API and the page, for
// the caller to start and stop. A request's headers must come within 5 s. There
// is no limit on reading or writing as a whole, which would end the page's event
// stream; the stream has its own.
func Server(h http.Handler, log *zap.Logger) *http.Server {
	return &http.Server{
		Handler:           http.MaxBytesHandler(h, 64<<10),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          zap.NewStdLog(log),
	}
}

// Guard asks for the token before h answers: as a bearer token, or as the
// password of basic authentication with any user name, which browsers know how to
// ask for. An empty token asks for nothing.
func Guard(token string, h http.Handler) http.Handler {
	if token == "" {
		return h
	}
	want := sha256.Sum256([]byte(token)) // so that not even the length shows in the time
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			_, given, _ = r.BasicAuth()
		}
		if got := sha256.Sum256([]byte(given)); subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Add("WWW-Authenticate", `Bearer realm="kenshin"`)
			w.Header().Add("WWW-Authenticate", `Basic realm="kenshin"`)
			problem(w, http.StatusUnauthorized, "send the token of the collector's configuration (http.token) as Authorization: Bearer, or as the password")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Wait answers 503 as long as busy says why h has no answers yet.
func Wait(busy func() string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why := busy(); why != "" {
			w.Header().Set("Retry-After", "5")
			problem(w, http.StatusServiceUnavailable, why)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// problem answers with an RFC 9457 problem.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(huma.ErrorModel{Status: status, Title: http.StatusText(status), Detail: detail}) // the client is gone
}
