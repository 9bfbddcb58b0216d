// Package web is the page: what each project makes now, what of it can be
// claimed, what cannot and why, and how to check it without trusting the page.
//
// It promises that a number on the page is the number of the report, with all its
// digits and its unit; that what is not available says so and never reads 0; that
// the page is complete without script and follows the collector within a second
// or so with it; and that it loads nothing from anywhere else. Between two
// messages of the collector no number moves.
//
// It only reads. Who may see it is left to whoever puts it on a server.
package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"path"
	"strconv"
	"sync"
	"time"

	"github.com/shopspring/decimal"
	"go.uber.org/zap"

	"kenshin/calc"
	"kenshin/edge/wire"
)

// Figures gives projects and what was computed for them.
type Figures interface {
	Projects(ctx context.Context) ([]*calc.Project, error)
	// Recent returns the figures of a period as they are settled now, with its days
	// from one on and without events; period counts from 0.
	Recent(ctx context.Context, project string, period int, from calc.Date) (*calc.Report, error)
	// Latest returns the newest sample of every series.
	Latest(ctx context.Context) ([]wire.Sample, error)
	Stalled() error // why figures stand still at present; nil when they do not
}

// Charts gives what long charts show.
type Charts interface {
	// Days returns the energy in kWh of each local day of a period on which something
	// was read, and where it comes from: a copy or the series store. why says what the
	// copies lack when it is none of them. period counts from 0.
	Days(ctx context.Context, project string, period int) (source, why string, days map[string]decimal.Decimal, err error)
}

// Deliveries tells what has arrived.
type Deliveries interface {
	// Edges calls fn for every registered edge in the order of their ids: records
	// 1 to through of the epoch are durable, and the last message came at
	// received, ms UTC, 0 when none has.
	Edges(ctx context.Context, fn func(id string, epoch wire.Epoch, through uint64, received int64)) error
}

// Book tells the state of the store of record.
type Book interface {
	Size() uint64           // records
	LastCheckpoint() string // the newest signed note, "" when there is none yet
}

// Live tells when figures may have changed.
type Live interface {
	// Subscribe returns a channel that gets a value at each change; one that is
	// not taken in time stands for all that follow. cancel ends it.
	Subscribe() (ch <-chan struct{}, cancel func())
}

// Copy is a server elsewhere that is given what was settled.
type Copy struct {
	Name   string
	Health string // "up", or what is wrong
	Words  string // of the server, when it is not up
	Behind uint64 // records it has not been given yet
}

// Config names everything a Page needs. Every field but Copies is required.
type Config struct {
	Figures    Figures
	Charts     Charts
	Deliveries Deliveries
	Book       Book
	Live       Live
	Copies     func() []Copy    // nil when there are none
	Now        func() time.Time // the clock that ages are told by
	Version    string           // of the program
	Log        *zap.Logger
}

//go:embed page.html static
var files embed.FS

// policy lets the page load its own two files and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Page answers the page, its files and its event stream.
type Page struct {
	cfg    Config
	mux    *http.ServeMux
	html   *template.Template
	static map[string]string // file to path; the path changes with the content

	once   sync.Once
	closed chan struct{}
	room   chan struct{} // a place for every stream that may be open

	mu    sync.Mutex // guards drawn
	drawn map[string]longChart
}

// New returns the handler of /, /projects/, /events and /static/.
func New(cfg Config) (*Page, error) {
	if cfg.Figures == nil || cfg.Charts == nil || cfg.Deliveries == nil || cfg.Book == nil || cfg.Live == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("web: a field of the configuration is missing")
	}
	p := &Page{cfg: cfg, mux: http.NewServeMux(), static: make(map[string]string), drawn: make(map[string]longChart), closed: make(chan struct{}), room: make(chan struct{}, maxStreams)}
	for _, name := range []string{"app.css", "app.js"} {
		if err := p.serveStatic(name); err != nil {
			return nil, err
		}
	}
	var err error
	p.html, err = template.New("page.html").Funcs(template.FuncMap{"static": func(name string) string { return p.static[name] }}).ParseFS(files, "page.html")
	if err != nil {
		return nil, err
	}
	p.mux.HandleFunc("GET /{$}", p.page)
	p.mux.HandleFunc("GET /projects/{project}", p.page)
	p.mux.HandleFunc("GET /events", p.stream)
	return p, nil
}

// serveStatic answers a file under a name that holds its hash, so that a browser
// may keep it for good.
func (p *Page) serveStatic(name string) error {
	text, err := files.ReadFile("static/" + name)
	if err != nil {
		return err
	}
	ext := path.Ext(name)
	at := fmt.Sprintf("/static/%s-%.6x%s", name[:len(name)-len(ext)], sha256.Sum256(text), ext)
	p.static[name] = at
	p.mux.HandleFunc("GET "+at, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mime.TypeByExtension(ext))
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = w.Write(text) // the browser is gone
	})
	return nil
}

// ServeHTTP answers one request.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	p.mux.ServeHTTP(w, r)
}

// Close ends the event streams, which no graceful shutdown of a server waits for.
// Hand it to http.Server.RegisterOnShutdown.
func (p *Page) Close() { p.once.Do(func() { close(p.closed) }) }

// page answers the whole page of a project and period.
func (p *Page) page(w http.ResponseWriter, r *http.Request) {
	v, err := p.view(r)
	if err != nil {
		p.refuse(w, err)
		return
	}
	if err := p.long(r.Context(), v); err != nil {
		p.refuse(w, err)
		return
	}
	var out bytes.Buffer
	if err := p.html.Execute(&out, v); err != nil {
		p.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(out.Bytes()) // the browser is gone
}

// notFound is what was asked for and is not there.
type notFound string

func (n notFound) Error() string { return string(n) }

func (p *Page) refuse(w http.ResponseWriter, err error) {
	var n notFound
	switch {
	case errors.As(err, &n):
		http.Error(w, n.Error(), http.StatusNotFound)
	case errors.Is(err, context.Canceled):
	default:
		p.cfg.Log.Error("page", zap.Error(err))
		http.Error(w, "the collector could not answer; its log says why", http.StatusInternalServerError)
	}
}

// view gathers what a request shows: ?period=N counts from 1; without it, the
// period that runs now.
func (p *Page) view(r *http.Request) (*view, error) {
	reference := r.PathValue("project")
	if reference == "" {
		reference = r.URL.Query().Get("project")
	}
	period := 0
	if text := r.URL.Query().Get("period"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, notFound(fmt.Sprintf("period %q: want a number from 1", text))
		}
		period = n
	}
	return p.gather(r.Context(), reference, period)
}
