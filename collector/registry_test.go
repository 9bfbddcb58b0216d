package collector

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"kenshin/edge/wire"
)

// ticking is a clock that is set by hand.
type ticking struct {
	clock
	now time.Time
}

func (c *ticking) Now() time.Time { return c.now }

func secondKey(n byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[1] = n
	return ed25519.NewKeyFromSeed(seed)
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// withKey returns the site as it is after its key was replaced.
func (s *site) withKey(k ed25519.PrivateKey) *site {
	other := *s
	other.key = k
	return &other
}

func refused(t *testing.T, err error, says ...string) {
	t.Helper()
	if !errors.Is(err, ErrRefused) {
		t.Errorf("error %v, want it refused", err)
		return
	}
	for _, w := range says {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func TestTokenAdmitsOnce(t *testing.T) {
	a, b := twoSites(3)
	r := newRig(t)
	now := &ticking{now: time.UnixMilli(start)}
	r.Close()
	r.cfg.Clock = now
	r.open()
	secret := must(r.Invite("site-1", 15*time.Minute, "installer", "new box"))
	if strings.Contains(string(r.dump()), secret) {
		t.Error("the book holds the secret of a token")
	}
	r.reopen() // the token is in the book, not in memory
	refused(t, r.AdmitByToken("site-1", a.public(), secret+"x"), "not one of this collector")
	refused(t, r.AdmitByToken("site-1", a.public(), ""), "no token")
	refused(t, r.AdmitByToken("site-2", b.public(), secret), "is for edge site-1")
	r.send(a.all(t))
	if got := r.counts(); got != "0 stored 0 repeated 1 identity" {
		t.Errorf("before it is admitted: %s", got)
	}
	now.now = now.now.Add(15 * time.Minute) // the last moment
	if err := r.AdmitByToken("site-1", a.public(), secret); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	refused(t, r.AdmitByToken("site-1", public(secondKey(9)), secret), "used up in record")
	if err := r.AdmitByToken("site-1", a.public(), secret); err != nil {
		t.Errorf("the box asks again because the answer was lost: %v", err)
	}
	refused(t, r.AdmitByToken("site-2", a.public(), must(r.Invite("site-2", time.Minute, "installer", "copied card"))), "is that of edge site-1")
	late := must(r.Invite("site-2", time.Minute, "installer", "new box"))
	now.now = now.now.Add(time.Minute + time.Millisecond)
	refused(t, r.AdmitByToken("site-2", b.public(), late), "expired at")
	for _, valid := range []time.Duration{0, -time.Second, maxToken + 1} {
		_, err := r.Invite("site-2", valid, "installer", "x")
		refused(t, err, "valid")
	}
	_, err := r.Invite("site/+", time.Minute, "installer", "x")
	refused(t, err, "site/+")
	r.send(a.all(t))
	if got := r.counts(); got != "1 stored 0 repeated" {
		t.Error(got)
	}
}

func TestRevokedKey(t *testing.T) {
	a, b := twoSites(9)
	r := newRig(t, a, b)
	r.send(a.batch(t, 1, 4), b.all(t))
	_, err := r.Revoke("site-1", "", "operator", " ")
	refused(t, err, "why")
	_, err = r.Revoke("site-1", "ffff", "operator", "stolen")
	refused(t, err, "no open key")
	if _, err := r.Revoke("site-1", wire.Fingerprint(a.public())[:8], "operator", "box stolen"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 stored 0 repeated 2 revoked", "0 stored 0 repeated 2 revoked"} {
		r.send(a.batch(t, 5, 10), a.batch(t, 1, 4))
		if got := r.counts(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		refused(t, r.CheckKey("site-1", wire.Fingerprint(a.public())), "box stolen")
		refused(t, r.Admit("site-1", a.public(), "operator", "again"), "box stolen", "-new-key")
		r.reopen() // the configuration, which still has the key, does not bring it back
	}
	edges := r.cfg.Edges
	for _, list := range [][]Edge{edges[1:], edges} { // nor does taking it out and putting it in again
		r.Close()
		r.cfg.Edges = list
		r.open()
	}
	r.send(a.batch(t, 5, 10))
	if got := r.counts(); got != "0 stored 0 repeated 1 revoked" {
		t.Errorf("after the configuration was changed twice: %s", got)
	}
	letters := r.letters()
	if last := letters[len(letters)-1]; last.Reason != "revoked" || !strings.Contains(last.Detail, "box stolen") || !strings.Contains(last.Detail, "record ") {
		t.Errorf("dead letter: %s: %s", last.Reason, last.Detail)
	}
	if n, err := CheckSignatures(r.Store()); n != 2 || err != nil {
		t.Errorf("%d batches, %v; what was signed before must stay good", n, err)
	}
	if err := r.CheckKey("site-2", wire.Fingerprint(b.public())); err != nil {
		t.Errorf("the other edge: %v", err)
	}
	refused(t, r.CheckKey("site-2", wire.Fingerprint(a.public())), "no key")
	k := secondKey(7)
	if err := r.Admit("site-1", public(k), "operator", "new box"); err != nil {
		t.Fatal(err)
	}
	r.send(a.withKey(k).batch(t, 5, 10))
	if got := r.lastAck(); got != "site-1 10 []" {
		t.Errorf("under a new key: %s", got)
	}
}

// TestRotation: batches under the old key and the new are on their way together;
// none is refused until the old key is retired, and both stay verifiable.
func TestRotation(t *testing.T) {
	old, other := twoSites(19)
	r := newRig(t, old, other)
	k := secondKey(5)
	next := old.withKey(k)
	r.send(old.batch(t, 1, 3), next.batch(t, 4, 5))
	if got := r.counts(); got != "1 stored 0 repeated 1 signature" {
		t.Fatalf("a key that nobody admitted: %s", got)
	}
	secret := must(r.Invite("site-1", time.Minute, "operator", "rotation"))
	if err := r.AdmitByToken("site-1", public(k), secret); err != nil {
		t.Fatal(err)
	}
	if err := r.retire(); err != nil || len(r.openKeys("site-1")) != 2 {
		t.Errorf("the new key has signed nothing yet, the old one must stay: %v", err)
	}
	r.send(next.batch(t, 6, 10), old.batch(t, 4, 8), next.batch(t, 11, 14), old.batch(t, 9, 12))
	if got := r.lastAck(); got != "site-1 14 []" {
		t.Errorf("ack %s", got)
	}
	if err := r.retire(); err != nil {
		t.Fatal(err)
	}
	if got := r.openKeys("site-1"); len(got) != 1 || got[0] != wire.Fingerprint(public(k)) {
		t.Errorf("open keys %v, want the new one alone", got)
	}
	if len(r.openKeys("site-2")) != 1 {
		t.Error("the key of the other edge is gone")
	}
	r.send(old.batch(t, 15, 16))
	if got := r.counts(); !strings.Contains(got, "1 revoked 1 signature") {
		t.Errorf("the old key after its end: %s", got)
	}
	r.reopen()
	r.send(old.batch(t, 15, 16), next.batch(t, 15, 20))
	if got := r.lastAck(); got != "site-1 20 []" {
		t.Errorf("ack %s", got)
	}
	if n, err := CheckSignatures(r.Store()); n != len(r.batches()) || err != nil {
		t.Errorf("%d of %d batches verified: %v", n, len(r.batches()), err)
	}
}

// openKeys lists the fingerprints of the open keys of an edge.
func (r *rig) openKeys(edge string) (out []string) {
	for _, k := range r.Keys() {
		if k.Edge == edge && !k.Ended {
			out = append(out, k.Fingerprint)
		}
	}
	return out
}

func (r *rig) dump() []byte {
	var b strings.Builder
	if err := Dump(&b, r.store); err != nil {
		r.t.Fatal(err)
	}
	return []byte(b.String())
}
