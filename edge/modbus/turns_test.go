package modbus

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
)

// lineUp makes requests wait in the order given while the turn is taken, then
// lets them through and returns the order in which they came.
func lineUp(t *testing.T, units []uint8, low func(i int) bool) (served []int) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(func() {})
		if err := turns.wait(t.Context(), 200); err != nil {
			t.Fatal(err)
		}
		order := make(chan int, len(units))
		for i, unit := range units {
			ctx := t.Context()
			if low(i) {
				ctx = Low(ctx)
			}
			go func() {
				if err := turns.wait(ctx, unit); err != nil {
					t.Error(err)
				}
				order <- i
				turns.leave()
			}()
			synctest.Wait()
		}
		turns.leave()
		for range units {
			served = append(served, <-order)
		}
	})
	return served
}

// TestFair: units come in turn, however many requests one of them has in line.
func TestFair(t *testing.T) {
	none := func(int) bool { return false }
	got := lineUp(t, []uint8{1, 1, 1, 1, 2, 3, 2}, none)
	if want := []int{0, 4, 5, 1, 6, 2, 3}; !slices.Equal(got, want) {
		t.Errorf("served %d, want %d", got, want)
	}
}

// TestLow: low requests come last, but one after every eight that passed it.
func TestLow(t *testing.T) {
	units := make([]uint8, 20)
	for i := range units {
		units[i] = uint8(i)
	}
	got := lineUp(t, units, func(i int) bool { return i < 2 })
	want := []int{2, 3, 4, 5, 6, 7, 8, 9, 0, 10, 11, 12, 13, 14, 15, 16, 17, 1, 18, 19}
	if !slices.Equal(got, want) {
		t.Errorf("served %d, want %d", got, want)
	}
	got = lineUp(t, units[:4], func(i int) bool { return i%2 == 0 })
	if want = []int{1, 3, 0, 2}; !slices.Equal(got, want) {
		t.Errorf("served %d, want %d", got, want)
	}
}

// TestWithdraw: who leaves the line does not hold up the others, and nobody gets
// a turn after close.
func TestWithdraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dropped := 0
		turns := newTurns(func() { dropped++ })
		if err := turns.wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone, stays := make(chan error, 1), make(chan error, 1)
		go func() { gone <- turns.wait(ctx, 2) }()
		synctest.Wait()
		go func() { stays <- turns.wait(t.Context(), 3) }()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		turns.leave()
		if err := <-stays; err != nil {
			t.Error(err)
		}
		if err := turns.wait(ctx, 2); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		go func() { stays <- turns.wait(t.Context(), 4) }()
		synctest.Wait()
		ended := make(chan struct{})
		for range 2 {
			go func() { turns.close(); ended <- struct{}{} }()
		}
		synctest.Wait()
		if err := <-stays; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if dropped != 0 {
			t.Error("the link was closed in the middle of a turn")
		}
		turns.leave()
		<-ended
		<-ended
		turns.close()
		if err := turns.wait(t.Context(), 1); !errors.Is(err, net.ErrClosed) || dropped != 1 {
			t.Errorf("%v, closed %d times", err, dropped)
		}
	})
}
