package collector

import "kenshin/collector/store"

// Replayed counts what became of dead letters that were offered again.
type Replayed struct {
	Stored   int // are in the book now
	Repeated int // were there already
	Refused  int // are refused still
	Cut      int // too long to have been kept whole
}

// Replay offers the dead letters again, oldest first: an edge may have been
// registered since, or a limit raised. They stay among the dead letters. It must
// not run beside Run.
func (c *Collector) Replay() (Replayed, error) {
	var out Replayed
	var list []Message
	err := c.dead.Scan(func(l store.DeadLetter) error {
		if l.Size != len(l.Bytes) {
			out.Cut++
			return nil
		}
		m := Message{Topic: l.Topic, Payload: l.Bytes}
		b, key, err := c.ingest.check(m)
		if err == nil {
			err = c.ingest.rules.admits(b.Edge, key)
		}
		if err != nil {
			out.Refused++
			return nil
		}
		list = append(list, m)
		return nil
	})
	if err != nil {
		return out, err
	}
	for _, m := range list {
		before := c.store.Size()
		g := judging{ingest: c.ingest}
		if b, _, err := c.ingest.check(m); err == nil {
			if _, err = g.offer(b); err != nil { // keeping it again would say nothing new
				out.Refused++
				continue
			}
		}
		if err := c.ingest.take([]Message{m}); err != nil {
			return out, err
		}
		if c.store.Size() > before {
			out.Stored++
		} else {
			out.Repeated++
		}
	}
	return out, nil
}
