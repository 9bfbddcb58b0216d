package web

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browser returns a context with one tab of a headless chromium. The test is
// skipped where there is none, but not when CI=true.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("no chromium; install chromium (Debian: apt-get install chromium)")
		}
		t.Skip("install chromium (Debian: apt-get install chromium)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // a cold start on a busy machine takes 20 s
	t.Cleanup(cancel)
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.Headless,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// complaints collects what the browser's console says.
func complaints(ctx context.Context) func() []string {
	var mu sync.Mutex
	var out []string
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			mu.Lock()
			out = append(out, m.String())
			mu.Unlock()
		}
	}()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), out...)
	}
}

func waitFor(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(30*time.Second))); err != nil {
		html, _ := chromedp.Run(ctx, chromedp.OuterHTML(chromedp.CSS("main")))
		t.Fatalf("waiting for %s: %v\n%.3000s", expression, err, html)
	}
}

func shoot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("KENSHIN_SHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	if err := os.WriteFile(filepath.Join(dir, name), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBrowser(t *testing.T) {
	ctx := browser(t)
	said := complaints(ctx)
	f := newFake()
	p := newPage(t, f)
	server := httptest.NewServer(p)
	defer server.Close()
	defer p.Close() // a server waits for its streams

	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(server.URL)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, ctx, `document.getElementById("live") && !document.getElementById("live").hidden`)
	waitFor(t, ctx, `document.querySelector('[data-key="power"]').textContent === "54.7515"`)
	waitFor(t, ctx, `document.getElementById("said").textContent.includes("54.7515 kW")`)
	shoot(t, ctx, "desktop.png")

	f.change(func() { // a number changes
		f.samples[0].Number = dec("17000")
		f.now = f.now.Add(2 * time.Second)
	})
	waitFor(t, ctx, `document.querySelector('[data-key="power"]').textContent === "53.501"`)
	waitFor(t, ctx, `document.querySelector('[data-key="at"]').textContent === "2026-06-20 11:42:09"`)

	f.change(func() { // a value is lost
		f.samples[0].Quality = 1
		f.samples[0].Number = dec("0")
	})
	waitFor(t, ctx, `document.querySelector('[data-key="meter-inv-1-power"]').textContent === "not available"`)
	waitFor(t, ctx, `document.querySelector('[data-key="meter-inv-1-power"]').dataset.state === "bad"`)
	waitFor(t, ctx, `document.querySelector('[data-key="power-note"]').textContent === "from 2 of 3 meters only"`)

	if err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS("#days summary"))); err != nil {
		t.Fatal(err)
	}
	f.change(func() { // the next day, a row more
		f.now = f.now.Add(24 * time.Hour)
	})
	waitFor(t, ctx, `document.querySelector('[data-key="day-2026-06-21"]')?.textContent === "no reading"`)
	waitFor(t, ctx, `document.getElementById("days").open && document.querySelectorAll("main").length === 1`)
	waitFor(t, ctx, `document.querySelector('rect[data-key="bar-2026-06-21"]').getAttribute("height") === "0.00"`)

	if err := chromedp.Do(ctx, chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile), chromedp.Navigate(server.URL+"/projects/demo-pv")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, ctx, `document.documentElement.scrollWidth <= 390`)
	shoot(t, ctx, "phone.png")
	if got := said(); len(got) > 0 {
		t.Errorf("the console says %s", strings.Join(got, "; "))
	}

	server.Listener.Close()
	p.Close()
	waitFor(t, ctx, `!document.getElementById("lost").hidden && document.getElementById("lost").textContent.includes("lost since 2026-06-21 11:42:09")`)
	waitFor(t, ctx, `document.getElementById("live").hidden`)
	shoot(t, ctx, "lost.png")
}
