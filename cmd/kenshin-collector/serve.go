package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kenshin/collector"
	"kenshin/collector/api"
	"kenshin/collector/broker"
	"kenshin/collector/ca"
	"kenshin/collector/influx"
	"kenshin/collector/web"
	"kenshin/configs"
)

// source brings messages and takes acks: a broker in the process or a link to
// one outside.
type source interface {
	collector.AckSender
	run(ctx context.Context, receive func(collector.Message)) error
	close()
	Away() error
	drop(edge string) // ends the connection of an edge, if there is one here
}

// linked is a broker outside.
type linked struct{ *collector.Link }

func (l linked) run(ctx context.Context, receive func(collector.Message)) error {
	return l.Run(ctx, receive)
}
func (linked) close()      {}
func (linked) drop(string) {} // its broker does not know, see `kenshin-collector ca crl`

// embedded is the broker in this process.
type embedded struct {
	*broker.Broker
	receive *func(collector.Message)
}

func (e embedded) run(ctx context.Context, receive func(collector.Message)) error {
	*e.receive = receive // before anybody can connect
	return e.Run(ctx)
}
func (e embedded) close()           { e.Close() }
func (e embedded) Away() error      { return nil }
func (e embedded) drop(edge string) { e.Drop(edge) }

// source opens the way messages come in.
func (c *config) source(check func(edge, fingerprint string) error, log *zap.Logger) (source, error) {
	authority, err := c.authority()
	if err != nil {
		return nil, err
	}
	if c.Broker.URL != "" {
		settings, err := c.clientTLS(authority)
		if err != nil {
			return nil, err
		}
		return linked{collector.NewLink(collector.LinkConfig{
			Broker: c.Broker.URL, ClientID: "kenshin-" + c.Name, User: c.Broker.User, Password: c.Broker.Password, Root: c.Broker.Root, TLS: settings, Log: log,
		})}, nil
	}
	settings, err := c.brokerTLS(authority)
	if err != nil {
		return nil, err
	}
	if settings == nil && !loopback(c.Broker.Listen) {
		log.Warn("others can reach the broker and it has no TLS: passwords travel in the open; set broker.tls", zap.String("listen", c.Broker.Listen))
	}
	receive := new(func(collector.Message))
	b, err := broker.Listen(broker.Config{
		Listen: c.Broker.Listen, Root: c.Broker.Root, Log: log, Authenticate: c.authenticate, TLS: settings,
		Identify: func(cert *x509.Certificate) (string, error) {
			edge, fingerprint, err := ca.Identify(cert)
			if err == nil {
				err = check(edge, fingerprint)
			}
			return edge, err
		},
		Receive: func(m broker.Message) {
			(*receive)(collector.Message{Topic: m.Topic, Payload: m.Payload, Done: m.Done})
		},
	})
	if err != nil {
		return nil, fmt.Errorf("%s: broker.listen: %w", c.file, err)
	}
	return embedded{b, receive}, nil
}

// serve opens everything, or nothing, and runs it until ctx ends.
func (c *config) serve(ctx context.Context, stderr io.Writer) error {
	log, err := c.Log.Logger(stderr)
	if err != nil {
		return configs.Setup(fmt.Errorf("%s: log.level: %w", c.file, err))
	}
	ln, err := net.Listen("tcp", c.HTTP.Listen)
	if err != nil {
		return configs.Setup(fmt.Errorf("%s: http.listen: %w; end the program that has the address, or choose another", c.file, err))
	}
	defer ln.Close()
	var col *collector.Collector // there before the broker lets anybody in
	in, err := c.source(func(edge, fingerprint string) error { return col.CheckKey(edge, fingerprint) }, log.Named("broker"))
	if err != nil {
		return configs.Setup(err)
	}
	defer in.close()
	if col, err = c.open(ctx, collector.Begin, in, log); err != nil {
		return err
	}
	server, err := c.pages(col, in.Away, log.Named("http"))
	if err != nil {
		return errors.Join(err, col.Close())
	}
	orders, err := c.listenOrders()
	if err != nil {
		log.Warn("`kenshin-collector edges` works only while the collector is stopped", zap.Error(err))
	}
	log.Info("serving", zap.String("page", c.scheme()+ln.Addr().String()+"/"), zap.String("broker", c.Broker.URL+c.Broker.Listen),
		zap.Uint64("records", col.Store().Size()), zap.Int("edges", len(c.Edges)))
	if !col.CaughtUp() {
		log.Warn("messages are taken; page and API give no figures until the book is settled", zap.Uint64("records", col.Behind()))
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { pace(ctx); return nil })
	g.Go(func() error {
		return in.run(ctx, func(m collector.Message) { col.Receive(ctx, m) })
	})
	g.Go(func() error { return col.Run(ctx) })
	for _, p := range c.copies {
		g.Go(func() error { keepCopy(ctx, p, log); return nil })
	}
	g.Go(func() error {
		if err := serveOn(server, ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		c.takeOrders(ctx, orders, col, in.drop, log)
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		last, done := context.WithTimeout(context.Background(), 2*time.Second)
		defer done()
		if server.Shutdown(last) != nil {
			server.Close() // a page that stays open shall not hold us up
		}
		return nil
	})
	return errors.Join(g.Wait(), col.Close())
}

// pages returns the server of API and page.
func (c *config) pages(col *collector.Collector, away func() error, log *zap.Logger) (*http.Server, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(col.Metrics()...)
	if err := c.openCopies(col, registry, log); err != nil {
		return nil, err
	}
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	charts := &influx.Charts{Collector: col, Copies: c.copies}
	figures, err := api.New(api.Config{Figures: col, Charts: charts, Deliveries: col, Book: col.Store(), Token: c.HTTP.Token, InputToken: c.HTTP.InputToken, Inputs: col, Broker: away, Version: configs.Version(version), Log: log,
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{})})
	if err != nil {
		return nil, err
	}
	page, err := web.New(web.Config{Figures: col, Charts: charts, Deliveries: col, Book: col.Store(), Live: col, Copies: c.copies.list, Now: time.Now, Version: configs.Version(version), Log: log})
	if err != nil {
		return nil, err
	}
	enrol, err := c.enrolHandler(col, log)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /enrol", enrol)
	mux.Handle("GET /metrics", figures)
	mux.Handle("GET /healthz", figures)
	behind := func() string {
		if col.CaughtUp() {
			return ""
		}
		return fmt.Sprintf("the figures are being brought up to the book, %d records to go; messages are taken meanwhile", col.Behind())
	}
	mux.Handle("GET /api/v1/projects/{project}/periods/{period}/export", api.Wait(behind, api.Guard(c.HTTP.Token, exportHandler(col, log))))
	mux.Handle("GET /api/v1/influx", api.Guard(c.HTTP.Token, c.copies))
	mux.Handle("/", api.Wait(behind, api.Mount(figures, api.Guard(c.HTTP.Token, page))))
	server := api.Server(mux, log)
	if server.TLSConfig, err = c.httpTLS(); err != nil {
		return nil, configs.Setup(err)
	}
	server.RegisterOnShutdown(page.Close)
	return server, nil
}
