// Package api answers over HTTP what a collector knows: projects and their
// meters, the totals of a period, the latest readings, the state of deliveries.
//
// It promises that figures leave as they were computed: every number is a decimal
// string with all its digits, a value that is not available is null and says why,
// and the totals of a period are the very JSON that the commands print. Errors are
// RFC 9457 problems that say what there is instead. All calls read but one, which
// puts in an amount that no meter gave; it is there only with a token of its own.
//
// The description is OpenAPI 3.1 at /openapi.json. Listening, TLS and the page are
// left to others.
package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"

	"kenshin/calc"
	"kenshin/edge/wire"
)

// Figures gives projects and what was computed for them.
type Figures interface {
	Projects(ctx context.Context) ([]*calc.Project, error)
	// Report returns the figures of a period as they are settled now; period
	// counts from 0.
	Report(ctx context.Context, project string, period int) (*calc.Report, error)
	// Latest returns the newest sample of every series.
	Latest(ctx context.Context) ([]wire.Sample, error)
	Stalled() error // why figures stand still at present; nil when they do not
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
	// Tile returns a tile of the tree that this note signs: width hashes of 32 bytes;
	// Leaves what the hashes of a tile of level 0 are of. Both return nil for what
	// the tree does not have.
	Tile(level int, n int64, width int) ([]byte, error)
	Leaves(n int64, width int) ([]byte, error)
}

// Config names everything an API needs. Every field is required but Inputs and the tokens.
type Config struct {
	Figures    Figures
	Charts     Charts
	Deliveries Deliveries
	Book       Book
	Metrics    http.Handler // answers /metrics
	Broker     func() error // why no message can come at present; nil when they can
	Inputs     Inputs       // wanted with InputToken
	Token      string       // asked of every call but /healthz when set, see Guard
	InputToken string       // asked of the calls that put inputs in and withdraw them; without one there are no such calls
	Version    string       // of the program
	Log        *zap.Logger
}

// server answers the calls.
type server struct {
	cfg Config
}

// New returns the handler of /api/, /log/, /openapi.json, /healthz, /readyz and
// /metrics. Other paths are not found.
func New(cfg Config) (http.Handler, error) {
	if cfg.Figures == nil || cfg.Charts == nil || cfg.Deliveries == nil || cfg.Book == nil || cfg.Metrics == nil || cfg.Broker == nil || cfg.Log == nil || cfg.InputToken != "" && cfg.Inputs == nil {
		return nil, errors.New("api: a field of the configuration is missing")
	}
	s := &server{cfg}
	mux := http.NewServeMux()
	c := huma.DefaultConfig("Kenshin", cfg.Version)
	c.Info.Description = description
	c.DocsPath = ""     // the library's page loads scripts from elsewhere
	c.SchemasPath = ""  // all schemas stand in the description
	c.CreateHooks = nil // the library would add $schema to every answer
	c.OpenAPIPath = ""  // .json only, see openAPI
	c.FieldsOptionalByDefault = false
	if cfg.Token != "" {
		c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
		c.Security = []map[string][]string{{"token": {}}}
	}
	if cfg.InputToken != "" {
		if c.Components.SecuritySchemes == nil {
			c.Components.SecuritySchemes = make(map[string]*huma.SecurityScheme)
		}
		c.Components.SecuritySchemes["input"] = &huma.SecurityScheme{Type: "http", Scheme: "bearer"}
	}
	h := humago.New(mux, c)
	s.projects(h)
	s.figures(h)
	s.charts(h)
	s.state(h)
	s.inputs(h)
	if err := s.openAPI(mux, h); err != nil {
		return nil, err
	}
	mux.Handle("GET /metrics", cfg.Metrics)
	s.logRoutes(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		get := &http.Request{Method: http.MethodGet, Host: r.Host, URL: r.URL}
		if _, pattern := mux.Handler(get); pattern != "/" {
			w.Header().Set("Allow", "GET, HEAD")
			problem(w, http.StatusMethodNotAllowed, r.URL.Path+" is only read: want GET")
			return
		}
		problem(w, http.StatusNotFound, "there is no "+r.URL.Path+"; /openapi.json describes what there is")
	})
	guarded := Guard(cfg.Token, mux)
	writing := guarded
	if cfg.InputToken != "" {
		writing = Guard(cfg.InputToken, mux)
	}
	return open(mux, guarded, writing), nil
}

const description = `What a Kenshin collector knows. Numbers are decimal strings with all their digits. Times are milliseconds since 1970 UTC or RFC 3339. A value that is not available is null; its quality and reason say why. Figures are provisional until the period is sealed. The hashes of the book are at /log/, as C2SP tlog-tiles has them.`

// open lets /healthz and the hashes of the book through to anyone, and what is put
// or withdrawn to those who may write.
func open(all, guarded, writing http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if r.URL.Path == "/healthz" || public(r.URL.Path) {
			all.ServeHTTP(w, r)
			return
		}
		if r.Method == http.MethodPut || r.Method == http.MethodDelete {
			writing.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// openAPI serves the description, made once. /metrics is not of the library's
// making and is added by hand.
func (s *server) openAPI(mux *http.ServeMux, h huma.API) error {
	h.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "metrics", Method: http.MethodGet, Path: "/metrics", Tags: []string{"operation"},
		Summary:   "Metrics for Prometheus",
		Responses: map[string]*huma.Response{"200": {Description: "Text exposition format", Content: map[string]*huma.MediaType{"text/plain": {}}}},
	})
	text, err := h.OpenAPI().MarshalJSON()
	if err != nil {
		return err
	}
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(text) // the client is gone
	})
	return nil
}

// internal logs what went wrong here and keeps it from the caller.
func (s *server) internal(err error) error {
	if !errors.Is(err, context.Canceled) { // the caller is gone
		s.cfg.Log.Error("api", zap.Error(err))
	}
	return huma.Error500InternalServerError("the collector could not answer; its log says why")
}
