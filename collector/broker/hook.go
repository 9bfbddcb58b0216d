package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"regexp"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/zap"
)

// idPattern is what an edge id looks like: nothing in it can change the meaning
// of a topic.
var idPattern = regexp.MustCompile(`^[a-z0-9-]{3,40}$`)

// hook decides who comes in, who may publish and read what, and takes the
// messages of the edges out of the library's hands.
type hook struct {
	mqtt.HookBase
	cfg *Config
}

func (h *hook) ID() string { return "kenshin" }

func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPacketRead, mqtt.OnPublish:
		return true
	}
	return false
}

var (
	errProtocol = errors.New("MQTT 5 is not spoken here")
	errState    = errors.New("message on the state topic is too long")
)

// OnConnect refuses MQTT 5, whose sessions, aliases and delayed wills nobody
// needs and nobody has reviewed here, and gives every client a time after which
// its silence ends the connection.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	if pk.ProtocolVersion > 4 {
		_ = cl.WritePacket(packets.Packet{
			FixedHeader: packets.FixedHeader{Type: packets.Connack},
			ReasonCode:  packets.ErrUnsupportedProtocolVersion.Code,
		}) // the connection ends in any case
		return errProtocol
	}
	if k := cl.State.Keepalive; k == 0 || k > maxKeepalive {
		cl.State.Keepalive = maxKeepalive
	}
	return nil
}

// OnConnectAuthenticate lets an edge in whose user name is its client id, whose
// certificate or password is right and whose will goes to its own state topic. The
// library checks the will against nothing, neither here nor when it sends it. A
// client that shows a certificate may leave the user name out.
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	user := string(pk.Connect.Username)
	var why string
	cert := peer(cl)
	if cert != nil {
		id, err := h.cfg.Identify(cert)
		switch {
		case err != nil:
			why = err.Error()
		case user != "" && user != id:
			why = "the certificate is that of " + printable(id)
		}
		user = id
	}
	switch {
	case why != "":
	case !idPattern.MatchString(user):
		why = "the user name is no edge id"
	case pk.Connect.ClientIdentifier != user:
		why = "the client id is not the user name"
	case pk.Connect.WillFlag && (pk.Connect.WillTopic != h.topic(user, "state") || len(pk.Connect.WillPayload) > maxState):
		why = "the will is not for the edge's state topic, or too long"
	case cert == nil && !h.cfg.Authenticate(user, string(pk.Connect.Password)):
		why = "wrong user or password"
	default:
		return true
	}
	h.cfg.Log.Warn("connection refused", zap.String("reason", why), zap.String("user", printable(string(pk.Connect.Username))),
		zap.String("client", printable(pk.Connect.ClientIdentifier)), zap.String("remote", cl.Net.Remote))
	return false
}

// peer returns the certificate that a client has shown, checked by the handshake;
// nil without one.
func peer(cl *mqtt.Client) *x509.Certificate {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return nil
	}
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
		return certs[0]
	}
	return nil
}

// OnACLCheck compares whole topics, so a filter with a wildcard or a shared
// subscription is refused like any other topic that is not the edge's own.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	if write {
		return topic == h.topic(cl.ID, "up") || topic == h.topic(cl.ID, "state")
	}
	return topic == h.topic(cl.ID, "ack")
}

func (h *hook) topic(user, leaf string) string { return h.cfg.Root + "/" + user + "/" + leaf }

// OnPacketRead ends the connection of a client that publishes at QoS 2. Behind
// this hook the library would take the message down to QoS 1 and answer a PUBACK,
// which is no answer to QoS 2.
func (h *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type == packets.Publish && pk.FixedHeader.Qos > 1 {
		h.cfg.Log.Warn("disconnected: publishes at QoS 2", zap.String("edge", cl.ID))
		return pk, packets.ErrRejectPacket
	}
	return pk, nil
}

// OnPublish hands a message on an up topic over. It runs on the goroutine that
// reads the client's connection, before the library acknowledges, retains or
// distributes anything. ErrRejectPacket keeps it from all three and leaves the
// connection alone; after any other error the library goes on and acknowledges
// (processPublish in its server.go, v2.7.9), so no other may be returned here.
//
// A message at QoS 0 is taken too: the ack that counts is the signed one.
func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		return pk, nil
	}
	switch pk.TopicName {
	case h.topic(cl.ID, "up"):
		h.cfg.Receive(Message{Topic: pk.TopicName, Payload: pk.Payload, Done: h.done(cl, pk)})
		return pk, packets.ErrRejectPacket
	case h.topic(cl.ID, "state"):
		if len(pk.Payload) <= maxState {
			return pk, nil
		}
		h.cfg.Log.Warn("disconnected", zap.Error(errState), zap.String("edge", cl.ID), zap.Int("bytes", len(pk.Payload)))
		_ = cl.Net.Conn.Close() // not cl.Stop, after which the library takes the end for a clean one and drops the will
	}
	return pk, packets.ErrRejectPacket
}

// done returns what lets the PUBACK of pk go.
func (h *hook) done(cl *mqtt.Client, pk packets.Packet) func() {
	c, ok := cl.Net.Conn.(*conn)
	if !ok || pk.FixedHeader.Qos == 0 {
		return func() {}
	}
	return c.ackOnce(pk.PacketID)
}

// printable returns a name from a stranger as a log may hold it.
func printable(s string) string {
	const most = 64
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}
