package collector

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"kenshin/calc"
	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// registry is which keys may sign for which edge, and where in the book that
// begins and ends. A batch is good when its signer's key was open at the position
// where the batch stands, so old records stay verifiable whatever happens later.
type registry struct {
	keys   map[string][]*edgeKey // by edge, in the order in which they were admitted
	tokens map[string]*token     // by hash of the secret
}

type edgeKey struct {
	key        ed25519.PublicKey
	from       uint64 // position in the book of the decision that admitted it
	until      uint64 // position of the decision that ended it, open when there is none
	why        string // it ended
	configured bool   // it stands in the collector's configuration
	revoked    bool   // it ended for good
	used       bool   // it has signed a batch since this process started; of who holds ingest.book
}

type token struct {
	edge  string
	until int64  // ms UTC
	used  uint64 // position of the decision that used it up, open when there is none
}

const open = ^uint64(0)

// ErrRefused is wrapped when an edge, a key or a token is not what it should be.
var ErrRefused = errors.New("refused")

func newRegistry() registry {
	return registry{keys: make(map[string][]*edgeKey), tokens: make(map[string]*token)}
}

// admission puts a decision on keys or tokens in force.
func (r *registry) admission(d decision) error {
	if d.Kind == decideToken {
		r.tokens[d.Text] = &token{d.Name, d.Until, open}
		return nil
	}
	key, err := base64.StdEncoding.DecodeString(d.Text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return fmt.Errorf("edge %s: %q is not an Ed25519 public key in base64", d.Name, d.Text)
	}
	switch k := r.find(d.Name, key); {
	case d.Kind == decideKeyEnd && k == nil:
		return fmt.Errorf("edge %s never had the key %s", d.Name, d.Text)
	case d.Kind == decideKeyEnd:
		k.end(d)
		k.revoked = true
	case d.Kind == decideEdge:
		r.endConfigured(d)
		if k == nil || !k.revoked && k.until != open { // revoked is revoked, whatever a configuration says later
			r.keys[d.Name] = append(r.keys[d.Name], &edgeKey{key: key, from: d.at, until: open, configured: true})
		}
	default:
		if t := r.tokens[d.Token]; t != nil {
			t.used = d.at
		}
		r.keys[d.Name] = append(r.keys[d.Name], &edgeKey{key: key, from: d.at, until: open})
	}
	return nil
}

func (k *edgeKey) end(d decision) {
	if k.until == open {
		k.until, k.why = d.at, d.Why
	}
}

// endConfigured ends the key that an edge has by the configuration.
func (r *registry) endConfigured(d decision) {
	for _, k := range r.keys[d.Name] {
		if k.configured {
			k.end(d)
		}
	}
}

// find returns the last span of a key of an edge.
func (r *registry) find(edge string, key ed25519.PublicKey) *edgeKey {
	for _, k := range slices.Backward(r.keys[edge]) {
		if k.key.Equal(key) {
			return k
		}
	}
	return nil
}

// registered lists the edges that have an open key, sorted.
func (r *registry) registered() (out []string) {
	for _, id := range slices.Sorted(maps.Keys(r.keys)) {
		if slices.ContainsFunc(r.keys[id], func(k *edgeKey) bool { return k.until == open }) {
			out = append(out, id)
		}
	}
	return out
}

// unseal returns the payload of a batch and which of an edge's keys has signed
// it, be it open or ended: a key never changes, so no lock is needed.
func unseal(edge string, keys []*edgeKey, envelope []byte) (payload []byte, key ed25519.PublicKey, err error) {
	newest := make([]ed25519.PublicKey, 0, 4)
	for _, k := range slices.Backward(keys) {
		newest = append(newest, k.key)
	}
	payload, key, err = wire.UnsealBy(wire.BatchType, envelope, newest...)
	if errors.Is(err, wire.ErrSignature) {
		err = fmt.Errorf("%w: none of the keys of edge %s has signed it", wire.ErrSignature, edge)
	}
	return payload, key, err
}

// admits says whether a key is open for an edge, and notes that it was used. One
// that ended is refused with the reason it ended.
func (r *registry) admits(edge string, key ed25519.PublicKey) error {
	var ended *edgeKey
	for _, k := range slices.Backward(r.keys[edge]) {
		if !k.key.Equal(key) {
			continue
		}
		if k.until == open {
			k.used = true
			return nil
		}
		ended = k
	}
	return refusal{reasonRevoked, fmt.Errorf("signed with key %.16s of edge %s, which ended with record %d: %s", wire.Fingerprint(key), edge, ended.until, ended.why)}
}

// EdgeKey is a key that may sign for an edge, or once could.
type EdgeKey struct {
	Edge        string `json:"edge"`
	Key         string `json:"key"`         // base64
	Fingerprint string `json:"fingerprint"` // SHA-256 in hex
	From        uint64 `json:"from"`        // record of the book that admitted it
	Ended       bool   `json:"ended"`
	Until       uint64 `json:"until,omitempty"` // record that ended it
	Why         string `json:"why,omitempty"`   // it ended
	Configured  bool   `json:"configured"`
}

// Keys lists every key any edge ever had, by edge and in the order of the book.
func (c *Collector) Keys() (out []EdgeKey) {
	c.ingest.mu.Lock()
	defer c.ingest.mu.Unlock()
	r := &c.ingest.rules.registry
	for _, id := range slices.Sorted(maps.Keys(r.keys)) {
		for _, k := range r.keys[id] {
			e := EdgeKey{Edge: id, Key: base64.StdEncoding.EncodeToString(k.key), Fingerprint: wire.Fingerprint(k.key), From: k.from, Configured: k.configured}
			if e.Ended = k.until != open; e.Ended {
				e.Until, e.Why = k.until, k.why
			}
			out = append(out, e)
		}
	}
	return out
}

// CheckKey says what speaks against an edge that shows a certificate which was
// issued together with the key of this fingerprint.
func (c *Collector) CheckKey(edge, fingerprint string) error {
	c.ingest.mu.Lock()
	defer c.ingest.mu.Unlock()
	for _, k := range slices.Backward(c.ingest.rules.keys[edge]) {
		if wire.Fingerprint(k.key) != fingerprint {
			continue
		}
		if k.until == open {
			return nil
		}
		return fmt.Errorf("%w: key %.16s of edge %s ended with record %d: %s", ErrRefused, fingerprint, edge, k.until, k.why)
	}
	return fmt.Errorf("%w: edge %s has no key %.16s", ErrRefused, edge, fingerprint)
}

// longest a token may wait to be used.
const maxToken = 7 * 24 * time.Hour

// Invite returns the secret of a token that admits one key for an edge, once,
// within the given time. Only its hash is kept.
func (c *Collector) Invite(edge string, valid time.Duration, who, why string) (secret string, err error) {
	if err := wire.CheckEdgeID(edge); err != nil {
		return "", fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := named(who, why); err != nil {
		return "", err
	}
	if valid <= 0 || valid > maxToken {
		return "", fmt.Errorf("%w: a token can be valid for more than 0s and at most %v, not %v", ErrRefused, maxToken, valid)
	}
	random := make([]byte, 24)
	if _, err := rand.Read(random); err != nil {
		return "", err
	}
	secret = base64.RawURLEncoding.EncodeToString(random)
	c.ingest.book.Lock()
	defer c.ingest.book.Unlock()
	return secret, c.ingest.decide(decision{Kind: decideToken, Name: edge, Who: who, Why: why, Text: hashToken(secret), Until: c.cfg.Clock.Now().Add(valid).UnixMilli()})
}

func hashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// AdmitByToken admits a key for an edge by the secret of a token, which is used
// up. A key that is admitted already stays so: the answer to a box may be lost.
// Keys the edge had before stay open until the new one has signed, see retire.
func (c *Collector) AdmitByToken(edge string, key ed25519.PublicKey, secret string) error {
	c.ingest.book.Lock()
	defer c.ingest.book.Unlock()
	done, err := c.ingest.mayAdmit(edge, key)
	if done || err != nil {
		return err
	}
	hash := hashToken(secret)
	t := c.ingest.rules.tokens[hash]
	now := c.cfg.Clock.Now().UnixMilli()
	const again = "; make a new one with `kenshin-collector edges token`"
	switch {
	case secret == "":
		return fmt.Errorf("%w: edge %s has no key %.16s, and there is no token", ErrRefused, edge, wire.Fingerprint(key))
	case t == nil:
		return fmt.Errorf("%w: the token is not one of this collector%s", ErrRefused, again)
	case t.edge != edge:
		return fmt.Errorf("%w: the token is for edge %s, not for %s", ErrRefused, t.edge, edge)
	case t.used != open:
		return fmt.Errorf("%w: the token was used up in record %d%s", ErrRefused, t.used, again)
	case now > t.until:
		return fmt.Errorf("%w: the token expired at %s%s", ErrRefused, time.UnixMilli(t.until).UTC().Format(time.RFC3339), again)
	}
	return c.ingest.decide(decision{Kind: decideKey, Name: edge, Who: "edge " + edge, Why: fmt.Sprintf("enrolled with token %.16s", hash), Token: hash, Text: base64.StdEncoding.EncodeToString(key)})
}

// Admit admits a key for an edge because a person says so.
func (c *Collector) Admit(edge string, key ed25519.PublicKey, who, why string) error {
	if err := named(who, why); err != nil {
		return err
	}
	c.ingest.book.Lock()
	defer c.ingest.book.Unlock()
	done, err := c.ingest.mayAdmit(edge, key)
	if done || err != nil {
		return err
	}
	return c.ingest.decide(decision{Kind: decideKey, Name: edge, Who: who, Why: why, Text: base64.StdEncoding.EncodeToString(key)})
}

// mayAdmit refuses a key that ended for good or is another edge's; done when it
// is admitted already. The caller holds book.
func (in *ingest) mayAdmit(edge string, key ed25519.PublicKey) (done bool, err error) {
	if err := wire.CheckEdgeID(edge); err != nil {
		return false, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	for id := range in.rules.keys {
		k := in.rules.find(id, key)
		switch {
		case k == nil:
		case id != edge:
			return false, fmt.Errorf("%w: key %.16s is that of edge %s; a box copied from another needs a key of its own", ErrRefused, wire.Fingerprint(key), id)
		case k.until == open:
			return true, nil
		case k.revoked:
			return false, fmt.Errorf("%w: key %.16s ended with record %d: %s; `kenshin-edge enrol -new-key` makes another", ErrRefused, wire.Fingerprint(key), k.until, k.why)
		}
	}
	return false, nil
}

// named refuses what nobody stands for.
func named(who, why string) error {
	if calc.Blank(who) || calc.Blank(why) {
		return fmt.Errorf("%w: say who decides and why", ErrRefused)
	}
	return nil
}

// Revoke ends open keys of an edge: the one whose fingerprint begins so, all when
// it is "". What they have signed and is in the book stays good; what comes later
// is refused. It returns the fingerprints.
func (c *Collector) Revoke(edge, fingerprint, who, why string) (ended []string, err error) {
	if err := named(who, why); err != nil {
		return nil, err
	}
	c.ingest.book.Lock()
	defer c.ingest.book.Unlock()
	for _, k := range c.ingest.rules.keys[edge] {
		if name := wire.Fingerprint(k.key); k.until == open && strings.HasPrefix(name, fingerprint) {
			if err := c.ingest.decide(decision{Kind: decideKeyEnd, Name: edge, Who: who, Why: why, Text: base64.StdEncoding.EncodeToString(k.key)}); err != nil {
				return ended, err
			}
			ended = append(ended, name)
		}
	}
	if len(ended) == 0 {
		return nil, fmt.Errorf("%w: edge %s has no open key %s; `kenshin-collector edges list` shows what there is", ErrRefused, edge, fingerprint)
	}
	return ended, nil
}

// retire ends the keys of edges that have begun to sign with a newer one. It runs
// every hour, so what was on its way under the old key has long arrived; anything
// else the edge sends again under the new.
func (c *Collector) retire() error {
	c.ingest.book.Lock()
	defer c.ingest.book.Unlock()
	for _, id := range c.ingest.rules.registered() {
		newer := ""
		for _, k := range slices.Backward(c.ingest.rules.keys[id]) {
			if k.until == open && newer != "" {
				if err := c.ingest.decide(decision{Kind: decideKeyEnd, Name: id, Who: "collector " + c.cfg.Name, Why: "replaced by key " + newer, Text: base64.StdEncoding.EncodeToString(k.key)}); err != nil {
					return err
				}
			}
			if k.until == open && k.used {
				newer = wire.Fingerprint(k.key)[:16]
			}
		}
	}
	return nil
}

// decide writes one decision into the book and puts it in force. The caller holds book.
func (in *ingest) decide(d decision) error {
	d.Version = decisionVersion
	text, err := marshal(d)
	if err != nil {
		return err
	}
	r := &store.Record{Kind: store.Decision, Received: in.cfg.Clock.Now().UnixMilli(), Subject: d.Kind, Payload: text}
	if _, err := in.store.Append(r); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	_, err = in.rules.take(r)
	return err
}

// CheckSignatures checks the signature of every batch of a book against the keys
// that were open at its position. It returns how many there are.
func CheckSignatures(book *store.Store) (batches int, err error) {
	rules := newRules()
	err = book.Scan(0, func(r *store.Record) error {
		if r.Kind == store.Decision {
			_, err := rules.take(r)
			return err
		}
		if r.Kind != store.Batch {
			return nil
		}
		batches++
		_, key, err := unseal(r.Subject, rules.keys[r.Subject], r.Payload)
		if err == nil {
			err = rules.admits(r.Subject, key)
		}
		if err != nil {
			return fmt.Errorf("record %d: %w", r.Index, err)
		}
		return nil
	})
	return batches, err
}
