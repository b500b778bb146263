package lifelinereceiver

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
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
	certCN   string                     // of the verified client certificate
	header   func(name string) []string // by lower-case name
	deadline func() (time.Time, bool)   // when the client gives up
	limit    int64                      // of its bytes, as sent and decompressed
	open     decompressor               // nil: not compressed; known after begin
	// begin returns how many bytes the client says it sends, -1 when it does not say.
	begin func(ctx context.Context) (int64, error)
	// read returns the body as it was sent, in memory that the reservation covers.
	read func(ctx context.Context, held *reservation, length int64) ([]byte, error)
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
	j, refused := g.export(ctx, r)
	var err error
	if refused != nil {
		err = refused
	}
	r.observer.end(ctx, r.signal, r.format, j.items, err)
	return j, refused
}

// export does the work of handle. The job of a refused request is what is known
// of it: nothing before it was understood.
func (g *gateway) export(ctx context.Context, r *request) (job, *refusal) {
	if other, ok := r.otherAudience(g.cfg.Audience); ok {
		return job{}, wrongAudience(other)
	}
	answer, cancel := context.WithDeadline(ctx, g.answerBy(r))
	defer cancel()

	held, sent, err := g.take(answer, r)
	if err != nil {
		return job{}, refuseBytes(err)
	}
	j, raw, err := g.understand(answer, r, held, sent)
	if err != nil {
		held.release()
		return job{}, refuseBytes(err)
	}
	info := client.FromContext(ctx)
	md := g.clientMetadata(r, info, raw)
	done := make(chan error, 1)
	// The write keeps the client's values, but neither its deadline nor its
	// cancellation: one client that goes away would fail the records of others
	// that share a Kafka batch with it.
	detached := context.WithoutCancel(ctx)
	if !g.run(&g.writes, func() {
		defer held.release()
		err := j.write(detached, info, md)
		g.explain(r.signal, err)
		done <- err
	}) {
		held.release()
		return j, errClosing
	}
	return j, await(answer, ctx, j.decoded, done)
}

// take reads the body of a request as it was sent. What it reserves covers it,
// and what will come out of it as far as the client says.
func (g *gateway) take(answer context.Context, r *request) (*reservation, []byte, error) {
	length, err := r.begin(answer)
	if err != nil {
		return nil, nil, err
	}
	size := r.size()
	if length > r.limit || size > r.limit {
		return nil, nil, errLarge
	}
	reserve := length
	if length < 0 {
		reserve = step
	}
	if r.open != nil {
		reserve += max(size, 0)
	}
	held, err := g.admission.acquire(answer, reserve)
	if err != nil {
		return nil, nil, errBusy
	}
	sent, err := r.read(answer, held, length)
	if err != nil {
		held.release()
		return nil, nil, err
	}
	return held, sent, nil
}

// understand makes a job of the bytes that were sent, and returns its protobuf.
// What small bytes can blow up happens here, and for one request per processor.
func (g *gateway) understand(answer context.Context, r *request, held *reservation, sent []byte) (j job, raw []byte, err error) {
	select {
	case g.processors <- struct{}{}:
		defer func() { <-g.processors }()
	case <-answer.Done():
		return job{}, nil, errBusy
	}
	size := r.size()
	if raw = sent; r.open != nil {
		if raw, err = unpack(sent, r.open, held, size, r.limit); err != nil {
			return job{}, nil, err
		}
	}
	if size >= 0 && size != int64(len(raw)) {
		return job{}, nil, errSize
	}
	if r.format == formatJSON {
		if err = held.need(jsonMemory(raw)); err != nil {
			return job{}, nil, err
		}
		if raw, err = otlpcodec.FromJSON(r.signal, raw); err != nil {
			return job{}, nil, err
		}
	}
	held.resize(int64(cap(raw)))
	_, ownAgent := r.batchID()
	j, err = g.sinks[r.signal](raw, ownAgent, held)
	return j, raw, err
}

// await waits for a write, but only as long as the client does.
func await(answer, request context.Context, decoded bool, done <-chan error) *refusal {
	select {
	case err := <-done:
		if err != nil {
			return refuseWrite(err, decoded)
		}
		return nil
	case <-answer.Done():
		if request.Err() != nil {
			return errGone
		}
		return errLate
	}
}

// explain logs what nobody else explains: the two errors of Kafka that do not
// heal by trying again, and a panic.
func (g *gateway) explain(s frame.Signal, err error) {
	topic := zap.String("topic", g.cfg.Passthrough.topic(s))
	switch {
	case errors.Is(err, kerr.MessageTooLarge):
		g.log.Error("The broker refuses a batch as too large. Raise the topic's max.message.bytes, "+
			"or lower passthrough::max_message_bytes and the exporter's producer::max_message_bytes.",
			topic, zap.Stringer("max_message_bytes", g.cfg.Passthrough.MaxMessageBytes), zap.Error(err))
	case errors.Is(err, kerr.UnknownTopicID):
		g.log.Error("The topic was deleted and made again. This process cannot write to it any more: restart it.",
			topic, zap.Error(err))
		componentstatus.ReportStatus(g.host, componentstatus.NewPermanentErrorEvent(err))
	case errors.Is(err, errPanic):
		g.log.Error("The pipeline behind the receiver panicked. The client keeps its data and tries again.", zap.Error(err))
	}
}
