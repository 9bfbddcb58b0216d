package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
	mochi "github.com/mochi-mqtt/server/v2"
)

// TestNoTopicLeaks tries random topics and filters against random identities and
// compares with a rule written another way: level by level.
func TestNoTopicLeaks(t *testing.T) {
	h := &hook{cfg: &Config{Root: root}}
	rng := rand.New(rand.NewPCG(1, 2))
	ids := []string{"site-1", "site-2", "site", "site-11", "ite-1", "up", "ack", "state", "v1", "kenshin", "inline", "---", "a-b"}
	levels := append([]string{"kenshin", "v1", "up", "ack", "state", "+", "#", "", "$share", "$SYS", "\x00", "site-1\x00", "Site-1", "site-1 ", "ack/", "up2", "é"}, ids...)
	pick := func(list []string) string { return list[rng.IntN(len(list))] }
	allowed := 0
	for range 10_000 {
		topic := root + "/" + pick(ids) + "/" + pick([]string{"up", "ack", "state"})
		switch rng.IntN(4) {
		case 0:
			var parts []string
			for range 1 + rng.IntN(6) {
				parts = append(parts, pick(levels))
			}
			topic = strings.Join(parts, "/")
		case 1:
			parts := strings.Split(topic, "/")
			parts[rng.IntN(len(parts))] = pick(levels)
			topic = strings.Join(parts, "/")
		case 2:
			at := rng.IntN(len(topic))
			topic = topic[:at] + pick([]string{"", "/", "+", "#", "-", "\x00", "1"}) + topic[at+rng.IntN(2):]
		}
		for _, id := range ids {
			cl := &mochi.Client{ID: id}
			cl.Properties.Username = []byte(id)
			for _, write := range []bool{false, true} {
				want := mayAccess(id, topic, write)
				if got := h.OnACLCheck(cl, topic, write); got != want {
					t.Fatalf("edge %q, topic %q, publish %v: %v; want %v", id, topic, write, got, want)
				}
				if want {
					allowed++
				}
			}
		}
	}
	if allowed < 1000 {
		t.Fatalf("only %d of the tries were allowed: the test tries too little", allowed)
	}
}

func mayAccess(id, topic string, write bool) bool {
	l := strings.Split(topic, "/")
	if len(l) != 4 || l[0] != "kenshin" || l[1] != "v1" || l[2] != id {
		return false
	}
	if write {
		return l[3] == "up" || l[3] == "state"
	}
	return l[3] == "ack"
}

func TestSubscriptions(t *testing.T) {
	r := start(t)
	c := r.raw(t, "site-1", nil).connected()
	own := root + "/site-1/ack"
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID = 1
	p.Topics = []string{own, root + "/site-2/ack", root + "/+/ack", root + "/#", "#", "+/+/+/+", "$share/g/" + own, "$SYS/#", root + "/site-1/up", root + "/site-1/state", own + "/#"}
	p.Qoss = make([]byte, len(p.Topics))
	c.send(p)
	s, ok := c.read().(*packets.SubackPacket)
	if !ok {
		t.Fatalf("answered %v", s)
	}
	want := slices.Repeat([]byte{0x80}, len(p.Topics))
	want[0] = 0
	if !slices.Equal(s.ReturnCodes, want) {
		t.Errorf("subscribing to %q is answered %x; want %x", p.Topics, s.ReturnCodes, want)
	}
	if err := r.Publish(root+"/site-2/ack", []byte("not yours"), true); err != nil {
		t.Fatal(err)
	}
	if before := c.ping(); len(before) > 0 {
		t.Errorf("got another's ack: %v", before)
	}
}

func TestPublishingElsewhere(t *testing.T) {
	r := start(t)
	for i, topic := range []string{root + "/site-2/up", root + "/site-2/ack", root + "/site-1/ack", root + "/site-1/up/x", root + "/site-1", "up", "$SYS/broker/version", root + "/site-2/state"} {
		for qos := range byte(2) {
			c := r.raw(t, "site-1", nil).connected()
			p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
			p.TopicName, p.Qos, p.MessageID, p.Retain, p.Payload = topic, qos, uint16(qos), true, []byte("forged")
			c.send(p)
			c.send(packets.NewControlPacket(packets.Pingreq))
			for answer := c.read(); answer != nil; answer = c.read() {
				switch answer.(type) {
				case *packets.PubackPacket:
					t.Errorf("%s at QoS %d is acknowledged", topic, qos)
				case *packets.PingrespPacket:
					c.Close() // the connection may go on, the message may not
				}
			}
			if kept, ok := r.server.Topics.Retained.Get(topic); ok && string(kept.Payload) == "forged" {
				t.Errorf("%d %s at QoS %d is retained", i, topic, qos)
			}
		}
	}
	select {
	case m := <-r.received:
		t.Errorf("received on %s", m.Topic)
	default:
	}
}

func TestState(t *testing.T) {
	r := start(t)
	state := root + "/site-1/state"
	c := r.raw(t, "site-1", func(p *packets.ConnectPacket) {
		p.WillFlag, p.WillTopic, p.WillMessage, p.WillQos, p.WillRetain = true, state, []byte("offline"), 1, true
	}).connected()
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Qos, p.MessageID, p.Retain, p.Payload = state, 1, 5, true, []byte("online")
	c.send(p)
	if a, ok := c.read().(*packets.PubackPacket); !ok || a.MessageID != 5 {
		t.Fatalf("answered %v", a)
	}
	if kept, _ := r.server.Topics.Retained.Get(state); string(kept.Payload) != "online" {
		t.Errorf("retained: %q", kept.Payload)
	}
	p.MessageID, p.Payload = 6, make([]byte, maxState+1)
	c.send(p)
	if a := c.read(); a != nil {
		t.Errorf("a long message is answered with %v; want the connection closed", a)
	}
	if err := r.stop(); err != nil { // every connection has ended, the will is sent
		t.Fatal(err)
	}
	if kept, _ := r.server.Topics.Retained.Get(state); string(kept.Payload) != "offline" {
		t.Errorf("retained after the end: %.20q", kept.Payload)
	}
}

func ExampleMessage() {
	take := func(m Message) { // what a receiver does
		fmt.Println(m.Topic, len(m.Payload), "bytes on disk")
		m.Done()
	}
	take(Message{Topic: "kenshin/v1/site-1/up", Payload: []byte("batch"), Done: func() { fmt.Println("PUBACK") }})
	// Output:
	// kenshin/v1/site-1/up 5 bytes on disk
	// PUBACK
}
