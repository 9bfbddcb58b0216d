package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap/zapcore"

	"kenshin/configs"
	"kenshin/edge"
	"kenshin/edge/device"
	"kenshin/edge/wire"
)

// config is the file of configs/edge.example.yaml, which explains every key.
type config struct {
	file string

	Edge     string        `yaml:"edge"`
	Data     string        `yaml:"data"`
	Interval time.Duration `yaml:"interval"`
	Clock    string        `yaml:"clock"`
	Profiles string        `yaml:"profiles"`
	Broker   struct {
		URL        string        `yaml:"url"`
		User       string        `yaml:"user"`
		Password   string        `yaml:"password"`
		Root       string        `yaml:"root"`
		Linger     time.Duration `yaml:"linger"`
		AckTimeout time.Duration `yaml:"ack_timeout"`
	} `yaml:"broker"`
	Collector struct {
		Key     string `yaml:"key"`
		KeyFile string `yaml:"key_file"`
	} `yaml:"collector"`
	Outbox struct {
		MaxBytes int64 `yaml:"max_bytes"`
	} `yaml:"outbox"`
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
	Devices        []deviceConfig `yaml:"devices"`
}

type deviceConfig struct {
	ID      string   `yaml:"id"`
	Unit    uint8    `yaml:"unit"`
	Profile string   `yaml:"profile"`
	Bases   []uint16 `yaml:"bases"`
}

// load reads and checks a configuration. Nothing is opened.
func load(file string) (*config, error) {
	c := &config{file: file, Interval: 60 * time.Second}
	c.Broker.Root, c.Broker.AckTimeout = wire.DefaultRoot, 10*time.Second
	c.Outbox.MaxBytes = 1 << 30
	c.Log.Level = "info"
	text, err := configs.Load(file, c)
	if err != nil {
		return nil, err
	}
	if c.Broker.User == "" {
		c.Broker.User = c.Edge
	}
	return c, c.validate(text)
}

func (c *config) validate(text []byte) error {
	wrong := func(path, problem, remedy string) error { return configs.At(c.file, text, path, problem, remedy) }
	if err := wire.CheckEdgeID(c.Edge); err != nil {
		return wrong("$.edge", err.Error(), "choose an id that no other box has")
	}
	switch {
	case c.Data == "":
		return wrong("$", "`data` is missing", "name a folder that survives a restart, such as /var/lib/kenshin-edge")
	case c.Interval < time.Second:
		return wrong("$.interval", fmt.Sprintf("interval %v", c.Interval), "1s is the shortest")
	case c.Broker.URL == "":
		return wrong("$", "`broker.url` is missing", "name the broker, such as tcp://127.0.0.1:1883")
	case c.Collector.Key == "" && c.Collector.KeyFile == "":
		return wrong("$", "`collector.key` is missing", "`kenshin-collector identity` prints it")
	case len(c.Buses) == 0:
		return wrong("$", "no `buses`", "name at least one endpoint with its devices")
	}
	if _, err := zapcore.ParseLevel(c.Log.Level); err != nil {
		return wrong("$.log.level", fmt.Sprintf("level %q", c.Log.Level), "want debug, info, warn or error")
	}
	seen := make(map[string]string)
	for i, b := range c.Buses {
		for k := range b.Devices {
			d := &b.Devices[k]
			path := fmt.Sprintf("$.buses[%d].devices[%d].id", i, k)
			if d.ID == "" {
				return wrong(fmt.Sprintf("$.buses[%d].devices[%d]", i, k), "a device without an `id`", "give it a name that stays with it for life")
			}
			if on, ok := seen[d.ID]; ok {
				return wrong(path, fmt.Sprintf("device id %q is also on bus %s", d.ID, on), "a device id must be unique on its edge")
			}
			seen[d.ID] = b.Name
			if d.Profile == "" {
				return wrong(fmt.Sprintf("$.buses[%d].devices[%d]", i, k), fmt.Sprintf("device %q has no `profile`", d.ID), "say sunspec, or the name of a profile")
			}
			if _, err := c.device(d); err != nil {
				return wrong(path, err.Error(), "see the profiles in configs/profiles")
			}
		}
	}
	return nil
}

// device returns what the agent polls for a configured device.
func (c *config) device(d *deviceConfig) (edge.Device, error) {
	out := edge.Device{ID: d.ID, Unit: d.Unit, Bases: d.Bases}
	if d.Profile == "sunspec" {
		return out, nil
	}
	name, text, err := c.profile(d.Profile)
	if err != nil {
		return out, fmt.Errorf("device %q: %w", d.ID, err)
	}
	var p device.Profile
	if err := configs.Decode(name, text, &p); err != nil {
		return out, err
	}
	if err := p.Validate(); err != nil {
		return out, fmt.Errorf("%s: %w", name, err)
	}
	decl, err := p.Declare(d.ID, d.Unit, sha256.Sum256(text))
	if err != nil {
		return out, fmt.Errorf("%s: %w", name, err)
	}
	out.Declaration = &decl
	return out, nil
}

// profile returns the text of a profile: from the operator's folder, or else
// from those that come with the program.
func (c *config) profile(name string) (file string, text []byte, err error) {
	if c.Profiles != "" {
		file = filepath.Join(c.Profiles, name+".yaml")
		text, err = os.ReadFile(file)
		if !errors.Is(err, os.ErrNotExist) {
			return file, text, err
		}
	}
	file = "profiles/" + name + ".yaml"
	text, err = configs.Files.ReadFile(file)
	if err != nil {
		return file, nil, fmt.Errorf("there is no profile %q", name)
	}
	return "configs/" + file, text, nil
}

func (c *config) outboxDir() string { return filepath.Join(c.Data, "outbox") }

func (c *config) dirError(err error) error {
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
		return nil, fmt.Errorf("%s: collector.key: %w; `kenshin-collector identity` prints it", c.file, err)
	}
	return key, nil
}

// describe says what a configuration means.
func (c *config) describe(w io.Writer) error {
	fmt.Fprintf(w, "%s is good.\n\nedge      %s\ndata      %s\nbroker    %s, topics below %s\ninterval  %v\n", c.file, c.Edge, c.Data, c.Broker.URL, c.Broker.Root, c.Interval)
	for _, b := range c.Buses {
		fmt.Fprintf(w, "\nbus %s at %s\n", b.Name, b.Endpoint)
		for i := range b.Devices {
			d, err := c.device(&b.Devices[i])
			if err != nil {
				return err
			}
			if d.Declaration == nil {
				fmt.Fprintf(w, "  %-16s unit %-3d SunSpec, found out when it answers\n", d.ID, d.Unit)
				continue
			}
			fmt.Fprintf(w, "  %-16s unit %-3d %s: %d points in %d requests\n", d.ID, d.Unit, b.Devices[i].Profile, len(d.Declaration.Points), len(d.Declaration.Blocks))
		}
	}
	return nil
}
