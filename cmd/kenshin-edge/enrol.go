package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kenshin/configs"
	"kenshin/edge/wire"
)

// enrolCmd makes this box known to a collector. What vouches for the box is a
// one-time token over HTTPS, or whoever carries a file to the collector and one
// back. The token names the authority the collector's certificate must come
// from, so nobody in between can take the collector's place.
type enrolCmd struct {
	Token     string `help:"One-time token that 'kenshin-collector edges token' printed." placeholder:"TOKEN"`
	Collector string `help:"Address of the collector, https://HOST:PORT." placeholder:"URL"`
	NewKey    bool   `help:"Make a new signing key; the old one stays good until the new one has signed. Restart the agent afterwards."`
	Request   string `help:"Without a connection: write what is to be carried to 'kenshin-collector edges admit'." type:"path" placeholder:"FILE"`
	Reply     string `help:"Without a connection: take the collector's answer." type:"existingfile" placeholder:"FILE"`
}

func (e *enrolCmd) run(ctx context.Context, cfg *config, w io.Writer) error {
	online := e.Token != "" || e.Collector != ""
	if e.Request != "" && (online || e.Reply != "") || e.Reply != "" && online {
		return configs.Setup(errors.New("want one of --token, --request and --reply"))
	}
	if err := configs.Folder(filepath.Join(cfg.Data, "enrolled"), 0o755); err != nil {
		return configs.Setup(cfg.dirError(err))
	}
	x := enrolment{config: cfg}
	err := x.pick(e.NewKey)
	if err != nil {
		return configs.Setup(cfg.dirError(err))
	}
	switch {
	case e.Request != "":
		return x.ask(e.Request, w)
	case e.Reply != "":
		err = x.takeFile(e.Reply)
	default:
		var t *configs.Token
		if e.Token != "" {
			if t, err = configs.ParseToken(e.Token); err != nil {
				return configs.Setup(err)
			}
			if t.Edge != cfg.Edge {
				return configs.Setup(fmt.Errorf("the token is for edge %s, and %s says this box is %s", t.Edge, cfg.file, cfg.Edge))
			}
		}
		url := e.Collector
		if url == "" {
			url = cfg.Collector.URL
		}
		secret, pin := "", []byte(nil)
		if t != nil {
			secret, pin = t.Secret, t.Pin
		}
		err = x.online(ctx, url, secret, pin)
	}
	if err != nil {
		return err
	}
	return x.report(w)
}

// nextKey is the name of a new signing key until the collector has admitted it.
const nextKey = "edge-next"

// enrolment is one in progress.
type enrolment struct {
	*config
	key  ed25519.PrivateKey
	next bool // key takes the place of the one there is
}

// pick takes the signing key there is, or a new one.
func (x *enrolment) pick(next bool) (err error) {
	name := "edge"
	if x.next = next; next {
		name = nextKey
	}
	x.key, err = configs.Key(x.Data, name)
	return err
}

func (x *enrolment) public() ed25519.PublicKey { return x.key.Public().(ed25519.PublicKey) }

// request makes a TLS key and asks for what the collector has to give.
func (x *enrolment) request(secret string) (envelope, tlsKey []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
	if err != nil {
		return nil, nil, err
	}
	envelope, err = wire.EncodeEnrolment(wire.Enrolment{Edge: x.Edge, Request: csr, Token: secret}, x.key)
	return envelope, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

func (x *enrolment) pendingKey() string { return x.enrolled("pending.key") }

// ask writes a file for the collector.
func (x *enrolment) ask(file string, w io.Writer) error {
	envelope, tlsKey, err := x.request("")
	if err == nil {
		err = configs.WriteFile(x.pendingKey(), tlsKey, 0o600)
	}
	if err == nil {
		err = configs.WriteFile(file, envelope, 0o644)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "Carry %s to the collector:\n\n  kenshin-collector edges admit %s --reply %s.reply\n\nIt must show edge %s and fingerprint\n  %s\nCarry the reply back: kenshin-edge enrol --reply FILE\n",
		file, filepath.Base(file), x.Edge, x.Edge, wire.Fingerprint(x.public()))
	return err
}

// takeFile takes an answer that was carried here.
func (x *enrolment) takeFile(file string) error {
	envelope, err := os.ReadFile(file)
	if err != nil {
		return configs.Setup(err)
	}
	if a, err := wire.DecodeAdmission(envelope); err == nil && !x.public().Equal(ed25519.PublicKey(a.Key)) {
		if _, err := os.Stat(filepath.Join(x.Data, nextKey+".key")); err == nil { // the request was for a new key
			if err := x.pick(true); err != nil {
				return err
			}
		}
	}
	tlsKey, err := configs.ReadSecret(x.pendingKey())
	if err != nil {
		return configs.Setup(fmt.Errorf("%w; `kenshin-edge enrol --request FILE` begins", err))
	}
	if err := x.take(envelope, tlsKey, nil); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.Remove(x.pendingKey())
}

// online asks the collector. With a secret it is believed because its
// certificate comes from the authority the token names; without one because it
// signs with the key that is known here.
func (x *enrolment) online(ctx context.Context, collector, secret string, pin []byte) error {
	u, err := url.Parse(collector)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Host)) {
		return configs.Setup(fmt.Errorf("collector %q: want https://HOST:PORT (--collector)", collector))
	}
	var known ed25519.PublicKey
	if secret == "" {
		if known, err = x.collectorKey(); err != nil {
			return configs.Setup(fmt.Errorf("%w; the first time a token is needed (--token)", err))
		}
	}
	envelope, tlsKey, err := x.request(secret)
	if err != nil {
		return err
	}
	settings, err := x.trust(pin, u.Hostname())
	if err != nil {
		return configs.Setup(err)
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: settings, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.JoinPath("enrol").String(), bytes.NewReader(envelope))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return configs.ExplainTLS(err, time.Now())
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxEnrolment+1))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("collector %s: %s: %s", u, resp.Status, strings.TrimSpace(string(body[:min(len(body), 500)])))
	}
	return x.take(body, tlsKey, known)
}

// trust returns the TLS settings for asking the collector.
func (x *enrolment) trust(pin []byte, host string) (*tls.Config, error) {
	if pin != nil {
		return configs.PinnedTLS(pin, host), nil
	}
	return configs.ClientTLS(configs.TLSFiles{Authorities: x.Broker.CAFile, Cert: x.Broker.CertFile, Key: x.Broker.KeyFile})
}

// take checks an answer and puts it where the configuration looks for it. The key
// that known is must have signed it, unless it is nil.
func (x *enrolment) take(envelope, tlsKey []byte, known ed25519.PublicKey) error {
	a, err := wire.DecodeAdmission(envelope)
	if err != nil {
		return err
	}
	pub := x.public()
	switch {
	case a.Edge != x.Edge || !pub.Equal(ed25519.PublicKey(a.Key)):
		return fmt.Errorf("the answer is for edge %s with key %.16s, this is %s with %.16s", a.Edge, wire.Fingerprint(a.Key), x.Edge, wire.Fingerprint(pub))
	case known != nil && !known.Equal(ed25519.PublicKey(a.CollectorKey)):
		return errors.New("the answer is not signed by the collector that is known here")
	}
	type file struct {
		name, text string
		mode       os.FileMode
	}
	files := []file{
		{enrolledKey, base64.StdEncoding.EncodeToString(a.CollectorKey) + "\n", 0o644},
		{enrolledRoots, a.Authorities, 0o644}, {enrolledBroker, a.Broker + "\n", 0o644}, {enrolledURL, a.URL + "\n", 0o644}, {enrolledRoot, a.Root + "\n", 0o644},
	}
	if a.Certificate != "" {
		text := string(tlsKey) + a.Certificate
		if _, err := tls.X509KeyPair([]byte(text), []byte(text)); err != nil {
			return fmt.Errorf("the certificate is not for the key of this request: %w", err)
		}
		files = append(files, file{enrolledCert, text, 0o600})
	}
	for _, f := range files {
		path := x.enrolled(f.name)
		if strings.TrimSpace(f.text) == "" {
			err = os.Remove(path)
		} else {
			err = configs.WriteFile(path, []byte(f.text), f.mode)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return x.dirError(err)
		}
	}
	if !x.next {
		return nil
	}
	for _, end := range []string{".pub", ".key"} {
		if err := os.Rename(filepath.Join(x.Data, nextKey+end), filepath.Join(x.Data, "edge"+end)); err != nil {
			return err
		}
	}
	return nil
}

// report says what is in force now, and what the configuration overrides.
func (x *enrolment) report(w io.Writer) error {
	fmt.Fprintf(w, "edge %s is admitted with key %.16s\n", x.Edge, wire.Fingerprint(x.public()))
	for _, n := range []string{enrolledBroker, enrolledURL} {
		if text, err := os.ReadFile(x.enrolled(n)); err == nil {
			fmt.Fprintf(w, "%-14s %s", n, text)
		}
	}
	if pair, err := tls.LoadX509KeyPair(x.enrolled(enrolledCert), x.enrolled(enrolledCert)); err == nil {
		fmt.Fprintf(w, "certificate    until %s, renewed by the agent before\n", pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	text, err := os.ReadFile(x.enrolled(enrolledBroker))
	if err == nil && x.configured != "" && x.configured != strings.TrimSpace(string(text)) {
		fmt.Fprintf(w, "\n%s has broker.url %s, which goes before; take it out to use the collector's\n", x.file, x.configured)
	}
	if x.next {
		fmt.Fprintf(w, "\nRestart kenshin-edge: it still signs with the old key.\n")
	}
	return nil
}
