package broker

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// authority signs certificates for these tests.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key, a.cert = a.sign("authority", time.Now().Add(time.Hour), nil)
	return a
}

func (a *authority) sign(name string, until time.Time, by *authority) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true, IsCA: by == nil, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, cert
}

func (a *authority) pair(name string, until time.Time) tls.Certificate {
	key, cert := a.sign(name, until, a)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

var errStolen = errors.New("its key has ended: stolen")

// startTLS starts a broker that asks for certificates of the authority. Edge
// site-9 may not come in.
func startTLS(t *testing.T) (*rig, *authority) {
	t.Helper()
	a := newAuthority(t)
	settings := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{a.pair("broker", time.Now().Add(time.Hour))},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool()}
	return startWith(t, 64, func(c *Config) {
		c.TLS = settings
		c.Authenticate = func(string, string) bool { return true } // nobody is to be asked for a password
		c.Identify = func(cert *x509.Certificate) (string, error) {
			if cert.Subject.CommonName == "site-9" {
				return "", errStolen
			}
			return cert.Subject.CommonName, nil
		}
	}), a
}

// over returns the options of a client with a certificate.
func (r *rig) over(a *authority, client, user string, cert ...tls.Certificate) *mqtt.ClientOptions {
	return mqtt.NewClientOptions().AddBroker("tls://" + r.Addr()).SetClientID(client).SetUsername(user).SetPassword("x").
		SetProtocolVersion(4).SetAutoReconnect(false).SetConnectTimeout(patient).SetTLSConfig(&tls.Config{RootCAs: a.pool(), Certificates: cert})
}

func TestCertificateIsTheIdentity(t *testing.T) {
	r, a := startTLS(t)
	later := time.Now().Add(time.Hour)
	stranger := newAuthority(t)
	for _, tt := range []struct {
		name         string
		client, user string
		cert         []tls.Certificate
		want         string // in the error, "" lets it in
		log          string
	}{
		{"own", "site-1", "site-1", []tls.Certificate{a.pair("site-1", later)}, "", ""},
		{"no user name", "site-1", "", []tls.Certificate{a.pair("site-1", later)}, "", ""},
		{"another's name", "site-2", "site-2", []tls.Certificate{a.pair("site-1", later)}, "not Authorized", "the certificate is that of site-1"},
		{"another's client id", "site-2", "site-1", []tls.Certificate{a.pair("site-1", later)}, "not Authorized", "the client id is not the user name"},
		{"revoked", "site-9", "site-9", []tls.Certificate{a.pair("site-9", later)}, "not Authorized", "stolen"},
		{"no edge id", "site-1", "", []tls.Certificate{a.pair("+", later)}, "not Authorized", "no edge id"},
		{"expired", "site-1", "site-1", []tls.Certificate{a.pair("site-1", time.Now().Add(-time.Hour))}, "expired", "expired"},
		{"another authority's", "site-1", "site-1", []tls.Certificate{stranger.pair("site-1", later)}, "remote error", "certificate"},
		{"none", "site-1", "site-1", nil, "certificate required", "didn't provide a certificate"},
	} {
		c := mqtt.NewClient(r.over(a, tt.client, tt.user, tt.cert...))
		err := done(t, c.Connect())
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		c.Disconnect(0)
		if !r.logged(tt.log) {
			t.Errorf("%s: the log does not say %q", tt.name, tt.log)
		}
	}
}

// logged waits until the log says something.
func (r *rig) logged(what string) bool {
	for end := time.Now().Add(patient); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, l := range r.logs.All() {
			text := l.Message
			for _, f := range l.Context {
				text += " " + f.String
				if err, ok := f.Interface.(error); ok {
					text += " " + err.Error()
				}
			}
			if strings.Contains(text, what) {
				return true
			}
		}
	}
	return false
}

// TestCertificateOpensOwnTopicsOnly: with its own certificate an edge can neither
// publish as another nor read the other's ack.
func TestCertificateOpensOwnTopicsOnly(t *testing.T) {
	r, a := startTLS(t)
	later := time.Now().Add(time.Hour)
	heard := make(chan string, 16)
	thief := r.client(t, r.over(a, "site-1", "", a.pair("site-1", later)))
	for _, topic := range []string{root + "/site-2/ack", root + "/+/ack", "#"} {
		tok := thief.Subscribe(topic, 1, func(_ mqtt.Client, m mqtt.Message) { heard <- m.Topic() }).(*mqtt.SubscribeToken)
		if done(t, tok); tok.Result()[topic] != 0x80 {
			t.Errorf("subscribing to %s is answered %x", topic, tok.Result()[topic])
		}
	}
	if err := r.Publish(root+"/site-2/ack", []byte("secret"), true); err != nil {
		t.Fatal(err)
	}
	thief.Publish(root+"/site-2/up", 1, false, "forged")
	thief.Disconnect(0)
	r.client(t, r.over(a, "site-1", "", a.pair("site-1", later))).Publish(root+"/site-1/up", 1, false, "own")
	if m := next(t, r.received); m.Topic != root+"/site-1/up" {
		t.Errorf("received on %s", m.Topic)
	}
	select {
	case topic := <-heard:
		t.Errorf("heard %s", topic)
	case m := <-r.received:
		t.Errorf("received on %s", m.Topic)
	default:
	}
	lost := make(chan error, 1)
	owner := r.client(t, r.over(a, "site-2", "", a.pair("site-2", later)).SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err }))
	got := make(chan string, 1)
	done(t, owner.Subscribe(root+"/site-2/ack", 1, func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) }))
	if ack := next(t, got); ack != "secret" {
		t.Errorf("the owner got %q", ack)
	}
	r.Drop("site-2")
	next(t, lost)
}

func TestPlainConnectionToTLS(t *testing.T) {
	r, _ := startTLS(t)
	c, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.ClientIdentifier = "MQTT", 4, "site-1"
	var b bytes.Buffer
	p.Write(&b)
	c.Write(b.Bytes())
	c.SetReadDeadline(time.Now().Add(patient))
	if got, err := io.ReadAll(c); len(got) > 0 && got[0] == 0x20 || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("answered % x, %v; want the connection closed", got, err)
	}
	if !r.logged("does not speak TLS") || !r.logged("tls://") {
		t.Error("the log does not say what to do")
	}
}

// TestServerTLSKeepsPasswords: TLS that asks for no certificate leaves the
// password in force.
func TestServerTLSKeepsPasswords(t *testing.T) {
	a := newAuthority(t)
	settings := &tls.Config{Certificates: []tls.Certificate{a.pair("broker", time.Now().Add(time.Hour))}}
	r := startWith(t, 1, func(c *Config) { c.TLS = settings })
	if err := done(t, mqtt.NewClient(r.over(a, "site-1", "site-1")).Connect()); err == nil {
		t.Error("a wrong password is let in")
	}
	c := r.client(t, r.over(a, "site-1", "site-1").SetPassword("secret-site-1"))
	c.Publish(root+"/site-1/up", 1, false, "x")
	next(t, r.received)
}
