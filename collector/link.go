package collector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/zap"

	"kenshin/configs"
)

// LinkConfig names a broker outside the process.
type LinkConfig struct {
	Broker   string // "tcp://host:1883", "tls://host:8883"
	ClientID string // fixed: the broker keeps this session's messages while the collector is away
	User     string
	Password string
	Root     string
	TLS      *tls.Config // of a tls:// address
	Log      *zap.Logger
}

// Link is the connection to a broker outside the process: it receives what edges
// publish and sends acks. A message is acknowledged to the broker once the book
// has it; whether the broker keeps what it was given is never relied on.
type Link struct {
	cfg    LinkConfig
	client mqtt.Client
	ready  chan struct{} // closed when Run has set receive
	in     func(Message)
	why    atomic.Value // string: the broker is not reached
}

// NewLink returns a Link. It connects when Run does.
func NewLink(cfg LinkConfig) *Link {
	l := &Link{cfg: cfg, ready: make(chan struct{})}
	o := mqtt.NewClientOptions().AddBroker(cfg.Broker).SetClientID(cfg.ClientID).
		SetUsername(cfg.User).SetPassword(cfg.Password).
		SetProtocolVersion(4).SetCleanSession(false).SetAutoAckDisabled(true).SetOrderMatters(true).
		SetAutoReconnect(true).SetConnectRetry(true).SetConnectRetryInterval(2 * time.Second).SetMaxReconnectInterval(30 * time.Second).
		SetKeepAlive(30 * time.Second).SetPingTimeout(10 * time.Second).SetWriteTimeout(20 * time.Second).SetConnectTimeout(20 * time.Second).
		SetTLSConfig(cfg.TLS).
		SetDefaultPublishHandler(l.receive).
		SetConnectionNotificationHandler(l.notified).
		SetOnConnectHandler(l.connected).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) {
			cfg.Log.Warn("broker lost", zap.String("broker", cfg.Broker), zap.Error(err))
		})
	l.client = mqtt.NewClient(o)
	return l
}

// notified says why the broker is not reached: when that changes, as paho tries
// again every few seconds.
func (l *Link) notified(_ mqtt.Client, n mqtt.ConnectionNotification) {
	switch n := n.(type) {
	case mqtt.ConnectionNotificationConnected:
		l.why.Store("")
	case mqtt.ConnectionNotificationFailed:
		err := configs.ExplainTLS(n.Reason, time.Now())
		if l.why.Swap(err.Error()) != err.Error() {
			l.cfg.Log.Warn("broker not reached", zap.String("broker", l.cfg.Broker), zap.Error(err))
		}
	}
}

// Run receives until ctx ends. The broker may come and go meanwhile.
func (l *Link) Run(ctx context.Context, receive func(Message)) error {
	l.in = receive
	close(l.ready)
	t := l.client.Connect()
	select {
	case <-ctx.Done():
	case <-t.Done():
		if err := t.Error(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("connect to broker %s: %w", l.cfg.Broker, err)
		}
		<-ctx.Done()
	}
	l.client.Disconnect(250)
	return nil
}

// connected subscribes: the broker may have forgotten the session.
func (l *Link) connected(c mqtt.Client) {
	topic := l.cfg.Root + "/+/up"
	t := c.Subscribe(topic, 1, nil)
	go func() {
		<-t.Done()
		// A refused subscription shows only in the result (SUBACK 0x80).
		if err := t.Error(); err != nil {
			l.cfg.Log.Error("subscribe", zap.String("topic", topic), zap.Error(err))
		} else if s, ok := t.(*mqtt.SubscribeToken); ok && s.Result()[topic] > 2 {
			l.cfg.Log.Error("the broker refuses the subscription: allow the collector's user to read it", zap.String("topic", topic))
		} else {
			l.cfg.Log.Info("broker connected", zap.String("broker", l.cfg.Broker), zap.String("topic", topic))
		}
	}()
}

func (l *Link) receive(_ mqtt.Client, m mqtt.Message) {
	<-l.ready
	l.in(Message{Topic: m.Topic(), Payload: m.Payload(), Done: m.Ack})
}

var errAway = errors.New("broker not connected")

// Away says why no message can come at present, nil when they can.
func (l *Link) Away() error {
	if l.client.IsConnectionOpen() {
		return nil
	}
	if why, _ := l.why.Load().(string); why != "" {
		return fmt.Errorf("broker %s is not reached: %s", l.cfg.Broker, why)
	}
	return fmt.Errorf("broker %s: %w", l.cfg.Broker, errAway)
}

// Publish sends at QoS 1 without waiting: an ack that is lost is said again by
// the next one.
func (l *Link) Publish(topic string, payload []byte, retain bool) error {
	if !l.client.IsConnectionOpen() {
		return fmt.Errorf("publish on %s: %w", topic, errAway)
	}
	l.client.Publish(topic, 1, retain, payload)
	return nil
}
