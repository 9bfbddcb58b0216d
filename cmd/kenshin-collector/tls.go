package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kenshin/collector/ca"
	"kenshin/configs"
)

// What `broker.tls` can be.
const (
	tlsServer = "server" // the broker shows a certificate, edges a password
	tlsMutual = "mutual" // both show one
)

func (c *config) validateTLS(wrong func(path, problem, remedy string) error) error {
	switch {
	case c.Broker.TLS != "" && c.Broker.TLS != tlsServer && c.Broker.TLS != tlsMutual:
		return wrong("$.broker.tls", fmt.Sprintf("tls %q", c.Broker.TLS), "want mutual (edges show certificates), server (edges show passwords) or nothing")
	case c.Broker.TLS != "" && c.Broker.URL != "":
		return wrong("$.broker.tls", "it is for `listen`; there is `url`", "a broker outside has its own settings: `kenshin-collector ca mosquitto DIR` makes them; write url: tls://HOST:PORT")
	case c.Broker.TLS == tlsMutual && len(c.TLS.Names) == 0:
		return wrong("$.broker.tls", "certificates of edges come from the collector's own authority, and there are no `tls.names`", "list the names and addresses by which edges reach this machine")
	case c.Broker.TLS == tlsServer && len(c.TLS.Names) == 0 && c.Broker.CertFile == "":
		return wrong("$.broker.tls", "there is no certificate", "list `tls.names`, or give `cert_file` and `key_file`")
	case c.HTTP.TLS && len(c.TLS.Names) == 0 && c.HTTP.CertFile == "":
		return wrong("$.http.tls", "there is no certificate", "list `tls.names`, or give `cert_file` and `key_file`")
	case (c.HTTP.CertFile == "") != (c.HTTP.KeyFile == ""):
		return wrong("$.http", "want both of `cert_file` and `key_file`", "give the other, or neither")
	case (c.Broker.CertFile == "") != (c.Broker.KeyFile == ""):
		return wrong("$.broker", "want both of `cert_file` and `key_file`", "give the other, or neither")
	}
	for i, n := range c.TLS.Names {
		if n == "" || strings.ContainsAny(n, " :/") && net.ParseIP(n) == nil {
			return wrong(fmt.Sprintf("$.tls.names[%d]", i), fmt.Sprintf("name %q", n), "want a host name or an address, without port")
		}
	}
	for path, text := range map[string]string{"$.broker.public_url": c.Broker.PublicURL, "$.http.public_url": c.HTTP.PublicURL} {
		if u, err := url.Parse(text); text != "" && (err != nil || u.Host == "") {
			return wrong(path, fmt.Sprintf("url %q", text), "want such as tls://collector.example.org:8883 or https://collector.example.org:8443")
		}
	}
	return nil
}

// authority opens the collector's own certificate authority; nil when the
// configuration names nothing it would be for.
func (c *config) authority() (*ca.Authority, error) {
	if len(c.TLS.Names) == 0 {
		return nil, nil
	}
	a, err := ca.Open(filepath.Join(c.Data, "ca"), c.Name, time.Now)
	if err != nil {
		return nil, fmt.Errorf("%s: own authority: %w", c.file, err)
	}
	return a, nil
}

// brokerTLS returns the settings of the broker in this process, nil for none.
func (c *config) brokerTLS(a *ca.Authority) (*tls.Config, error) {
	if c.Broker.TLS == "" {
		return nil, nil
	}
	s, err := c.serverTLS(a, c.Broker.CertFile, c.Broker.KeyFile)
	if err == nil && c.Broker.TLS == tlsMutual {
		a.Require(s)
	}
	return s, err
}

// httpTLS returns the settings of page and API, nil for none.
func (c *config) httpTLS() (*tls.Config, error) {
	if !c.HTTP.TLS && c.HTTP.CertFile == "" {
		return nil, nil
	}
	a, err := c.authority()
	if err != nil {
		return nil, err
	}
	return c.serverTLS(a, c.HTTP.CertFile, c.HTTP.KeyFile)
}

func (c *config) serverTLS(a *ca.Authority, cert, key string) (*tls.Config, error) {
	if cert == "" {
		return a.ServerTLS(c.TLS.Names), nil
	}
	s, err := configs.ServerTLS(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.file, err)
	}
	return s, nil
}

// clientTLS returns the settings for a broker outside. Without files in the
// configuration the own authority is trusted and a certificate of it shown.
func (c *config) clientTLS(a *ca.Authority) (*tls.Config, error) {
	f := configs.TLSFiles{Authorities: c.Broker.CAFile, Cert: c.Broker.CertFile, Key: c.Broker.KeyFile}
	if a != nil && f.Authorities == "" {
		f.Authorities = a.CertFile()
	}
	s, err := configs.ClientTLS(f)
	if err != nil {
		return nil, fmt.Errorf("%s: broker: %w", c.file, err)
	}
	if a != nil && f.Cert == "" {
		// Made anew for each connection: there is nothing to keep, and nothing that ends.
		s.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			text, err := a.Collector()
			if err != nil {
				return nil, err
			}
			pair, err := tls.X509KeyPair(text, text)
			return &pair, err
		}
	}
	return s, nil
}

func (c *config) scheme() string {
	if c.HTTP.TLS || c.HTTP.CertFile != "" {
		return "https://"
	}
	return "http://"
}

// publicURL is where edges ask for certificates, "" when nobody beyond this
// machine can.
func (c *config) publicURL() string {
	if c.HTTP.PublicURL != "" {
		return c.HTTP.PublicURL
	}
	return c.reached(c.scheme(), c.HTTP.Listen)
}

// publicBroker is what edges are told to connect to.
func (c *config) publicBroker() string {
	switch {
	case c.Broker.PublicURL != "":
		return c.Broker.PublicURL
	case c.Broker.URL != "":
		return c.Broker.URL
	case c.Broker.TLS != "":
		return c.reached("tls://", c.Broker.Listen)
	}
	return c.reached("tcp://", c.Broker.Listen)
}

// reached makes of an address to listen on one to connect to.
func (c *config) reached(scheme, listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if len(c.TLS.Names) == 0 {
			return ""
		}
		host = c.TLS.Names[0]
	} else if len(c.TLS.Names) > 0 && !slices.Contains(c.TLS.Names, host) {
		host = c.TLS.Names[0]
	}
	return scheme + net.JoinHostPort(host, port)
}

// serveOn serves HTTP or, when the server has settings for it, HTTPS.
func serveOn(s *http.Server, ln net.Listener) error {
	if s.TLSConfig != nil {
		return s.ServeTLS(ln, "", "")
	}
	return s.Serve(ln)
}
