package collector

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"kenshin/collector/series"
	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// DefaultLimits bounds the batches a collector takes.
var DefaultLimits = wire.DefaultLimits

// DeadLetter is a message that was not taken into the book.
type DeadLetter = store.DeadLetter

// SeriesFiles names the files of the series store in a collector's folder: all
// of them can be made again from the book.
func SeriesFiles(dir string) []string { return series.Files(filepath.Join(dir, seriesFile)) }

const seriesFile = "series.db"

// Dump writes a book as JSON lines: one a record, its batch or decision decoded.
// It is for people; what counts are the bytes.
func Dump(w io.Writer, book *store.Store) error {
	e := json.NewEncoder(w)
	return book.Scan(0, func(r *store.Record) error { return dump(e, r) })
}

// DumpExport writes the records of an export as Dump does. No signature is checked.
func DumpExport(w io.Writer, r io.Reader, found func(store.Fault)) error {
	e := json.NewEncoder(w)
	_, err := store.ReadExport(r, store.ExportCheck{Each: func(r *store.Record) error { return dump(e, r) }}, found)
	return err
}

func dump(e *json.Encoder, r *store.Record) error {
	line := struct {
		Index    uint64 `json:"index"`
		Received int64  `json:"received"`
		Kind     string `json:"kind"`
		Subject  string `json:"subject"`
		Leaf     string `json:"leaf"`
		Bytes    int    `json:"bytes"`
		Body     any    `json:"body"`
	}{Index: r.Index, Received: r.Received, Subject: r.Subject, Bytes: len(r.Payload)}
	if r.Kind == store.Quarantined {
		line.Kind = "quarantined"
		return e.Encode(line)
	}
	line.Leaf = r.LeafHash().String()
	switch r.Kind {
	case store.Decision:
		line.Kind, line.Body = "decision", json.RawMessage(r.Payload)
		return e.Encode(line)
	case store.Import:
		line.Kind, line.Body = "import", json.RawMessage(r.Payload)
		return e.Encode(line)
	}
	b, err := decodeStored(r)
	if err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	line.Kind, line.Body = "batch", b
	return e.Encode(line)
}
