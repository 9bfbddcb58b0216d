package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// made says what kind of run made a folder, in its file run.json. The records of
// another run would stand among those of this one, and the totals be of neither.
type made struct {
	Version int    `json:"version"`
	Replay  string `json:"replay,omitempty"` // SHA-256 of the file whose readings drive the plant
	File    string `json:"file,omitempty"`   // its name, for people
	Seed    uint64 `json:"seed,omitempty"`   // of a simulation
}

const madeVersion = 1

func (m made) String() string {
	if m.Replay != "" {
		return fmt.Sprintf("a replay of %s (SHA-256 %.12s)", m.File, m.Replay)
	}
	return fmt.Sprintf("a simulation with seed %d", m.Seed)
}

// making returns what kind of run this is.
func (c *cli) making() (made, error) {
	if c.Replay == "" {
		return made{Version: madeVersion, Seed: c.Seed}, nil
	}
	f, err := os.Open(c.Replay)
	if err != nil {
		return made{}, fmt.Errorf("-replay: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return made{}, fmt.Errorf("-replay: %w", err)
	}
	return made{Version: madeVersion, Replay: fmt.Sprintf("%x", h.Sum(nil)), File: filepath.Base(c.Replay)}, nil
}

// claim lets this kind of run have dir: one that another kind has had is refused.
// records says that readings are in it already.
func (m made) claim(dir string, records bool) error {
	path := filepath.Join(dir, "run.json")
	const remedy = "name another folder with -dir"
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && records:
		return fmt.Errorf("-dir %s: it holds readings, but no run.json that says of which run; %s", dir, remedy)
	case err == nil:
		var was made
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&was); err != nil || was.Version != madeVersion {
			return fmt.Errorf("-dir %s: run.json is not one of this program (%q); %s", dir, text, remedy)
		}
		if was.Replay != m.Replay || was.Seed != m.Seed {
			return fmt.Errorf("-dir %s: it was made by %v, this is %v; %s, or start it as before", dir, was, m, remedy)
		}
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("-dir %s: %w; %s", dir, err, remedy)
	}
	if text, err = json.Marshal(m); err != nil {
		return err
	}
	// Under its name only when whole: a kill at this moment shall cost nothing.
	err = os.WriteFile(path+".new", append(text, '\n'), 0o644)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("-dir %s: %w", dir, err)
	}
	return nil
}
