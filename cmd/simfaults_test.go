package cmd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// deed is something the driver does at a time.
type deed struct {
	at   time.Duration
	what string
	do   func() error
}

// run lets the plan happen, heals everything, and checks what must hold.
func (w *world) run() error {
	if err := errors.Join(w.startBroker(), w.center.start()); err != nil {
		return err
	}
	for _, e := range w.edges {
		if err := e.start(); err != nil {
			return err
		}
	}
	end := time.Duration(24*w.plan.Days+w.plan.Hours) * time.Hour
	deeds := []deed{{at: end}}
	for at := 12 * time.Hour; at < end; at += 24 * time.Hour {
		deeds = append(deeds, deed{at, "backup", w.center.backup})
	}
	for at := time.Hour; at < end; at += time.Hour { // before anything is dropped
		deeds = append(deeds, deed{at, "look", w.look})
	}
	for _, f := range w.plan.Faults {
		deeds = append(deeds, w.deeds(f)...)
	}
	slices.SortStableFunc(deeds, func(a, b deed) int { return int(a.at - b.at) })
	for _, d := range deeds {
		time.Sleep(d.at - time.Since(simStart))
		if d.do == nil || d.at > end {
			break
		}
		if w.lines != nil && d.what != "look" {
			fmt.Fprintf(w.lines, "%v ---- %s\n", time.Now(), d.what)
		}
		if err := d.do(); err != nil {
			return fmt.Errorf("%s: %w", d.what, err)
		}
	}
	if err := w.heal(); err != nil {
		return fmt.Errorf("heal: %w", err)
	}
	return w.check()
}

func (w *world) look() error {
	for _, e := range w.edges {
		if e.box != nil {
			if err := w.seen.look(e.id, e.box); err != nil {
				return err
			}
		}
	}
	return nil
}

// deeds returns what a fault makes the driver do, and its end.
func (w *world) deeds(f fault) []deed {
	e := w.edges[f.Edge]
	at, end := time.Duration(f.At)*time.Minute, time.Duration(f.At+f.For)*time.Minute
	name := fmt.Sprintf("%s %s %d for %dm", f.Kind, e.id, f.N, f.For)
	once := func(do func() error) []deed { return []deed{{at, name, do}} }
	span := func(do func(on bool) error) []deed {
		return []deed{{at, name, func() error { return do(true) }}, {end, name + " ends", func() error { return do(false) }}}
	}
	// set changes how messages are carried.
	set := func(f func(on bool)) []deed {
		return span(func(on bool) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			f(on)
			return nil
		})
	}
	percent := func(on bool) int {
		if on {
			return f.N
		}
		return 0
	}
	switch f.Kind {
	case "cut":
		return once(func() error { w.wires.cut(e.id, false); return nil })
	case "away":
		return span(func(on bool) error { w.wires.cut(e.id, on); return nil })
	case "silent":
		return span(func(on bool) error { w.wires.hush(e.id, on); return nil })
	case "slow":
		return span(func(on bool) error { w.wires.slow(time.Duration(10*percent(on)) * time.Millisecond); return nil })
	case "lose":
		return set(func(on bool) { w.lose = percent(on) })
	case "repeat":
		return set(func(on bool) { w.repeat = on })
	case "reorder":
		return set(func(on bool) { w.reorder = on })
	case "lose-acks":
		return set(func(on bool) { w.loseAcks = percent(on) })
	case "old-acks":
		return set(func(on bool) { w.oldAcks = on })
	case "wipe":
		return once(func() error { return errors.Join(w.stopBroker(), w.startBroker()) })
	case "edge-crash":
		return once(func() error { return w.again(e, true) })
	case "edge-stop":
		return span(func(on bool) error {
			if on {
				return e.halt(false)
			}
			return w.again(e, false)
		})
	case "edge-anew":
		return once(func() error { return w.anew(e) })
	case "center-crash":
		return once(func() error { return w.centerAgain(true) })
	case "center-stop":
		return span(func(on bool) error {
			if on {
				return w.center.halt(false)
			}
			return w.centerAgain(false)
		})
	case "restore":
		return once(func() error { return w.restore(f.N) })
	case "step":
		return once(func() error { e.clock.step(time.Duration(f.N) * time.Minute); return nil })
	}
	panic("unknown fault " + f.Kind)
}

// again starts an agent, after a crash when it runs.
func (w *world) again(e *simEdge, crash bool) error {
	if err := e.halt(crash); err != nil {
		return err
	}
	return e.start()
}

// anew images a box anew: what it had not delivered is gone.
func (w *world) anew(e *simEdge) error {
	if e.box == nil {
		return nil
	}
	s, acked := stream{e.id, e.box.Epoch()}, e.box.Acked()
	if err := e.halt(false); err != nil {
		return err
	}
	h := w.seen.of(s)
	h.from, h.to = min(acked+1, h.last()+1), h.last()
	if h.excused > 0 {
		h.from = 1 // nor what a restored collector had lost
	}
	if err := os.RemoveAll(e.dir); err != nil {
		return err
	}
	w.forget()
	return e.start()
}

// forget notes that no box has the epochs any more that are not in use: should
// the collector lose them, nobody can bring them back. So the backups of before
// are not restored any more.
func (w *world) forget() {
	for _, b := range w.backups {
		os.RemoveAll(b)
	}
	w.backups = nil
}

func (w *world) centerAgain(crash bool) error {
	if err := w.center.halt(crash); err != nil {
		return err
	}
	if err := w.center.start(); err != nil {
		return err
	}
	return w.honest()
}

// honest checks I5: no outbox was told more than the book has. The outboxes are
// asked first: acks may come while the book is read, which only grows.
func (w *world) honest() error {
	told, kept := make(map[stream]uint64), make(map[stream]uint64)
	for _, e := range w.edges {
		if e.box == nil {
			continue
		}
		s := stream{e.id, e.box.Epoch()}
		told[s] = max(told[s], e.box.Acked())
		if w.seen.of(s).excused > 0 {
			kept[s] = e.box.First()
		}
	}
	have, err := durable(w.center.c.Store(), kept)
	if err != nil {
		return err
	}
	for s, n := range told {
		if n > have[s] && n > w.seen.of(s).excused {
			return fmt.Errorf("I5: %v was told that %d records are durable, the book has %d", s, n, have[s])
		}
	}
	return nil
}

// restore starts the collector from a backup.
func (w *world) restore(age int) error {
	if len(w.backups) == 0 || w.center.c == nil {
		return nil
	}
	n := len(w.backups) - 1 - (len(w.backups)-1)*age/100
	if err := w.center.halt(false); err != nil {
		return err
	}
	if err := w.look(); err != nil { // behind the end of the collector: until then it may ack what comes
		return err
	}
	from := w.backups[n]
	if err := w.center.restore(from); err != nil {
		return err
	}
	w.backups = w.backups[:n+1]
	have, err := durable(w.center.c.Store(), nil)
	if err != nil {
		return err
	}
	for _, h := range w.seen {
		h.excused = h.last()
	}
	for _, e := range w.edges { // what they dropped as acked nobody has any more
		box := e.box
		if box == nil {
			continue // it holds what it held; nothing is dropped while it is stopped
		}
		s := stream{e.id, box.Epoch()}
		h := w.seen.of(s)
		if first := box.First(); first > have[s]+1 {
			h.from, h.to = have[s]+1, max(h.to, first-1)
		}
	}
	return nil
}

// heal ends every fault and waits until everything is delivered and settled: I9.
func (w *world) heal() error {
	w.mu.Lock()
	w.lose, w.loseAcks, w.repeat, w.reorder, w.oldAcks = 0, 0, false, false, false
	held := w.held
	w.held = nil
	w.mu.Unlock()
	w.wires.slow(0)
	if w.center.c == nil {
		if err := w.center.start(); err != nil {
			return err
		}
	}
	if held != nil {
		w.center.receive(*held)
	}
	for _, e := range w.edges {
		w.wires.hush(e.id, false)
		w.wires.cut(e.id, false)
		if e.box == nil {
			if err := e.start(); err != nil {
				return err
			}
		}
	}
	if err := w.delivered(); err != nil {
		return err
	}
	// What has come since may still wait for more to travel with.
	w.plan.Paces = nil
	for _, e := range w.edges {
		if err := w.again(e, false); err != nil {
			return err
		}
	}
	if err := w.delivered(); err != nil {
		return err
	}
	for _, e := range w.edges {
		// What made room for new readings before a restored collector had it again.
		if h := w.seen.of(stream{e.id, e.box.Epoch()}); h.excused > 0 && h.to > 0 {
			h.to = max(h.to, e.box.First()-1)
		} else if h.excused > 0 {
			h.from, h.to = 1, e.box.First()-1
		}
		if err := e.halt(false); err != nil {
			return err
		}
	}
	time.Sleep(time.Minute)
	return nil
}

// delivered waits until everything recorded so far is in the book and settled.
func (w *world) delivered() error {
	deadline := time.Now().Add(healWithin)
	var last []uint64
	for _, e := range w.edges {
		last = append(last, e.box.Last())
	}
	for {
		time.Sleep(time.Minute + 7*time.Second) // never at the time of a poll
		left := ""
		for i, e := range w.edges {
			if e.box.Acked() < last[i] {
				left += fmt.Sprintf(" %s has %d to %d, %d acked;", e.id, e.box.First(), last[i], e.box.Acked())
			}
		}
		if left == "" && w.center.c.Settled() {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("I9: after %v not everything is delivered and settled:%s", healWithin, left)
		}
	}
}

// check checks what must hold at the end.
func (w *world) check() error {
	c := w.center.c
	rejected, err := checkCounters(c)
	if err == nil && rejected > 0 {
		err = fmt.Errorf("%v messages were rejected, all were good", rejected)
	}
	_, err2 := checkFigures(c, "sim")
	if err = errors.Join(err, err2, checkBook(c.Store(), w.seen)); err != nil {
		return err
	}
	keys := make(map[string]edgeKey)
	for _, e := range w.edges {
		keys[e.id] = edgeKey(e.key)
	}
	return checkOrder(c.Store(), w.centerConfig(filepath.Join(w.dir, "order")), keys, "sim", rand.New(rand.NewPCG(w.plan.Seed, 3)))
}

// end stops what still runs.
func (w *world) end() {
	for _, e := range w.edges {
		w.wires.cut(e.id, false)
		if err := e.halt(false); err != nil {
			w.t.Log(err)
		}
	}
	if w.broker != nil {
		if err := w.stopBroker(); err != nil {
			w.t.Log(err)
		}
	}
	if err := w.center.halt(false); err != nil {
		w.t.Error(err)
	}
	if w.lines != nil && w.t.Failed() {
		os.WriteFile(filepath.Join(os.TempDir(), fmt.Sprintf("kenshin-sim-%d.log", w.plan.Seed)), w.lines.Bytes(), 0o644)
	}
}
