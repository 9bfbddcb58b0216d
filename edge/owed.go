package edge

import (
	"slices"

	"kenshin/edge/wire"
)

// flight is a batch on its way.
type flight struct{ first, last uint64 }

// known is what the last ack said the collector has.
type known struct {
	generation uint64
	through    uint64
	have       []wire.Run
}

// covers says whether the collector has all of a flight.
func (k *known) covers(f flight) bool {
	return f.last <= k.through || slices.ContainsFunc(k.have, func(r wire.Run) bool { return r.From <= f.first && f.last <= r.To })
}

// reach returns up to where the records from first on are durable, and the
// chain hash there. What lies before first is gone here, so a hole in it can
// hold nothing up.
func reach(a *wire.Ack, first uint64) (through uint64, chain wire.Hash) {
	through, chain = a.Through, a.Chain
	for _, r := range a.Have {
		if r.From <= first && r.To > through && r.To+1 >= first {
			through, chain = r.To, r.Chain
		}
	}
	return through, chain
}

// owed returns the first run of records from..to that the collector does not
// have and that is not on its way.
func (k *known) owed(from, to uint64, sent []flight) (wire.Range, bool) {
	covered := make([]flight, 0, len(k.have)+len(sent))
	for _, r := range k.have {
		covered = append(covered, flight{r.From, r.To})
	}
	covered = append(covered, sent...)
	slices.SortFunc(covered, func(a, b flight) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	from = max(from, k.through+1)
	for _, c := range covered {
		if c.first > from {
			to = min(to, c.first-1)
			break
		}
		from = max(from, c.last+1)
	}
	return wire.Range{From: from, To: to}, from <= to
}
