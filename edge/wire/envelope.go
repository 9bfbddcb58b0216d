package wire

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"google.golang.org/protobuf/proto"

	"kenshin/edge/wire/wirepb"
)

// Types of signed payloads. They are part of what is signed, so an ack can
// never be taken for a batch.
const (
	BatchType = "kenshin/batch/v1"
	AckType   = "kenshin/ack/v1"
)

const ed25519Algorithm = 1

// ErrSignature is wrapped when bytes were not signed by the key they should
// have been signed by.
var ErrSignature = errors.New("wrong signature")

// PAE returns the pre-authentication encoding that is signed, so that no
// payload can be read as another type and nobody re-serialises to check.
// Source: in-toto DSSE protocol 1.0, "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body.
func PAE(typ string, payload []byte) []byte {
	return appendPAE(make([]byte, 0, len(payload)+len(typ)+32), typ, payload)
}

func appendPAE(b []byte, typ string, payload []byte) []byte {
	b = append(b, "DSSEv1 "...)
	b = strconv.AppendInt(b, int64(len(typ)), 10)
	b = append(b, ' ')
	b = append(b, typ...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, ' ')
	return append(b, payload...)
}

// Seal signs payload as typ and returns the envelope that travels.
func Seal(typ string, payload []byte, key ed25519.PrivateKey) ([]byte, error) {
	return proto.Marshal(&wirepb.Envelope{
		Type: typ, Payload: payload, Algorithm: ed25519Algorithm, Signature: ed25519.Sign(key, PAE(typ, payload)),
	})
}

// Unseal returns the payload of an envelope of type typ that pub has signed.
func Unseal(typ string, envelope []byte, pub ed25519.PublicKey) ([]byte, error) {
	payload, _, err := UnsealBy(typ, envelope, pub)
	return payload, err
}

// UnsealBy is Unseal for the first of several keys that has signed the envelope,
// which it returns too.
func UnsealBy(typ string, envelope []byte, keys ...ed25519.PublicKey) (payload []byte, key ed25519.PublicKey, err error) {
	payload, sig, err := open(typ, envelope)
	if err != nil {
		return nil, nil, err
	}
	room := signed.Get().(*[]byte)
	defer signed.Put(room)
	*room = appendPAE((*room)[:0], typ, payload)
	for _, pub := range keys {
		if len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, *room, sig) {
			return payload, pub, nil
		}
	}
	return nil, nil, fmt.Errorf("%w on %s", ErrSignature, typ)
}

// signed holds room for what a signature is over.
var signed = sync.Pool{New: func() any { return new([]byte) }}

// Payload returns the payload of an envelope without judging its signature: for
// bytes whose signature was checked when they were stored, and for finding out
// whose they claim to be.
func Payload(typ string, envelope []byte) ([]byte, error) {
	payload, _, err := open(typ, envelope)
	return payload, err
}

func open(typ string, envelope []byte) (payload, sig []byte, err error) {
	var m wirepb.Envelope
	if err := proto.Unmarshal(envelope, &m); err != nil {
		return nil, nil, fmt.Errorf("%w envelope: %w", ErrMalformed, err)
	}
	if m.Type != typ {
		return nil, nil, fmt.Errorf("%w envelope: type %q, want %q", ErrMalformed, m.Type, typ)
	}
	if m.Algorithm != ed25519Algorithm {
		return nil, nil, fmt.Errorf("%w envelope: signature algorithm %d is unknown", ErrMalformed, m.Algorithm)
	}
	return m.Payload, m.Signature, nil
}

// Range is a run of sequence numbers, both included.
type Range struct{ From, To uint64 }

// Ack says what the collector has made durable of an edge's epoch: every record
// up to Through, whose chain hash is Chain. It is cumulative, so lost, repeated
// and reordered acks do no harm.
type Ack struct {
	Edge       string
	Epoch      Epoch
	Through    uint64
	Chain      Hash
	Collector  string
	Generation uint64  // rises at every opening of the collector's store
	Want       []Range // missing before what else is there
	Have       []Range // what else is there, between the holes
}

// MaxRanges bounds what an ack says is missing, and what it says is there; more is told later.
const MaxRanges = 64

// EncodeAck returns the payload for a.
func EncodeAck(a *Ack) ([]byte, error) {
	m := &wirepb.Ack{
		Format: Format, Edge: a.Edge, Epoch: a.Epoch[:], Through: a.Through, Chain: a.Chain[:],
		Collector: a.Collector, Generation: a.Generation,
	}
	for _, r := range a.Want[:min(len(a.Want), MaxRanges)] {
		m.Want = append(m.Want, &wirepb.Range{From: r.From, To: r.To})
	}
	for _, r := range a.Have[:min(len(a.Have), MaxRanges)] {
		m.Have = append(m.Have, &wirepb.Range{From: r.From, To: r.To})
	}
	return proto.Marshal(m)
}

// DecodeAck reads the payload of an ack.
func DecodeAck(payload []byte) (*Ack, error) {
	var m wirepb.Ack
	if err := proto.Unmarshal(payload, &m); err != nil {
		return nil, fmt.Errorf("%w ack: %w", ErrMalformed, err)
	}
	a := &Ack{Edge: m.Edge, Through: m.Through, Collector: m.Collector, Generation: m.Generation}
	switch {
	case m.Format != Format:
		return nil, fmt.Errorf("%w ack: format %d, this program reads %d", ErrMalformed, m.Format, Format)
	case len(m.Epoch) != len(a.Epoch) || len(m.Chain) != len(a.Chain):
		return nil, fmt.Errorf("%w ack: epoch of %d and chain hash of %d bytes", ErrMalformed, len(m.Epoch), len(m.Chain))
	case len(m.Want) > MaxRanges || len(m.Have) > MaxRanges:
		return nil, fmt.Errorf("%w ack: %d ranges and %d runs, at most %d", ErrMalformed, len(m.Want), len(m.Have), MaxRanges)
	}
	copy(a.Epoch[:], m.Epoch)
	copy(a.Chain[:], m.Chain)
	var err error
	if a.Want, err = ranges(m.Want); err == nil {
		a.Have, err = ranges(m.Have)
	}
	if err != nil {
		return nil, fmt.Errorf("%w ack: %w", ErrMalformed, err)
	}
	return a, nil
}

func ranges(list []*wirepb.Range) (out []Range, err error) {
	for _, r := range list {
		if r.From == 0 || r.To < r.From {
			return nil, fmt.Errorf("range %d to %d", r.From, r.To)
		}
		out = append(out, Range{r.From, r.To})
	}
	return out, nil
}
