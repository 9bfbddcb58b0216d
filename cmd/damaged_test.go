package cmd

import (
	"strings"
	"testing"
	"time"
)

// TestDamagedIsNotTheFoldersFault: what is damaged says so and how to mend it; it
// is no matter of permissions or space.
func TestDamagedIsNotTheFoldersFault(t *testing.T) {
	dir := t.TempDir()
	key := strings.Repeat("A", 43) + "="
	write(t, dir, "config.yaml", strings.ReplaceAll(strings.ReplaceAll(goodCollector, someKey, key), "DATA", "data"))
	write(t, dir, "project.yaml", strings.Replace(flowProject, "\n", "", 1))
	first := launch(t, dir, binary(t, "kenshin-collector"), "-config", "config.yaml") // there is a book, as when it happens
	first.waitLine("serving", time.Minute)
	first.interrupt(time.Minute)
	write(t, dir, "data/series.db", strings.Repeat("no database\n", 1000))
	p := launch(t, dir, binary(t, "kenshin-collector"), "-config", "config.yaml")
	code := p.wait(30 * time.Second)
	var said []string
	for l := range p.lines {
		said = append(said, l)
	}
	all := strings.Join(said, "\n")
	if code != 2 || !strings.Contains(all, "kenshin-collector rebuild") || strings.Contains(all, "folder it can write") {
		t.Errorf("exit code %d, %s; want 2, the remedy and nothing of the folder", code, all)
	}
}
