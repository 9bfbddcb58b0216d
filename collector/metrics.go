package collector

import (
	"github.com/prometheus/client_golang/prometheus"

	"kenshin/collector/store"
)

// metrics are the conservation counters: received = stored + repeated + rejected,
// always. A message that was received is in one of the others.
type metrics struct {
	received, stored, repeated prometheus.Counter
	rejected                   *prometheus.CounterVec
	settled, samples           prometheus.Counter
	conflicts, late            prometheus.Counter
	blocked                    prometheus.Gauge
	problems, aside            prometheus.Gauge
	all                        []prometheus.Collector
}

// scrubbed notes what the last scrub of the book found.
func (m *metrics) scrubbed(s store.Scrubbed) {
	m.problems.Set(float64(s.Problems))
	m.aside.Set(float64(s.Quarantined))
}

func newMetrics(c *Collector) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "kenshin", Subsystem: "collector", Name: name, Help: help})
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "kenshin", Subsystem: "collector", Name: name, Help: help}, f)
	}
	m := &metrics{
		received: counter("messages_received_total", "Messages that arrived on up topics."),
		stored:   counter("messages_stored_total", "Messages that entered the book."),
		repeated: counter("messages_repeated_total", "Messages whose records were all in the book already, with the same hash."),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "kenshin", Subsystem: "collector", Name: "messages_rejected_total",
			Help: "Messages kept aside as dead letters, by reason."}, []string{"reason"}),
		settled:   counter("records_settled_total", "Records of the book that were settled."),
		samples:   counter("samples_total", "Samples decoded from readings."),
		conflicts: counter("sample_conflicts_total", "Samples with the time of another and another value; the first one counts."),
		late:      counter("resettled_total", "Registers settled again because a reading came late."),
	}
	m.blocked = prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "kenshin", Subsystem: "collector", Name: "book_blocked",
		Help: "1 while the book cannot be written: nothing is taken or acked."})
	gaugeOf := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "kenshin", Subsystem: "collector", Name: name, Help: help})
	}
	m.problems = gaugeOf("book_problems", "Problems the last scrub of the book found.")
	m.aside = gaugeOf("book_quarantined_records", "Records of the book that are set aside as damaged, as of the last scrub.")
	for _, r := range reasons {
		m.rejected.WithLabelValues(r)
	}
	m.all = []prometheus.Collector{m.blocked, m.problems, m.aside, m.received, m.stored, m.repeated, m.rejected, m.settled, m.samples, m.conflicts, m.late,
		gauge("records_gone", "Records that are in no book and that their edges no longer have: what a restored backup could not be given again.", func() float64 { return float64(c.ingest.gone()) }),
		gauge("book_records", "Records in the book.", func() float64 { return float64(c.store.Size()) }),
		gauge("settle_lag_records", "Records in the book that are not settled yet.", func() float64 { return c.settle.lag() }),
		gauge("readings_ahead", "Readings in the book that are held because they are dated ahead of the collector's clock.", func() float64 { return float64(c.settle.ahead()) }),
		gauge("unsettled_readings", "Readings in the book that wait for the declaration of their device.", func() float64 { return float64(c.settle.unsettled()) }),
		gauge("store_generation", "Openings of the book.", func() float64 { return float64(c.store.Generation()) }),
	}
	return m
}
