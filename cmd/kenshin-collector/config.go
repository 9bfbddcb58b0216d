package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"go.uber.org/zap/zapcore"
	"modernc.org/sqlite"

	"kenshin/calc"
	"kenshin/collector"
	"kenshin/collector/series"
	"kenshin/configs"
	"kenshin/edge/journal"
	"kenshin/edge/wire"
)

// config is the file of configs/collector.example.yaml, which explains every key.
type config struct {
	file   string
	copies projections // of the samples, while it serves

	Name   string `yaml:"name"`
	Data   string `yaml:"data"`
	Broker struct {
		Listen   string `yaml:"listen"` // the broker in this process
		URL      string `yaml:"url"`    // or one outside
		User     string `yaml:"user"`
		Password string `yaml:"password"`
		Root     string `yaml:"root"`

		TLS       string `yaml:"tls"`        // of listen: "", server or mutual
		PublicURL string `yaml:"public_url"` // told to edges that enrol
		CAFile    string `yaml:"ca_file"`    // of url
		CertFile  string `yaml:"cert_file"`  // of url: the collector's own; of listen: the server's
		KeyFile   string `yaml:"key_file"`
	} `yaml:"broker"`
	TLS struct {
		Names []string `yaml:"names"`
	} `yaml:"tls"`
	Edges         []edgeConfig   `yaml:"edges"`
	Influx        []influxConfig `yaml:"influx"`
	Methodologies []string       `yaml:"methodologies"`
	Projects      []string       `yaml:"projects"`
	HTTP          struct {
		Listen string `yaml:"listen"`
		Token  string `yaml:"token"`

		InputToken string `yaml:"input_token"`
		TLS        bool   `yaml:"tls"`
		CertFile   string `yaml:"cert_file"`
		KeyFile    string `yaml:"key_file"`
		PublicURL  string `yaml:"public_url"`
	} `yaml:"http"`
	Series struct {
		KeepDays int `yaml:"keep_days"` // of samples that are no counters; 0 for ever
	} `yaml:"series"`
	Log configs.Log `yaml:"log"`
}

type edgeConfig struct {
	ID       string `yaml:"id"`
	Key      string `yaml:"key"`
	KeyFile  string `yaml:"key_file"`
	Password string `yaml:"password"` // at the broker in this process
}

// load reads and checks a configuration. Nothing is opened or written.
func load(file string) (*config, error) {
	c := &config{file: file, Name: "collector"}
	c.Broker.Root = wire.DefaultRoot
	c.HTTP.Listen = "127.0.0.1:8080"
	c.Log.Level = "info"
	text, err := configs.Load(file, c)
	if err != nil {
		return nil, err
	}
	return c, c.validate(text)
}

func (c *config) validate(text []byte) error {
	wrong := func(path, problem, remedy string) error { return configs.At(c.file, text, path, problem, remedy) }
	switch {
	case c.Data == "":
		return wrong("$", "`data` is missing", "name a folder that survives a restart, such as /var/lib/kenshin-collector")
	case (c.Broker.Listen == "") == (c.Broker.URL == ""):
		return wrong("$", "want one of `broker.listen` and `broker.url`", "listen starts a broker in this process, url names one outside")
	}
	switch {
	case !collector.GoodName(c.Name):
		return wrong("$.name", fmt.Sprintf("name %q", c.Name), "want 1 to 64 letters, digits, '.', '_' and '-': it signs checkpoints")
	case c.Broker.URL != "" && !isBroker(c.Broker.URL):
		return wrong("$.broker.url", fmt.Sprintf("broker %q", c.Broker.URL), "want tcp://HOST:PORT, or ssl, ws or wss in place of tcp")
	case c.Broker.Listen != "" && !isAddress(c.Broker.Listen):
		return wrong("$.broker.listen", fmt.Sprintf("address %q", c.Broker.Listen), "write host:port, such as 127.0.0.1:1883, with a port up to 65535")
	case !wire.IsRoot(c.Broker.Root):
		return wrong("$.broker.root", fmt.Sprintf("topic %q", c.Broker.Root), "want levels such as kenshin/v1, without + and #; every edge must have the same")
	case !isAddress(c.HTTP.Listen):
		return wrong("$.http.listen", fmt.Sprintf("address %q", c.HTTP.Listen), "write host:port, such as 127.0.0.1:8080, with a port up to 65535")
	}
	if c.Series.KeepDays < 0 {
		return wrong("$.series.keep_days", fmt.Sprintf("%d days", c.Series.KeepDays), "want the days that samples stay, or 0 to keep all")
	}
	if !loopback(c.HTTP.Listen) && c.HTTP.Token == "" {
		return wrong("$.http.listen", "others can reach "+c.HTTP.Listen+" and there is no `http.token`", "set one, or listen on 127.0.0.1")
	}
	if c.HTTP.InputToken != "" && c.HTTP.InputToken == c.HTTP.Token {
		return wrong("$.http.input_token", "it is the same as `http.token`", "who may read is not who may put amounts in: give it a token of its own")
	}
	if err := c.validateTLS(wrong); err != nil {
		return err
	}
	if err := c.validateInflux(wrong); err != nil {
		return err
	}
	if _, err := zapcore.ParseLevel(c.Log.Level); err != nil {
		return wrong("$.log.level", fmt.Sprintf("level %q", c.Log.Level), "want debug, info, warn or error")
	}
	seen := make(map[string]bool)
	for i, e := range c.Edges {
		path := fmt.Sprintf("$.edges[%d].id", i)
		if err := wire.CheckEdgeID(e.ID); err != nil {
			return wrong(path, err.Error(), "it is the id in the edge's configuration")
		}
		if seen[e.ID] {
			return wrong(path, fmt.Sprintf("edge %q stands here twice", e.ID), "an edge id is unique")
		}
		seen[e.ID] = true
		if e.Key == "" && e.KeyFile == "" {
			return wrong(fmt.Sprintf("$.edges[%d]", i), fmt.Sprintf("edge %q has no `key`", e.ID), "`kenshin-edge identity` prints it")
		}
	}
	return nil
}

// loopback tells whether nobody but this machine can reach an address.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// isBroker tells whether a URL is one of a broker.
func isBroker(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Hostname() != "" && isPort(u.Port(), true) && slices.Contains([]string{"tcp", "mqtt", "ssl", "tls", "mqtts", "ws", "wss"}, u.Scheme)
}

// isAddress tells whether a text is host:port.
func isAddress(text string) bool {
	_, port, err := net.SplitHostPort(text)
	return err == nil && isPort(port, false)
}

// isPort tells whether a text is a port number; one that may be left out may be "".
func isPort(text string, optional bool) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil || optional && text == ""
}

// edges returns the registered edges with their keys.
func (c *config) edges() ([]collector.Edge, error) {
	var out []collector.Edge
	for _, e := range c.Edges {
		key, err := configs.PublicKey(e.Key, e.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%s: edge %s: %w; `kenshin-edge identity` prints it", c.file, e.ID, err)
		}
		out = append(out, collector.Edge{ID: e.ID, Key: key})
	}
	return out, nil
}

// authenticate says whether an edge may come in at the broker in this process.
// What it sends is judged by its signature in any case.
func (c *config) authenticate(user, password string) bool {
	i := slices.IndexFunc(c.Edges, func(e edgeConfig) bool { return e.ID == user })
	return i >= 0 && equal(c.Edges[i].Password, password)
}

// texts returns the methodology and project files: those that come with the
// program, which a file of the same number and version replaces, and the
// operator's.
func (c *config) texts() (methodologies, projects []collector.File, err error) {
	names, err := fs.Glob(configs.Files, "methodologies/*.yaml")
	if err != nil {
		return nil, nil, err
	}
	for _, n := range names {
		text, err := configs.Files.ReadFile(n)
		if err != nil {
			return nil, nil, err
		}
		methodologies = append(methodologies, collector.File{Name: path.Base(n), Text: text})
	}
	own, err := read(c.Methodologies)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: methodologies: %w", c.file, err)
	}
	methodologies = append(methodologies, own...)
	if projects, err = read(c.Projects); err != nil {
		return nil, nil, fmt.Errorf("%s: projects: %w", c.file, err)
	}
	return methodologies, projects, nil
}

// read returns the files of a list; a folder stands for its .yaml files.
func read(list []string) ([]collector.File, error) {
	var out []collector.File
	for _, p := range list {
		names := []string{p}
		if info, err := os.Stat(p); err != nil {
			return nil, err
		} else if info.IsDir() {
			if names, err = filepath.Glob(filepath.Join(p, "*.yaml")); err != nil {
				return nil, err
			}
		}
		for _, n := range names {
			text, err := os.ReadFile(n)
			if err != nil {
				return nil, err
			}
			out = append(out, collector.File{Name: n, Text: text})
		}
	}
	return out, nil
}

// key returns the collector's own key, made at the first start.
func (c *config) key() (ed25519.PrivateKey, error) {
	key, err := configs.Key(c.Data, "collector")
	if err != nil {
		return nil, c.dirError(err)
	}
	return key, nil
}

// dirError says what to do about a data folder. What is damaged in it, or wrong
// with the files that are put in force, says so itself.
func (c *config) dirError(err error) error {
	var file *fs.PathError
	var sys syscall.Errno
	var db *sqlite.Error
	if errors.As(err, &file) || errors.As(err, &sys) || errors.Is(err, journal.ErrLocked) || errors.As(err, &db) && !errors.Is(err, series.ErrFile) {
		return fmt.Errorf("%s: data folder: %w; give the user that runs kenshin-collector a folder it can write, with free space, that no other collector uses", c.file, err)
	}
	return fmt.Errorf("%s: %w", c.file, err)
}

// describe says what a configuration means.
func (c *config) describe(w io.Writer) error {
	methodologies, projects, err := c.texts()
	if err != nil {
		return err
	}
	if err := collector.Check(context.Background(), methodologies, projects); err != nil {
		return err
	}
	broker := "in this process at " + c.Broker.Listen
	if c.Broker.URL != "" {
		broker = c.Broker.URL
	}
	if c.Broker.TLS != "" {
		broker += ", TLS " + c.Broker.TLS
	}
	fmt.Fprintf(w, "name      %s\ndata      %s\nbroker    %s, topics below %s\npage      %s/\n", c.Name, c.Data, broker, c.Broker.Root, c.scheme()+c.HTTP.Listen)
	var ids []string
	for _, e := range c.Edges {
		ids = append(ids, e.ID)
	}
	fmt.Fprintf(w, "edges     %s\n", strings.Join(ids, ", "))
	if _, err := c.edges(); err != nil {
		fmt.Fprintf(w, "! the collector cannot start by it yet: %v\n", err)
	}
	fmt.Fprintf(w, "methods   %d; `kenshin-collector methodology check` lists those that come with the program\n", len(methodologies))
	all := make(shelf)
	all.read(methodologies)
	for _, f := range projects {
		var p calc.Project
		if err := configs.Decode(f.Name, f.Text, &p); err != nil {
			return err
		}
		fmt.Fprintf(w, "project   %s: %s, %v\n", p.Reference, p.Title, p.Methodology)
		m, err := all[p.Methodology].m.Resolve(all.find)
		if err != nil {
			return err
		}
		for _, text := range p.Oddities(m) {
			fmt.Fprintf(w, "! %v\n", configs.At(f.Name, f.Text, "$.pdd_estimate", text, "correct the one that is wrong; if both are right there is nothing to do"))
		}
	}
	c.describeInflux(w)
	_, err = fmt.Fprintf(w, "\n%s is good.\n", c.file)
	return err
}
