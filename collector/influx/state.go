package influx

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"kenshin/collector"
)

// stateVersion is the version of the state file this package reads and writes.
const stateVersion = 1

// state is how far a server has been given the book: FORMAT.md describes it.
type state struct {
	Version int              `json:"version"`
	Next    uint64           `json:"next"` // records of the book that the server has
	Leaf    string           `json:"leaf"` // hash of the last of them, so that another book is noticed
	Owed    []collector.Owed `json:"owed,omitempty"`
	// Days are the UTC days that were written since they were last compared, per
	// edge, as ascending ranges of days since 1970, both ends included.
	Days map[string][]days `json:"days,omitempty"`
	// Differ are the days of which the server is known not to have everything.
	Differ map[string][]days `json:"differ,omitempty"`
}

type days [2]int64

const (
	dayMs    = 86_400_000
	maxDays  = 4096 // ranges of one edge; beyond, what lies between is compared as well
	stateExt = ".json"
)

func utcDay(ms int64) int64 {
	d := ms / dayMs
	if ms%dayMs < 0 {
		d--
	}
	return d
}

// touch notes that a day of an edge was written.
func (s *state) touch(edge string, day int64) { s.Days = withDay(s.Days, edge, day) }

// compared takes a day of an edge out.
func (s *state) compared(edge string, day int64) { withoutDay(s.Days, edge, day) }

// withDay adds a day of an edge to ranges.
func withDay(ranges map[string][]days, edge string, day int64) map[string][]days {
	list := ranges[edge]
	i, found := slices.BinarySearchFunc(list, day, func(r days, d int64) int {
		switch {
		case r[1] < d:
			return -1
		case r[0] > d:
			return 1
		}
		return 0
	})
	if found {
		return ranges
	}
	left, right := i > 0 && list[i-1][1]+1 == day, i < len(list) && list[i][0]-1 == day
	switch {
	case left && right:
		list[i-1][1] = list[i][1]
		list = slices.Delete(list, i, i+1)
	case left:
		list[i-1][1] = day
	case right:
		list[i][0] = day
	default:
		list = slices.Insert(list, i, days{day, day})
	}
	if len(list) > maxDays {
		list[0][1] = list[1][1]
		list = slices.Delete(list, 1, 2)
	}
	if ranges == nil {
		ranges = make(map[string][]days)
	}
	ranges[edge] = list
	return ranges
}

// withoutDay takes a day of an edge out of ranges.
func withoutDay(ranges map[string][]days, edge string, day int64) {
	list := ranges[edge]
	for i, r := range list {
		if day < r[0] || day > r[1] {
			continue
		}
		var rest []days
		if r[0] < day {
			rest = append(rest, days{r[0], day - 1})
		}
		if day < r[1] {
			rest = append(rest, days{day + 1, r[1]})
		}
		list = slices.Replace(slices.Clone(list), i, i+1, rest...)
		break
	}
	if len(list) == 0 {
		delete(ranges, edge)
		return
	}
	ranges[edge] = list
}

// owe adds what is owed of a record, joined to what is owed under the same key.
func (s *state) owe(list []collector.Owed) {
	for _, o := range list {
		i := slices.IndexFunc(s.Owed, func(x collector.Owed) bool { return x.Key == o.Key })
		if i < 0 {
			s.Owed = append(s.Owed, o)
			continue
		}
		s.Owed[i].First, s.Owed[i].Last = min(s.Owed[i].First, o.First), max(s.Owed[i].Last, o.Last)
	}
}

// loadState reads a state file; none is the state of a server that has nothing.
func loadState(file string) (*state, error) {
	s := &state{Version: stateVersion}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s: %w; delete it: the server is given the book from its first record, which changes nothing that is there", file, err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("%s: version %d, this program reads %d; delete it: the server is given the book from its first record, which changes nothing that is there", file, s.Version, stateVersion)
	}
	return s, nil
}

// save replaces a state file; after a power cut it is the old one or the new one.
func (s *state) save(file string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after Rename it does nothing
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
