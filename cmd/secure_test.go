package cmd

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"kenshin/collector/ca"
	"kenshin/configs"
)

// secureSite is a folder with a collector, an edge and a simulated plant.
type secureSite struct {
	*testing.T
	dir       string
	page      string // host:port
	collector *program
}

func newSecureSite(t *testing.T, broker string) *secureSite {
	t.Helper()
	s := &secureSite{T: t, dir: t.TempDir(), page: freeAddr(t)}
	plant := freeAddr(t)
	launch(t, s.dir, binary(t, "kenshin-plant"), "-listen", plant, "-listen-meter", freeAddr(t), "-listen-chiller", freeAddr(t))
	waitPort(t, plant)
	write(t, s.dir, "collector.yaml", fmt.Sprintf("name: c\ndata: c\ntls: {names: [localhost, 127.0.0.1]}\nbroker: %s\nhttp: {listen: %q, tls: true}\n", broker, s.page))
	for _, id := range []string{"site-1", "site-2"} {
		write(t, s.dir, id+".yaml", fmt.Sprintf("edge: %s\ndata: %s\ninterval: 1s\nbuses: [{name: b, endpoint: \"tcp://%s\", devices: [{id: inv-1, unit: 1, profile: sunspec}]}]\n", id, id, plant))
	}
	return s
}

func (s *secureSite) start() {
	s.Helper()
	s.collector = launch(s, s.dir, binary(s, "kenshin-collector"), "-config", "collector.yaml")
	s.collector.waitLine("serving", 20*time.Second)
}

// run runs a command to its end and returns its exit code and all it said.
func (s *secureSite) run(name, config string, args ...string) (int, string) {
	s.Helper()
	c := exec.Command(binary(s, name), append(args, "--config", config)...)
	c.Dir = s.dir
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		s.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(out)
}

func (s *secureSite) must(name, config string, args ...string) string {
	s.Helper()
	code, out := s.run(name, config, args...)
	if code != 0 {
		s.Fatalf("%s %q: exit code %d\n%s", name, args, code, out)
	}
	return out
}

// token returns the arguments that `edges token` prints for the box.
func (s *secureSite) token(edge string) []string {
	s.Helper()
	_, rest, ok := strings.Cut(s.must("kenshin-collector", "collector.yaml", "edges", "token", edge), "kenshin-edge ")
	if !ok {
		s.Fatal("no command is printed")
	}
	line, _, _ := strings.Cut(rest, "\n")
	return strings.Fields(line)
}

func (s *secureSite) edge(id string) *program {
	s.Helper()
	return launch(s, s.dir, binary(s, "kenshin-edge"), "-config", id+".yaml")
}

// client returns an MQTT client with the certificate of an edge, which says it is as.
func (s *secureSite) client(broker, edge, as string) paho.Client {
	s.Helper()
	dir := filepath.Join(s.dir, edge, "enrolled")
	settings, err := configs.ClientTLS(configs.TLSFiles{Authorities: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "tls.pem"), Key: filepath.Join(dir, "tls.pem")})
	if err != nil {
		s.Fatal(err)
	}
	c := paho.NewClient(paho.NewClientOptions().AddBroker(broker).SetClientID(as).SetUsername(as).SetProtocolVersion(4).SetAutoReconnect(false).SetTLSConfig(settings))
	s.Cleanup(func() { c.Disconnect(0) })
	return c
}

// delivered waits until more of the edge's records are in the book than now.
func (s *secureSite) delivered(id string) {
	s.Helper()
	before := -1.0
	eventually(s, 30*time.Second, func() error {
		n, err := s.through(id)
		if err == nil && before < 0 {
			before = n
		}
		if err == nil && n <= before {
			err = fmt.Errorf("%s: acked %v, as before", id, n)
		}
		return err
	})
}

// through asks the collector over HTTPS how far it has the records of an edge.
func (s *secureSite) through(id string) (float64, error) {
	settings, err := configs.ClientTLS(configs.TLSFiles{Authorities: filepath.Join(s.dir, "c", "ca", "ca.crt")})
	if err != nil {
		return 0, err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: settings, DisableKeepAlives: true}}
	r, err := client.Get("https://" + s.page + "/api/v1/edges")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	var edges []struct {
		Edge    string
		Through float64
	}
	if err := json.NewDecoder(r.Body).Decode(&edges); err != nil {
		return 0, err
	}
	for _, e := range edges {
		if e.Edge == id {
			return e.Through, nil
		}
	}
	return 0, nil
}

func read(t testing.TB, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (s *secureSite) certFile(edge string) string {
	return filepath.Join(s.dir, edge, "enrolled", "tls.pem")
}

// expire gives an edge a certificate of two years ago.
func (s *secureSite) expire(edge string) {
	s.Helper()
	a, err := ca.Open(filepath.Join(s.dir, "c", "ca"), "c", func() time.Time { return time.Now().AddDate(-2, 0, 0) })
	if err != nil {
		s.Fatal(err)
	}
	signing, err := configs.Key(filepath.Join(s.dir, edge), "edge")
	if err != nil {
		s.Fatal(err)
	}
	key, text, err := ca.NewKey()
	if err != nil {
		s.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		s.Fatal(err)
	}
	cert, err := a.Edge(request, edge, signing.Public().(ed25519.PublicKey))
	if err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(s.certFile(edge), append(text, cert...), 0o600); err != nil {
		s.Fatal(err)
	}
}

// TestEnrolledEdge takes a box from its token over rotation to its revocation,
// with the broker in the collector's process.
func TestEnrolledEdge(t *testing.T) {
	broker := freeAddr(t)
	s := newSecureSite(t, fmt.Sprintf("{listen: %q, tls: mutual}", broker))
	if code, out := s.run("kenshin-edge", "site-1.yaml", "check-config"); code != 2 || !strings.Contains(out, "kenshin-edge enrol") {
		t.Errorf("before its enrolment: exit code %d\n%s", code, out)
	}
	s.start()
	token := s.token("site-1")
	if code, out := s.run("kenshin-edge", "site-2.yaml", token...); code != 2 || !strings.Contains(out, "site-1") {
		t.Errorf("the token on another box: exit code %d\n%s", code, out)
	}
	s.must("kenshin-edge", "site-1.yaml", token...)
	s.must("kenshin-edge", "site-1.yaml", token...) // the answer may have been lost
	if code, out := s.run("kenshin-edge", "site-1.yaml", append(token, "--new-key")...); code != 1 || !strings.Contains(out, "used up") {
		t.Errorf("the token for a second key: exit code %d\n%s", code, out)
	}
	agent := s.edge("site-1")
	s.delivered("site-1")

	// Another box with its own certificate gets nowhere as site-1.
	s.must("kenshin-edge", "site-2.yaml", s.token("site-2")...)
	thief := s.client("tls://"+broker, "site-2", "site-1")
	if tok := thief.Connect(); !tok.WaitTimeout(20*time.Second) || tok.Error() == nil {
		t.Error("site-2 comes in as site-1")
	}

	// A box without TLS is told what to write.
	write(t, s.dir, "plain.yaml", strings.Replace(read(t, s.dir, "site-2.yaml"), "interval:", fmt.Sprintf("broker: {url: \"tcp://%s\"}\ninterval:", broker), 1))
	plain := launch(t, s.dir, binary(t, "kenshin-edge"), "-config", "plain.yaml")
	if l := plain.waitLine("broker not reached", 20*time.Second); !strings.Contains(l, "tls://") {
		t.Errorf("%s", l)
	}
	plain.interrupt(20 * time.Second)

	// An expired certificate stops no reading, and is renewed by the signing key.
	agent.interrupt(20 * time.Second)
	s.expire("site-1")
	agent = s.edge("site-1")
	s.delivered("site-1")
	if pair, err := tls.LoadX509KeyPair(s.certFile("site-1"), s.certFile("site-1")); err != nil || pair.Leaf.NotAfter.Before(time.Now()) {
		t.Errorf("the certificate was not renewed: %v", err)
	}

	// Rotation: the agent goes on under the old key until it is started again.
	s.must("kenshin-edge", "site-1.yaml", append(s.token("site-1"), "--new-key")...)
	s.delivered("site-1")
	agent.interrupt(20 * time.Second)
	agent = s.edge("site-1")
	s.delivered("site-1")

	s.must("kenshin-collector", "collector.yaml", "edges", "revoke", "site-1", "--why", "box stolen")
	agent.waitLine("does not let edge site-1 in", 30*time.Second) // and goes on polling
	agent.interrupt(20 * time.Second)
	if out := s.must("kenshin-collector", "collector.yaml", "edges"); strings.Count(out, "box stolen") != 2 {
		t.Errorf("keys after the revocation:\n%s", out)
	}
	s.collector.interrupt(20 * time.Second)
	if out := s.must("kenshin-collector", "collector.yaml", "edges", "check"); !strings.Contains(out, "every signature is good") {
		t.Errorf("%s", out)
	}
}

// TestMosquittoWithCertificates: the broker outside, by the settings the
// collector writes for it; the edge is admitted by files, without a connection.
func TestMosquittoWithCertificates(t *testing.T) {
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	s := newSecureSite(t, fmt.Sprintf("{url: \"tls://localhost:%s\"}", port))
	for _, id := range []string{"site-1", "site-2"} {
		s.must("kenshin-edge", id+".yaml", "enrol", "--request", id+".request")
		s.must("kenshin-collector", "collector.yaml", "edges", "admit", id+".request") // the collector is stopped
		s.must("kenshin-edge", id+".yaml", "enrol", "--reply", id+".request.reply")
	}
	server := s.mosquitto(port)
	s.start()
	s.edge("site-1")
	s.delivered("site-1")

	// The generated rules: own topics only, whatever the client says it is.
	connect := func() paho.Client {
		c := s.client("tls://"+addr, "site-2", "site-1x")
		if tok := c.Connect(); !tok.WaitTimeout(20*time.Second) || tok.Error() != nil {
			t.Fatal(tok.Error())
		}
		return c
	}
	heard := make(chan string, 8)
	ear := connect()
	for _, topic := range []string{"kenshin/v1/site-1/ack", "kenshin/v1/+/ack", "kenshin/v1/+/up", "#"} {
		ear.Subscribe(topic, 1, func(_ paho.Client, m paho.Message) { heard <- m.Topic() }).WaitTimeout(20 * time.Second)
	}
	s.delivered("site-1") // there was something to hear
	select {
	case topic := <-heard:
		t.Errorf("site-2 hears %s", topic)
	default:
	}
	ear.Disconnect(0)
	for _, topic := range []string{"kenshin/v1/site-1/up", "kenshin/v1/site-1/ack", "kenshin/v1/site-2/ack", "kenshin/v1/site-2/up"} {
		c := connect() // mosquitto drops who publishes where it may not
		c.Publish(topic, 1, false, "forged by site-2").WaitTimeout(5 * time.Second)
		c.Disconnect(100)
	}
	// Of the four only its own up comes through, and is no batch.
	s.collector.waitLine("message refused", 20*time.Second)
	s.delivered("site-1")
	bare := paho.NewClient(paho.NewClientOptions().AddBroker("tls://" + addr).SetClientID("x").SetProtocolVersion(4).SetAutoReconnect(false).SetTLSConfig(&tls.Config{InsecureSkipVerify: true}))
	if tok := bare.Connect(); !tok.WaitTimeout(20*time.Second) || tok.Error() == nil {
		t.Error("mosquitto lets a client without a certificate in")
	}

	s.must("kenshin-collector", "collector.yaml", "edges", "revoke", "site-2", "--why", "box stolen")
	s.must("kenshin-collector", "collector.yaml", "ca", "mosquitto", filepath.Join(s.dir, "mosquitto"), "--port", port)
	server.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, 20*time.Second, func() error {
		c := s.client("tls://"+addr, "site-2", "site-2")
		if tok := c.Connect(); !tok.WaitTimeout(20*time.Second) || tok.Error() == nil {
			c.Disconnect(0)
			return errors.New("mosquitto lets a revoked certificate in")
		}
		return nil
	})
	s.delivered("site-1")
	s.collector.interrupt(20 * time.Second)
	var letters []string
	for l := range strings.Lines(s.must("kenshin-collector", "collector.yaml", "dead")) {
		var d struct{ Topic, Reason string }
		if json.Unmarshal([]byte(l), &d) == nil && d.Topic != "" {
			letters = append(letters, d.Topic+" "+d.Reason)
		}
	}
	if len(letters) != 1 || letters[0] != "kenshin/v1/site-2/up malformed" {
		t.Errorf("refused %q, want the one message of site-2 on its own topic", letters)
	}
}

// mosquitto starts it by the settings that the collector writes.
func (s *secureSite) mosquitto(port string) *program {
	s.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		if path = "/usr/sbin/mosquitto"; !executable(path) {
			lacking(s, "mosquitto (Debian: apt-get install mosquitto)", err)
		}
	}
	dir := filepath.Join(s.dir, "mosquitto")
	s.must("kenshin-collector", "collector.yaml", "ca", "mosquitto", dir, "--port", port)
	conf := read(s, dir, "mosquitto.conf")
	if os.Getuid() == 0 {
		conf += "user root\n" // the folder of a test is root's
	}
	write(s, dir, "test.conf", conf)
	p := launch(s, dir, path, "-c", "test.conf")
	waitPort(s, "127.0.0.1:"+port)
	return p
}
