package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"

	"kenshin/calc"
	"kenshin/collector"
	"kenshin/configs"
	"kenshin/edge/wire"
)

// order is what a command asks of the collector that has the book open. It comes
// over a socket in the data folder that only the collector's user can reach: who
// may write the book's files may give orders, and nobody else.
type order struct {
	Do    string        `json:"do"` // keys, token, admit or revoke; input, rule, split or seal
	Edge  string        `json:"edge,omitempty"`
	Key   string        `json:"key,omitempty"`
	Bytes []byte        `json:"bytes,omitempty"`
	Valid time.Duration `json:"valid,omitempty"`
	Who   string        `json:"who,omitempty"`
	Why   string        `json:"why,omitempty"`

	Project string       `json:"project,omitempty"`
	ID      string       `json:"id,omitempty"`
	Period  int          `json:"period,omitempty"` // from 1
	Input   *calc.Input  `json:"input,omitempty"`  // nil withdraws it, as of the next two
	Ruling  *calc.Ruling `json:"ruling,omitempty"`
	Split   *division    `json:"split,omitempty"`
}

type answer struct {
	Error string              `json:"error,omitempty"`
	Keys  []collector.EdgeKey `json:"keys,omitempty"`
	Text  string              `json:"text,omitempty"`  // a token, or what to tell
	Found bool                `json:"found,omitempty"` // the error is what was found of the figures, not of the order
	Ended []string            `json:"ended,omitempty"`
	Bytes []byte              `json:"bytes,omitempty"`
}

// found is a problem of the figures, which the order asked for rightly.
type found struct{ error }

const maxOrder = 256 << 10 // bytes

// carryOut does what an order says. drop ends the connection of an edge.
func (c *config) carryOut(o order, col *collector.Collector, drop func(edge string)) (answer, error) {
	switch o.Do {
	case "keys":
		return answer{Keys: col.Keys()}, nil
	case "token":
		secret, err := col.Invite(o.Edge, o.Valid, o.Who, o.Why)
		if err != nil {
			return answer{}, err
		}
		t, err := c.token(o.Edge, secret)
		return answer{Text: t.String()}, err
	case "admit":
		e, err := wire.DecodeEnrolment(o.Bytes)
		if err != nil {
			return answer{}, err
		}
		a, err := c.authority()
		if err != nil {
			return answer{}, err
		}
		key, err := c.key()
		if err != nil {
			return answer{}, err
		}
		b, err := c.admit(a, key, e, func(pub ed25519.PublicKey) error { return col.Admit(e.Edge, pub, o.Who, o.Why) })
		return answer{Bytes: b}, err
	case "revoke":
		ended, err := col.Revoke(o.Edge, o.Key, o.Who, o.Why)
		if len(ended) > 0 {
			drop(o.Edge)
		}
		return answer{Ended: ended}, err
	case "seal":
		text, err := o.decide(col)
		if err != nil && !errors.Is(err, collector.ErrUnknown) {
			err = found{err}
		}
		return answer{Text: text}, err
	case "input", "rule", "split":
		text, err := o.decide(col)
		return answer{Text: text}, err
	}
	return answer{}, fmt.Errorf("order %q is unknown", o.Do)
}

func (c *config) socket() string { return filepath.Join(c.Data, "orders", "socket") }

// listenOrders opens the socket. The book is locked by now, so a socket that is
// there already was left by a process that is gone.
func (c *config) listenOrders() (net.Listener, error) {
	if err := configs.Folder(filepath.Dir(c.socket()), 0o700); err != nil {
		return nil, err
	}
	if err := os.Remove(c.socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", c.socket())
}

// takeOrders takes one after another until ctx ends.
func (c *config) takeOrders(ctx context.Context, l net.Listener, col *collector.Collector, drop func(edge string), log *zap.Logger) {
	if l == nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			log.Warn("take an order", zap.Error(err))
			time.Sleep(time.Second)
			continue
		}
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		var o order
		var a answer
		err = json.NewDecoder(io.LimitReader(conn, maxOrder)).Decode(&o)
		if err == nil {
			a, err = c.carryOut(o, col, drop)
		}
		if err != nil {
			a.Error, a.Found = err.Error(), errors.As(err, &found{})
		}
		if o.Do != "keys" {
			log.Info("order", zap.String("do", o.Do), zap.String("edge", o.Edge), zap.String("project", o.Project), zap.String("id", o.ID), zap.String("who", o.Who), zap.String("why", o.Why), zap.Error(err))
		}
		_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_ = json.NewEncoder(conn).Encode(a) // whoever asked is gone
		conn.Close()
	}
}

// order gives an order to the running collector, or carries it out itself when
// none runs.
func (c *config) order(ctx context.Context, o order, stderr io.Writer) (answer, error) {
	conn, err := net.Dial("unix", c.socket())
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		var a answer
		err := c.with(ctx, stderr, func(col *collector.Collector) error {
			var err error
			if a, err = c.carryOut(o, col, func(string) {}); err != nil {
				return err
			}
			return col.Settle(ctx)
		})
		return a, err
	}
	if err != nil {
		return answer{}, configs.Setup(fmt.Errorf("%w; run this as the user that runs kenshin-collector", err))
	}
	defer conn.Close()
	var a answer
	if err := errors.Join(json.NewEncoder(conn).Encode(o), json.NewDecoder(conn).Decode(&a)); err != nil {
		return a, fmt.Errorf("ask the running collector: %w", err)
	}
	if a.Found {
		return a, found{errors.New(a.Error)}
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}
