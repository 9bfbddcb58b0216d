package store

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	proofHeader = "c2sp.org/tlog-proof@v1\n"
	maxProof    = 16 << 10 // bytes: 63 hashes and a checkpoint
)

// appendProof appends the proof that record index is in the tree of a checkpoint,
// which is a signed note. Source: C2SP tlog-proof, without extra data.
func appendProof(b []byte, index uint64, p tlog.RecordProof, checkpoint []byte) []byte {
	b = append(b, proofHeader...)
	b = fmt.Appendf(b, "index %d\n", index)
	b = appendHashes(b, p)
	b = append(b, '\n')
	return append(b, checkpoint...)
}

func appendHashes(b []byte, list []tlog.Hash) []byte {
	for _, h := range list {
		b = base64.StdEncoding.AppendEncode(b, h[:])
		b = append(b, '\n')
	}
	return b
}

var errProof = errors.New("not a proof as this format has it")

// parseProof reads what appendProof wrote, and nothing that says the same in
// other bytes.
func parseProof(b []byte) (index uint64, p tlog.RecordProof, checkpoint []byte, err error) {
	rest, ok := bytes.CutPrefix(b, []byte(proofHeader))
	if !ok {
		return 0, nil, nil, fmt.Errorf("%w: it does not begin with %q", errProof, proofHeader)
	}
	if index, p, checkpoint, err = parseHashes(rest, "index "); err != nil {
		return 0, nil, nil, err
	}
	if !bytes.Equal(appendProof(nil, index, p, checkpoint), b) {
		return 0, nil, nil, fmt.Errorf("%w: a number or a hash has another form than it is written in", errProof)
	}
	return index, p, checkpoint, nil
}

// parseHashes reads a line of a word and a number, hashes a line each, an empty
// line, and a checkpoint.
func parseHashes(b []byte, word string) (n uint64, hashes []tlog.Hash, checkpoint []byte, err error) {
	head, checkpoint, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		return 0, nil, nil, fmt.Errorf("%w: it has no empty line", errProof)
	}
	for i, line := range bytes.Split(head, []byte("\n")) {
		if i == 0 {
			text, ok := bytes.CutPrefix(line, []byte(word))
			if n, err = strconv.ParseUint(string(text), 10, 64); err != nil || !ok {
				return 0, nil, nil, fmt.Errorf("%w: line %q is not %q and a number", errProof, line, word)
			}
			continue
		}
		h, err := tlog.ParseHash(string(line))
		if err != nil {
			return 0, nil, nil, fmt.Errorf("%w: line %q is not a hash", errProof, line)
		}
		hashes = append(hashes, h)
	}
	return n, hashes, checkpoint, nil
}

// appendGrowth appends the proof that the tree of a checkpoint begins with that
// of its first records. Source: C2SP tlog-witness, body of add-checkpoint, so that
// a witness can be given it.
func appendGrowth(b []byte, before uint64, p tlog.TreeProof, checkpoint []byte) []byte {
	b = fmt.Appendf(b, "old %d\n", before)
	b = appendHashes(b, p)
	b = append(b, '\n')
	return append(b, checkpoint...)
}

func parseGrowth(b []byte) (before uint64, p tlog.TreeProof, checkpoint []byte, err error) {
	if before, p, checkpoint, err = parseHashes(b, "old "); err != nil {
		return 0, nil, nil, err
	}
	if !bytes.Equal(appendGrowth(nil, before, p, checkpoint), b) {
		return 0, nil, nil, fmt.Errorf("%w: a number or a hash has another form than it is written in", errProof)
	}
	return before, p, checkpoint, nil
}
