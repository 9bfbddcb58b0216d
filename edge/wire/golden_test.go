package wire

import (
	"bytes"
	"crypto/ed25519"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew: only with a new format version")

// TestGolden keeps version 1 readable: these bytes were written once and stay.
func TestGolden(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	b, decls := run(4)
	payload, err := EncodeBatch(b, decls)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := Seal(BatchType, payload, key)
	if err != nil {
		t.Fatal(err)
	}
	ackPayload, err := EncodeAck(&Ack{Edge: "site-1", Epoch: Epoch{1, 2, 3}, Through: 6, Chain: b.Chain, Collector: "tokyo-1", Generation: 2, Want: []Range{{9, 11}}})
	if err != nil {
		t.Fatal(err)
	}
	ack, err := Seal(AckType, ackPayload, key)
	if err != nil {
		t.Fatal(err)
	}
	enrolment, err := EncodeEnrolment(Enrolment{Edge: "site-1", Request: []byte{0x30, 0}, Token: "secret"}, key)
	if err != nil {
		t.Fatal(err)
	}
	admission, err := EncodeAdmission(Admission{Edge: "site-1", Key: key.Public().(ed25519.PublicKey), Collector: "tokyo-1", Authorities: "ca", Certificate: "cert", Broker: "tls://h:8883", URL: "https://h:8443", Root: DefaultRoot}, key)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"batch.golden": batch, "ack.golden": ack, "record.golden": b.Records[2].Encode(), "enrolment.golden": enrolment, "admission.golden": admission}
	for name, now := range files {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, now, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		then, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = then
	}
	got, err := Unseal(BatchType, files["batch.golden"], key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	old, err := DecodeBatch(got, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if old.Chain != b.Chain || old.Last != b.Last {
		t.Errorf("batch.golden reads as records %d to %d, chain %v; want %d to %d, %v", old.First, old.Last, old.Chain, b.First, b.Last, b.Chain)
	}
	// The record encoding is canonical, so here the bytes themselves are frozen.
	if now := b.Records[2].Encode(); !bytes.Equal(now, files["record.golden"]) {
		t.Errorf("a record is encoded as %x, version 1 is %x", now, files["record.golden"])
	}
	if got, err = Unseal(AckType, files["ack.golden"], key.Public().(ed25519.PublicKey)); err != nil {
		t.Fatal(err)
	}
	if a, err := DecodeAck(got); err != nil || a.Through != 6 || a.Chain != b.Chain || len(a.Want) != 1 {
		t.Errorf("ack.golden reads as %+v, %v", a, err)
	}
	if e, err := DecodeEnrolment(files["enrolment.golden"]); err != nil || e.Edge != "site-1" || e.Token != "secret" || !bytes.Equal(e.Key, key.Public().(ed25519.PublicKey)) {
		t.Errorf("enrolment.golden reads as %+v, %v", e, err)
	}
	if a, err := DecodeAdmission(files["admission.golden"]); err != nil || a.Certificate != "cert" || a.Broker != "tls://h:8883" || a.Root != DefaultRoot {
		t.Errorf("admission.golden reads as %+v, %v", a, err)
	}
}
