package store

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"kenshin/edge/journal"
)

// Checkpoint signs what the book holds now, keeps the note and returns it: three
// lines (origin, number of records, root hash in base64), an empty line and the
// signature. Calling it when nothing was added since returns the last one.
// Source: C2SP tlog-checkpoint v1.0.0, signed-note v1.0.0.
func (s *Store) Checkpoint() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readOnly {
		return "", fmt.Errorf("checkpoint: %w", journal.ErrReadOnly)
	}
	if err := s.catchUp(); err != nil {
		return "", fmt.Errorf("checkpoint: %w", err)
	}
	// One that cannot be read is followed by one that can.
	if text, size, _, err := s.lastNote(); err == nil && text != "" && size == s.tree.size {
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
	return note.NewEd25519VerifierKey(s.signer.name, s.signer.public)
}

// LastCheckpoint returns the newest signed note, "" when there is none yet or
// it can no longer be read: then the next Checkpoint makes one.
func (s *Store) LastCheckpoint() string {
	text, _, _, err := s.lastNote()
	if err != nil {
		return ""
	}
	return text
}

// lastNote returns the newest note and what it says; "" when there is none. A
// note that cannot be read, or that this book's key did not sign, is an error:
// without it nobody here would notice that the book was rewritten.
func (s *Store) lastNote() (text string, size int64, root tlog.Hash, err error) {
	next := s.notes.Next()
	if next == s.notes.First() {
		return "", 0, root, nil
	}
	fail := func(err error) (string, int64, tlog.Hash, error) {
		return "", 0, root, fmt.Errorf("checkpoint %d in %s: %w", next-1, filepath.Join(s.dir, notesDir), err)
	}
	msg, err := s.notes.Read(next - 1)
	if err != nil {
		return fail(err)
	}
	n, err := s.signer.open(msg)
	if err != nil {
		return fail(fmt.Errorf("%w: it is not signed by this collector's key; restore the key, or, if the key was replaced, move that folder away and keep it", err))
	}
	if size, root, err = parseCheckpoint(n.Text); err != nil {
		return fail(err)
	}
	return string(msg), size, root, nil
}

// checkAgainstNote compares the tree with the last checkpoint: a book that no
// longer holds what was signed has been rewritten or has lost records.
func (s *Store) checkAgainstNote(text string, size int64, want tlog.Hash) error {
	if text == "" {
		return nil
	}
	if size > s.tree.size {
		return fmt.Errorf("the last checkpoint speaks of %d records, only %d are here: restore the book from a backup", size, s.tree.size)
	}
	got, err := tlog.TreeHash(size, s.tree)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%w: the first %d records hash to %v, the last checkpoint says %v: restore the book from a backup", errAltered, size, got, want)
	}
	return nil
}

// errAltered is wrapped when the book is not the one that was signed.
var errAltered = errors.New("the book was altered")

// parseCheckpoint reads the text of a note.
func parseCheckpoint(text string) (size int64, root tlog.Hash, err error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 {
		return 0, root, fmt.Errorf("%d lines, want at least 3", len(lines))
	}
	if size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return 0, root, fmt.Errorf("size %q is not a number of records", lines[1])
	}
	if root, err = tlog.ParseHash(lines[2]); err == nil && root.String() != lines[2] {
		err = fmt.Errorf("root hash %q has another form than it is written in", lines[2])
	}
	return size, root, err
}

// signer signs notes with a key that is kept elsewhere in another form.
type signer struct {
	name   string
	hash   uint32
	key    ed25519.PrivateKey // nil: nothing can be signed
	public ed25519.PublicKey  // nil: nothing can be checked
}

func newSigner(name string, key ed25519.PrivateKey) signer {
	s := newVerifier(name, key.Public().(ed25519.PublicKey))
	s.key = key
	return s
}

// newVerifier follows golang.org/x/mod/sumdb/note: the key hash is the first four
// bytes of SHA-256(name + "\n" + algorithm byte 1 + public key).
func newVerifier(name string, key ed25519.PublicKey) signer {
	h := sha256.New()
	h.Write([]byte(name + "\n\x01"))
	h.Write(key)
	return signer{name: name, hash: binary.BigEndian.Uint32(h.Sum(nil)), public: key}
}

// open checks the signature of a note, if there is a key to check it by.
func (s signer) open(msg []byte) (*note.Note, error) {
	n, err := note.Open(msg, note.VerifierList(s))
	var unverified *note.UnverifiedNoteError
	if s.public == nil && errors.As(err, &unverified) {
		return unverified.Note, nil
	}
	return n, err
}

// Name, KeyHash, Sign and Verify implement note.Signer and note.Verifier.
func (s signer) Name() string                    { return s.name }
func (s signer) KeyHash() uint32                 { return s.hash }
func (s signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }
func (s signer) Verify(msg, sig []byte) bool {
	return ed25519.Verify(s.public, msg, sig)
}
