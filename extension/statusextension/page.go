package statusextension

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"

	"github.com/otel-lifeline/lifeline/internal/status"
)

// Where the page is.
const (
	pagePath  = "/lifeline"
	jsonPath  = pagePath + ".json"
	stylePath = pagePath + ".css"
)

var (
	//go:embed page.html
	layout string
	//go:embed page.css
	style []byte

	page = template.Must(template.New("page").Parse(layout))
)

// content is all that a page shows.
type content struct {
	Collector string       `json:"collector"` // which program it is
	At        status.Value `json:"at"`
	Sections  []section    `json:"components"`
}

// newHandler serves the page, its style and its JSON, to GET and HEAD.
func newHandler(s *sources, build component.BuildInfo) http.Handler {
	read := func(r *http.Request) content {
		return content{Collector: build.Command + " " + build.Version, At: status.At(time.Now()), Sections: s.read(r.Context())}
	}
	asJSON := func(w http.ResponseWriter, r *http.Request) {
		text, err := json.MarshalIndent(read(r), "", " ")
		answer(w, "application/json", text, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", http.RedirectHandler(pagePath, http.StatusFound))
	mux.HandleFunc("GET "+jsonPath, asJSON)
	mux.HandleFunc("GET "+stylePath, func(w http.ResponseWriter, _ *http.Request) { answer(w, "text/css; charset=utf-8", style, nil) })
	mux.HandleFunc("GET "+pagePath, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		if accept := r.Header.Get("Accept"); strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html") {
			asJSON(w, r)
			return
		}
		var text bytes.Buffer
		err := page.Execute(&text, read(r))
		answer(w, "text/html; charset=utf-8", text.Bytes(), err)
	})
	return mux
}

// answer sends text, which a browser may neither keep, nor guess at, nor let do
// anything but look as our style says.
func answer(w http.ResponseWriter, contentType string, text []byte, err error) {
	if err != nil {
		http.Error(w, "the page could not be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	_, _ = w.Write(text) // who left does not read
}

// loopback reports whether only this host can reach addr.
func loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// ownNamesOnly refuses requests that came here under a name of somebody else: a
// web site could give itself the address 127.0.0.1, and let a browser of this host
// read the page for it.
func ownNamesOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Host
		if host, _, err := net.SplitHostPort(name); err == nil {
			name = host
		}
		if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err != nil && !strings.EqualFold(name, "localhost") {
			http.Error(w, "this page is for http://localhost and for addresses", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
