package cmd

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// fleetRig is a collector as a process of its own, and edges with ten devices each that
// have made their messages beforehand.
type fleetRig struct {
	b     *testing.B
	page  string // address of the collector's page
	edges []*fleetEdge
	*program
	messages, points float64 // that were made
}

// newFleetRig starts a collector and makes minutes of event time for it, per readings a
// message. Messages go to the broker at addr, which is in the collector unless
// outside says so. extra is more of its configuration.
func newFleetRig(b *testing.B, devices, minutes, per int, addr string, outside bool, extra string) *fleetRig {
	b.Helper()
	f := &fleetRig{b: b, page: freeAddr(b)}
	var registered, project strings.Builder
	project.WriteString("reference: fleet\ntitle: all\nzone: Asia/Tokyo\nmethodology: {number: T-1, version: \"1.0\"}\nperiods: [{start: 2020-05-15, end: 2020-12-31}]\nparameters: {EF: {value: \"0.5\", unit: tCO2/MWh, source: invented}}\nmeters:\n")
	for n := range devices / 10 {
		e := newFleetEdge(n)
		f.edges = append(f.edges, e)
		fmt.Fprintf(&registered, "  - {id: %s, key: %q, password: secret}\n", e.id, base64.StdEncoding.EncodeToString(e.key.Public().(ed25519.PublicKey)))
		for _, d := range e.devices {
			fmt.Fprintf(&project, "  - {key: %s-%s, register: %s/%s/point-0, parameter: EG}\n", e.id, d.Device, e.id, d.Device)
		}
	}
	source := fmt.Sprintf("{listen: %q}", addr)
	if outside {
		source = fmt.Sprintf("{url: \"tcp://%s\", user: collector}", addr)
	}
	dir := b.TempDir()
	write(b, dir, "t-1.yaml", throughputMethodology)
	write(b, dir, "fleet.yaml", project.String())
	write(b, dir, "collector.yaml", fmt.Sprintf("name: load\ndata: data\nbroker: %s\nhttp: {listen: %q}\nlog: {level: warn}\nmethodologies: [t-1.yaml]\nprojects: [fleet.yaml]\n%sedges:\n%s", source, f.page, extra, registered.String()))
	f.program = launch(b, dir, binary(b, "kenshin-collector"), "-config", "collector.yaml")
	eventually(b, time.Minute, func() error { // also until it has subscribed
		resp, err := http.Get("http://" + f.page + "/readyz")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the collector is not ready: %s", resp.Status)
		}
		return nil
	})
	for _, e := range f.edges {
		if err := e.dial(addr); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { e.conn.Close() })
	}
	f.make(minutes, per)
	return f
}

// make makes minutes more of event time, per readings a message.
func (f *fleetRig) make(minutes, per int) {
	for _, e := range f.edges {
		for range 10 * minutes / per {
			e.make(f.b, per)
			f.messages++
			f.points += float64(per * 10)
		}
	}
}

// send sends what was made, in turn as edges would, and forgets it; pace is the time
// that all edges have for one message each, 0 as fast as they can.
func (f *fleetRig) send(pace time.Duration) {
	began, first := time.Now(), len(f.edges[0].packets)
	for i := range first {
		for n, e := range f.edges {
			if pace > 0 {
				at := pace*time.Duration(i) + pace*time.Duration(n)/time.Duration(len(f.edges))
				time.Sleep(time.Until(began.Add(at)))
			}
			if _, err := e.conn.Write(e.packets[i]); err != nil {
				e.fail(err)
			}
		}
	}
	for _, e := range f.edges {
		e.packets = e.packets[first:]
	}
}

// taken waits until all that was made is in the book, settled until its samples and
// totals are as well.
func (f *fleetRig) taken()   { f.reaches("kenshin_collector_messages_stored_total", f.messages) }
func (f *fleetRig) settled() { f.reaches("kenshin_collector_samples_total", f.points) }

func (f *fleetRig) reaches(name string, want float64) {
	f.b.Helper()
	eventually(f.b, 10*time.Minute, func() error { return reached(f.page, name, want) })
}
