// Package ca is the small certificate authority of a collector: it signs for the
// edges that are registered, for the collector's own servers and for nothing
// else.
//
// It promises that a client certificate names one edge and the signing key the
// edge was registered with, so that ending that key ends the certificate, and
// that no client certificate can pass for a server's. Who may have one is decided
// by whoever calls. Keys are ECDSA P-256: browsers and old brokers take them.
package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"kenshin/configs"
)

const (
	authorityLife = 20 * 365 * 24 * time.Hour
	clientLife    = 365 * 24 * time.Hour
	serverLife    = 397 * 24 * time.Hour
	skew          = time.Hour // another machine's clock may be behind ours

	scheme = "kenshin" // of the URI that names the signing key in a client certificate

	// CollectorName is the common name of the collector's own client certificate.
	// No edge id can be the same: an id has no dot.
	CollectorName = "kenshin.collector"
)

// Authority is an open authority. Its methods may be called from several goroutines.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
	now  func() time.Time
}

// Open reads the authority in dir, and makes one when there is none. name stands
// in its certificate for people.
func Open(dir, name string, now func() time.Time) (*Authority, error) {
	a := &Authority{dir: dir, now: now}
	path := filepath.Join(dir, "ca.key")
	text, err := configs.ReadSecret(path)
	if errors.Is(err, os.ErrNotExist) {
		return a, a.create(name)
	}
	if err != nil {
		return nil, err
	}
	cert, err := os.ReadFile(a.CertFile())
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, text)
	if err != nil {
		return nil, &configs.Error{File: path, Problem: err.Error(), Remedy: "restore ca.key and ca.crt together from a backup"}
	}
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(crypto.Signer)
	return a, nil
}

func (a *Authority) create(name string) error {
	err := configs.Folder(a.dir, 0o700)
	if err == nil {
		err = configs.Folder(filepath.Join(a.dir, "issued"), 0o700)
	}
	if err != nil {
		return err
	}
	key, text, err := NewKey()
	if err != nil {
		return err
	}
	now := a.now()
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Kenshin authority of " + name}, NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if t.SerialNumber, err = serial(); err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	a.key = key
	if err := configs.WriteFile(a.CertFile(), encode(der), 0o644); err != nil {
		return err
	}
	return configs.WriteFile(filepath.Join(a.dir, "ca.key"), text, 0o600)
}

// CertFile is where the authority's own certificate stands.
func (a *Authority) CertFile() string { return filepath.Join(a.dir, "ca.crt") }

// PEM returns the authority's own certificate.
func (a *Authority) PEM() []byte { return encode(a.cert.Raw) }

// Certificate returns the authority's own certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Pin returns what a token says of the authority, so that a box knows it at once:
// SHA-256 of its certificate in DER.
func (a *Authority) Pin() [sha256.Size]byte { return sha256.Sum256(a.cert.Raw) }

// Edge signs the TLS key of a PKCS #10 request for an edge that signs with key.
// Nothing else of the request is taken over. What is issued is kept, see Revoked.
func (a *Authority) Edge(request []byte, edge string, key ed25519.PublicKey) ([]byte, error) {
	r, err := x509.ParseCertificateRequest(request)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if k, ok := r.PublicKey.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
		return nil, fmt.Errorf("certificate request: a key of type %T; want ECDSA P-256", r.PublicKey)
	}
	sum := sha256.Sum256(key)
	return a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: edge}, URIs: []*url.URL{{Scheme: scheme, Opaque: hex.EncodeToString(sum[:])}},
		NotBefore: a.now().Add(-skew), NotAfter: a.now().Add(clientLife), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, r.PublicKey)
}

// Collector returns a certificate with its key, PEM, for the collector as a
// client of a broker outside.
func (a *Authority) Collector() ([]byte, error) {
	return a.withKey(&x509.Certificate{
		Subject: pkix.Name{CommonName: CollectorName}, NotBefore: a.now().Add(-skew), NotAfter: a.now().Add(clientLife),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// Server returns a certificate with its key, PEM, for a server of these names and
// addresses. It begins with the authority: a box whose clock is behind must not
// take it for one of the future.
func (a *Authority) Server(names []string) ([]byte, error) {
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, NotBefore: a.cert.NotBefore, NotAfter: a.now().Add(serverLife),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	return a.withKey(t)
}

func (a *Authority) withKey(t *x509.Certificate) ([]byte, error) {
	key, text, err := NewKey()
	if err != nil {
		return nil, err
	}
	cert, err := a.issue(t, key.Public())
	return append(append(text, cert...), a.PEM()...), err // the chain to its end: a box that knows only a pin needs it
}

func (a *Authority) issue(t *x509.Certificate, pub any) ([]byte, error) {
	var err error
	if t.SerialNumber, err = serial(); err != nil {
		return nil, err
	}
	t.KeyUsage, t.BasicConstraintsValid = x509.KeyUsageDigitalSignature, true
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, pub, a.key)
	if err != nil {
		return nil, err
	}
	if len(t.URIs) > 0 { // only those of edges can come to be revoked
		err = configs.WriteFile(filepath.Join(a.dir, "issued", t.SerialNumber.Text(16)+".crt"), encode(der), 0o644)
	}
	return encode(der), err
}

// Identify returns the edge that a client certificate names, and the fingerprint
// of the signing key it was issued with. That the authority signed it, the TLS
// handshake has checked.
func Identify(c *x509.Certificate) (edge, fingerprint string, err error) {
	if len(c.URIs) != 1 || c.URIs[0].Scheme != scheme || c.Subject.CommonName == "" {
		return "", "", fmt.Errorf("the certificate of %q is not one of an edge", c.Subject.CommonName)
	}
	return c.Subject.CommonName, c.URIs[0].Opaque, nil
}

// Revoked returns a revocation list, PEM, of the issued certificates that good
// speaks against: for brokers outside, which know nothing of the registry.
func (a *Authority) Revoked(good func(edge, fingerprint string) error) ([]byte, error) {
	list := &x509.RevocationList{Number: big.NewInt(a.now().UnixMilli()), ThisUpdate: a.now().Add(-skew), NextUpdate: a.now().Add(authorityLife)}
	names, err := filepath.Glob(filepath.Join(a.dir, "issued", "*.crt"))
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		text, err := os.ReadFile(n)
		if err != nil {
			return nil, err
		}
		c, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		edge, fingerprint, err := Identify(c)
		if err == nil {
			err = good(edge, fingerprint)
		}
		if err != nil && a.now().Before(c.NotAfter) {
			list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: a.now()})
		}
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), err
}

// ServerTLS returns the settings of a server in this process. Its certificate is
// made here, never stands on disk, and is replaced when two thirds of its life
// are over.
func (a *Authority) ServerTLS(names []string) *tls.Config {
	var mu sync.Mutex
	var pair *tls.Certificate
	return &tls.Config{MinVersion: tls.VersionTLS13, Time: a.now, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		if pair != nil && a.now().Before(pair.Leaf.NotAfter.Add(-serverLife/3)) {
			return pair, nil
		}
		text, err := a.Server(names)
		if err != nil {
			return nil, err
		}
		p, err := tls.X509KeyPair(text, text)
		pair = &p
		return pair, err
	}}
}

// Require makes a server ask for a certificate that this authority has signed.
func (a *Authority) Require(c *tls.Config) {
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	c.ClientCAs.AddCert(a.cert)
}

// NewKey makes a TLS key. The text is PEM, PKCS #8.
func NewKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

func serial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func encode(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func parse(text []byte) (*x509.Certificate, error) {
	b, _ := pem.Decode(text)
	if b == nil || strings.TrimSpace(b.Type) != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	return x509.ParseCertificate(b.Bytes)
}
