// Package broker is an MQTT 3.1.1 broker inside the collector's process: for one
// box, the demo and tests.
//
// It promises that a message an edge publishes at QoS 1 on `<root>/<edge>/up` is
// answered with a PUBACK only after Done, which the collector calls once the
// message is on disk; that an edge can publish nothing but its own `up` and
// `state` and read nothing but its own `ack`; and that an edge that reads slowly
// or not at all holds nobody up but itself.
//
// It keeps nothing: a message whose Done was never called comes again from the
// edge, whose outbox is the only queue. What a message is worth is judged by
// whoever receives it.
//
// The messages themselves never go through the queues of the mochi library, which
// drop silently when they are full: see hook.OnPublish.
package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/zap"
)

// Limits on what a client can ask for.
const (
	maxPacket     = 1 << 20 // bytes; a batch is at most 256 KiB
	maxState      = 4 << 10 // bytes of a message on a state topic: it is kept in memory
	writesPending = 64      // messages waiting for one client; acks are cumulative, so more would say nothing new
	maxKeepalive  = 300     // seconds; a client is dropped after half as much again without a packet
	sessionExpiry = 3600    // seconds a session outlives its connection
)

// Config names everything a Broker needs. Every field is required but TLS, and
// with TLS that asks for certificates Identify takes the place of Authenticate.
type Config struct {
	Listen string // "host:port"; port 0 takes any
	Root   string // of the topics
	Log    *zap.Logger

	// Authenticate says whether a user may come in. It is called from many
	// goroutines. The user name is also the client id and the edge id, so that
	// nobody can take over another's connection.
	Authenticate func(user, password string) bool

	// TLS makes every connection one of TLS. When it asks for client certificates,
	// Identify returns the edge that a certificate names, or why it may not come
	// in now. It is called from many goroutines.
	TLS      *tls.Config
	Identify func(*x509.Certificate) (edge string, err error)

	// Receive takes a message; it may block, which holds back its sender alone. It
	// must return once the context given to Run has ended.
	Receive func(Message)
}

// Message is what an edge published on its up topic.
type Message struct {
	Topic   string
	Payload []byte // the receiver's to keep

	// Done lets the PUBACK go. It never blocks and may be called from any
	// goroutine, more than once, and after the client has gone. A message at QoS
	// 0 has no PUBACK, so Done has nothing to do.
	Done func()
}

// Broker is a broker that is bound to its address. Its methods may be called
// from several goroutines.
type Broker struct {
	server   *mqtt.Server
	self     *mqtt.Client // publishes for us, beyond the reach of any edge
	listener *listener
}

// Listen binds the address. Clients that connect wait until Run serves them.
func Listen(cfg Config) (*Broker, error) {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for MQTT on %s: %w; stop what uses the address or choose another", cfg.Listen, err)
	}
	return On(l, cfg)
}

// On returns a broker for the connections of l, which it closes; cfg.Listen is
// not looked at.
func On(l net.Listener, cfg Config) (*Broker, error) {
	capabilities := mqtt.NewDefaultServerCapabilities()
	capabilities.MaximumPacketSize = maxPacket
	capabilities.MaximumClientWritesPending = writesPending
	capabilities.MaximumMessageExpiryInterval = 0 // never: a retained ack counts until the next one
	capabilities.MaximumSessionExpiryInterval = sessionExpiry
	capabilities.MaximumQos = 1
	capabilities.TopicAliasMaximum = 0
	capabilities.SharedSubAvailable = 0
	capabilities.WildcardSubAvailable = 0
	server := mqtt.New(&mqtt.Options{
		Capabilities:           capabilities,
		Logger:                 slog.New(forward{cfg.Log}),
		SysTopicResendInterval: 24 * 60 * 60, // each stops the world to read memory statistics nobody may read
	})
	if err := server.AddHook(&hook{cfg: &cfg}, nil); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	b := &Broker{server: server, listener: newListener(l, cfg.TLS, cfg.Log)}
	// Not the library's inline client: that one has an id an edge could take over.
	b.self = server.NewClient(nil, mqtt.LocalListener, "", true)
	return b, nil
}

// Addr returns the address the broker is bound to, "host:port".
func (b *Broker) Addr() string { return b.listener.Address() }

// Run serves until ctx ends. It returns when every connection is closed and
// every call of Receive has returned.
func (b *Broker) Run(ctx context.Context) error {
	if err := b.server.AddListener(b.listener); err != nil {
		return err
	}
	if err := b.server.Serve(); err != nil {
		return errors.Join(err, b.Close())
	}
	<-ctx.Done()
	return b.server.Close()
}

// Close gives the address of a broker back that was never run. After Run there
// is nothing left to do.
func (b *Broker) Close() error { return b.listener.shut() }

// Drop ends the connection of an edge, if there is one. Should it come again, it
// is asked who it is again.
func (b *Broker) Drop(edge string) {
	if cl, ok := b.server.Clients.Get(edge); ok && !cl.Net.Inline {
		_ = cl.Net.Conn.Close() // it may be gone already
	}
}

// Publish sends a message to whoever may read its topic and is there, and keeps
// it for those who come later when retain is set. It never blocks.
//
// It goes out at QoS 0: QoS 1 would wait for the lock of a client that does not
// read, and pile up messages for clients that are away. Nothing is lost by that:
// acks are cumulative, and the last one is retained.
func (b *Broker) Publish(topic string, payload []byte, retain bool) error {
	err := b.server.InjectPacket(b.self, packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: retain},
		TopicName:   topic,
		Payload:     payload,
	})
	if err != nil {
		return fmt.Errorf("publish on %s: %w", topic, err)
	}
	return nil
}
