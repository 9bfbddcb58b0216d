package broker

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

const (
	root    = "kenshin/v1"
	patient = 20 * time.Second // how long a test waits for what must come
)

// rig is a running broker that takes the edges "site-1" and "site-2".
type rig struct {
	*Broker
	received chan Message
	logs     *observer.ObservedLogs
	stop     func() error // ends Run and returns what it returned
}

func start(t testing.TB) *rig {
	t.Helper()
	return startQueue(t, 0)
}

// startQueue starts a broker whose receiver holds so many messages before it blocks.
func startQueue(t testing.TB, queue int) *rig {
	t.Helper()
	return startWith(t, queue, func(*Config) {})
}

// startWith starts one that is set up otherwise.
func startWith(t testing.TB, queue int, change func(*Config)) *rig {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	r := &rig{received: make(chan Message, queue), logs: logs}
	ctx, cancel := context.WithCancel(t.Context())
	cfg := Config{
		Listen: "127.0.0.1:0", Root: root, Log: zap.New(core),
		Authenticate: func(user, password string) bool {
			return strings.HasPrefix(user, "site-") && password == "secret-"+user
		},
		Receive: func(m Message) {
			select {
			case r.received <- m:
			case <-ctx.Done():
			}
		},
	}
	change(&cfg)
	b, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Broker = b
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	var result error
	r.stop = func() error {
		cancel()
		select {
		case err, ok := <-ended:
			if ok {
				result = err
				close(ended)
			}
		case <-time.After(patient):
			t.Fatal("Run does not return")
		}
		return result
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

func (r *rig) options(edge string) *mqtt.ClientOptions {
	return mqtt.NewClientOptions().AddBroker("tcp://" + r.Addr()).SetClientID(edge).SetUsername(edge).SetPassword("secret-" + edge).
		SetProtocolVersion(4).SetAutoReconnect(false).SetConnectTimeout(patient).SetOrderMatters(false)
}

func (r *rig) client(t testing.TB, o *mqtt.ClientOptions) mqtt.Client {
	t.Helper()
	c := mqtt.NewClient(o)
	if err := done(t, c.Connect()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// cut ends every connection, as a broken network does.
func (r *rig) cut() {
	r.listener.mu.Lock()
	defer r.listener.mu.Unlock()
	for c := range r.listener.conns {
		c.Conn.Close()
	}
}

// done waits for a token and returns its error.
func done(t testing.TB, tok mqtt.Token) error {
	t.Helper()
	if !tok.WaitTimeout(patient) {
		t.Fatal("nothing came of it")
	}
	return tok.Error()
}

func next[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patient):
		t.Fatal("nothing came")
		panic("not reached")
	}
}

// raw is a client that does exactly what a test says.
type raw struct {
	net.Conn
	t testing.TB
}

func (r *rig) raw(t testing.TB, edge string, change func(*packets.ConnectPacket)) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(patient)); err != nil {
		t.Fatal(err)
	}
	c := &raw{nc, t}
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.CleanSession, p.Keepalive = "MQTT", 4, true, 60
	p.ClientIdentifier, p.Username, p.UsernameFlag, p.Password, p.PasswordFlag = edge, edge, true, []byte("secret-"+edge), true
	if change != nil {
		change(p)
	}
	c.send(p)
	return c
}

func (c *raw) send(p packets.ControlPacket) {
	c.t.Helper()
	if err := p.Write(c); err != nil {
		c.t.Fatal(err)
	}
}

func (c *raw) publish(topic string, qos byte, id uint16, payload []byte) {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Qos, p.MessageID, p.Payload = topic, qos, id, payload
	c.send(p)
}

// read returns the next packet, nil when the connection has ended.
func (c *raw) read() packets.ControlPacket {
	p, err := packets.ReadPacket(c)
	if err != nil {
		return nil
	}
	return p
}

// ping returns what came before the answer to a ping: everything the broker had
// to say to what was sent so far.
func (c *raw) ping() (before []packets.ControlPacket) {
	c.t.Helper()
	c.send(packets.NewControlPacket(packets.Pingreq))
	for {
		switch p := c.read().(type) {
		case nil:
			c.t.Fatal("the connection ended")
		case *packets.PingrespPacket:
			return before
		default:
			before = append(before, p)
		}
	}
}

func (c *raw) connected() *raw {
	c.t.Helper()
	if p, ok := c.read().(*packets.ConnackPacket); !ok || p.ReturnCode != packets.Accepted {
		c.t.Fatalf("not connected: %v", p)
	}
	return c
}

func TestPubackWaitsForDone(t *testing.T) {
	r := start(t)
	c := r.raw(t, "site-1", nil).connected()
	c.publish(root+"/site-1/up", 1, 7, []byte("batch"))
	m := next(t, r.received)
	if m.Topic != root+"/site-1/up" || string(m.Payload) != "batch" {
		t.Errorf("received %s %q", m.Topic, m.Payload)
	}
	if before := c.ping(); len(before) > 0 {
		t.Fatalf("before Done the broker sent %v", before)
	}
	m.Done()
	m.Done()
	if p, ok := c.read().(*packets.PubackPacket); !ok || p.MessageID != 7 {
		t.Fatalf("after Done the broker sent %v", p)
	}
	if before := c.ping(); len(before) > 0 {
		t.Errorf("after a second Done the broker sent %v", before)
	}
}

func TestPahoTokenWaitsForDone(t *testing.T) {
	r := start(t)
	c := r.client(t, r.options("site-1"))
	tok := c.Publish(root+"/site-1/up", 1, true, "batch")
	m := next(t, r.received)
	select {
	case <-tok.Done():
		t.Error("the client was told before Done")
	default:
	}
	m.Done()
	if err := done(t, tok); err != nil {
		t.Error(err)
	}
	if n := r.server.Topics.Retained.Len(); n != sysTopics(r) {
		t.Errorf("a batch was retained")
	}
}

// sysTopics counts the library's own retained messages.
func sysTopics(r *rig) (n int) {
	for topic := range r.server.Topics.Retained.GetAll() {
		if strings.HasPrefix(topic, "$SYS") {
			n++
		}
	}
	return n
}

func TestQoS0IsReceived(t *testing.T) {
	r := start(t)
	c := r.raw(t, "site-1", nil).connected()
	c.publish(root+"/site-1/up", 0, 0, []byte("batch"))
	m := next(t, r.received)
	m.Done()
	if before := c.ping(); string(m.Payload) != "batch" || len(before) > 0 {
		t.Errorf("received %q, answered %v", m.Payload, before)
	}
}

func TestQoS2EndsTheConnection(t *testing.T) {
	r := start(t)
	c := r.raw(t, "site-1", nil).connected()
	c.publish(root+"/site-1/up", 2, 1, []byte("batch"))
	if p := c.read(); p != nil {
		t.Errorf("answered %v", p)
	}
}

func TestRetainedAck(t *testing.T) {
	r := start(t)
	for _, text := range []string{"ack 1", "ack 2"} {
		if err := r.Publish(root+"/site-1/ack", []byte(text), true); err != nil {
			t.Fatal(err)
		}
	}
	c := r.client(t, r.options("site-1"))
	got := make(chan string, 10)
	tok := c.Subscribe(root+"/site-1/ack", 1, func(_ mqtt.Client, m mqtt.Message) { got <- fmt.Sprint(string(m.Payload()), m.Retained()) })
	if err := done(t, tok); err != nil {
		t.Fatal(err)
	}
	if s := next(t, got); s != "ack 2true" {
		t.Errorf("on subscribing came %q, want the last ack, retained", s)
	}
	if err := r.Publish(root+"/site-1/ack", []byte("ack 3"), true); err != nil {
		t.Fatal(err)
	}
	if s := next(t, got); s != "ack 3false" {
		t.Errorf("then came %q, want the new ack", s)
	}
	if e := r.server.Options.Capabilities.MaximumMessageExpiryInterval; e != 0 {
		t.Errorf("retained messages are dropped after %d s", e)
	}
}

func TestRefusedConnections(t *testing.T) {
	r := start(t)
	for _, tt := range []struct {
		name   string
		edge   string
		change func(*packets.ConnectPacket)
	}{
		{"wrong password", "site-1", func(p *packets.ConnectPacket) { p.Password = []byte("secret-site-2") }},
		{"no password", "site-1", func(p *packets.ConnectPacket) { p.Password, p.PasswordFlag = nil, false }},
		{"no user", "site-1", func(p *packets.ConnectPacket) {
			p.Username, p.UsernameFlag, p.Password, p.PasswordFlag = "", false, nil, false
		}},
		{"unknown user", "other-1", nil},
		{"another's client id", "site-1", func(p *packets.ConnectPacket) { p.ClientIdentifier = "site-2" }},
		{"the library's own client id", "site-1", func(p *packets.ConnectPacket) { p.ClientIdentifier = "inline" }},
		{"no client id", "site-1", func(p *packets.ConnectPacket) { p.ClientIdentifier = "" }},
		{"user with a wildcard", "site-+", nil},
		{"user with a slash", "site-1/up", nil},
		{"user too long", "site-" + strings.Repeat("x", 36), nil},
		{"will on another's ack", "site-1", func(p *packets.ConnectPacket) {
			p.WillFlag, p.WillTopic, p.WillMessage, p.WillRetain = true, root+"/site-2/ack", []byte("forged"), true
		}},
		{"will on the up topic", "site-1", func(p *packets.ConnectPacket) {
			p.WillFlag, p.WillTopic, p.WillMessage = true, root+"/site-1/up", []byte("batch")
		}},
		{"will at QoS 2", "site-1", func(p *packets.ConnectPacket) {
			p.WillFlag, p.WillTopic, p.WillMessage, p.WillQos = true, root+"/site-1/state", []byte("offline"), 2
		}},
		{"MQTT 5", "site-1", func(p *packets.ConnectPacket) { p.ProtocolVersion = 5 }},
	} {
		c := r.raw(t, tt.edge, tt.change)
		answer := c.read()
		if p, ok := answer.(*packets.ConnackPacket); ok && p.ReturnCode == packets.Accepted {
			t.Errorf("%s: accepted", tt.name)
		}
		if p := c.read(); answer != nil && p != nil {
			t.Errorf("%s: the connection goes on with %v", tt.name, p)
		}
	}
	for _, e := range r.logs.All() {
		if s := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(s, "secret") {
			t.Errorf("a password in the log: %s", s)
		}
	}
	if n := r.logs.FilterMessage("connection refused").Len(); n < 10 {
		t.Errorf("%d refusals in the log", n)
	}
	err := done(t, mqtt.NewClient(r.options("site-1").SetPassword("wrong")).Connect())
	if err == nil {
		t.Error("a paho client with a wrong password got in")
	}
}

func TestTakeOver(t *testing.T) {
	r := start(t)
	first := r.raw(t, "site-1", nil).connected()
	first.publish(root+"/site-1/up", 1, 1, []byte("batch"))
	m := next(t, r.received)
	second := r.raw(t, "site-1", nil).connected()
	if first.read(); first.read() != nil { // MQTT 5's DISCONNECT, at most
		t.Error("the first connection goes on")
	}
	second.publish(root+"/site-1/up", 1, 1, []byte("batch")) // the same packet id
	again := next(t, r.received)
	m.Done()
	if before := second.ping(); len(before) > 0 {
		t.Errorf("Done of the first connection answered the second: %v", before)
	}
	again.Done()
	if p, ok := second.read().(*packets.PubackPacket); !ok || p.MessageID != 1 {
		t.Errorf("the second connection was answered %v", p)
	}
}

func TestRedeliveryAfterDrop(t *testing.T) {
	r := start(t)
	o := r.options("site-1").SetCleanSession(false).SetAutoReconnect(true).SetMaxReconnectInterval(10 * time.Millisecond)
	c := r.client(t, o)
	tok := c.Publish(root+"/site-1/up", 1, false, "batch")
	lost := next(t, r.received)
	r.cut()
	again := next(t, r.received)
	if string(again.Payload) != "batch" {
		t.Errorf("again came %q", again.Payload)
	}
	lost.Done() // harmless; that it acknowledges nothing is TestTakeOver's
	again.Done()
	if err := done(t, tok); err != nil {
		t.Error(err)
	}
}

func TestSlowReceiveLosesNothing(t *testing.T) {
	const n = 3000
	r := start(t)
	c := r.client(t, r.options("site-1").SetOrderMatters(true))
	var published atomic.Int64
	go func() {
		for i := range n {
			c.Publish(root+"/site-1/up", 1, false, fmt.Appendf(nil, "%d %1000d", i, 0))
			published.Add(1)
		}
	}()
	var held []Message // nothing is acknowledged until 1,000 have come
	for i := range n {
		m := next(t, r.received)
		var got int
		if _, err := fmt.Sscan(string(m.Payload), &got); err != nil || got != i {
			t.Fatalf("message %d is %.10q, %v", i, m.Payload, err)
		}
		if held = append(held, m); len(held) == 1000 {
			for _, m := range held {
				m.Done()
			}
			held = held[:0]
		}
	}
	if published.Load() == 0 {
		t.Error("nothing was published")
	}
}

func TestClientThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	r := start(t)
	stuck := r.raw(t, "site-1", nil).connected()
	sub := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	sub.MessageID, sub.Topics, sub.Qoss = 1, []string{root + "/site-1/ack"}, []byte{1}
	stuck.send(sub)
	if _, ok := stuck.read().(*packets.SubackPacket); !ok {
		t.Fatal("no SUBACK")
	}
	stuck.publish(root+"/site-1/up", 1, 2, []byte("batch"))
	m := next(t, r.received)

	returned := make(chan bool)
	go func() {
		ack := make([]byte, 64<<10)
		for inARow := 0; inARow < 1000; { // until its queue and its socket are full
			before := atomic.LoadInt64(&r.server.Info.MessagesDropped)
			if err := r.Publish(root+"/site-1/ack", ack, true); err != nil {
				t.Error(err)
			}
			if inARow++; atomic.LoadInt64(&r.server.Info.MessagesDropped) == before {
				inARow = 0
			}
		}
		m.Done()
		returned <- true
	}()
	select {
	case <-returned:
	case <-time.After(writeWithin - 2*time.Second):
		t.Fatal("Publish or Done waits for a client that does not read")
	}
	c := r.client(t, r.options("site-2"))
	tok := c.Publish(root+"/site-2/up", 1, false, "batch")
	next(t, r.received).Done()
	if err := done(t, tok); err != nil {
		t.Error(err)
	}
}

func TestPacketTooLarge(t *testing.T) {
	r := start(t)
	c := r.raw(t, "site-1", nil).connected()
	c.publish(root+"/site-1/up", 1, 1, make([]byte, maxPacket-100))
	next(t, r.received).Done()
	c.read()
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Qos, p.MessageID, p.Payload = root+"/site-1/up", 1, 2, make([]byte, maxPacket)
	_ = p.Write(c) // the broker may close before all of it is written
	if p := c.read(); p != nil {
		t.Errorf("answered %v", p)
	}
}

func TestListenSaysWhatToDo(t *testing.T) {
	r := start(t)
	_, err := Listen(Config{Listen: r.Addr(), Root: root, Log: zap.NewNop()})
	if err == nil || !strings.Contains(err.Error(), r.Addr()) || !strings.Contains(err.Error(), "choose another") {
		t.Errorf("Listen on an address in use: %v", err)
	}
}

func TestCloseWithoutRun(t *testing.T) {
	b, err := Listen(Config{Listen: "127.0.0.1:0", Root: root, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(root+"/site-1/ack", nil, true); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	l, err := net.Listen("tcp", b.Addr())
	if err != nil {
		t.Fatalf("the address is still taken: %v", err)
	}
	l.Close()
}

func TestRunEndsWithClientsInEveryState(t *testing.T) {
	r := start(t)
	silent, err := net.Dial("tcp", r.Addr()) // never says CONNECT
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	idle := r.raw(t, "site-1", nil).connected()
	blocked := r.raw(t, "site-2", nil).connected()
	blocked.publish(root+"/site-2/up", 1, 1, []byte("nobody takes it"))
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]net.Conn{"silent": silent, "idle": idle, "blocked": blocked} {
		_ = c.SetDeadline(time.Now().Add(patient))
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v; want the connection closed", name, err)
		}
	}
	if _, err := net.Dial("tcp", r.Addr()); err == nil {
		t.Error("it still listens")
	}
}
