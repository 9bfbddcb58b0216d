package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"modernc.org/sqlite"

	"kenshin/calc"
	"kenshin/collector"
	"kenshin/collector/api"
	"kenshin/collector/broker"
	"kenshin/collector/influx"
	"kenshin/collector/series"
	"kenshin/collector/web"
	"kenshin/configs"
	"kenshin/edge"
	"kenshin/edge/modbus"
	"kenshin/edge/outbox"
	"kenshin/edge/plant"
	"kenshin/edge/wire"
)

const edgeID = "demo-edge"

// demo is everything, opened and not yet running. The fields stand in the order
// in which data flows.
type demo struct {
	cli   *cli
	clock clock
	ends  <-chan struct{} // closed when the plant has nothing more to say; nil when it goes on for ever

	servers []*plant.Server
	buses   []*modbus.Bus
	box     *outbox.Outbox
	agent   *edge.Agent
	broker  *broker.Broker
	center  *collector.Collector
	listen  net.Listener
	http    *http.Server
	project string // whose totals are shown and printed
	zone    *time.Location
	dir     string

	password string // of the agent at the broker
	giveUp   func() // ends receiving
}

// clock is what every part takes its time from.
type clock interface {
	Now() time.Time
	Sleep(ctx context.Context, d time.Duration) error
}

// site is a plant: where its devices answer and what its project is.
type site struct {
	units    []map[uint8]plant.Unit // an endpoint each
	devices  [][]edge.Device        // of each endpoint
	interval time.Duration
	projects []collector.File
}

// open opens every part and starts none. What it opened is closed again when it
// fails.
func open(ctx context.Context, c *cli, dir string, stderr io.Writer) (*demo, error) {
	log, err := configs.Log{Level: c.Log}.Logger(stderr)
	if err != nil {
		return nil, fmt.Errorf("-log: %w", err)
	}
	d := &demo{cli: c, dir: dir}
	if err := d.open(ctx, log); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *demo) open(ctx context.Context, log *zap.Logger) error {
	c, dir := d.cli, d.dir
	var err error
	if d.box, _, err = outbox.Open(filepath.Join(dir, "outbox"), outbox.Options{Edge: edgeID}); err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC) {
			err = fmt.Errorf("%w; name a folder that can be written, with free space", err)
		}
		return fmt.Errorf("-dir %s: %w", dir, err)
	}
	this, err := c.making()
	if err != nil {
		return err
	}
	s, err := d.site()
	if err != nil {
		return err
	}
	if err := this.claim(dir, d.box.Last() > 0); err != nil {
		return err
	}
	edgeKey, err := configs.Key(dir, "edge")
	if err != nil {
		return fmt.Errorf("-dir %s: %w", dir, err)
	}
	key, err := configs.Key(dir, "collector")
	if err != nil {
		return fmt.Errorf("-dir %s: %w", dir, err)
	}
	if d.listen, err = net.Listen("tcp", c.Addr); err != nil {
		return fmt.Errorf("-addr %s: %w; choose another with -addr, or -addr 127.0.0.1:0 for any", c.Addr, err)
	}
	if err := d.openCenter(ctx, dir, key, edgeKey.Public().(ed25519.PublicKey), s.projects, log.Named("collector")); err != nil {
		return err
	}
	return d.openEdge(s, edgeKey, key.Public().(ed25519.PublicKey), log.Named("edge"))
}

// openCenter opens broker, collector and page.
func (d *demo) openCenter(ctx context.Context, dir string, key ed25519.PrivateKey, edgeKey ed25519.PublicKey, projects []collector.File, log *zap.Logger) error {
	password := rand.Text()
	// Not ctx: after Ctrl-C what was polled is still delivered for a moment.
	receiving, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	d.giveUp = giveUp
	var err error
	d.broker, err = broker.Listen(broker.Config{
		Listen: "127.0.0.1:0", Root: wire.DefaultRoot, Log: log.Named("broker"),
		Authenticate: func(user, given string) bool { return user == edgeID && given == password },
		Receive: func(m broker.Message) {
			d.center.Receive(receiving, collector.Message{Topic: m.Topic, Payload: m.Payload, Done: m.Done})
		},
	})
	if err != nil {
		return err
	}
	d.password = password
	methodologies, err := embedded("methodologies")
	if err != nil {
		return err
	}
	d.center, err = collector.Open(ctx, collector.Config{
		Name: "demo", Dir: filepath.Join(dir, "collector"), Key: key, Root: wire.DefaultRoot,
		Edges: []collector.Edge{{ID: edgeID, Key: edgeKey}}, Methodologies: methodologies, Projects: projects,
		Limits: collector.DefaultLimits, Acks: d.broker, Clock: d.clock, Log: log,
	})
	if errors.Is(err, series.ErrFile) {
		return fmt.Errorf("%w; the demo rebuilds when %s is removed", err, collector.SeriesFiles(filepath.Join(dir, "collector"))[0])
	}
	var db *sqlite.Error
	if errors.Is(err, syscall.ENOSPC) || errors.As(err, &db) {
		return fmt.Errorf("-dir %s: %w; name a folder that can be written, with free space", dir, err)
	}
	if err != nil {
		return err
	}
	return d.openPage(log.Named("http"))
}

// openPage makes the server of API and page.
func (d *demo) openPage(log *zap.Logger) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(d.center.Metrics()...)
	charts := &influx.Charts{Collector: d.center}
	figures, err := api.New(api.Config{Figures: d.center, Charts: charts, Deliveries: d.center, Book: d.center.Store(), Broker: func() error { return nil }, Version: "demo", Log: log,
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{})})
	if err != nil {
		return err
	}
	page, err := web.New(web.Config{Figures: d.center, Charts: charts, Deliveries: d.center, Book: d.center.Store(), Live: d.center, Now: d.clock.Now, Version: "demo", Log: log})
	if err != nil {
		return err
	}
	d.http = api.Server(api.Mount(figures, page), log)
	d.http.RegisterOnShutdown(page.Close)
	return nil
}

// embedded returns the files of a folder that come with the program.
func embedded(folder string) ([]collector.File, error) {
	names, err := fs.Glob(configs.Files, folder+"/*.yaml")
	if err != nil {
		return nil, err
	}
	var out []collector.File
	for _, n := range names {
		text, err := configs.Files.ReadFile(n)
		if err != nil {
			return nil, err
		}
		out = append(out, collector.File{Name: path.Base(n), Text: text})
	}
	return out, nil
}

// openEdge opens the plant's endpoints and the agent that polls them.
func (d *demo) openEdge(s *site, key ed25519.PrivateKey, collectorKey ed25519.PublicKey, log *zap.Logger) error {
	cfg := edge.Config{
		Edge: edgeID, Key: key, Interval: s.interval, Outbox: d.box, Clock: d.clock, Log: log, Version: "demo",
		Uplink: edge.Uplink{Broker: "tcp://" + d.broker.Addr(), User: edgeID, Password: d.password, Root: wire.DefaultRoot,
			CollectorKey: collectorKey, AckTimeout: 10 * time.Second},
	}
	if _, err := rand.Read(cfg.Boot[:]); err != nil {
		return err
	}
	for i, units := range s.units {
		server, err := plant.Listen("127.0.0.1:0", units)
		if err != nil {
			return err
		}
		d.servers = append(d.servers, server)
		bus, err := modbus.New(modbus.Config{Endpoint: "tcp://" + server.Addr()})
		if err != nil {
			return err
		}
		d.buses = append(d.buses, bus)
		cfg.Buses = append(cfg.Buses, edge.Bus{Name: fmt.Sprintf("bus-%d", i+1), Reader: bus, Devices: s.devices[i]})
	}
	d.agent = edge.New(cfg)
	return nil
}

// run starts everything, and stops it in the order data flows: polling, then
// delivery, then the collector, then the page.
func (d *demo) run(ctx context.Context, stdout, stderr io.Writer) error {
	defer d.close()
	address := "http://" + d.listen.Addr().String() + "/"
	d.welcome(stderr, address)

	back, stopBack := context.WithCancel(context.WithoutCancel(ctx)) // plant, broker, collector, page
	defer stopBack()
	g, back := errgroup.WithContext(back)
	defer context.AfterFunc(back, d.giveUp)()
	for _, s := range d.servers {
		g.Go(func() error { return s.Serve(back) })
	}
	g.Go(func() error { return d.broker.Run(back) })
	g.Go(func() error { return d.center.Run(back) })
	g.Go(func() error {
		if err := d.http.Serve(d.listen); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error { return d.show(back, stderr) })

	front, stopFront := d.front(ctx, back)
	defer stopFront()
	err := d.agent.Run(front)
	if err == nil {
		err = d.settled(back)
	}
	d.stopPage()
	stopBack()
	if werr := g.Wait(); err == nil {
		err = werr
	}
	if err != nil {
		return err
	}
	return d.print(stdout, stderr)
}

// front returns the context of the agent: it ends with Ctrl-C, after -for, at
// the end of a replay once all of it is delivered, or when a part behind it fails.
func (d *demo) front(ctx, back context.Context) (context.Context, context.CancelFunc) {
	front, stop := context.WithCancel(ctx)
	if d.cli.For > 0 {
		front, stop = context.WithTimeout(ctx, d.cli.For)
	}
	context.AfterFunc(back, stop)
	if d.ends != nil {
		go func() {
			select {
			case <-front.Done():
			case <-d.ends:
				if d.agent.Flush(front) == nil {
					stop()
				}
			}
		}()
	}
	return front, stop
}

// patience is how long settling may make no progress before something is wrong.
const patience = time.Minute

// settled waits until the figures hold everything the agent delivered.
func (d *demo) settled(ctx context.Context) error {
	changed, cancel := d.center.Subscribe()
	defer cancel()
	for !d.center.Settled() {
		t := time.NewTimer(patience)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
			return fmt.Errorf("the collector has settled nothing for %v; the book in %s is whole, start again with -dir", patience, d.dir)
		case <-changed:
			t.Stop()
		}
	}
	return nil
}

func (d *demo) stopPage() {
	ctx, done := context.WithTimeout(context.Background(), 2*time.Second)
	defer done()
	if d.http.Shutdown(ctx) != nil {
		d.http.Close() // a page that is still open shall not hold us up
	}
}

// close releases what open opened. It may be called on half a demo, and twice.
func (d *demo) close() {
	for _, s := range d.servers {
		s.Close()
	}
	for _, b := range d.buses {
		b.Close()
	}
	if d.listen != nil {
		d.listen.Close()
	}
	if d.center != nil {
		d.center.Close()
	}
	if d.box != nil {
		d.box.Close()
	}
}

func (d *demo) report() (*calc.Report, error) {
	return d.center.Report(context.Background(), d.project, 0)
}

// print gives the totals: as JSON, or in a few lines.
func (d *demo) print(stdout, stderr io.Writer) error {
	r, err := d.report()
	if err != nil {
		return err
	}
	if d.cli.JSON {
		e := json.NewEncoder(stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err = fmt.Fprintf(stderr, "\n%s, %s\n", r.Project, d.line(r))
	return err
}
