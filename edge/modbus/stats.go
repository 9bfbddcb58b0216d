package modbus

import (
	"errors"
	"sync/atomic"
	"time"
)

// Stats counts what happened on a bus since New.
type Stats struct {
	Requests    uint64        // sent
	Answers     uint64        // Reads that returned words
	Exceptions  uint64        // Reads that ended in an *ExceptionError
	Timeouts    uint64        // in ErrTimeout
	Malformed   uint64        // in ErrMalformed
	Unreachable uint64        // in ErrUnreachable, those that tried nothing included
	Stale       uint64        // late answers that were recognised and passed over
	Connects    uint64        // connections made, ports opened
	Busy        time.Duration // from writing requests to having the answer or giving up
}

// Stats returns the counters. They are read one by one: while requests run they
// need not add up.
func (b *Bus) Stats() Stats {
	n := b.counts
	return Stats{
		Requests: n.requests.Load(), Answers: n.answers.Load(), Exceptions: n.exceptions.Load(),
		Timeouts: n.timeouts.Load(), Malformed: n.malformed.Load(), Unreachable: n.unreachable.Load(),
		Stale: n.stale.Load(), Connects: n.connects.Load(), Busy: time.Duration(n.busy.Load()),
	}
}

// counts is Stats while it is counted.
type counts struct {
	requests, answers, exceptions, timeouts, malformed, unreachable, stale, connects atomic.Uint64
	busy                                                                             atomic.Int64 // ns
}

// failed counts a Read that returns err.
func (n *counts) failed(err error) {
	var refused *ExceptionError
	switch {
	case errors.As(err, &refused):
		n.exceptions.Add(1)
	case errors.Is(err, ErrTimeout):
		n.timeouts.Add(1)
	case errors.Is(err, ErrMalformed):
		n.malformed.Add(1)
	case errors.Is(err, ErrUnreachable):
		n.unreachable.Add(1)
	}
}
