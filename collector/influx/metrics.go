package influx

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	points, refused, expired, retries prometheus.Counter
	compared, missing, differing      prometheus.Counter
	last                              prometheus.Gauge
	all                               []prometheus.Collector
}

func newMetrics(p *Projection) *metrics {
	labels := prometheus.Labels{"server": p.cfg.Server.Name}
	m := &metrics{}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "kenshin", Subsystem: "influx", Name: name, Help: help, ConstLabels: labels})
		m.all = append(m.all, c)
		return c
	}
	gauge := func(name, help string, f func() float64) {
		m.all = append(m.all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "kenshin", Subsystem: "influx", Name: name, Help: help, ConstLabels: labels}, f))
	}
	m.points = counter("points_total", "Values that the server has taken, repeats included.")
	m.refused = counter("refused_points_total", "Values that the server refused by themselves; they are in the file of refused lines with its words.")
	m.expired = counter("expired_points_total", "Values in requests of which the server dropped some as older than it keeps.")
	m.retries = counter("retries_total", "Requests that had to be made again.")
	m.compared = counter("compared_days_total", "Days of an edge that were compared with the series store.")
	m.missing = counter("missing_points_total", "Values that a comparison did not find in the server as they should be; they were written again.")
	m.differing = counter("differing_days_total", "Days of an edge that differ even after they were written again.")
	m.last = prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "kenshin", Subsystem: "influx", Name: "last_write_timestamp_seconds", Help: "When the server last took samples.", ConstLabels: labels})
	m.all = append(m.all, m.last)
	gauge("up", "1 while the server takes what it is given.", func() float64 {
		if s := p.Status(); s.Health == up {
			return 1
		}
		return 0
	})
	gauge("lag_records", "Settled records of the book that the server does not have.", func() float64 { return float64(p.Status().Behind) })
	gauge("owed_records", "Groups of readings that are given later because settling holds them back.", func() float64 {
		p.mu.Lock()
		defer p.mu.Unlock()
		return float64(len(p.state.Owed))
	})
	return m
}

func (m *metrics) written(at time.Time) { m.last.Set(float64(at.UnixMilli()) / 1000) }
