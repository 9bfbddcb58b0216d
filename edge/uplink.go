package edge

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/zap"

	"kenshin/edge/wire"
)

// Uplink names the broker and the collector behind it.
type Uplink struct {
	Broker       string // "tcp://host:1883", "tls://host:8883"
	User         string // the edge id, unless the broker says otherwise
	Password     string
	Root         string            // of the topics
	CollectorKey ed25519.PublicKey // acks signed by any other key are ignored
	AckTimeout   time.Duration     // without progress for so long, what is not acked is sent again
	Linger       time.Duration     // how long a reading may wait for others to travel with; 0 sends at once
	TLS          *tls.Config       // of a tls:// address

	// Explain adds to an error of the connection what to do about it. Nil adds nothing.
	Explain func(error) error

	// Dial opens a connection in place of the network; nil in all but rigs.
	Dial func() (net.Conn, error)
}

const (
	window       = 8         // batches on their way at once
	batchRecords = 500       // of one batch at most
	batchBytes   = 160 << 10 // of records in one batch before compression
	maxAckWait   = time.Minute
	strangeAcks  = 3                // in a row of records that were never here, before the outbox is taken for an old copy
	rebuildAfter = 3                // ack timeouts in a row before the client itself is suspected
	rebuildApart = 10 * time.Minute // without a connection likewise; longer than the client ever waits
	liveRoom     = 2                // places in the window that backlog leaves to live readings
	backlogRate  = 25_000           // records of backlog a second
	jitter       = 5 * time.Second  // most that one of a fleet waits before it comes back
)

// connect makes a client and lets it connect. The session is clean: what has to
// be delivered is in the outbox, and a client that keeps messages of its own has
// been seen to call them delivered when they were not (eclipse/paho.mqtt.golang#563).
func (a *Agent) connect(ctx context.Context, events chan<- linkEvent) mqtt.Client {
	u := a.cfg.Uplink // handlers may still run when another is in force
	state := wire.StateTopic(u.Root, a.cfg.Edge)
	first := true
	var remedies atomic.Value // string: what was said last to be done
	o := mqtt.NewClientOptions().AddBroker(u.Broker).SetClientID(a.cfg.Edge).
		SetUsername(u.User).SetPassword(u.Password).SetTLSConfig(u.TLS).
		SetProtocolVersion(4).SetCleanSession(true).SetOrderMatters(false).
		SetAutoReconnect(true).SetConnectRetry(true).SetConnectRetryInterval(2*time.Second).SetMaxReconnectInterval(30*time.Second).
		SetKeepAlive(30*time.Second).SetPingTimeout(10*time.Second).SetWriteTimeout(20*time.Second).SetConnectTimeout(20*time.Second).
		SetWill(state, `{"state":"offline"}`, 1, true).
		SetDefaultPublishHandler(func(mqtt.Client, mqtt.Message) {}).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) {
			a.linked(false, err.Error())
			a.cfg.Log.Warn("broker lost; readings are kept in the outbox", zap.String("broker", u.Broker), zap.Error(err))
		}).
		SetConnectionNotificationHandler(func(_ mqtt.Client, n mqtt.ConnectionNotification) {
			failed, ok := n.(mqtt.ConnectionNotificationFailed)
			if !ok {
				return
			}
			raw, err := failed.Reason, failed.Reason
			if u.Explain != nil {
				err = u.Explain(raw)
			}
			remedy := strings.TrimPrefix(err.Error(), raw.Error())
			news := a.linked(false, err.Error())
			if said := remedies.Swap(remedy); news || remedy != "" && said != remedy {
				a.cfg.Log.Warn("broker not reached; readings are kept in the outbox", zap.String("broker", u.Broker), zap.Error(err))
			}
		}).
		SetConnectionAttemptHandler(func(_ *url.URL, t *tls.Config) *tls.Config {
			if !first { // a fleet that lost its broker must not come back in step
				_ = RealClock().Sleep(ctx, rand.N(jitter)) // at the end of ctx nobody waits
			}
			first = false
			return t
		}).
		SetOnConnectHandler(func(c mqtt.Client) {
			c.Subscribe(wire.AckTopic(u.Root, a.cfg.Edge), 1, func(_ mqtt.Client, m mqtt.Message) { offer(events, linkEvent{ack: m.Payload()}) })
			c.Publish(state, 1, true, fmt.Sprintf(`{"state":"online","epoch":"%v","version":%q}`, a.cfg.Outbox.Epoch(), a.cfg.Version))
			a.linked(true, "")
			a.cfg.Log.Info("broker connected", zap.String("broker", u.Broker))
			offer(events, linkEvent{connected: true})
		})
	if u.Dial != nil {
		o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return u.Dial() })
	}
	c := mqtt.NewClient(o)
	c.Connect()
	return c
}

// linkEvent is what the client's handlers hand over.
type linkEvent struct {
	connected bool
	ack       []byte
}

// offer hands an event over without ever blocking the client: acks are
// cumulative, so one that finds no room is said again by the next.
func offer(events chan<- linkEvent, e linkEvent) {
	select {
	case events <- e:
	default:
	}
}
