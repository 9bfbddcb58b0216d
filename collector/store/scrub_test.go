package store

import (
	"context"
	"sync"
	"testing"
)

// TestScrubOfGrowingBook: checkpoints that are signed while a scrub runs speak of
// records behind its end, and are no problem of the book.
func TestScrubOfGrowingBook(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s, 0, 3)
	done := make(chan struct{})
	var growing sync.WaitGroup
	growing.Go(func() {
		for i := 3; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			fill(t, s, i, i+1)
			if _, err := s.Checkpoint(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 50 {
		if _, err := s.Scrub(context.Background(), nil, func(p Problem) { t.Error(p) }); err != nil {
			t.Error(err)
		}
	}
	close(done)
	growing.Wait()
}
