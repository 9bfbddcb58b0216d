package store

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestExportStates is the table of statements that are written as the format has it
// and are not true of the records in the file, or of none that could be.
func TestExportStates(t *testing.T) {
	b, p := some(t)
	rest := b[layout(t, b)[1].from:]
	for _, tt := range []struct {
		name   string
		change func(*Statement)
		want   string
	}{
		{"as written", func(*Statement) {}, ""},
		{"one stream in two lines", func(s *Statement) {
			s.Streams = slices.Insert(s.Streams, 0, s.Streams[0])
			s.Streams[0].Last = 99999
		}, "each once"},
		{"streams out of order", func(s *Statement) {
			s.Streams = append(s.Streams, Stream{Edge: "a", Epoch: s.Streams[0].Epoch, First: 1, Last: 2})
		}, "want streams by edge and epoch"},
		{"a stream that ends before it begins", func(s *Statement) { s.Streams[0].First, s.Streams[0].Last, s.Streams[0].Lacks = 9, 5, nil }, "not below it"},
		{"a stream from 0", func(s *Statement) { s.Streams[0].First = 0 }, "from 1 on"},
		{"a stream without records", func(s *Statement) {
			s.Streams = append(s.Streams, Stream{Edge: "z", Epoch: s.Streams[0].Epoch, First: 1, Last: 2})
		}, "sequence numbers 1 to 2 of edge z"},
		{"no stream", func(s *Statement) { s.Streams = nil }, "not in the statement"},
		{"a stream that ends sooner", func(s *Statement) { s.Streams[0].Last, s.Streams[0].Lacks = 180, s.Streams[0].Lacks[:2] }, "sequence numbers 181 to 190"},
		{"lacks that end before they begin", func(s *Statement) { s.Streams[0].Lacks = slices.Insert(s.Streams[0].Lacks, 0, Run{25, 24}) }, "the last is below the first"},
		{"lacks that touch", func(s *Statement) {
			s.Streams[0].Lacks = []Run{{31, 35}, {36, 40}, {61, 80}, {101, 180}}
		}, "apart from each other"},
		{"lacks out of order", func(s *Statement) { s.Streams[0].Lacks = []Run{{61, 80}, {31, 40}, {101, 180}} }, "ascending"},
		{"lacks at the end of its stream", func(s *Statement) {
			s.Streams[0].Last = 195
			s.Streams[0].Lacks = append(s.Streams[0].Lacks, Run{191, 195})
		}, "below 195"},
		{"lacks before its stream", func(s *Statement) { s.Streams[0].Lacks = slices.Insert(s.Streams[0].Lacks, 0, Run{5, 6}) }, "numbers from 22"},
		{"a range that ends before it begins", func(s *Statement) { s.Ranges = append(s.Ranges, Run{9, 0}) }, "the last is below the first"},
		{"a range that overlaps", func(s *Statement) { s.Ranges = append(s.Ranges, Run{9, 9}) }, "apart from each other"},
		{"ranges that touch", func(s *Statement) { s.Ranges = []Run{{2, 3}, {4, 5}, {8, 9}} }, "apart from each other"},
		{"ranges out of order", func(s *Statement) { s.Ranges = []Run{{8, 9}, {2, 5}} }, "ascending"},
		{"a range beyond the checkpoint", func(s *Statement) { s.Ranges = append(s.Ranges, Run{18, 1<<64 - 1}) }, "below 24"},
		{"without a record of no range", func(s *Statement) { s.Without = []uint64{12} }, "in none of the ranges"},
		{"without a record twice", func(s *Statement) { s.Ranges[0].First = 1; s.Without = []uint64{1, 1} }, "each once"},
		{"without a record that is there", func(s *Statement) { s.Without = []uint64{3} }, "record 3 is there"},
	} {
		s := p.Statement
		s.Ranges, s.Streams = slices.Clone(s.Ranges), slices.Clone(s.Streams)
		for i := range s.Streams {
			s.Streams[i].Lacks = slices.Clone(s.Streams[i].Lacks)
		}
		tt.change(&s)
		text := s.append(nil)
		h := header(partStatement, int64(len(text)))
		filling := make([]byte, int(partBytes(len(text)))-blockBytes-len(text))
		found, _ := faults(t, bytes.Join([][]byte{h[:], text, filling, rest}, nil), nil)
		if said := fmt.Sprint(found); tt.want == "" && len(found) > 0 || !strings.Contains(said, tt.want) {
			t.Errorf("%s: %s; want %q", tt.name, said, tt.want)
		}
	}
}
