package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"kenshin/edge/journal"
)

// ErrQuarantined is wrapped when a record was set aside as damaged.
var ErrQuarantined = errors.New("it is quarantined")

// quarantine is the records that are damaged and were set aside by a person's
// command, by index: the book goes on without them, and their edges are asked
// to send them again. Their leaves stay in the tree.
type quarantine map[uint64]aside

type aside struct {
	leaf  tlog.Hash // as the tree has it; of no bytes when that is not known
	cause string
}

const quarantineHead = "kenshin quarantine 1"

// holds says whether all records from first to last are set aside.
func (q quarantine) holds(first, last uint64) bool {
	for i := first; i <= last; i++ {
		if _, ok := q[i]; !ok {
			return false
		}
	}
	return true
}

// text is the file: a head, a line a record, and a CRC-32C of all before it.
func (q quarantine) text() []byte {
	b := []byte(quarantineHead + "\n")
	for _, i := range slices.Sorted(maps.Keys(q)) {
		b = fmt.Appendf(b, "%d %v %s\n", i, q[i].leaf, strings.Map(oneLine, q[i].cause))
	}
	return fmt.Appendf(b, "crc %08x\n", crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func oneLine(r rune) rune {
	if r < ' ' {
		return ' '
	}
	return r
}

func loadQuarantine(fsys journal.FS, path string) (quarantine, error) {
	text, err := readFile(fsys, path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	q, err := parseQuarantine(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; restore it from a backup, or move it away and run `kenshin-collector repair` again", path, err)
	}
	return q, nil
}

// parseQuarantine takes exactly what text writes.
func parseQuarantine(text []byte) (quarantine, error) {
	q := make(quarantine)
	in := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; in.Scan(); n++ {
		line := in.Text()
		if n == 1 && line != quarantineHead {
			return nil, fmt.Errorf("it begins with %q, want %q", line, quarantineHead)
		}
		if n == 1 || strings.HasPrefix(line, "crc ") {
			continue
		}
		index, rest, _ := strings.Cut(line, " ")
		leaf, cause, _ := strings.Cut(rest, " ")
		i, err := strconv.ParseUint(index, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		h, err := tlog.ParseHash(leaf)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		q[i] = aside{h, cause}
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	if !bytes.Equal(q.text(), text) {
		return nil, errors.New("it is damaged")
	}
	return q, nil
}
