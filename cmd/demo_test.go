package cmd

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestDemo runs the simulated demo as a visitor does: the page shows, live, what
// is printed at the end, and Ctrl-C ends it well.
func TestDemo(t *testing.T) {
	p := launch(t, t.TempDir(), binary(t, "kenshin-demo"), "-speed", "3600", "-json", "-addr", "127.0.0.1:0")
	page := strings.Fields(p.waitLine("  page", 20*time.Second))[1]
	ctx := browser(t)
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(page)); err != nil {
		t.Fatal(err)
	}
	const number = `Number((document.querySelector('[data-key="%"]')?.textContent ?? "0").replace(/[^0-9.]/g, ""))`
	for _, key := range []string{"power", "measured", "ER"} {
		expression := strings.ReplaceAll(number, "%", key) + " > 0"
		if _, err := chromedp.Run(ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(time.Minute))); err != nil {
			html, _ := chromedp.Run(ctx, chromedp.OuterHTML(chromedp.CSS("main")))
			t.Fatalf("%s does not rise above zero on the page: %v\n%.4000s", key, err, html)
		}
	}
	measured, err := chromedp.Run(ctx, chromedp.Evaluate[float64](strings.ReplaceAll(number, "%", "measured")))
	if err != nil {
		t.Fatal(err)
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("KENSHIN_SHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	if err := os.WriteFile(filepath.Join(dir, "demo.png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
	p.interrupt(30 * time.Second)
	var got totals
	if err := json.Unmarshal(p.stdout.Bytes(), &got); err != nil {
		t.Fatalf("totals: %v\n%s", err, p.stdout.Bytes())
	}
	end, err := json.Number(got.Measured).Float64()
	if err != nil || end < measured {
		t.Errorf("the page showed %v kWh, %q were printed at the end", measured, got.Measured)
	}
	if got.Project != "demo-pv" || got.Vintages["2026"]["ER_tCO2"] == "0" || len(got.Meters["inv-1"].Days) == 0 {
		t.Errorf("totals %+v", got)
	}
}

// browser returns a context with one tab of a headless Chromium.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		lacking(t, "chromium (Debian: apt-get install chromium)", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.Headless,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}
