package ca

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kenshin/configs"
	"kenshin/edge/wire"
)

var signing = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func open(t *testing.T, dir string, c *clock) *Authority {
	t.Helper()
	a, err := Open(dir, "test", c.Now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func request(t *testing.T, key any, name string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// edge returns an edge's key and certificate in one text.
func edge(t *testing.T, a *Authority, id string) []byte {
	t.Helper()
	key, text, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Edge(request(t, key, "other"), id, signing)
	if err != nil {
		t.Fatal(err)
	}
	return append(text, cert...)
}

// meet makes a handshake and returns what each side says of it.
func meet(t *testing.T, server, client *tls.Config) (atServer, atClient error, seen *x509.Certificate) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			ended <- err
			return
		}
		defer c.Close()
		s := tls.Server(c, server)
		err = s.Handshake()
		if certs := s.ConnectionState().PeerCertificates; err == nil && len(certs) > 0 {
			seen = certs[0]
		}
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		ended <- err
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		_, err = c.Read(make([]byte, 1)) // what the server thinks of the certificate comes here
		c.Close()
	}
	return <-ended, err, seen
}

func TestCertificates(t *testing.T) {
	c := &clock{time.Now()}
	dir := filepath.Join(t.TempDir(), "ca")
	a := open(t, dir, c)
	a = open(t, dir, c) // as it is after a new start
	file := filepath.Join(t.TempDir(), "tls.pem")
	if err := os.WriteFile(file, edge(t, a, "site-1"), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := configs.ClientTLS(configs.TLSFiles{Authorities: a.CertFile(), Cert: file, Key: file})
	if err != nil {
		t.Fatal(err)
	}
	server := a.ServerTLS([]string{"localhost", "127.0.0.1"})
	a.Require(server)
	atServer, atClient, seen := meet(t, server, client)
	if atServer != nil || atClient != nil {
		t.Fatalf("server %v, client %v", atServer, atClient)
	}
	if id, fp, err := Identify(seen); id != "site-1" || fp != wire.Fingerprint(signing) || err != nil {
		t.Errorf("the certificate names %s with key %s, %v", id, fp, err)
	}
	if len(seen.DNSNames) > 0 || seen.IsCA || len(seen.ExtKeyUsage) != 1 || seen.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Error("the certificate is for more than a client, or something of the request was taken over")
	}

	// A client certificate is none for a server, not even for a name it asked for.
	pair, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		t.Fatal(err)
	}
	if _, atClient, _ = meet(t, &tls.Config{Certificates: []tls.Certificate{pair}}, client); atClient == nil {
		t.Error("an edge passes for a server")
	}
	// Neither is one for another name.
	if _, atClient, _ = meet(t, a.ServerTLS([]string{"elsewhere"}), client); atClient == nil || !strings.Contains(configs.ExplainTLS(atClient, c.now).Error(), "tls.names") {
		t.Errorf("another name: %v", atClient)
	}
	// The pin of a token stands for the authority.
	pin, other := a.Pin(), [32]byte{1}
	if _, atClient, _ = meet(t, a.ServerTLS([]string{"127.0.0.1"}), configs.PinnedTLS(pin[:], "127.0.0.1")); atClient != nil {
		t.Errorf("pinned: %v", atClient)
	}
	for host, p := range map[string][]byte{"127.0.0.2": pin[:], "127.0.0.1": other[:]} {
		if _, atClient, _ = meet(t, a.ServerTLS([]string{"127.0.0.1"}), configs.PinnedTLS(p, host)); atClient == nil {
			t.Errorf("host %s, pin %x: taken", host, p[:4])
		}
	}
	if _, atClient, _ = meet(t, &tls.Config{Certificates: []tls.Certificate{pair}}, configs.PinnedTLS(pin[:], "127.0.0.1")); atClient == nil {
		t.Error("an edge passes for the collector at an enrolment")
	}
}

// TestClocks: a box that believes it is 1970 connects, one that believes it is
// far in the future is told to look at its clock, and a certificate that has
// expired is refused.
func TestClocks(t *testing.T) {
	c := &clock{time.Now()}
	a := open(t, filepath.Join(t.TempDir(), "ca"), c)
	file := filepath.Join(t.TempDir(), "tls.pem")
	if err := os.WriteFile(file, edge(t, a, "site-1"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := configs.TLSFiles{Authorities: a.CertFile(), Cert: file, Key: file}
	client, err := configs.ClientTLS(files)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		t.Fatal(err)
	}
	c.now = c.now.Add(300 * 24 * time.Hour) // the server's certificate is made anew
	server := a.ServerTLS([]string{"127.0.0.1"})
	a.Require(server)
	client.Time = configs.NotBefore(pair.Leaf.NotBefore, func() time.Time { return time.Unix(0, 0) })
	if atServer, atClient, _ := meet(t, server, client); atServer != nil || atClient != nil {
		t.Errorf("a box in 1970: server %v, client %v", atServer, atClient)
	}
	ahead := time.Date(2106, 2, 7, 0, 0, 0, 0, time.UTC)
	client.Time = func() time.Time { return ahead }
	if _, atClient, _ := meet(t, server, client); atClient == nil || !strings.Contains(configs.ExplainTLS(atClient, ahead).Error(), "the clock here says 2106-02-07") {
		t.Errorf("a box in 2106: %v", configs.ExplainTLS(atClient, ahead))
	}
	client.Time = time.Now
	c.now = c.now.Add(66 * 24 * time.Hour)
	atServer, atClient, _ := meet(t, server, client)
	if atServer == nil || atClient == nil || !strings.Contains(configs.ExplainTLS(atClient, c.now).Error(), "kenshin-edge enrol") {
		t.Errorf("an expired certificate: server %v, client %v", atServer, configs.ExplainTLS(atClient, c.now))
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	a := open(t, filepath.Join(t.TempDir(), "ca"), &clock{time.Now()})
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	forged := request(t, key, "x")
	forged[len(forged)-1] ^= 1
	for name, der := range map[string][]byte{"RSA": request(t, weak, "x"), "P-521": request(t, curve, "x"), "signature": forged, "garbage": []byte("x"), "none": nil} {
		if _, err := a.Edge(der, "site-1", signing); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

func TestRevoked(t *testing.T) {
	a := open(t, filepath.Join(t.TempDir(), "ca"), &clock{time.Now()})
	edge(t, a, "site-1")
	gone := edge(t, a, "site-2")
	text, err := a.Revoked(func(id, _ string) error {
		if id == "site-2" {
			return errors.New("ended")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil || list.CheckSignatureFrom(a.Certificate()) != nil {
		t.Fatal("the list is not signed by the authority", err)
	}
	pair, err := tls.X509KeyPair(gone, gone)
	if err != nil {
		t.Fatal(err)
	}
	if got := list.RevokedCertificateEntries; len(got) != 1 || got[0].SerialNumber.Cmp(pair.Leaf.SerialNumber) != 0 {
		t.Errorf("revoked %v, want the one of site-2", got)
	}
}

func TestKeyThatOthersCanRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	open(t, dir, &clock{time.Now()})
	if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, "test", time.Now); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("opened: %v", err)
	}
}
