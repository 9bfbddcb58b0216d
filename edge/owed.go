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
	have       []wire.Range
}

// covers says whether the collector has all of a flight.
func (k *known) covers(f flight) bool {
	return f.last <= k.through || slices.ContainsFunc(k.have, func(r wire.Range) bool { return r.From <= f.first && f.last <= r.To })
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
