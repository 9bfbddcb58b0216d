package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// draftSuffix makes the name of a configuration that is not looked at yet.
const draftSuffix = ".new"

// write writes a configuration with what was found, in one step and only if it
// is one that load takes.
func (p *probeCmd) write(lines []*prober) error {
	draft := p.Write + draftSuffix
	if err := os.WriteFile(draft, []byte(p.draft(lines, time.Now())), 0o644); err != nil {
		return fmt.Errorf("--write: %w", err)
	}
	if _, err := load(draft); err != nil {
		return fmt.Errorf("--write: what was found makes no good configuration: %w", errors.Join(err, os.Remove(draft)))
	}
	if err := os.Rename(draft, p.Write); err != nil {
		return fmt.Errorf("--write: %w", err)
	}
	return nil
}

// draft returns the text of a configuration with what was found.
func (p *probeCmd) draft(lines []*prober, now time.Time) string {
	var b strings.Builder
	key := "key_file: /etc/kenshin/collector.pub # printed by kenshin-collector identity"
	if p.CollectorKey != "" {
		key = "key: " + strconv.Quote(p.CollectorKey)
	}
	fmt.Fprintf(&b, `# Made by kenshin-edge probe on %s.
# configs/edge.example.yaml explains every key.
edge: %s
data: %s
interval: 60s

broker:
  url: %s
  password: ${KENSHIN_EDGE_PASSWORD:-}
collector:
  %s
http:
  listen: 127.0.0.1:9464 # for kenshin-edge status
`, now.UTC().Format(time.DateOnly), p.Edge, strconv.Quote(p.Data), strconv.Quote(p.Broker), key)
	if p.Profiles != "" {
		fmt.Fprintf(&b, "profiles: %s\n", strconv.Quote(p.Profiles))
	}
	b.WriteString("\nbuses:\n")
	n := 0
	for _, q := range lines {
		if len(q.finds) > 0 {
			n++
			q.draft(&b, fmt.Sprintf("bus-%d", n))
		}
	}
	return b.String()
}

// draft writes the bus of an endpoint.
func (q *prober) draft(b *strings.Builder, name string) {
	fmt.Fprintf(b, "  - name: %s\n    endpoint: %s\n    timeout: %v\n", name, strconv.Quote(q.link.Endpoint), max(2*time.Second, q.link.Timeout))
	if q.link.ConnectDelay > 0 {
		fmt.Fprintf(b, "    connect_delay: %v\n", q.link.ConnectDelay)
	}
	if q.link.Gap > 0 {
		fmt.Fprintf(b, "    gap: %v\n", q.link.Gap)
	}
	b.WriteString("    devices:\n")
	for i := range q.finds {
		f := &q.finds[i]
		fmt.Fprintf(b, "      # %s\n", printable(f.match.Why))
		switch p := f.match.Profile; {
		case f.match.Guess:
			b.WriteString("      # GUESS: compare it with name plate and display before you believe it\n")
		case p != nil && !p.Verified:
			b.WriteString("      # UNVERIFIED profile: compare it with the display before you believe it\n")
		}
		fmt.Fprintf(b, "      - { id: %s, unit: %d, profile: %s", f.device.ID, f.unit, f.profile)
		if len(f.device.Bases) > 0 {
			fmt.Fprintf(b, ", bases: %v", f.device.Bases)
		}
		if f.device.Sub > 0 {
			fmt.Fprintf(b, ", sub: %d", f.device.Sub)
		}
		b.WriteString(" }\n")
	}
}
