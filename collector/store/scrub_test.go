package store

import (
	"context"
	"testing"
)

// TestScrubOfGrowingBook: checkpoints that are signed while a scrub runs speak of
// records behind its end, and are no problem of the book.
func TestScrubOfGrowingBook(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s, 0, 3)
	grown := make(chan error, 1)
	go func() {
		for i := 3; i < 100; i++ {
			if _, err := s.Append(record(i)); err != nil {
				grown <- err
				return
			}
			if _, err := s.Checkpoint(); err != nil {
				grown <- err
				return
			}
		}
		grown <- nil
	}()
	for {
		if _, err := s.Scrub(context.Background(), nil, func(p Problem) { t.Error(p) }); err != nil {
			t.Error(err)
		}
		select {
		case err := <-grown:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}
