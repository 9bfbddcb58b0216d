package main

import (
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"go.uber.org/zap/zapcore"

	"kenshin/configs"
	"kenshin/edge/journal"
	"kenshin/edge/wire"
)

// config is the file of configs/edge.example.yaml, which explains every key.
type config struct {
	file       string
	hash       wire.Hash // of the text
	plan       []bus     // what the buses come to
	enrolling  bool      // it need not say yet where to deliver
	configured string    // broker.url as the file has it

	Edge     string        `yaml:"edge"`
	Data     string        `yaml:"data"`
	Interval time.Duration `yaml:"interval"`
	Clock    string        `yaml:"clock"`
	Profiles string        `yaml:"profiles"`
	Broker   struct {
		URL        string        `yaml:"url"`
		User       string        `yaml:"user"`
		Password   string        `yaml:"password"`
		CAFile     string        `yaml:"ca_file"`
		CertFile   string        `yaml:"cert_file"`
		KeyFile    string        `yaml:"key_file"`
		Root       string        `yaml:"root"`
		Linger     time.Duration `yaml:"linger"`
		AckTimeout time.Duration `yaml:"ack_timeout"`
	} `yaml:"broker"`
	Collector struct {
		Key     string `yaml:"key"`
		KeyFile string `yaml:"key_file"`
		URL     string `yaml:"url"`
	} `yaml:"collector"`
	Outbox struct {
		MaxBytes int64 `yaml:"max_bytes"`
	} `yaml:"outbox"`
	HTTP struct {
		Listen string `yaml:"listen"`
	} `yaml:"http"`
	Buses []busConfig `yaml:"buses"`
	Log   configs.Log `yaml:"log"`
}

type busConfig struct {
	Name           string         `yaml:"name"`
	Endpoint       string         `yaml:"endpoint"`
	Timeout        time.Duration  `yaml:"timeout"`
	ConnectTimeout time.Duration  `yaml:"connect_timeout"`
	ConnectDelay   time.Duration  `yaml:"connect_delay"`
	Gap            time.Duration  `yaml:"gap"`
	SwitchGap      time.Duration  `yaml:"switch_gap"`
	CloseAfterPoll bool           `yaml:"close_after_poll"`
	Devices        []deviceConfig `yaml:"devices"`
}

type deviceConfig struct {
	ID      string        `yaml:"id"`
	Given   *uint8        `yaml:"unit"` // there is no unit that all devices have
	Unit    uint8         `yaml:"-"`    // the same
	Profile string        `yaml:"profile"`
	Bases   []uint16      `yaml:"bases"`
	Sub     uint8         `yaml:"sub"`
	Timeout time.Duration `yaml:"timeout"`
	Gap     time.Duration `yaml:"gap"`
}

// load reads and checks a configuration. Nothing is opened.
func load(file string) (*config, error) { return loadFor(file, false) }

// loadFor also takes one that an enrolment has yet to complete.
func loadFor(file string, enrolling bool) (*config, error) {
	c := &config{file: file, Interval: 60 * time.Second, enrolling: enrolling}
	c.Broker.AckTimeout = 10 * time.Second
	c.Outbox.MaxBytes = 1 << 30
	c.Log.Level = "info"
	text, err := configs.Load(file, c)
	if err != nil {
		return nil, err
	}
	c.hash = sha256.Sum256(text)
	c.configured = c.Broker.URL
	if err := c.fill(); err != nil {
		return nil, err
	}
	c.Broker.User, c.Broker.Root = cmp.Or(c.Broker.User, c.Edge), cmp.Or(c.Broker.Root, wire.DefaultRoot)
	if err := c.validate(text); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *config) validate(text []byte) error {
	wrong := func(path, problem, remedy string) error { return configs.At(c.file, text, path, problem, remedy) }
	if err := wire.CheckEdgeID(c.Edge); err != nil {
		return wrong("$.edge", err.Error(), "choose an id that no other box has, such as site-1-roof")
	}
	switch {
	case c.Data == "":
		return wrong("$", "`data` is missing", "name a folder that survives a restart, such as /var/lib/kenshin-edge")
	case c.Interval < time.Second:
		return wrong("$.interval", fmt.Sprintf("interval %v", c.Interval), "1s is the shortest")
	case c.Interval > longestInterval:
		return wrong("$.interval", fmt.Sprintf("interval %v", c.Interval), fmt.Sprintf("%v is the longest", longestInterval))
	case c.Outbox.MaxBytes < leastOutbox:
		return wrong("$.outbox.max_bytes", fmt.Sprintf("%d bytes are too few", c.Outbox.MaxBytes), fmt.Sprintf("want at least %d", leastOutbox))
	case c.Broker.Linger < 0:
		return wrong("$.broker.linger", fmt.Sprintf("linger %v", c.Broker.Linger), "0s sends at once; a time cannot be negative")
	case !wire.IsRoot(c.Broker.Root):
		return wrong("$.broker.root", fmt.Sprintf("topic %q", c.Broker.Root), "want levels such as kenshin/v1, without + and #; the collector must have the same")
	case c.Broker.URL == "" && !c.enrolling:
		return wrong("$", "`broker.url` is missing", "name the broker, such as tcp://127.0.0.1:1883, or run `kenshin-edge enrol`")
	case c.Broker.URL != "" && !isBroker(c.Broker.URL):
		return wrong("$.broker.url", fmt.Sprintf("broker %q", c.Broker.URL), "want tcp://HOST:PORT, or tls, ws or wss in place of tcp")
	case c.Broker.Linger > time.Hour || c.Broker.AckTimeout > time.Hour:
		return wrong("$.broker", fmt.Sprintf("linger %v, ack_timeout %v", c.Broker.Linger, c.Broker.AckTimeout), "an hour is the longest of both")
	case c.Broker.AckTimeout < time.Second:
		return wrong("$.broker.ack_timeout", fmt.Sprintf("ack_timeout %v", c.Broker.AckTimeout), "1s is the shortest; what is not acked by then is sent again")
	case c.Collector.Key == "" && c.Collector.KeyFile == "" && !c.enrolling:
		return wrong("$", "`collector.key` is missing", "`kenshin-collector identity` prints it, or run `kenshin-edge enrol`")
	case !loopback(c.HTTP.Listen):
		return wrong("$.http.listen", fmt.Sprintf("address %q is not of this machine alone", c.HTTP.Listen), "it asks for no password: want 127.0.0.1:9464, or \"\" for none")
	case !isPort(c.HTTP.Listen):
		return wrong("$.http.listen", fmt.Sprintf("address %q has no port there can be", c.HTTP.Listen), "want 127.0.0.1:9464, a port up to 65535")
	case len(c.Buses) == 0:
		return wrong("$", "no `buses`", "name at least one endpoint with its devices")
	}
	if c.Collector.Key != "" {
		if _, err := c.collectorKey(); err != nil {
			return wrong("$.collector.key", err.Error(), "`kenshin-collector identity` prints it")
		}
	}
	if _, err := zapcore.ParseLevel(c.Log.Level); err != nil {
		return wrong("$.log.level", fmt.Sprintf("level %q", c.Log.Level), "want debug, info, warn or error")
	}
	names := make(map[string]bool)
	at := make(map[string]string) // bus by where it is
	devices := make(map[string]string)
	for i := range c.Buses {
		b := &c.Buses[i]
		path := fmt.Sprintf("$.buses[%d]", i)
		if b.Name == "" {
			b.Name = b.Endpoint
		}
		if names[b.Name] {
			return wrong(path+".name", fmt.Sprintf("another bus is called %q too", b.Name), "give each a name of its own")
		}
		names[b.Name] = true
		_, where, _ := strings.Cut(b.Endpoint, "://")
		where, _, _ = strings.Cut(where, "?")
		if other, ok := at[where]; ok {
			return wrong(path+".endpoint", fmt.Sprintf("bus %s has endpoint %s too", other, where), "put all devices of an endpoint on one bus: two that ask at once disturb each other")
		}
		at[where] = b.Name
		if err := c.validateDevices(b, path, devices, wrong); err != nil {
			return err
		}
		planned, err := c.planBus(b, path, wrong)
		if err != nil {
			return err
		}
		c.plan = append(c.plan, planned)
	}
	return nil
}

// validateDevices checks what a bus says of its devices; on holds the bus of
// each id so far.
func (c *config) validateDevices(b *busConfig, bus string, on map[string]string, wrong func(path, problem, remedy string) error) error {
	for _, t := range []pause{{"timeout", b.Timeout}, {"connect_timeout", b.ConnectTimeout}, {"connect_delay", b.ConnectDelay}, {"gap", b.Gap}, {"switch_gap", b.SwitchGap}} {
		if err := t.check(bus, "bus "+b.Name, wrong); err != nil {
			return err
		}
	}
	if len(b.Devices) == 0 {
		return wrong(bus, fmt.Sprintf("bus %s has no `devices`", b.Name), "name what is to be read, or take the bus out")
	}
	for k := range b.Devices {
		d := &b.Devices[k]
		path := fmt.Sprintf("%s.devices[%d]", bus, k)
		if d.ID == "" {
			return wrong(path, "a device without an `id`", "give it a name that stays with it for life")
		}
		if len(d.ID) > wire.MaxText || strings.ContainsAny(d.ID, "/ \t\n") {
			return wrong(path+".id", fmt.Sprintf("device id %q", d.ID), "want letters, digits, '-', '_' and '.'")
		}
		if other, ok := on[d.ID]; ok {
			return wrong(path+".id", fmt.Sprintf("device id %q is also on bus %s", d.ID, other), "a device id must be unique on its edge")
		}
		on[d.ID] = b.Name
		if d.Given == nil {
			return wrong(path, fmt.Sprintf("device %q has no `unit`", d.ID),
				"say which Modbus unit it is: 1 to 247 on a serial line or behind a converter; a device with a network port of its own is often 1, some are 0 or 255; `kenshin-edge probe` finds it")
		}
		d.Unit = *d.Given
		for _, t := range []pause{{"timeout", d.Timeout}, {"gap", d.Gap}} {
			if err := t.check(path, fmt.Sprintf("device %q", d.ID), wrong); err != nil {
				return err
			}
		}
		alike := func(o deviceConfig) bool { return o.Unit == d.Unit && o.Profile == d.Profile && o.Sub == d.Sub }
		switch other := slices.IndexFunc(b.Devices[:k], alike); {
		case other >= 0:
			return wrong(path, fmt.Sprintf("device %q is device %q: both are unit %d by profile %s", d.ID, b.Devices[other].ID, d.Unit, d.Profile),
				"take one out; of several SunSpec devices behind one unit each has its own `sub`")
		case d.Profile == "":
			return wrong(path, fmt.Sprintf("device %q has no `profile`", d.ID), "say sunspec, or the name of a profile")
		case d.Profile != sunspec && (d.Sub > 0 || len(d.Bases) > 0):
			return wrong(path, fmt.Sprintf("device %q has `sub` or `bases`", d.ID), "only profile sunspec takes them")
		case !strings.HasPrefix(b.Endpoint, "tcp:") && (d.Unit == 0 || d.Unit > 247):
			return wrong(path, fmt.Sprintf("device %q has unit %d", d.ID, d.Unit), "a device on a serial line is unit 1 to 247")
		}
	}
	return nil
}

// longestInterval is how seldom devices may be read: days are cut from what is read.
const longestInterval = 24 * time.Hour

// longestPause is longer than any device takes; while one is waited for, nothing else of
// its bus is read.
const longestPause = time.Minute

// pause is a time to wait, by its key.
type pause struct {
	key  string
	time time.Duration
}

func (t pause) check(path, of string, wrong func(path, problem, remedy string) error) error {
	switch {
	case t.time < 0:
		return wrong(path+"."+t.key, fmt.Sprintf("%s: %s %v is negative", of, t.key, t.time), "a time to wait is 0s or more")
	case t.time > longestPause:
		return wrong(path+"."+t.key, fmt.Sprintf("%s: %s %v", of, t.key, t.time), fmt.Sprintf("%v is the longest", longestPause))
	}
	return nil
}

// leastOutbox is what an outbox takes at least, bytes.
const leastOutbox = 256 << 10

// isBroker tells whether a URL is one of a broker.
func isBroker(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && slices.Contains([]string{"tcp", "mqtt", "ssl", "tls", "mqtts", "ws", "wss"}, u.Scheme)
}

// loopback tells whether nobody but this machine can reach an address. "" is none.
func loopback(addr string) bool {
	if addr == "" {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// isPort tells whether the port of an address is one, or there is no address.
func isPort(addr string) bool {
	if addr == "" {
		return true
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	return err == nil
}

func (c *config) outboxDir() string { return filepath.Join(c.Data, "outbox") }

// dirError says what to do about a data folder. What is damaged in it says so itself.
func (c *config) dirError(err error) error {
	var file *fs.PathError
	var sys syscall.Errno
	if !errors.As(err, &file) && !errors.As(err, &sys) && !errors.Is(err, journal.ErrLocked) {
		return fmt.Errorf("%s: data folder: %w", c.file, err)
	}
	return fmt.Errorf("%s: data folder: %w; give the user that runs kenshin-edge a folder it can write, with free space, that no other agent uses", c.file, err)
}

// key returns the edge's own key, made at the first start.
func (c *config) key() (ed25519.PrivateKey, error) {
	key, err := configs.Key(c.Data, "edge")
	if err != nil {
		return nil, c.dirError(err)
	}
	return key, nil
}

// collectorKey returns the key whose acks are believed.
func (c *config) collectorKey() (ed25519.PublicKey, error) {
	key, err := configs.PublicKey(c.Collector.Key, c.Collector.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("collector's key: %w", err)
	}
	return key, nil
}

// summary says in one line what a configuration is.
func (c *config) summary() string {
	devices := 0
	for _, b := range c.plan {
		devices += len(b.devices)
	}
	return fmt.Sprintf("%s sha256:%.12s: %s, %s, every %v", filepath.Base(c.file), c.hash, count(len(c.plan), "bus", "buses"), count(devices, "device", "devices"), c.Interval)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// fixed names what differs between two configurations and takes a restart.
func (c *config) fixed(next *config) []string {
	var out []string
	for _, k := range []struct {
		key  string
		same bool
	}{
		{"edge", c.Edge == next.Edge}, {"data", c.Data == next.Data}, {"clock", c.Clock == next.Clock},
		{"outbox", c.Outbox == next.Outbox}, {"http", c.HTTP == next.HTTP}, {"log", c.Log == next.Log},
	} {
		if !k.same {
			out = append(out, k.key)
		}
	}
	return out
}

// describe says what a configuration means, and what the agent still lacks to
// start by it.
func (c *config) describe(w io.Writer) error {
	listen := c.HTTP.Listen
	if listen == "" {
		listen = "none"
	}
	fmt.Fprintf(w, "%s is good.\n\nedge      %s\ndata      %s\nbroker    %s, topics below %s\ninterval  %v\nhttp      %s\n", c.file, c.Edge, c.Data, c.Broker.URL, c.Broker.Root, c.Interval, listen)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, b := range c.plan {
		fmt.Fprintf(t, "\nbus %s at %s\n", b.config.Name, b.link.Endpoint)
		for i := range b.devices {
			fmt.Fprintf(t, "  %s\tunit %d\t%s\n", b.devices[i].ID, b.devices[i].Unit, b.describe(i))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if _, err := c.collectorKey(); err != nil { // the two sides are set up one after the other
		_, err = fmt.Fprintf(w, "\n! the agent cannot start by it yet: %v; `kenshin-collector identity` prints what belongs there\n", err)
		return err
	}
	return nil
}

// describe says what a device of the bus is taken for.
func (b *bus) describe(i int) string {
	d, p := &b.devices[i], b.profiles[i]
	if p == nil {
		what := "SunSpec, found out when it answers"
		if d.Sub > 0 {
			what += fmt.Sprintf("; device %d behind this unit", d.Sub+1)
		}
		return what
	}
	what := fmt.Sprintf("%s: %s in %s", p.Name, count(len(d.Declaration.Points), "point", "points"), count(len(d.Declaration.Blocks), "request", "requests"))
	if !p.Verified {
		what += "; UNVERIFIED"
	}
	return what
}
