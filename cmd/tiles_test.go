package cmd

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"kenshin/collector/api"
	"kenshin/collector/store"
)

// tileClient reads a log as golang.org/x/mod/sumdb/tlog wants it, from the paths
// of C2SP tlog-tiles.
type tileClient struct {
	url string
	mu  sync.Mutex
	got map[string]bool
}

func (*tileClient) Height() int                     { return 8 }
func (*tileClient) SaveTiles([]tlog.Tile, [][]byte) {}

func (c *tileClient) ReadTiles(tiles []tlog.Tile) (out [][]byte, err error) {
	for _, t := range tiles {
		path := "tile/" + strings.TrimPrefix(t.Path(), "tile/8/")
		b, err := c.get(path)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

func (c *tileClient) get(path string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := http.Get(c.url + path)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusOK {
		return nil, errors.Join(err, fmt.Errorf("%s: %s", path, r.Status))
	}
	c.got[path] = true
	return b, err
}

// TestTiles: a client that knows nothing of us proves records, and that the book
// has only grown, from hash tiles; what they are hashes of is in the bundles.
func TestTiles(t *testing.T) {
	const origin, records, before = "kenshin/test", 66_700, 513
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	book, _, err := store.Open(t.TempDir(), store.Options{Origin: origin, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	fill := func(n uint64) {
		var recs []*store.Record
		for i := book.Size(); i < n; i++ {
			recs = append(recs, &store.Record{Kind: store.Decision, Received: int64(i), Subject: "ruling", Payload: fmt.Append(nil, i)})
		}
		if _, err := book.Append(recs...); err != nil {
			t.Fatal(err)
		}
	}
	none := http.NotFoundHandler()
	h, err := api.New(api.Config{Figures: struct{ api.Figures }{}, Charts: struct{ api.Charts }{}, Deliveries: struct{ api.Deliveries }{}, Book: book, Metrics: none, Broker: func() error { return nil }, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	defer server.Close()
	c := &tileClient{url: server.URL + "/log/", got: make(map[string]bool)}
	vkey, err := book.VerifierKey()
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	tree := func(n uint64) tlog.Tree {
		t.Helper()
		fill(n)
		if _, err := book.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		fill(n + 300) // of which no checkpoint speaks
		msg, err := c.get("checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		signed, err := note.Open(msg, note.VerifierList(verifier))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(signed.Text, "\n")
		hash, err := tlog.ParseHash(lines[2])
		if err != nil || lines[0] != origin || lines[1] != fmt.Sprint(n) {
			t.Fatalf("%q, %v", lines, err)
		}
		return tlog.Tree{N: int64(n), Hash: hash}
	}
	old := tree(before)
	now := tree(records)
	r := tlog.TileHashReader(now, c)
	if p, err := tlog.ProveTree(now.N, old.N, r); err != nil || tlog.CheckTree(p, now.N, now.Hash, old.N, old.Hash) != nil {
		t.Errorf("growth: %v", err)
	}
	for _, i := range []int64{0, 255, 256, 512, 65_535, 65_536, records - 1} {
		p, err := tlog.ProveRecord(now.N, i, r)
		if err != nil {
			t.Fatal(err)
		}
		bundle := tlog.Tile{H: 8, L: -1, N: i / 256, W: int(min(256, now.N-i/256*256))}
		b, err := c.get("tile/entries/" + strings.TrimPrefix(bundle.Path(), "tile/8/data/"))
		if err != nil {
			t.Fatal(err)
		}
		size := func() int { return int(b[0])<<8 + int(b[1]) }
		for range i % 256 {
			b = b[2+size():]
		}
		leaf := b[2 : 2+size()]
		if err := tlog.CheckRecord(p, now.N, now.Hash, i, tlog.RecordHash(leaf)); err != nil {
			t.Errorf("record %d: %v", i, err)
		}
	}
	for _, path := range []string{"tile/0/000", "tile/0/260.p/140", "tile/1/000", "tile/1/001.p/4", "tile/2/000.p/1"} {
		if _, err := c.get(path); err != nil {
			t.Error(err)
		}
	}
	for _, path := range []string{"tile/0/260.p/141", "tile/0/260", "tile/0/261.p/1", "tile/1/001.p/5", "tile/2/000.p/2", "tile/3/000.p/1", "tile/63/000.p/1", "tile/entries/261.p/1"} {
		if _, err := c.get(path); err == nil {
			t.Errorf("%s: no checkpoint speaks of it", path)
		}
	}
}
