package cmd

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kenshin/edge/wire"
)

// loadEdge speaks just enough MQTT to publish signed batches and read acks: a
// few goroutines and kilobytes an edge, so that thousands fit beside the
// collector on one machine.
type loadEdge struct {
	id    string
	key   ed25519.PrivateKey
	epoch wire.Epoch
	seq   uint64
	chain wire.Hash
	wall  int64 // ms, of the last record
	decl  *wire.Declaration
	conn  net.Conn
	room  chan struct{} // one for each batch that may be on its way

	mu    sync.Mutex // guards the rest
	sent  []loadBatch
	took  []time.Duration // from making a batch to its ack, of live ones
	acked uint64
	err   error
}

type loadBatch struct {
	last uint64
	at   time.Time
	live bool
}

func newLoadEdge(n, window int) *loadEdge {
	seed := make([]byte, ed25519.SeedSize)
	seed[0], seed[1], seed[2] = byte(n), byte(n>>8), 77
	e := &loadEdge{id: fmt.Sprintf("load-%d", n), key: ed25519.NewKeyFromSeed(seed), epoch: wire.Epoch{byte(n), byte(n >> 8)}, room: make(chan struct{}, window)}
	e.decl = simDeclaration("m-1", 1, 2)
	return e
}

func packet(kind byte, body []byte) []byte {
	out := []byte{kind}
	for n := len(body); ; n >>= 7 {
		if n < 0x80 {
			out = append(out, byte(n))
			break
		}
		out = append(out, byte(n)|0x80)
	}
	return append(out, body...)
}

func text(s string) []byte { return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...) }

// dial connects and subscribes; answers are read until the connection ends.
func (e *loadEdge) dial(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	e.conn = c
	body := append(text("MQTT"), 4, 0xC2, 0, 0) // user, password, clean session; no keepalive
	body = append(append(append(body, text(e.id)...), text(e.id)...), text("secret")...)
	hello := packet(0x10, body)
	hello = append(hello, packet(0x82, append(append([]byte{0, 1}, text(wire.AckTopic(wire.DefaultRoot, e.id))...), 0))...)
	if _, err := c.Write(hello); err != nil {
		return err
	}
	go e.read(bufio.NewReaderSize(c, 2048))
	return nil
}

func (e *loadEdge) read(r *bufio.Reader) {
	for {
		kind, err := r.ReadByte()
		n, shift := 0, 0
		for b := byte(0x80); err == nil && b >= 0x80; shift += 7 {
			if b, err = r.ReadByte(); err == nil {
				n |= int(b&0x7F) << shift
			}
		}
		body := make([]byte, n)
		if err == nil {
			_, err = io.ReadFull(r, body)
		}
		if err != nil {
			e.fail(err)
			return
		}
		if kind>>4 == 3 { // QoS 0
			e.ack(body[2+int(body[0])<<8+int(body[1]):])
		}
	}
}

func (e *loadEdge) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
}

func (e *loadEdge) ack(envelope []byte) {
	payload, err := wire.Payload(wire.AckType, envelope)
	if err != nil {
		e.fail(err)
		return
	}
	a, err := wire.DecodeAck(payload)
	if err != nil {
		e.fail(err)
		return
	}
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.acked = max(e.acked, a.Through)
	for len(e.sent) > 0 && e.sent[0].last <= a.Through {
		if e.sent[0].live {
			e.took = append(e.took, now.Sub(e.sent[0].at))
		}
		e.sent = e.sent[1:]
		<-e.room
	}
}

// publish makes a batch of n readings taken from wall on, signs and sends it.
func (e *loadEdge) publish(n int, wall time.Time, live bool) error {
	e.room <- struct{}{}
	at := time.Now()
	envelope, err := e.batch(n, wall)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.sent = append(e.sent, loadBatch{e.seq, at, live})
	err = e.err
	e.mu.Unlock()
	if err != nil {
		return err
	}
	return e.send(envelope)
}

// batch makes and signs one.
func (e *loadEdge) batch(n int, wall time.Time) ([]byte, error) {
	b := &wire.Batch{Edge: e.id, Epoch: e.epoch, First: e.seq + 1, Prev: e.chain}
	add := func(r wire.Record) {
		e.seq++
		e.wall = max(e.wall+1, wall.UnixMilli()) // no two readings have one time: the second would be a conflict
		r.Seq, r.Wall = e.seq, e.wall
		e.chain = wire.Chain(e.chain, r.Encode())
		b.Records = append(b.Records, r)
	}
	if e.seq == 0 {
		add(wire.Record{Declaration: e.decl})
	}
	hash := e.decl.Hash()
	for range n {
		add(wire.Record{Reading: &wire.Reading{Declaration: hash, Blocks: []wire.BlockResult{{Words: []uint16{uint16(e.seq * 2654435761 >> 16), uint16(e.seq * 40503)}}}}})
	}
	b.Last, b.Chain = e.seq, e.chain
	payload, err := wire.EncodeBatch(b, map[wire.Hash]*wire.Declaration{hash: e.decl})
	if err != nil {
		return nil, err
	}
	return wire.Seal(wire.BatchType, payload, e.key)
}

// send publishes bytes on the edge's topic.
func (e *loadEdge) send(envelope []byte) error {
	body := append(text(wire.UpTopic(wire.DefaultRoot, e.id)), byte(e.seq>>8), byte(e.seq)|1)
	_, err := e.conn.Write(packet(0x32, append(body, envelope...)))
	return err
}

// loadCenter starts a collector process with edges.
func loadCenter(b testing.TB, dir string, edges []*loadEdge) (page string, p *program) {
	b.Helper()
	addr, page := freeAddr(b), freeAddr(b)
	var list strings.Builder
	for _, e := range edges {
		fmt.Fprintf(&list, "  - {id: %s, key: %q, password: secret}\n", e.id, base64.StdEncoding.EncodeToString(e.key.Public().(ed25519.PublicKey)))
	}
	write(b, dir, "collector.yaml", fmt.Sprintf("name: load\ndata: data\nbroker: {listen: %q}\nhttp: {listen: %q}\nlog: {level: warn}\nedges:\n%s", addr, page, list.String()))
	p = launch(b, dir, binary(b, "kenshin-collector"), "-config", "collector.yaml")
	waitPort(b, page)
	for _, e := range edges {
		if err := e.dial(addr); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { e.conn.Close() })
	}
	return page, p
}

// drained waits until everything is acked.
func drained(b testing.TB, edges []*loadEdge) {
	eventually(b, 2*time.Minute, func() error {
		for _, e := range edges {
			e.mu.Lock()
			acked, err := e.acked, e.err
			e.mu.Unlock()
			if acked < e.seq {
				return fmt.Errorf("%s: %d of %d acked, %v", e.id, acked, e.seq, err)
			}
		}
		return nil
	})
}

func report(b *testing.B, edges []*loadEdge) {
	var took []time.Duration
	for _, e := range edges {
		took = append(took, e.took...)
	}
	slices.Sort(took)
	if len(took) > 0 {
		b.ReportMetric(took[len(took)/2].Seconds()*1000, "ms-p50")
		b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "ms-p99")
	}
}

// BenchmarkLoad is KENSHIN_LOAD_EDGES edges (5,000) that send a batch of 20
// readings every 5 s each, for KENSHIN_LOAD_SECONDS (10): target p99 from making
// a batch to its ack below 1 s, the collector below 512 MB resident and flat. The
// edges make, compress and sign on the same processors; what they take is apart.
func BenchmarkLoad(b *testing.B) {
	const every, readings = 5 * time.Second, 20
	span := time.Duration(number(b, "KENSHIN_LOAD_SECONDS", 10)) * time.Second
	for b.Loop() {
		var edges []*loadEdge
		for n := range int(number(b, "KENSHIN_LOAD_EDGES", 5000)) {
			edges = append(edges, newLoadEdge(n, 64))
		}
		_, p := loadCenter(b, b.TempDir(), edges)
		ctx, stop := context.WithTimeout(b.Context(), span)
		began, center, own := time.Now(), processor(b, p.cmd.Process.Pid), processor(b, os.Getpid())
		sent := 0
		var half float64
		for i := 0; ctx.Err() == nil; i++ { // one goroutine, evenly over the 5 s
			due := began.Add(every * time.Duration(i) / time.Duration(len(edges)))
			if wait := time.Until(due); wait > 0 {
				t := time.NewTimer(wait)
				<-t.C
			}
			if err := edges[i%len(edges)].publish(readings, due, true); err != nil {
				b.Fatal(err)
			}
			sent++
			if half == 0 && time.Since(began) > span/2 {
				half, _ = memory(b, p.cmd.Process.Pid)
			}
		}
		took := time.Since(began)
		b.ReportMetric(100*float64(processor(b, p.cmd.Process.Pid)-center)/float64(took), "%-cpu-collector")
		b.ReportMetric(100*float64(processor(b, os.Getpid())-own)/float64(took), "%-cpu-edges")
		stop()
		drained(b, edges)
		rss, peak := memory(b, p.cmd.Process.Pid)
		b.ReportMetric(float64(sent)/took.Seconds(), "batches/s")
		b.ReportMetric(float64(sent*readings)/took.Seconds(), "readings/s")
		b.ReportMetric(half, "MB-half-way")
		b.ReportMetric(rss, "MB-end")
		b.ReportMetric(peak, "MB-peak")
		report(b, edges)
		p.interrupt(time.Minute)
	}
}

// BenchmarkFlood is 100 edges that come back with KENSHIN_FLOOD_BATCHES (20,000)
// batches of backlog between them, of 10 readings each, and go on living: target
// 3,000 batches/s, p99 of the live ones below 5 s. 30 days of a batch every 5
// minutes are 864,000.
func BenchmarkFlood(b *testing.B) {
	const edgesCount, readings = 100, 10
	total := int(number(b, "KENSHIN_FLOOD_BATCHES", 20_000))
	for b.Loop() {
		var edges, live []*loadEdge
		for n := range edgesCount {
			edges = append(edges, newLoadEdge(n, 6))
			live = append(live, newLoadEdge(1000+n, 8))
		}
		_, p := loadCenter(b, b.TempDir(), append(slices.Clone(edges), live...))
		ctx, stop := context.WithCancel(b.Context())
		var flood, living sync.WaitGroup
		began, center, own := time.Now(), processor(b, p.cmd.Process.Pid), processor(b, os.Getpid())
		for _, e := range edges {
			flood.Go(func() {
				for i := range total / edgesCount {
					if err := e.publish(readings, began.Add(time.Duration(i-total)*time.Minute), false); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		living.Go(func() {
			tick := time.NewTicker(time.Second / edgesCount)
			defer tick.Stop()
			for i := 0; ctx.Err() == nil; i++ {
				<-tick.C
				if err := live[i%edgesCount].publish(readings, time.Now(), true); err != nil {
					b.Error(err)
					return
				}
			}
		})
		flood.Wait()
		drained(b, edges)
		took := time.Since(began)
		b.ReportMetric(100*float64(processor(b, p.cmd.Process.Pid)-center)/float64(took), "%-cpu-collector")
		b.ReportMetric(100*float64(processor(b, os.Getpid())-own)/float64(took), "%-cpu-edges")
		stop()
		living.Wait()
		drained(b, live)
		_, peak := memory(b, p.cmd.Process.Pid)
		b.ReportMetric(float64(total)/took.Seconds(), "batches/s")
		b.ReportMetric(peak, "MB-peak")
		report(b, live)
		p.interrupt(2 * time.Minute)
	}
}
