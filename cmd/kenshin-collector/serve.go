package main

import (
	"context"
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
	"kenshin/collector/web"
	"kenshin/configs"
)

// source brings messages and takes acks: a broker in the process or a link to
// one outside.
type source interface {
	collector.AckSender
	run(ctx context.Context, receive func(collector.Message)) error
	close()
}

// linked is a broker outside.
type linked struct{ *collector.Link }

func (l linked) run(ctx context.Context, receive func(collector.Message)) error {
	return l.Run(ctx, receive)
}
func (linked) close() {}

// embedded is the broker in this process.
type embedded struct {
	*broker.Broker
	receive *func(collector.Message)
}

func (e embedded) run(ctx context.Context, receive func(collector.Message)) error {
	*e.receive = receive // before anybody can connect
	return e.Run(ctx)
}
func (e embedded) close() { e.Close() }

// source opens the way messages come in.
func (c *config) source(log *zap.Logger) (source, error) {
	if c.Broker.URL != "" {
		return linked{collector.NewLink(collector.LinkConfig{
			Broker: c.Broker.URL, ClientID: "kenshin-" + c.Name, User: c.Broker.User, Password: c.Broker.Password, Root: c.Broker.Root, Log: log,
		})}, nil
	}
	receive := new(func(collector.Message))
	b, err := broker.Listen(broker.Config{
		Listen: c.Broker.Listen, Root: c.Broker.Root, Log: log, Authenticate: c.authenticate,
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
	in, err := c.source(log.Named("broker"))
	if err != nil {
		return configs.Setup(err)
	}
	defer in.close()
	col, err := c.open(ctx, in, log)
	if err != nil {
		return err
	}
	server, err := c.pages(col, log.Named("http"))
	if err != nil {
		return errors.Join(err, col.Close())
	}
	log.Info("serving", zap.String("page", "http://"+ln.Addr().String()+"/"), zap.String("broker", c.Broker.URL+c.Broker.Listen),
		zap.Uint64("records", col.Store().Size()), zap.Int("edges", len(c.Edges)))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return in.run(ctx, func(m collector.Message) { col.Receive(ctx, m) })
	})
	g.Go(func() error { return col.Run(ctx) })
	g.Go(func() error {
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
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
func (c *config) pages(col *collector.Collector, log *zap.Logger) (*http.Server, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(col.Metrics()...)
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	figures, err := api.New(api.Config{Figures: col, Deliveries: col, Book: col.Store(), Token: c.HTTP.Token, Version: configs.Version(version), Log: log,
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{})})
	if err != nil {
		return nil, err
	}
	page, err := web.New(web.Config{Figures: col, Deliveries: col, Book: col.Store(), Live: col, Now: time.Now, Version: configs.Version(version), Log: log})
	if err != nil {
		return nil, err
	}
	server := api.Server(api.Mount(figures, api.Guard(c.HTTP.Token, page)), log)
	server.RegisterOnShutdown(page.Close)
	return server, nil
}
