package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"

	"kenshin/edge/wire"
)

// Statement is what an export says of itself.
type Statement struct {
	Origin  string   // of the book
	Size    uint64   // records of the book that the checkpoint speaks of
	Records uint64   // in the export
	Ranges  []Run    // every record of the book from First to Last is in the export
	Without []uint64 // but for these, which the book itself has lost: quarantined
	Streams []Stream // which sequence numbers of which edges the records are
}

// Run is a run of positions in the book, or of sequence numbers, both included.
type Run struct{ First, Last uint64 }

// Text says of a range which of its records are there, all but those in without.
func (r Run) Text(without []uint64) string {
	n := 0
	for _, i := range without {
		if r.First <= i && i <= r.Last {
			n++
		}
	}
	if n > 0 {
		return fmt.Sprintf("records from %d to %d but for %d", r.First, r.Last, n)
	}
	return fmt.Sprintf("all records from %d to %d", r.First, r.Last)
}

// Stream is what an export holds of one epoch of an edge: every sequence number
// from First to Last but for those in Lacks.
type Stream struct {
	Edge        string
	Epoch       wire.Epoch
	First, Last uint64
	Lacks       []Run
}

const (
	statementHeader  = "kenshin export "
	statementVersion = "1"
	maxStatement     = 64 << 20 // bytes
)

var errStatement = errors.New("not a statement as this format has it")

func (s *Statement) append(b []byte) []byte {
	at := len(b)
	b = append(b, statementHeader+statementVersion+"\n"...)
	b = fmt.Appendf(b, "book %s %d\nrecords %d\n", s.Origin, s.Size, s.Records)
	for _, r := range s.Ranges {
		b = fmt.Appendf(b, "range %d %d\n", r.First, r.Last)
	}
	for _, i := range s.Without {
		b = fmt.Appendf(b, "without %d\n", i)
	}
	for _, t := range s.Streams {
		b = fmt.Appendf(b, "stream %s %v %d %d\n", t.Edge, t.Epoch, t.First, t.Last)
		for _, r := range t.Lacks {
			b = fmt.Appendf(b, "lacks %d %d\n", r.First, r.Last)
		}
	}
	return fmt.Appendf(b, "crc %08x\n", crc32.Checksum(b[at:], crc32.MakeTable(crc32.Castagnoli)))
}

// parseStatement reads what append wrote, and nothing that says the same in other bytes.
func parseStatement(b []byte) (s Statement, err error) {
	text, ok := strings.CutPrefix(string(b), statementHeader)
	if !ok {
		return s, fmt.Errorf("%w: it does not begin with %q", errStatement, statementHeader)
	}
	version, rest, _ := strings.Cut(text, "\n")
	for line := range strings.Lines(rest) {
		if err := s.line(line); err != nil {
			return s, fmt.Errorf("%w: line %q", errStatement, strings.TrimSuffix(line, "\n"))
		}
	}
	switch again := s.append(nil); {
	case bytes.Equal(again, b):
		if err := s.check(); err != nil {
			return s, fmt.Errorf("%w: %w", errStatement, err)
		}
		return s, nil
	case version != statementVersion:
		return s, fmt.Errorf("%w: version %q, this program reads %s; use the program that wrote it", errStatement, version, statementVersion)
	}
	return s, fmt.Errorf("%w: its checksum is another one", errStatement)
}

func (s *Statement) line(line string) (err error) {
	word, rest, _ := strings.Cut(line, " ")
	var r Run
	switch word {
	case "book":
		_, err = fmt.Sscanf(rest, "%s %d\n", &s.Origin, &s.Size)
	case "records":
		_, err = fmt.Sscanf(rest, "%d\n", &s.Records)
	case "range":
		_, err = fmt.Sscanf(rest, "%d %d\n", &r.First, &r.Last)
		s.Ranges = append(s.Ranges, r)
	case "without":
		_, err = fmt.Sscanf(rest, "%d\n", &r.First)
		s.Without = append(s.Without, r.First)
	case "stream":
		var t Stream
		var epoch string
		if _, err = fmt.Sscanf(rest, "%s %s %d %d\n", &t.Edge, &epoch, &t.First, &t.Last); err == nil {
			err = t.Epoch.UnmarshalText([]byte(epoch))
		}
		s.Streams = append(s.Streams, t)
	case "lacks":
		if len(s.Streams) == 0 {
			return errStatement
		}
		_, err = fmt.Sscanf(rest, "%d %d\n", &r.First, &r.Last)
		t := &s.Streams[len(s.Streams)-1]
		t.Lacks = append(t.Lacks, r)
	case "crc": // compared as a whole
	default:
		err = errStatement
	}
	return err
}

// check says which line cannot be one of an export, whatever records are in it.
func (s *Statement) check() error {
	if err := ascending("range", s.Ranges, 0, s.Size); err != nil {
		return err
	}
	ranges := s.Ranges
	for i, n := range s.Without {
		if i > 0 && n <= s.Without[i-1] {
			return fmt.Errorf("line \"without %d\": want ascending positions, each once; %d is before it", n, s.Without[i-1])
		}
		var in bool
		if ranges, in = within(ranges, n); !in {
			return fmt.Errorf("line \"without %d\": it is in none of the ranges", n)
		}
	}
	for i, t := range s.Streams {
		line := fmt.Sprintf("line \"stream %s %v %d %d\"", t.Edge, t.Epoch, t.First, t.Last)
		switch {
		case i > 0 && t.compare(s.Streams[i-1]) <= 0:
			return fmt.Errorf("%s: want streams by edge and epoch, each once", line)
		case t.First == 0 || t.Last < t.First:
			return fmt.Errorf("%s: want a first number from 1 on, and a last one not below it", line)
		}
		if err := ascending("lacks", t.Lacks, t.First+1, t.Last); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}

// ascending checks that runs have numbers from low to below high, in ascending
// order, and that at least one number is between each and the next.
func ascending(word string, runs []Run, low, high uint64) error {
	for i, r := range runs {
		switch {
		case r.Last < r.First:
			return fmt.Errorf("line \"%s %d %d\": the last is below the first", word, r.First, r.Last)
		case r.First < low || r.Last >= high:
			return fmt.Errorf("line \"%s %d %d\": want numbers from %d to below %d", word, r.First, r.Last, low, high)
		case i > 0 && (r.First <= runs[i-1].Last || r.First-runs[i-1].Last < 2):
			return fmt.Errorf("line \"%s %d %d\": want ascending runs apart from each other; %d to %d is before it", word, r.First, r.Last, runs[i-1].First, runs[i-1].Last)
		}
	}
	return nil
}

// compare gives the order of streams in a statement.
func (t Stream) compare(o Stream) int {
	return cmp.Or(strings.Compare(t.Edge, o.Edge), bytes.Compare(t.Epoch[:], o.Epoch[:]))
}

// coverage is which sequence numbers some records are: runs in ascending order,
// never touching one another.
type coverage map[streamID][]Run

type streamID struct {
	edge  string
	epoch wire.Epoch
}

func (c coverage) add(r *Record) {
	if r.Kind != Batch {
		return
	}
	id := streamID{r.Subject, r.Epoch}
	c[id] = join(c[id], Run{r.First, r.Last})
}

// join adds a run to others.
func join(runs []Run, n Run) []Run {
	at := len(runs)
	for at > 0 && runs[at-1].First > n.First {
		at--
	}
	if at > 0 && runs[at-1].Last+1 >= n.First {
		at--
	}
	end := at
	for end < len(runs) && runs[end].First <= n.Last+1 {
		n = Run{min(n.First, runs[end].First), max(n.Last, runs[end].Last)}
		end++
	}
	return slices.Replace(runs, at, end, n)
}

// streams returns what was added, by edge and epoch.
func (c coverage) streams() (out []Stream) {
	ids := slices.SortedFunc(maps.Keys(c), func(a, b streamID) int {
		return cmp.Or(strings.Compare(a.edge, b.edge), bytes.Compare(a.epoch[:], b.epoch[:]))
	})
	for _, id := range ids {
		runs := c[id]
		t := Stream{Edge: id.edge, Epoch: id.epoch, First: runs[0].First, Last: runs[len(runs)-1].Last}
		for i := range runs[1:] {
			t.Lacks = append(t.Lacks, Run{runs[i].Last + 1, runs[i+1].First - 1})
		}
		out = append(out, t)
	}
	return out
}

// within says whether a run of ascending ones holds n, and returns those that may
// hold larger numbers: for callers that ask in ascending order.
func within(runs []Run, n uint64) (rest []Run, ok bool) {
	for len(runs) > 0 && runs[0].Last < n {
		runs = runs[1:]
	}
	return runs, len(runs) > 0 && runs[0].First <= n
}

// lacking returns what of some runs is not in others; both are ascending.
func lacking(want, have []Run) (out []Run) {
	for _, w := range want {
		for len(have) > 0 && have[0].Last < w.First {
			have = have[1:]
		}
		at := w.First
		for _, h := range have {
			if h.First > w.Last {
				break
			}
			if h.First > at {
				out = append(out, Run{at, h.First - 1})
			}
			at = h.Last + 1
		}
		if at <= w.Last {
			out = append(out, Run{at, w.Last})
		}
	}
	return out
}

// runs returns the sequence numbers that are there.
func (t Stream) runs() []Run {
	if t.Edge == "" {
		return nil
	}
	return lacking([]Run{{t.First, t.Last}}, t.Lacks)
}
