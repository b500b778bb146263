// Package otlpsend sends an OTLP export request that is already encoded and
// compressed, and decides what the answer means. A request counts as delivered
// only if the answer proves to be an OTLP ack; a redirect is never followed.
//
// The package starts no goroutine and keeps no state between requests but
// connections.
package otlpsend

import (
	"context"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/receipt"
)

// Transport sends one request once. Send may be called concurrently; it reads
// f.Stored until Released is called, which may be after Send has returned.
type Transport interface {
	Send(ctx context.Context, f *Request) Answer
}

// Client is a Transport with connections of its own.
type Client interface {
	Transport
	// NotAfter returns when the server's certificate ends, as of the last
	// handshake, a failed one included; the zero time before the first, or
	// without TLS.
	NotAfter() time.Time
	// Close closes the connections. Send must not be called any more.
	Close()
}

// Compression is what a body is sent as. Stored it is always zstd.
type Compression string

// The compressions; anything but Zstd costs a decoding on every attempt.
const (
	Zstd Compression = "zstd"
	Gzip Compression = "gzip"
	None Compression = "none"
)

// Options are what both transports can do.
type Options struct {
	Compression Compression // empty: Zstd
	// Receipts returns the keys in force: an ack counts only with a receipt.
	// While it fails nothing is sent, because nothing could prove an ack. nil:
	// no receipt is demanded.
	Receipts func() (*receipt.Keys, error)
	// Leave is told, before fresh connections are opened after two failures in a
	// row, that the server in use should be avoided; may be nil.
	Leave func()
}

// Request is one attempt to send a frame.
type Request struct {
	Signal   frame.Signal
	Body     frame.Body          // one zstd frame of one export request
	RawSize  int64               // bytes of the export request before compression; a receipt is made over it
	Header   map[string]string   // lifeline-* headers
	Meta     map[string][]string // client metadata sent as headers; lower-case keys
	Released func()              // called exactly once, when Body is no longer read; may be nil
}

// Verdict is what an answer means for the request. The set is closed.
type Verdict uint8

// The verdicts, in the order of the table in docs/ARCHITECTURE.md.
const (
	Delivered Verdict = iota // an ack that proves itself
	Down                     // the path is down: back off, retry
	Broken                   // the path answers, but wrongly: hold the data, probe slowly
	TooLarge                 // split the request and send the halves
	BadData                  // the answer proves an OTLP server refused the data itself
)

// String returns the lower-case name of the verdict.
func (v Verdict) String() string {
	return [...]string{"delivered", "down", "broken", "too_large", "bad_data"}[v]
}

// Cause says why a request was not delivered. The set is closed: the same words
// stand in metrics, logs, flare manifests and on the status page.
type Cause string

// The causes.
const (
	CauseNone       Cause = ""
	CauseDNS        Cause = "dns"
	CauseRefused    Cause = "refused" // refused, reset, unreachable, EOF before an answer
	CauseTimeout    Cause = "timeout"
	CauseTLSExpired Cause = "tls_expired"
	CauseTLSOther   Cause = "tls_other"
	CauseProxy      Cause = "proxy"
	CauseNotAnAck   Cause = "not_an_ack"
	CauseAuth       Cause = "auth"
	CauseThrottled  Cause = "throttled"
	CauseServer     Cause = "server"
	CauseClient     Cause = "client"
)

// Answer is the outcome of one Send.
type Answer struct {
	Verdict    Verdict
	Cause      Cause         // CauseNone when delivered
	RetryAfter time.Duration // the server's floor under the next attempt; 0 when it named none
	Rejected   int64         // with Delivered: items the server refused by partial_success
	Message    string        // the server's own words, sanitised to one printable line of at most 256 bytes
	Date       time.Time     // the server's clock, if it answered over HTTP
	Window     int           // with Delivered: how many requests the server would have on their way; 0 when it does not say
	Err        error         // nil when delivered; names the status or the network error
}

// Overload reports whether the server asks for less or for later: that is about
// all requests, and never about this one.
func (a *Answer) Overload() bool {
	return (a.Verdict == Down || a.Verdict == Broken) && (a.Cause == CauseThrottled || a.RetryAfter > 0)
}
