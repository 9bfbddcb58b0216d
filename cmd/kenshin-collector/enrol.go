package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"kenshin/collector"
	"kenshin/collector/ca"
	"kenshin/configs"
	"kenshin/edge/wire"
)

const enrolWithin = 10 * time.Second // for the request to come

// enrolHandler answers boxes that bring a token, and those that are registered
// and want their next certificate. It asks for no API token: the enrolment is
// signed, and what it may have is decided by the registry.
func (c *config) enrolHandler(col *collector.Collector, log *zap.Logger) (http.Handler, error) {
	a, err := c.authority()
	if err != nil {
		return nil, configs.Setup(err)
	}
	key, err := c.key()
	if err != nil {
		return nil, configs.Setup(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		refuse := func(status int, err error) {
			log.Warn("enrolment refused", zap.String("remote", r.RemoteAddr), zap.Error(err))
			http.Error(w, err.Error(), status)
		}
		if host, _, err := net.SplitHostPort(r.RemoteAddr); r.TLS == nil && (err != nil || !net.ParseIP(host).IsLoopback()) {
			refuse(http.StatusForbidden, errors.New("a token must not travel in the open: set http.tls, or carry files (kenshin-edge enrol --request)"))
			return
		}
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(enrolWithin)) // there is always one
		envelope, err := io.ReadAll(http.MaxBytesReader(w, r.Body, wire.MaxEnrolment))
		if err != nil {
			refuse(http.StatusBadRequest, err)
			return
		}
		e, err := wire.DecodeEnrolment(envelope)
		if err != nil {
			refuse(http.StatusBadRequest, err)
			return
		}
		answer, err := c.admit(a, key, e, func(pub ed25519.PublicKey) error { return col.AdmitByToken(e.Edge, pub, e.Token) })
		switch {
		case errors.Is(err, collector.ErrRefused):
			refuse(http.StatusForbidden, err)
		case err != nil:
			log.Error("enrolment", zap.String("edge", e.Edge), zap.Error(err))
			http.Error(w, "the collector could not do it; its log says why", http.StatusInternalServerError)
		default:
			log.Info("edge admitted", zap.String("edge", e.Edge), zap.String("key", wire.Fingerprint(e.Key)), zap.String("remote", r.RemoteAddr))
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = w.Write(answer) // a box that did not get it asks again
		}
	}), nil
}

// admit answers an enrolment once register has put its key in force.
func (c *config) admit(a *ca.Authority, own ed25519.PrivateKey, e *wire.Enrolment, register func(ed25519.PublicKey) error) ([]byte, error) {
	key := ed25519.PublicKey(e.Key)
	broker := c.publicBroker()
	if broker == "" {
		return nil, fmt.Errorf("%s: what are edges to connect to? set broker.public_url", c.file)
	}
	if err := register(key); err != nil {
		return nil, err
	}
	answer := wire.Admission{Edge: e.Edge, Key: e.Key, Collector: c.Name, Broker: broker, URL: c.publicURL(), Root: c.Broker.Root}
	if a != nil {
		cert, err := a.Edge(e.Request, e.Edge, key)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", collector.ErrRefused, err)
		}
		answer.Certificate, answer.Authorities = string(cert), string(a.PEM())
	}
	if c.Broker.CAFile != "" {
		text, err := os.ReadFile(c.Broker.CAFile)
		if err != nil {
			return nil, err
		}
		answer.Authorities += string(text)
	}
	return wire.EncodeAdmission(answer, own)
}

// token returns a token as it is given to whoever installs a box.
func (c *config) token(edge, secret string) (configs.Token, error) {
	t := configs.Token{Edge: edge, Secret: secret}
	a, err := c.authority()
	if err == nil && a != nil && c.HTTP.CertFile == "" {
		pin := a.Pin()
		t.Pin = pin[:sha256.Size]
	}
	return t, err
}
