package collector

import (
	"errors"

	"kenshin/edge/wire"
)

// Reasons a message is not taken. They are the label of a counter, so there is
// a fixed set of them.
const (
	reasonTopic     = "topic"
	reasonIdentity  = "identity"
	reasonRevoked   = "revoked"
	reasonSignature = "signature"
	reasonMalformed = "malformed"
	reasonChain     = "chain"
	reasonFork      = "fork"
	reasonBook      = "book" // what it would have to equal cannot be read in the book
)

var reasons = []string{reasonTopic, reasonIdentity, reasonRevoked, reasonSignature, reasonMalformed, reasonChain, reasonFork, reasonBook}

var (
	errBrokenChain = errors.New("broken chain")
	errFork        = errors.New("fork")
)

// refusal is an error whose reason is known where it arises.
type refusal struct {
	reason string
	error
}

func (r refusal) Unwrap() error { return r.error }

// reasonOf returns why a message is refused.
func reasonOf(err error) string {
	var r refusal
	switch {
	case errors.As(err, &r):
		return r.reason
	case errors.Is(err, wire.ErrSignature):
		return reasonSignature
	case errors.Is(err, errBrokenChain):
		return reasonChain
	case errors.Is(err, errFork):
		return reasonFork
	case errors.Is(err, wire.ErrMalformed):
		return reasonMalformed
	default:
		return reasonBook
	}
}
