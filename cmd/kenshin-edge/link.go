package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"kenshin/configs"
)

// What an enrolment leaves in the data folder, and what the configuration falls
// back on where it says nothing.
func (c *config) enrolled(name string) string { return filepath.Join(c.Data, "enrolled", name) }

const (
	enrolledKey    = "collector.pub" // whose acks are believed
	enrolledRoots  = "ca.crt"        // authorities to trust
	enrolledCert   = "tls.pem"       // own TLS key and certificate
	enrolledBroker = "broker.url"
	enrolledURL    = "collector.url" // where to ask for the next certificate
	enrolledRoot   = "root"          // of the topics
)

// fill puts in place what an enrolment has left and the configuration does not say.
func (c *config) fill() error {
	for name, into := range map[string]*string{enrolledBroker: &c.Broker.URL, enrolledURL: &c.Collector.URL, enrolledRoot: &c.Broker.Root} {
		if *into != "" {
			continue
		}
		text, err := os.ReadFile(c.enrolled(name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return c.dirError(err)
		}
		*into = strings.TrimSpace(string(text))
	}
	for name, into := range map[string]*string{enrolledKey: &c.Collector.KeyFile, enrolledRoots: &c.Broker.CAFile, enrolledCert: &c.Broker.CertFile} {
		if _, err := os.Stat(c.enrolled(name)); err == nil && *into == "" && (name != enrolledKey || c.Collector.Key == "") {
			*into = c.enrolled(name)
		}
	}
	if c.Broker.KeyFile == "" {
		c.Broker.KeyFile = c.Broker.CertFile // one file holds both
	}
	return nil
}

// secure tells whether a broker is spoken to by TLS.
func secure(broker string) bool {
	u, err := url.Parse(broker)
	return err == nil && slices.Contains([]string{"tls", "ssl", "mqtts", "wss"}, u.Scheme)
}

// tls returns the settings of the connection to the broker, nil when it has no TLS.
func (c *config) tls() (*tls.Config, error) {
	if !secure(c.Broker.URL) {
		return nil, nil
	}
	t, err := configs.ClientTLS(configs.TLSFiles{Authorities: c.Broker.CAFile, Cert: c.Broker.CertFile, Key: c.Broker.KeyFile})
	if err != nil {
		return nil, fmt.Errorf("%s: broker: %w", c.file, err)
	}
	return t, nil
}

// explain says what to do about an error of the connection to the broker.
func (c *config) explain(err error) error {
	switch {
	case !secure(c.Broker.URL) && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		return fmt.Errorf("%w before the broker answered; if the port speaks TLS, broker.url must begin with tls://", err)
	case secure(c.Broker.URL) && errors.Is(err, io.EOF):
		return fmt.Errorf("%w before the broker answered; does the port speak TLS?", err)
	case strings.Contains(err.Error(), "not Authorized"): // CONNACK 5; paho's error is in an internal package
		return fmt.Errorf("%w: the broker does not let edge %s in; the collector's log says why, `kenshin-collector edges list` shows its keys", err, c.Edge)
	}
	return configs.ExplainTLS(err, time.Now())
}

// renew gets a new certificate when two thirds of the life of the one from the
// enrolment are over. It tries again every hour; an expired certificate is
// renewed too, as what vouches for the box is its signing key.
func (s *service) renew(ctx context.Context) {
	for {
		cfg := s.config()
		if err := cfg.renewWhenDue(ctx, time.Now()); err != nil {
			s.log.Warn("the certificate was not renewed; it is tried again in an hour", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Hour):
		}
	}
}

func (s *service) config() *config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

func (c *config) renewWhenDue(ctx context.Context, now time.Time) error {
	own := c.enrolled(enrolledCert)
	if c.Broker.CertFile != own || c.Collector.URL == "" {
		return nil // somebody else renews it
	}
	text, err := configs.ReadSecret(own)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return fmt.Errorf("%s: %w", own, err)
	}
	life := pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore)
	if now.Before(pair.Leaf.NotAfter.Add(-life / 3)) {
		return nil
	}
	key, err := c.key()
	if err != nil {
		return err
	}
	e := enrolment{config: c, key: key}
	return e.online(ctx, c.Collector.URL, "", nil)
}
