// Package passthrough hands encoded export requests from the lifeline receiver
// to the lifeline exporter of the same process. Between the two is a pipeline of
// the Collector, which carries log records and nothing else: so an empty record,
// the envelope, goes through it, and the bytes go along in the context.
//
// A request counts as delivered only if a lifeline exporter took its bytes. Where
// none does, because something between the two loses the context, as a batch
// processor does, or an exporter takes the envelope for a log record, it is an
// error on both sides, and no loss. Where one does, other branches of the pipeline
// have nothing to deliver: internal/ackrules refuses them.
//
// The package has no goroutines.
package passthrough

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

var (
	// ErrBetween means that an envelope and its bytes have parted.
	ErrBetween = errors.New("something stands between the lifeline receiver in passthrough and the lifeline exporter: " +
		"remove the processors of the pipeline, and every exporter that is not lifeline; or use the otlp receiver to process telemetry on its way")
	// ErrTooLarge is in the chain of an error about a request that an agent may send
	// again in smaller parts.
	ErrTooLarge = errors.New("larger than max")
)

// scope marks envelopes. No client knows it, so no log record of a client is ever
// taken for one.
var scope = "lifeline/passthrough/" + frame.RandomHex()

// Request is an encoded export request that is lent for one call. Its methods may
// be called concurrently.
type Request struct {
	Signal frame.Signal
	Items  int64

	mu sync.Mutex
	// mu guards the following, and is held while somebody reads raw.
	raw   []byte // nil when the call has ended
	taken bool
}

type key struct{}

// Hand calls consume with an envelope and lends it the bytes of p, a request of s
// that has items. They are the caller's own again when Hand returns. It returns
// the error of consume, and ErrBetween if nobody took the bytes.
func Hand(ctx context.Context, s frame.Signal, p otlpcodec.Piece, consume func(context.Context, plog.Logs) error) error {
	r := &Request{Signal: s, Items: p.Items, raw: p.Raw}
	defer r.end()
	if err := consume(context.WithValue(ctx, key{}, r), envelope()); err != nil {
		return err
	}
	if !r.end() {
		return ErrBetween
	}
	return nil
}

// end takes the bytes back and reports whether somebody took them.
func (r *Request) end() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw = nil
	return r.taken
}

// Take calls do with the bytes of the request, which do must neither change nor
// keep, and returns its error. nil means that do answers for them from now on.
func (r *Request) Take(do func(raw []byte) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.raw == nil {
		return ErrBetween // whoever kept ctx for later answered before
	}
	if err := do(r.raw); err != nil {
		return err
	}
	r.taken = true
	return nil
}

func envelope() plog.Logs {
	ld := plog.NewLogs()
	sl := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	sl.Scope().SetName(scope)
	sl.LogRecords().AppendEmpty()
	return ld
}

// FromContext returns the request that ld is the envelope of, nil if ld is what
// it looks like. It returns ErrBetween for an envelope without its request, and
// the other way round.
func FromContext(ctx context.Context, ld plog.Logs) (*Request, error) {
	r, _ := ctx.Value(key{}).(*Request)
	envelopes := 0
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			if sl.Scope().Name() == scope {
				envelopes++
			}
		}
	}
	switch {
	case r == nil && envelopes == 0:
		return nil, nil
	case r != nil && envelopes == 1 && ld.LogRecordCount() == 1:
		return r, nil
	}
	return nil, ErrBetween
}
