package influx

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"

	"kenshin/collector"
	"kenshin/collector/series"
	"kenshin/edge/wire"
)

// backend is what keeps samples. Every one has to pass conform.
type backend interface {
	write(list []collector.Followed) error
	read(key string, from, to int64) ([]string, error) // "time value", in the order it gives them
	restart(meanwhile ...collector.Followed)           // as after a crash; what is written meanwhile is there afterwards
}

// embedded is the series store.
type embedded struct {
	t    *testing.T
	file string
	db   *series.DB
	n    uint64
}

func (e *embedded) write(list []collector.Followed) error {
	samples := make([]wire.Sample, len(list))
	for i := range list {
		samples[i] = list[i].Sample
	}
	e.n++
	_, err := e.db.Apply(e.t.Context(), series.Update{Cursor: e.n, Samples: samples})
	return err
}

func (e *embedded) read(key string, from, to int64) (out []string, err error) {
	err = e.db.Scan(e.t.Context(), key, from, to, func(x wire.Sample) error {
		v := x.Number.String()
		switch {
		case x.Quality != wire.Good:
			v = x.Quality.String()
		case x.Kind == wire.Label:
			v = x.Text
		}
		out = append(out, fmt.Sprint(x.At, " ", v))
		return nil
	})
	return out, err
}

func (e *embedded) restart(meanwhile ...collector.Followed) {
	var err error
	if e.db != nil {
		err = e.db.Close()
	}
	if err == nil {
		e.db, err = series.Open(e.file)
	}
	if err == nil && meanwhile != nil {
		ctx, cancel := context.WithCancel(e.t.Context())
		cancel()
		if _, err := e.db.Apply(ctx, series.Update{Cursor: 1 << 40}); err == nil {
			e.t.Error("an update that was given up is taken")
		}
		err = e.write(meanwhile) // nobody writes to a file that is closed
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// remote is a server behind a projection.
type remote struct {
	t  *testing.T
	db *influxd // nil: it cannot be restarted
	p  *Projection
}

func (r *remote) write(list []collector.Followed) error {
	e := newEncoder(false)
	e.add(list)
	return r.p.deliver(r.t.Context(), e.lines)
}

// read puts the exact digits in place of the numbers that have not all of them.
func (r *remote) read(key string, from, to int64) ([]string, error) {
	part := strings.SplitN(key, "/", 3)
	res, err := r.p.link.query.Query(r.t.Context(), fmt.Sprintf(`from(bucket: %q) |> range(start: %s, stop: %s) |> filter(fn: (r) => r.edge == %q and r.device == %q and r._field == %q)`,
		r.p.cfg.Server.Bucket, stamp(from), stamp(to), part[0], part[1], part[2]))
	if err != nil {
		return nil, err
	}
	values := make(map[int64]string)
	var order []int64
	for res.Next() {
		x := res.Record()
		at := x.Time().UnixMilli()
		if at >= to {
			continue // 1.8 takes the end of a range for a part of it
		}
		if _, ok := values[at]; !ok {
			order = append(order, at)
		}
		text := fmt.Sprint(x.Value())
		if f, ok := x.Value().(float64); ok {
			text = decimal.NewFromFloat(f).String()
		}
		if _, ok := values[at]; !ok || x.Measurement() == exactNumber {
			values[at] = text
		}
	}
	slices.Sort(order)
	out := make([]string, len(order))
	for i, at := range order {
		out[i] = fmt.Sprint(at, " ", values[at])
	}
	return out, res.Err()
}

func (r *remote) restart(meanwhile ...collector.Followed) {
	if r.db == nil { // one outside
		if err := r.write(meanwhile); err != nil {
			r.t.Fatal(err)
		}
		return
	}
	r.db.kill()
	done := make(chan error, 1)
	go func() { done <- r.write(meanwhile) }()
	until(r.t, "the outage shows", func() bool { return r.p.Status().Health == "down" })
	r.db.start(r.t)
	if err := <-done; err != nil {
		r.t.Fatal(err)
	}
}

func TestConform(t *testing.T) {
	t.Run("series", func(t *testing.T) {
		e := &embedded{t: t, file: t.TempDir() + "/series.db"}
		e.restart()
		t.Cleanup(func() { e.db.Close() })
		conform(t, e)
	})
	t.Run("influx", func(t *testing.T) {
		if testing.Short() {
			t.Skip("starts a server again")
		}
		server := emptyBucket(t)
		conform(t, &remote{t: t, db: shared.server, p: newRig(t, newSite("site-1", 1)).project(server)})
	})
}

// conform asks of a backend what the collector relies on.
func conform(t *testing.T, b backend) {
	if r, ok := b.(*remote); ok {
		if err := r.p.link.authorize(); err != nil {
			t.Fatal(err)
		}
	}
	sample := func(point string, at int64, number string, integer bool) collector.Followed {
		d, err := decimal.NewFromString(number)
		if err != nil {
			t.Fatal(err)
		}
		return collector.Followed{Integer: integer, Sample: wire.Sample{Edge: "site-1", Device: "m-1", Point: point, Unit: "Wh", Kind: wire.Counter, At: start + at, Number: d, Epoch: wire.Epoch{1}, Seq: uint64(at + 1)}}
	}
	write := func(list ...collector.Followed) {
		t.Helper()
		if err := b.write(list); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what, point string, from, to int64, values ...string) {
		t.Helper()
		got, err := b.read("site-1/m-1/"+point, start+from, start+to)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for i, v := range values {
			at, value, _ := strings.Cut(v, " ")
			var ms int64
			fmt.Sscan(at, &ms)
			values[i] = fmt.Sprint(start+ms, " ", value)
		}
		if !slices.Equal(got, values) {
			t.Errorf("%s: %q, want %q", what, got, values)
		}
	}

	// Idempotence and order: the same again, and in another order, changes nothing.
	a := []collector.Followed{sample("e", 1000, "1", true), sample("e", 2000, "2", true), sample("e", 3000, "3", true)}
	write(a...)
	write(a...)
	write(a[2], a[0])
	want("idempotence", "e", 0, 10_000, "1000 1", "2000 2", "3000 3")
	want("half-open spans", "e", 1000, 3000, "1000 1", "2000 2")

	// Late data takes its place, whatever its age.
	const month = int64(30 * 86_400_000)
	write(sample("e", -3*month, "7", true), sample("e", 1500, "8", true))
	want("late", "e", -4*month, 10_000, fmt.Sprint(-3*month, " 7"), "1000 1", "1500 8", "2000 2", "3000 3")

	// Exactness at the edges of int64, uint64 and float32.
	exact := []string{"9223372036854775807", "-9223372036854775808", "18446744073709551615", "9007199254740993", "0.1", "18446744073709551.615",
		"340282346638528859811704183484516925440", "0.00000000000000000000000000000000000000000000140129846432481707092372958328991613128026194187651577175706828388979108268586060148663818836212158203125",
		"1.10000002384185791015625", "-1.5", "0"}
	for i, n := range exact {
		whole := !strings.Contains(n, ".") && i != 6
		point := fmt.Sprintf("x%d", i)
		write(sample(point, 0, n, whole))
		got, err := b.read("site-1/m-1/"+point, start, start+1)
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %q, %v", n, got, err)
		}
		_, text, _ := strings.Cut(got[0], " ")
		have, err := decimal.NewFromString(text)
		want, _ := decimal.NewFromString(n)
		f, _ := want.Rat().Float32()
		if g, _ := have.Rat().Float32(); err != nil || !have.Equal(want) && (!decimal.NewFromFloat(float64(f)).Equal(have) || math.Float32bits(g) != math.Float32bits(f)) {
			t.Errorf("%s came back as %s", n, text)
		}
	}

	// Values that are none.
	none := sample("q", 5000, "0", true)
	none.Quality, none.Reason = wire.NoAnswer, "no answer in time"
	label := sample("l", 5000, "0", false)
	label.Kind, label.Text = wire.Label, `on, "off" \ =`
	write(none, label)
	want("not available is no 0", "q", 0, 10_000, "5000 timeout")
	want("text", "l", 0, 10_000, `5000 on, "off" \ =`)

	// Restart and outage: what was taken is there, what is written while nobody
	// answers as well, and writing goes on.
	b.restart(sample("e", 6000, "6", true))
	want("restart", "e", 0, 10_000, "1000 1", "1500 8", "2000 2", "3000 3", "6000 6")
	write(sample("e", 4000, "4", true))
	want("after it", "e", 3500, 5000, "4000 4")
}
