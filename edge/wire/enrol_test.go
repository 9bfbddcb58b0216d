package wire

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
)

func TestEnrolmentIsSealedByItsKey(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(nil)
	other, thief, _ := ed25519.GenerateKey(nil)
	e := Enrolment{Format: Format, Edge: "site-1", Key: other, Request: []byte("x"), Token: "t"}
	forged, err := sealJSON(EnrolmentType, e, key) // claims a key it does not have
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeEnrolment(forged); !errors.Is(err, ErrSignature) {
		t.Errorf("another's key: %v", err)
	}
	good, err := EncodeEnrolment(e, thief)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeEnrolment(good); err != nil || !bytes.Equal(got.Key, other) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := DecodeEnrolment(bytes.Replace(good, []byte(`"t"`), []byte(`"u"`), 1)); !errors.Is(err, ErrSignature) {
		t.Errorf("another token: %v", err)
	}
	if _, err := DecodeAdmission(good); !errors.Is(err, ErrMalformed) {
		t.Errorf("as an admission: %v", err)
	}
	e.Edge = "site/+"
	if bad, err := EncodeEnrolment(e, key); err != nil {
		t.Fatal(err)
	} else if _, err := DecodeEnrolment(bad); err == nil {
		t.Error("an edge id with a wildcard is taken")
	}
	e.Edge, e.Request = "site-1", bytes.Repeat([]byte("x"), MaxEnrolment)
	if long, err := EncodeEnrolment(e, key); err != nil {
		t.Fatal(err)
	} else if _, err := DecodeEnrolment(long); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("too long: %v", err)
	}
}

func FuzzDecodeEnrolment(f *testing.F) {
	_, key, _ := ed25519.GenerateKey(nil)
	e, _ := EncodeEnrolment(Enrolment{Edge: "site-1"}, key)
	a, _ := EncodeAdmission(Admission{Edge: "site-1"}, key)
	f.Add(e)
	f.Add(a)
	f.Fuzz(func(t *testing.T, b []byte) {
		DecodeEnrolment(b)
		DecodeAdmission(b)
	})
}
