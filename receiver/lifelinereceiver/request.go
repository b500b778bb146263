package lifelinereceiver

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/client"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/receipt"
)

// The values of request.format, as the receiver's metrics know them.
const (
	formatProto = "protobuf"
	formatJSON  = "json"
)

// request is one export request, whatever protocol brought it.
type request struct {
	signal   frame.Signal
	format   string // protobuf or json
	observer observer
	arrived  time.Time
	cert     *x509.Certificate          // verified, of the client; nil without
	header   func(name string) []string // by lower-case name
	deadline func() (time.Time, bool)   // when the client gives up
	limit    int64                      // of its bytes, as sent and decompressed
	open     decompressor               // nil: not compressed; known after begin
	// begin returns how many bytes the client says it sends, -1 when it does not say.
	begin func() (int64, error)
	// read returns the body as it was sent, in a buffer that the reservation covers.
	read func(held *reservation, length int64) ([]byte, error)
	// patience is for bodies that block: their worker is left to itself when they
	// are too slow. It returns when the body is there, or done. nil: begin and read
	// have a clock of their own, so they run in the handler.
	patience func(answer context.Context, done <-chan struct{}) *refusal
}

// one returns the value of a header that was sent exactly once.
func (r *request) one(name string) string {
	if values := r.header(name); len(values) == 1 {
		return values[0]
	}
	return ""
}

// size returns the uncompressed size that the client says, -1 when it does not.
func (r *request) size() int64 {
	size, err := strconv.ParseInt(r.one(frame.HeaderSize), 10, 64)
	if err != nil || size < 0 {
		return -1
	}
	return size
}

// otherAudience returns an audience of the request that is not own, if there is one.
func (r *request) otherAudience(own string) (string, bool) {
	for _, sent := range r.header(frame.HeaderAudience) {
		if own != "" && sent != "" && sent != own {
			return sent, true
		}
	}
	return "", false
}

func (r *request) batchID() (frame.BatchID, bool) {
	return frame.ParseBatchID(r.one(frame.HeaderBatchID))
}

// identity digests who sent the request: the same bytes from someone else are
// another's.
func (r *request) identity() [sha256.Size]byte {
	h := sha256.New()
	for _, value := range r.header("authorization") {
		_, _ = h.Write([]byte(value)) // never fails, as documented by hash.Hash
		_, _ = h.Write([]byte{0})
	}
	if r.cert != nil {
		_, _ = h.Write(r.cert.Raw)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// claimedAgent returns what the request says about its agent; it is for people to
// read, not proven.
func (r *request) claimedAgent() string {
	if h, err := frame.ParseHeader(r.one(frame.HeaderFrame)); err == nil {
		return h.Agent
	}
	return ""
}

// clientMargin is how long before the client's own deadline it gets its answer.
const clientMargin = 500 * time.Millisecond

// answerBy returns when the client must have its answer.
func (g *gateway) answerBy(r *request) time.Time {
	by := r.arrived.Add(g.cfg.AckTimeout)
	if deadline, ok := r.deadline(); ok {
		left := deadline.Sub(r.arrived)
		if own := deadline.Add(-min(clientMargin, left/2)); own.Before(by) {
			return own
		}
	}
	return by
}

// bodyTimeout is how long the body of a request may take: less than ack_timeout,
// so that there is time left to write it.
func (g *gateway) bodyTimeout() time.Duration {
	return min(maxBodyTimeout, g.cfg.AckTimeout*3/4)
}

const maxBodyTimeout = 15 * time.Second

// handle takes a request from its headers to its answer: the job that was
// written, or a refusal.
func (g *gateway) handle(ctx context.Context, r *request) (job, *refusal) {
	ctx = r.observer.start(ctx, r.signal)
	j, refused := g.pass(ctx, r)
	var err error
	if refused != nil {
		err = refused
	}
	r.observer.end(ctx, r.signal, r.format, j.items, err)
	return j, refused
}

// pass does the work of handle. What recovery sends waits for room in its lane
// before anything of it is read.
func (g *gateway) pass(ctx context.Context, r *request) (job, *refusal) {
	if other, ok := r.otherAudience(g.cfg.Audience); ok {
		return job{}, wrongAudience(other)
	}
	answer, cancel := context.WithDeadline(ctx, g.answerBy(r))
	defer cancel()
	t := g.newTask(r, client.FromContext(ctx))
	if g.cfg.TrustFlareHeaders {
		if refused := g.lane.enter(answer, g.workers.closing); refused != nil {
			t.finish(refused)
			return job{}, refused
		}
		entered := time.Now()
		defer func() { g.lane.leave(entered, time.Now()) }()
	}
	return t.run(answer, ctx)
}

// headAck sets what goes with an ack besides its body.
func (g *gateway) headAck(r *request, j job, set func(name, value string)) {
	if proof := g.receipts.proof(r, j); proof != "" {
		set(receipt.Header, proof)
	}
	if g.cfg.TrustFlareHeaders {
		set(frame.HeaderWindow, strconv.Itoa(g.lane.room()))
	}
}
