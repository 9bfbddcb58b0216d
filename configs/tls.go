package configs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// TLSFiles names what a client needs to speak TLS. Key and certificate may stand
// in one file.
type TLSFiles struct {
	Authorities string // certificates to trust, PEM; "" trusts those of the system
	Cert        string // own certificate with its chain, PEM; "" has none
	Key         string
}

// ClientTLS returns the settings of a client: TLS 1.2 at least, and our own
// servers want 1.3. The own certificate is read again for each connection, so a
// renewed one is used from the next on.
func ClientTLS(f TLSFiles) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	floor := time.Time{}
	if f.Authorities != "" {
		text, err := os.ReadFile(f.Authorities)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, &Error{File: f.Authorities, Problem: "there is no certificate in PEM in it", Remedy: "want the certificate of the authority that signed the broker's"}
		}
	}
	if f.Cert != "" {
		cert, err := keyPair(f)
		if err != nil {
			return nil, err
		}
		floor = cert.Leaf.NotBefore
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return keyPair(f) }
	}
	c.Time = NotBefore(floor, time.Now)
	return c, nil
}

// NotBefore returns a clock that is never behind floor. A box whose clock has
// lost its battery believes it is 1970; it knows better from what it was given
// since, and must not take every certificate for one of the future.
func NotBefore(floor time.Time, now func() time.Time) func() time.Time {
	return func() time.Time {
		if t := now(); t.After(floor) {
			return t
		}
		return floor
	}
}

// ServerTLS returns the settings of a server whose certificate somebody else
// renews: it is read again for each connection.
func ServerTLS(cert, key string) (*tls.Config, error) {
	f := TLSFiles{Cert: cert, Key: key}
	if _, err := keyPair(f); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return keyPair(f) }}, nil
}

func keyPair(f TLSFiles) (*tls.Certificate, error) {
	cert, err := os.ReadFile(f.Cert)
	if err != nil {
		return nil, err
	}
	key, err := ReadSecret(f.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &Error{File: f.Cert, Problem: err.Error(), Remedy: "want a certificate, and in " + f.Key + " its key, in PEM"}
	}
	return &pair, nil
}

// ExplainTLS adds to an error of a TLS connection what to do about it, as the
// client sees it at now.
func ExplainTLS(err error, now time.Time) error {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var header tls.RecordHeaderError
	var alert *net.OpError // crypto/tls reports what the other side ends a handshake with so
	remedy := ""
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		remedy = fmt.Sprintf("the clock here says %s: set it if that is wrong, or else renew the server's certificate", now.UTC().Format(time.RFC3339))
	case errors.As(err, &unknown):
		remedy = "the server's certificate is not from an authority that is trusted here: is it the right server, and the right ca_file?"
	case errors.As(err, &name):
		remedy = "use a name that stands in the server's certificate, or add this one to `tls.names` of the collector"
	case errors.As(err, &header):
		remedy = "the port does not speak TLS: write tcp:// or http://, or name the TLS port"
	case errors.As(err, &alert) && alert.Op == "remote error":
		remedy = "the server does not accept the certificate shown to it: expired, revoked or none; `kenshin-edge enrol` gets a new one"
	default:
		return err
	}
	return fmt.Errorf("%w; %s", err, remedy)
}
