package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// write writes a configuration with what was found, in one step and only if it
// is one that load takes.
func (q *prober) write() error {
	draft := q.cmd.Write + ".new"
	if err := os.WriteFile(draft, []byte(q.draft(time.Now())), 0o644); err != nil {
		return fmt.Errorf("--write: %w", err)
	}
	if _, err := load(draft); err != nil {
		return fmt.Errorf("--write: what was found makes no good configuration: %w", errors.Join(err, os.Remove(draft)))
	}
	if err := os.Rename(draft, q.cmd.Write); err != nil {
		return fmt.Errorf("--write: %w", err)
	}
	return nil
}

// draft returns the text of a configuration with what was found.
func (q *prober) draft(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Made by kenshin-edge probe %s on %s.
# configs/edge.example.yaml explains every key.
edge: %s
data: /var/lib/kenshin-edge
interval: 60s

broker:
  url: tcp://127.0.0.1:1883 # put in yours
  password: ${KENSHIN_EDGE_PASSWORD:-}
collector:
  key_file: /etc/kenshin/collector.pub # printed by kenshin-collector identity
http:
  listen: 127.0.0.1:9464 # for kenshin-edge status
`, q.cmd.Target, now.UTC().Format(time.DateOnly), q.cmd.Edge)
	if q.cmd.Profiles != "" {
		fmt.Fprintf(&b, "profiles: %s\n", strconv.Quote(q.cmd.Profiles))
	}
	fmt.Fprintf(&b, "\nbuses:\n  - name: bus-1\n    endpoint: %s\n    timeout: %v\n", strconv.Quote(q.link.Endpoint), max(2*time.Second, q.cmd.Timeout))
	if q.cmd.Delay > 0 {
		fmt.Fprintf(&b, "    connect_delay: %v\n", q.cmd.Delay)
	}
	if q.cmd.Gap > 0 {
		fmt.Fprintf(&b, "    gap: %v\n", q.cmd.Gap)
	}
	b.WriteString("    devices:\n")
	for i := range q.finds {
		f := &q.finds[i]
		fmt.Fprintf(&b, "      # %s\n", printable(f.match.Why))
		if f.match.Guess {
			b.WriteString("      # compare it with the device before you believe it\n")
		}
		fmt.Fprintf(&b, "      - { id: %s, unit: %d, profile: %s", f.device.ID, f.unit, f.profile)
		if f.device.Sub > 0 {
			fmt.Fprintf(&b, ", sub: %d", f.device.Sub)
		}
		b.WriteString(" }\n")
	}
	return b.String()
}
