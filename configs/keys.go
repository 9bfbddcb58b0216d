package configs

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Key returns the Ed25519 key in dir/name.key (PEM, PKCS #8, readable by its
// owner only). When there is none it makes one, and writes the public half to
// dir/name.pub. The private half never leaves the machine. A public half alone is
// an error: others know it, and a new key would be a stranger to them.
func Key(dir, name string) (ed25519.PrivateKey, error) {
	path, public := filepath.Join(dir, name+".key"), filepath.Join(dir, name+".pub")
	text, err := ReadSecret(path)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(public); err == nil {
			return nil, &Error{File: path, Problem: "the private key of " + public + " is gone",
				Remedy: "restore it, or move the .pub file away to have a new key made, which the other side must then be told"}
		}
		return newKey(dir, name)
	}
	if err != nil {
		return nil, err
	}
	bad := &Error{File: path, Problem: "this is no Ed25519 private key in PEM", Remedy: "restore it, or move it away to have a new one made and registered"}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, bad
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := k.(ed25519.PrivateKey)
	if !ok || err != nil {
		return nil, bad
	}
	if _, err := os.Stat(public); errors.Is(err, os.ErrNotExist) {
		// The first start was cut short. Where this one may not write a later one may.
		_ = WriteFile(public, []byte(PublicText(key)+"\n"), 0o644)
	}
	return key, nil
}

// ReadSecret reads a file that nobody but its owner may read. One that others
// can read is an error.
func ReadSecret(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, &Error{File: path, Problem: fmt.Sprintf("the private key has mode %#o", info.Mode().Perm()), Remedy: "chmod 600, and make a new key if others may have read it"}
	}
	return text, nil
}

func newKey(dir, name string) (ed25519.PrivateKey, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	err = WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	if err == nil {
		err = WriteFile(filepath.Join(dir, name+".pub"), []byte(PublicText(key)+"\n"), 0o644)
	}
	return key, err
}

// Folder makes a folder inside one that may be there, for its owner's use.
func Folder(path string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(path, mode); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return err
	}
	return giveTo(path, filepath.Dir(path))
}

// WriteFile makes a small file durable under its name only once it is whole. It
// belongs to the owner of its folder.
func WriteFile(path string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	err = f.Chmod(mode) // of one that a crash left, too
	if err == nil {
		_, err = f.Write(text)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close(), giveTo(path+".new", filepath.Dir(path))); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// PublicText returns the public half of key as configurations hold it: base64.
func PublicText(key ed25519.PrivateKey) string {
	return base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}

// PublicKey reads a public key from text, or from file when text is empty.
func PublicKey(text, file string) (ed25519.PublicKey, error) {
	if text == "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		text = string(bytes.TrimSpace(b))
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%q is not an Ed25519 public key in base64", text)
	}
	return key, nil
}
