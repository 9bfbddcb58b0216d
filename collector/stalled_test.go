package collector

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pause calls what a test wants done while somebody waits.
type pause struct {
	clock
	do func()
}

func (p pause) Sleep(ctx context.Context, _ time.Duration) error {
	p.do()
	return ctx.Err()
}

// TestStalled: while the series store cannot be written it is said since when the
// figures stand still, and no longer once they are settled.
func TestStalled(t *testing.T) {
	a, b := twoSites(5)
	r := newRig(t, a, b)
	other := must(sql.Open("sqlite", filepath.Join(r.cfg.Dir, seriesFile)))
	defer other.Close()
	must(other.Exec("CREATE TRIGGER full BEFORE UPDATE ON settled BEGIN SELECT RAISE(ABORT, 'disk full'); END"))
	r.send(a.all(t))
	var said []string
	r.settle.cfg.Clock = pause{do: func() {
		if err := r.Stalled(); err != nil {
			said = append(said, err.Error())
		} else {
			said = append(said, "nothing")
		}
		if len(said) == 2 {
			must(other.Exec("DROP TRIGGER full"))
		}
	}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.settle.run(ctx) }()
	for end := time.Now().Add(time.Minute); (!r.Settled() || r.Stalled() != nil) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-ended; err != nil || !r.Settled() || r.Stalled() != nil {
		t.Errorf("with room again: %v, settled %v, said %v", err, r.Settled(), r.Stalled())
	}
	if len(said) != 2 || said[0] != said[1] || !strings.HasPrefix(said[0], "figures stand still since 2022-05-14T18:30:00Z: ") {
		t.Errorf("while it could not be written: %q", said)
	}
}
