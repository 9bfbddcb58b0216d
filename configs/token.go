package configs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"time"
)

// Token is what an operator gives to whoever installs a box: edge.secret.pin, the
// pin empty when the collector's certificate comes from an authority that
// systems trust anyway.
type Token struct {
	Edge   string
	Secret string
	Pin    []byte // SHA-256 of the authority's certificate in DER, nil for none
}

// String returns the token as it is typed.
func (t Token) String() string {
	return t.Edge + "." + t.Secret + "." + base64.RawURLEncoding.EncodeToString(t.Pin)
}

// ParseToken reads a token as it was typed.
func ParseToken(text string) (*Token, error) {
	parts := strings.Split(strings.TrimSpace(text), ".")
	if len(parts) == 3 && parts[0] != "" && parts[1] != "" {
		pin, err := base64.RawURLEncoding.DecodeString(parts[2])
		switch {
		case err == nil && len(pin) == 0:
			return &Token{parts[0], parts[1], nil}, nil
		case err == nil && len(pin) == sha256.Size:
			return &Token{parts[0], parts[1], pin}, nil
		}
	}
	return nil, errors.New("this is no whole token; paste all of what `kenshin-collector edges token` printed")
}

// PinnedTLS returns the settings of a client that trusts one authority, of whose
// certificate it knows the SHA-256 only; the server, which must be host, sends the
// certificate. It does not look at the clock before that authority's beginning: a new box may not know
// what day it is.
func PinnedTLS(pin []byte, host string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection does it: the authority is not known before
		VerifyConnection: func(s tls.ConnectionState) error {
			for _, c := range s.PeerCertificates {
				if sum := sha256.Sum256(c.Raw); string(sum[:]) != string(pin) {
					continue
				}
				roots := x509.NewCertPool()
				roots.AddCert(c)
				_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: NotBefore(c.NotBefore, time.Now)()})
				return err
			}
			return errors.New("the server is not the collector this token is from: its certificate comes from another authority")
		},
	}
}
