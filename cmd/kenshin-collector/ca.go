package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kenshin/collector/ca"
	"kenshin/configs"
)

type caCommands struct {
	Show      struct{} `cmd:"" default:"1" help:"Print the authority's certificate and its fingerprint."`
	Mosquitto struct {
		Dir  string `arg:"" help:"Folder to write, such as /etc/mosquitto/kenshin; the files get its owner." type:"path"`
		Port int    `help:"To listen on." default:"8883"`
	} `cmd:"" help:"Write what a mosquitto needs to ask edges for certificates: certificates, revocation list, topic rules, mosquitto.conf. Again after a revocation and once a year."`
}

func (c *config) caCommand(ctx context.Context, cmd *caCommands, command string, stdout, stderr io.Writer) error {
	a, err := c.authority()
	if err == nil && a == nil {
		err = fmt.Errorf("%s: %w", c.file, errNoAuthority)
	}
	if err != nil {
		return configs.Setup(err)
	}
	if verb, _, _ := strings.Cut(command, " "); verb == "mosquitto" {
		return c.mosquitto(ctx, a, cmd.Mosquitto.Dir, cmd.Mosquitto.Port, stdout, stderr)
	}
	pin := a.Pin()
	_, err = fmt.Fprintf(stdout, "%s%s, until %s\nSHA-256 %s\n", a.PEM(), a.Certificate().Subject.CommonName, a.Certificate().NotAfter.UTC().Format(time.DateOnly), hex.EncodeToString(pin[:]))
	return err
}

// mosquitto writes the settings of a broker outside.
func (c *config) mosquitto(ctx context.Context, a *ca.Authority, dir string, port int, stdout, stderr io.Writer) error {
	keys, err := c.order(ctx, order{Do: "keys"}, stderr)
	if err != nil {
		return err
	}
	crl, err := a.Revoked(func(edge, fingerprint string) error {
		for _, k := range keys.Keys {
			if k.Edge == edge && k.Fingerprint == fingerprint && !k.Ended {
				return nil
			}
		}
		return errors.New("ended")
	})
	if err != nil {
		return err
	}
	server, err := a.Server(c.TLS.Names)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return configs.Setup(err)
	}
	for _, f := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"ca.crt", string(a.PEM()), 0o644}, {"server.pem", string(server), 0o600}, {"revoked.pem", string(crl), 0o644},
		{"acl", fmt.Sprintf(mosquittoACL, ca.CollectorName, c.Broker.Root), 0o600}, {"mosquitto.conf", fmt.Sprintf(mosquittoConf, port, dir), 0o644},
	} {
		if err := configs.WriteFile(filepath.Join(dir, f.name), []byte(f.text), f.mode); err != nil {
			return configs.Setup(err)
		}
	}
	fmt.Fprintf(stdout, "mosquitto -c %s\nThe folder is its owner's alone: started by root mosquitto becomes another user, who must own it first (chown -R mosquitto: %s).\nAfter writing these files again: kill -HUP the broker.\n", filepath.Join(dir, "mosquitto.conf"), dir)
	if c.Broker.URL == "" {
		_, err = fmt.Fprintf(stdout, "The collector connects with `broker.url: tls://%s:%d`.\n", c.TLS.Names[0], port)
	}
	return err
}

// The topic rules: what the broker in the collector's process holds to as well.
// The user name is the common name of the certificate.
const mosquittoACL = `# Written by kenshin-collector ca mosquitto.
user %[1]s
topic read %[2]s/+/up
topic read %[2]s/+/state
topic write %[2]s/+/ack

pattern write %[2]s/%%u/up
pattern write %[2]s/%%u/state
pattern read %[2]s/%%u/ack
`

const mosquittoConf = `# Written by kenshin-collector ca mosquitto. Edges keep every reading until the
# collector has signed that it is durable; persistence only spares the link repeats.
per_listener_settings false
listener %[1]d
cafile %[2]s/ca.crt
certfile %[2]s/server.pem
keyfile %[2]s/server.pem
crlfile %[2]s/revoked.pem
tls_version tlsv1.3
require_certificate true
use_identity_as_username true
allow_anonymous false
acl_file %[2]s/acl
max_queued_messages 0
max_inflight_messages 100
message_size_limit 1048576
`
