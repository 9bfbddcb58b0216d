package journal

import (
	"errors"
	"fmt"
	"strings"
)

// ErrCorrupt is wrapped by every error about entries that were durable and can
// no longer be read. The error itself is a *Damage.
var ErrCorrupt = errors.New("entry is damaged")

// Damage is a place in a segment where entries should be and are not.
type Damage struct {
	File     string // path of the segment
	Offset   int64  // where the damage begins
	From, To uint64 // entries that cannot be read, both included; none when To < From
	Cause    string
}

// Error names file, offset and entries.
func (d *Damage) Error() string {
	if d.To < d.From {
		return fmt.Sprintf("%s at byte %d: %s; no entry is concerned", d.File, d.Offset, d.Cause)
	}
	return fmt.Sprintf("%s at byte %d: entries %d to %d cannot be read: %s", d.File, d.Offset, d.From, d.To, d.Cause)
}

// Unwrap returns ErrCorrupt.
func (d *Damage) Unwrap() error { return ErrCorrupt }

// Report says what Open found that was not as it should be.
type Report struct {
	Dir      string
	ReadOnly bool // nothing was changed: what Cut counts is still there
	// Cut is how many bytes behind the last whole Append were removed from
	// CutFile, from CutOffset on: what a crash leaves of an Append that had
	// not returned.
	Cut       int64
	CutFile   string
	CutOffset int64
	Moved     string   // segment without a readable byte that was moved aside, "" for none
	Damages   []Damage // in what was verified
}

// Clean says whether everything was as it should be.
func (r Report) Clean() bool { return r.Cut == 0 && r.Moved == "" && len(r.Damages) == 0 }

// String says for people what was found and done.
func (r Report) String() string {
	if r.Clean() {
		return "clean"
	}
	var parts []string
	if r.Cut > 0 && r.ReadOnly {
		parts = append(parts, fmt.Sprintf("%s: from byte %d on stand %d bytes of an append that is not finished: it is being written, or a crash interrupted it and opening removes them", r.CutFile, r.CutOffset, r.Cut))
	} else if r.Cut > 0 {
		parts = append(parts, fmt.Sprintf("%s: %d bytes of an append that a crash interrupted were removed from byte %d on", r.CutFile, r.Cut, r.CutOffset))
	}
	if r.Moved != "" {
		parts = append(parts, fmt.Sprintf("%s holds nothing that can be read and was moved aside", r.Moved))
	}
	for i := range r.Damages {
		parts = append(parts, r.Damages[i].Error())
	}
	return strings.Join(parts, "; ")
}
