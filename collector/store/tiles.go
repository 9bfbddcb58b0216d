package store

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8 // of C2SP tlog-tiles
	tileWidth  = 1 << tileHeight
)

// Tile returns tile n of a level of the tree that the last checkpoint signs: width
// hashes of 32 bytes, 256 of a whole tile. Level 0 has the hashes of the records,
// each level above those of the whole tiles below. It returns nil when the tree
// has no such tile. Source: C2SP tlog-tiles.
func (s *Store) Tile(level int, n int64, width int) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if there, err := s.hasTile(level, n, width); err != nil || !there {
		return nil, err
	}
	t := tlog.Tile{H: tileHeight, L: level, N: n, W: width}
	b, err := tlog.ReadTileData(t, s.tree)
	if err != nil {
		return nil, fmt.Errorf("tile %d of level %d of store %s: %w; %s", n, level, s.dir, err, hashesRemedy)
	}
	return b, nil
}

// Leaves returns the leaf data of the records of tile n of level 0, each behind its
// length in two bytes, big-endian: an entry bundle of C2SP tlog-tiles. It returns
// nil when the tree that the last checkpoint signs has no such tile.
func (s *Store) Leaves(n int64, width int) ([]byte, error) {
	s.mu.Lock()
	there, err := s.hasTile(0, n, width)
	s.mu.Unlock()
	if err != nil || !there {
		return nil, err
	}
	var out []byte
	next := uint64(n) * tileWidth
	end := next + uint64(width)
	err = s.entries(next+1, func(seq uint64, entry []byte) error {
		if seq > end {
			return errStop
		}
		if entry == nil {
			return fmt.Errorf("record %d: %w", seq-1, ErrQuarantined)
		}
		_, leaf, err := decode(seq-1, entry, false)
		if err != nil {
			return err
		}
		out = binary.BigEndian.AppendUint16(out, uint16(len(leaf))) // maxLeaf fits
		out = append(out, leaf...)
		next = seq
		return nil
	})
	if err == nil && next != end {
		err = fmt.Errorf("record %d is not there", next)
	}
	if err != nil {
		return nil, fmt.Errorf("leaves from %d of store %s: %w", n*tileWidth, s.dir, err)
	}
	return out, nil
}

// hasTile says whether the tree that the last checkpoint signs has such a tile;
// s.mu is held.
func (s *Store) hasTile(level int, n int64, width int) (bool, error) {
	if next := s.notes.Next(); next != s.noted { // reading it checks its signature: not for each tile
		_, size, _, err := s.lastNote()
		if err != nil {
			return false, err
		}
		s.noted, s.signed = next, size
	}
	if level < 0 || level > 63 || n < 0 || width < 1 || width > tileWidth {
		return false, nil
	}
	hashes := s.signed >> (tileHeight * level) // of the level
	return n < hashes/tileWidth || n == hashes/tileWidth && int64(width) <= hashes%tileWidth, nil
}
