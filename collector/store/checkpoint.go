package store

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint signs what the book holds now, keeps the note and returns it: three
// lines (origin, number of records, root hash in base64), an empty line and the
// signature. Calling it when nothing was added since returns the last one.
// Source: C2SP tlog-checkpoint v1.0.0, signed-note v1.0.0.
func (s *Store) Checkpoint() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if text, size := s.lastNote(); text != "" && size == s.tree.size {
		return text, nil
	}
	root, err := tlog.TreeHash(s.tree.size, s.tree)
	if err != nil {
		return "", fmt.Errorf("checkpoint: %w", err)
	}
	if err := s.tree.sync(); err != nil {
		return "", fmt.Errorf("checkpoint: %w", err)
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", s.signer.name, s.tree.size, base64.StdEncoding.EncodeToString(root[:]))
	msg, err := note.Sign(&note.Note{Text: text}, s.signer)
	if err != nil {
		return "", fmt.Errorf("checkpoint: %w", err)
	}
	if _, err := s.notes.Append(msg); err != nil {
		return "", fmt.Errorf("checkpoint: %w", err)
	}
	return string(msg), nil
}

// VerifierKey returns the public key of the checkpoints in the form that
// golang.org/x/mod/sumdb/note and C2SP tools read.
func (s *Store) VerifierKey() (string, error) {
	return note.NewEd25519VerifierKey(s.signer.name, s.signer.key.Public().(ed25519.PublicKey))
}

// LastCheckpoint returns the newest signed note, "" when there is none yet.
func (s *Store) LastCheckpoint() string {
	text, _ := s.lastNote()
	return text
}

func (s *Store) lastNote() (text string, size int64) {
	if s.notes.Next() == s.notes.First() {
		return "", 0
	}
	msg, err := s.notes.Read(s.notes.Next() - 1)
	if err != nil {
		return "", 0
	}
	_, size, _, err = parseCheckpoint(string(msg))
	if err != nil {
		return "", 0
	}
	return string(msg), size
}

// trusted returns the number of leaves whose hashes were made durable.
func (s *Store) trusted() int64 {
	_, size := s.lastNote()
	return min(size, int64(s.log.Next()-1))
}

// checkAgainstNote compares the tree with the last checkpoint: a book that no
// longer holds what was signed has been rewritten or has lost records.
func (s *Store) checkAgainstNote() error {
	text, size := s.lastNote()
	if text == "" {
		return nil
	}
	_, _, want, err := parseCheckpoint(text)
	if err != nil {
		return err
	}
	if size > s.tree.size {
		return fmt.Errorf("the last checkpoint speaks of %d records, only %d are here: restore the book from a backup", size, s.tree.size)
	}
	got, err := tlog.TreeHash(size, s.tree)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the first %d records hash to %v, the last checkpoint says %v: the book was altered, restore it from a backup", size, got, want)
	}
	return nil
}

func parseCheckpoint(msg string) (origin string, size int64, root tlog.Hash, err error) {
	lines := strings.SplitN(msg, "\n", 4)
	if len(lines) < 4 {
		return "", 0, root, fmt.Errorf("checkpoint of %d lines", len(lines))
	}
	if size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || size < 0 {
		return "", 0, root, fmt.Errorf("checkpoint size %q", lines[1])
	}
	root, err = tlog.ParseHash(lines[2])
	return lines[0], size, root, err
}

// signer signs notes with a key that is kept elsewhere in another form.
type signer struct {
	name string
	hash uint32
	key  ed25519.PrivateKey
}

// newSigner follows golang.org/x/mod/sumdb/note: the key hash is the first four
// bytes of SHA-256(name + "\n" + algorithm byte 1 + public key).
func newSigner(name string, key ed25519.PrivateKey) signer {
	h := sha256.New()
	h.Write([]byte(name + "\n\x01"))
	h.Write(key.Public().(ed25519.PublicKey))
	return signer{name: name, hash: binary.BigEndian.Uint32(h.Sum(nil)), key: key}
}

func (s signer) Name() string                    { return s.name }
func (s signer) KeyHash() uint32                 { return s.hash }
func (s signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }
