package api

import "net/http"

// Mount puts the API and a page on one handler: the paths that New names go to
// the API, which asks for its token itself, all others to the page.
func Mount(figures, page http.Handler) http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/api/", "/log/", "/openapi.json", "/healthz", "/readyz", "/metrics"} {
		mux.Handle(path, figures)
	}
	mux.Handle("/", page)
	return mux
}
