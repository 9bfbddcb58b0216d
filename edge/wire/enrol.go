package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Types of what is exchanged when a box is made known to a collector.
const (
	EnrolmentType = "kenshin/enrolment/v1"
	AdmissionType = "kenshin/admission/v1"
)

// MaxEnrolment bounds an enrolment and an admission, bytes.
const MaxEnrolment = 64 << 10

// Enrolment is a box asking to be known: by which key it signs, and for which
// TLS key it wants a certificate. It is sealed with Key, which shows that the
// box has the private half, and that the token and the TLS key are this box's.
type Enrolment struct {
	Format  int    `json:"format"`
	Edge    string `json:"edge"`
	Key     []byte `json:"key"`             // Ed25519, public; signs batches
	Request []byte `json:"request"`         // PKCS #10 in DER, of the TLS key
	Token   string `json:"token,omitempty"` // secret of a one-time token; none in a file that is carried, none for a new certificate
}

// Admission is the collector's answer. It is sealed with CollectorKey.
type Admission struct {
	Format       int    `json:"format"`
	Edge         string `json:"edge"`
	Key          []byte `json:"key"` // of the enrolment it answers
	Collector    string `json:"collector"`
	CollectorKey []byte `json:"collector_key"`         // Ed25519, public; signs acks
	Authorities  string `json:"authorities,omitempty"` // certificates to trust, PEM; "" leaves it to the system's
	Certificate  string `json:"certificate,omitempty"` // for the TLS key, PEM; "" when the collector has no certificates to give
	Broker       string `json:"broker"`                // URL
	URL          string `json:"url,omitempty"`         // where to ask for the next certificate
	Root         string `json:"root"`                  // of the topics
}

// EncodeEnrolment returns e sealed with key, whose public half becomes e.Key.
func EncodeEnrolment(e Enrolment, key ed25519.PrivateKey) ([]byte, error) {
	e.Format, e.Key = Format, key.Public().(ed25519.PublicKey)
	return sealJSON(EnrolmentType, e, key)
}

// DecodeEnrolment reads an enrolment and checks that its own key has sealed it.
func DecodeEnrolment(envelope []byte) (*Enrolment, error) {
	var e Enrolment
	if err := unsealJSON(EnrolmentType, envelope, &e, func() []byte { return e.Key }); err != nil {
		return nil, err
	}
	if e.Format != Format {
		return nil, fmt.Errorf("%w enrolment: format %d, this program reads %d", ErrMalformed, e.Format, Format)
	}
	return &e, CheckEdgeID(e.Edge)
}

// EncodeAdmission returns a sealed with key, whose public half becomes
// a.CollectorKey.
func EncodeAdmission(a Admission, key ed25519.PrivateKey) ([]byte, error) {
	a.Format, a.CollectorKey = Format, key.Public().(ed25519.PublicKey)
	return sealJSON(AdmissionType, a, key)
}

// DecodeAdmission reads an admission and checks that the collector it names has
// sealed it. Whether that is the right collector, the caller knows from how it
// came, or from the collector's key it knew before.
func DecodeAdmission(envelope []byte) (*Admission, error) {
	var a Admission
	if err := unsealJSON(AdmissionType, envelope, &a, func() []byte { return a.CollectorKey }); err != nil {
		return nil, err
	}
	if a.Format != Format {
		return nil, fmt.Errorf("%w admission: format %d, this program reads %d", ErrMalformed, a.Format, Format)
	}
	return &a, CheckEdgeID(a.Edge)
}

func sealJSON(typ string, v any, key ed25519.PrivateKey) ([]byte, error) {
	payload, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return Seal(typ, payload, key)
}

// unsealJSON reads v, and then checks the seal by the key that v names.
func unsealJSON(typ string, envelope []byte, v any, key func() []byte) error {
	if len(envelope) > MaxEnrolment {
		return fmt.Errorf("%w %s: %d bytes, at most %d", ErrMalformed, typ, len(envelope), MaxEnrolment)
	}
	payload, err := Payload(typ, envelope)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(payload, v); err != nil {
		return fmt.Errorf("%w %s: %w", ErrMalformed, typ, err)
	}
	_, err = Unseal(typ, envelope, key())
	return err
}

// Fingerprint names a key to people and in certificates: SHA-256 in hex.
func Fingerprint(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:])
}
