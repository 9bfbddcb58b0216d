package outbox

import (
	"encoding/binary"

	"kenshin/edge/wire"
)

// What is held in memory goes with the process. So that the next one can say so, a
// file that has all its bytes since the outbox was first opened, and can therefore
// be written on a full disk, says how many readings there are at least. On a disk
// that takes no write at all it says nothing.

const heldFile = "held"

// heldDetail is what the event of kind gap says.
const heldDetail = "held in memory when the process ended, at least so many"

// note writes down how many readings are held or gone: when there are twice as many
// as it last said, and exactly when the process ends or nothing is held any more.
// b.writing is held.
func (b *Outbox) note(exact bool) {
	h := &b.held
	l := h.lost
	for i := range h.recs {
		if r := &h.recs[i]; r.Reading != nil {
			if l.count == 0 {
				l.from = r.Wall
			}
			l.to = r.Wall
			l.count++
		}
	}
	if h.file == nil || l.count == h.noted || !exact && l.count < 2*h.noted {
		return
	}
	if h.file.save(b.heldMark(l)) == nil {
		h.noted = l.count
	}
}

// heldMark puts a loss into a slot: the count, and in place of a chain hash the
// times, the last record on disk and the beginning of its epoch.
func (b *Outbox) heldMark(l lost) mark {
	m := mark{through: l.count}
	binary.LittleEndian.PutUint64(m.chain[0:], uint64(l.from))
	binary.LittleEndian.PutUint64(m.chain[8:], uint64(l.to))
	binary.LittleEndian.PutUint64(m.chain[16:], b.Last())
	copy(m.chain[24:], b.epoch[:])
	return m
}

// recall takes up what the process before has written down, to be told before the
// next record. A file that cannot be had or read is no reason not to open.
func (b *Outbox) recall(report *Report) {
	f, m, err := openSlots(b.fs, b.dir, heldFile)
	if err != nil {
		return
	}
	b.held.file, b.held.noted = f, m.through
	l := lost{count: m.through, from: int64(binary.LittleEndian.Uint64(m.chain[0:])), to: int64(binary.LittleEndian.Uint64(m.chain[8:])), cause: heldDetail}
	last := binary.LittleEndian.Uint64(m.chain[16:])
	if [8]byte(m.chain[24:]) == [8]byte(b.epoch[:8]) && b.Last() > last {
		// The process had begun to write them, or to tell of the loss.
		l.count -= min(l.count, b.Last()-last-1+b.toldOf(last+1, l.from))
	}
	if l.count > 0 {
		b.held.lost, report.Held = l, l.count
	}
}

// toldOf returns how many readings record seq is, or tells the loss of, if that loss
// begins at a time.
func (b *Outbox) toldOf(seq uint64, from int64) uint64 {
	entry, err := b.log.Read(seq)
	if err != nil {
		return 1
	}
	canonical, _, err := split(entry)
	if err != nil {
		return 1
	}
	if r, err := wire.DecodeRecord(canonical); err == nil && r.Event != nil && r.Event.Code == wire.EventGap && r.Event.From == from {
		return r.Event.Count
	}
	return 1
}
