package lifelinereceiver

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// request is one export request, whatever protocol brought it.
type request struct {
	signal   frame.Signal
	format   string // protobuf or json
	observer observer
	arrived  time.Time
	certCN   string                     // of the verified client certificate
	header   func(name string) []string // by lower-case name
	reserve  int64                      // bytes to reserve before the body is read
	read     func(ctx context.Context, r *reservation) ([]byte, error)
	deadline func() (time.Time, bool) // when the client gives up
}

// one returns the value of a header that was sent exactly once.
func (r *request) one(name string) string {
	if values := r.header(name); len(values) == 1 {
		return values[0]
	}
	return ""
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
func (g *gateway) handle(ctx context.Context, r *request) (*job, *refusal) {
	ctx = r.observer.start(ctx, r.signal)
	j, err := g.export(ctx, r)
	if err != nil {
		r.observer.end(ctx, r.signal, r.format, items(j), err)
		return nil, err
	}
	r.observer.end(ctx, r.signal, r.format, j.items, nil)
	return j, nil
}

func items(j *job) int64 {
	if j == nil {
		return 0
	}
	return j.items
}

// export does the work of handle. With a refusal it may return the job as well,
// when it got far enough to know it.
func (g *gateway) export(ctx context.Context, r *request) (*job, *refusal) {
	if sent := r.one(frame.HeaderAudience); sent != "" && g.cfg.Audience != "" && sent != g.cfg.Audience {
		return nil, wrongAudience(sent)
	}
	answer, cancel := context.WithDeadline(ctx, g.answerBy(r))
	defer cancel()

	held, err := g.admission.acquire(answer, r.reserve)
	if err != nil {
		return nil, errBusy
	}
	raw, err := r.read(answer, held)
	if err != nil {
		held.release()
		return nil, refuseBytes(err)
	}
	held.resize(int64(len(raw)))

	_, ownAgent := r.batchID()
	j, err := g.sinks[r.signal](raw, ownAgent)
	if err != nil {
		held.release()
		return nil, refuseBytes(err)
	}
	info := client.FromContext(ctx)
	md := g.clientMetadata(r, info, raw)
	done := make(chan error, 1)
	// The write keeps the client's values, but neither its deadline nor its
	// cancellation: one client that goes away would fail the records of others
	// that share a Kafka batch with it.
	detached := context.WithoutCancel(ctx)
	if !g.goWrite(func() {
		defer held.release()
		done <- j.write(detached, info, md)
	}) {
		held.release()
		return j, errClosing
	}
	return j, g.await(answer, ctx, r.signal, j, done)
}

// await waits for a write, but only as long as the client does.
func (g *gateway) await(answer, request context.Context, s frame.Signal, j *job, done <-chan error) *refusal {
	select {
	case err := <-done:
		if err != nil {
			g.explain(s, err)
			return refuseWrite(err, j.decoded)
		}
		return nil
	case <-answer.Done():
		if request.Err() != nil {
			return errGone
		}
		return errLate
	}
}

// explain logs the two errors of Kafka that do not heal by trying again and
// that the exporter's own log line does not explain.
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
	}
}
