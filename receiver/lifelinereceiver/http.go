package lifelinereceiver

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

const (
	typeProto = "application/x-protobuf"
	typeJSON  = "application/json"
)

// httpServer takes requests over HTTP.
type httpServer struct {
	gateway  *gateway
	observer observer

	// Owned by Start and Shutdown.
	server *http.Server // nil: the protocol is off
	listener
}

func (s *httpServer) start(ctx context.Context, host component.Host) error {
	g := s.gateway
	if !g.cfg.Protocols.HTTP.HasValue() {
		return nil
	}
	cfg := *g.cfg.Protocols.HTTP.Get() // ToServer writes into it
	cfg.CompressionAlgorithms = []string{}
	mux := http.NewServeMux()
	for i, sink := range g.sinks {
		if signal := frame.Signal(i); sink != nil {
			mux.HandleFunc(signal.HTTPPath(), func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, signal) })
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeRefusal(w, r, unsupported(http.StatusNotFound, "no such path: OTLP/HTTP is served under /v1/traces, /v1/metrics and /v1/logs"))
	})
	server, err := cfg.ToServer(ctx, host.GetExtensions(), g.settings, mux, confighttp.WithErrorHandler(refuseEarly))
	if err != nil {
		return fmt.Errorf("protocols::http: %w", err)
	}
	ln, err := cfg.ToListener(ctx)
	if err != nil {
		return fmt.Errorf("protocols::http::endpoint: %w", err)
	}
	server.Handler = s.limitBody(server.Handler)
	s.server = server
	s.open(host, g.settings.Logger, "http", ln.Addr(), func() error { return server.Serve(ln) })
	return nil
}

// stop takes no more requests and waits for those there are, no longer than ctx.
func (s *httpServer) stop(ctx context.Context) {
	if s.server != nil {
		_ = s.server.Shutdown(ctx) // close ends what it leaves
	}
}

// close ends every connection.
func (s *httpServer) close() {
	if s.server != nil {
		_ = s.server.Close() // its listener was closed before
	}
	s.serving.Wait()
}

// limitBody gives the body of every request a deadline, also of those that are
// refused unread: the server reads on to the end of a small body before it
// serves the next request of the connection.
func (s *httpServer) limitBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.gateway.bodyTimeout()))
		next.ServeHTTP(w, r)
	})
}

// refuseEarly answers for what stands before the handler: authentication.
func refuseEarly(w http.ResponseWriter, r *http.Request, message string, code int) {
	refused := &refusal{code: codes.Internal, httpCode: code, message: message}
	if code == http.StatusUnauthorized {
		refused.code = codes.Unauthenticated
	}
	writeRefusal(w, r, refused)
}

func (s *httpServer) serve(w http.ResponseWriter, r *http.Request, signal frame.Signal) {
	g, arrived := s.gateway, time.Now()
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		writeRefusal(w, r, unsupported(http.StatusMethodNotAllowed, "only POST is served here"))
		return
	}
	mediaType := contentType(r)
	if mediaType != typeProto && mediaType != typeJSON {
		writeRefusal(w, r, unsupported(http.StatusUnsupportedMediaType, "the Content-Type must be "+typeProto+" or "+typeJSON))
		return
	}
	open, ok := decompressors[r.Header.Get("Content-Encoding")]
	if !ok {
		w.Header().Set("Accept-Encoding", "zstd, gzip, snappy, deflate, lz4")
		writeRefusal(w, r, unsupported(http.StatusUnsupportedMediaType, "unsupported encoding: use zstd, gzip, snappy, deflate, lz4 or none"))
		return
	}
	req := &request{
		signal: signal, format: formatProto, observer: s.observer, arrived: arrived, cert: peerCert(r.TLS),
		header:   func(name string) []string { return r.Header.Values(name) },
		deadline: func() (time.Time, bool) { return time.Time{}, false },
		limit:    g.cfg.maxHTTP(), open: open,
	}
	if mediaType == typeJSON {
		req.format = formatJSON
	}
	body := http.NewResponseController(w)
	req.begin = func() (int64, error) {
		if g.cfg.TrustFlareHeaders { // it may have waited for the lane
			_ = body.SetReadDeadline(time.Now().Add(g.bodyTimeout()))
		}
		return r.ContentLength, nil
	}
	req.read = func(held *reservation, length int64) ([]byte, error) {
		sent, err := readBody(r.Body, held, length, req.limit)
		if err == nil {
			// The server reads on, to see the client leave: that must not time out.
			_ = body.SetReadDeadline(time.Time{})
		}
		return sent, err
	}
	j, refused := g.handle(r.Context(), req)
	if refused != nil {
		writeRefusal(w, r, refused)
		return
	}
	answer, err := otlpcodec.Response(signal, j.rejected, j.message, mediaType == typeJSON)
	if err != nil {
		writeRefusal(w, r, errWrite)
		return
	}
	g.headAck(req, j, w.Header().Set)
	w.Header().Set("Content-Type", mediaType)
	_, _ = w.Write(answer) //nolint:gosec // protobuf or JSON, said so in its Content-Type
}

func contentType(r *http.Request) string {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return mediaType
}

// writeRefusal answers as OTLP/HTTP asks: with a google.rpc.Status in the
// encoding of the request. A caller that does not speak OTLP gets plain text.
func writeRefusal(w http.ResponseWriter, r *http.Request, refused *refusal) {
	st, pause := refused.status()
	if pause > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((pause+time.Second-1)/time.Second)))
	}
	answer, mediaType := []byte(refused.text()+"\n"), contentType(r)
	var err error
	switch mediaType {
	case typeProto:
		answer, err = proto.Marshal(st.Proto())
	case typeJSON:
		answer, err = protojson.Marshal(st.Proto())
	default:
		mediaType = "text/plain; charset=utf-8"
	}
	if err != nil {
		answer = nil // the status code alone says enough
	}
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(refused.httpCode)
	_, _ = w.Write(answer)
}
