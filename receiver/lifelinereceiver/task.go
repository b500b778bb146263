package lifelinereceiver

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/client"

	"github.com/otel-lifeline/lifeline/internal/inflight"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// task is the work for one request. A worker does it, in receive and write; the
// handler waits for it, but only as long as the client does. So the work may
// outlive the answer: a write is never given up because a client has left, for
// that would fail the records of others that share a Kafka batch with it.
type task struct {
	gateway *gateway
	request *request
	info    client.Info
	flight  *inflight.Flight

	// Owned by whoever runs receive and write.
	held *reservation
	came time.Time // when all of it was here
	job  job
	sum  digest // of the request as uncompressed protobuf, if it makes a batch id or proves one

	known   atomic.Pointer[job] // what receive found out
	done    chan struct{}       // closed when all is done
	refused *refusal            // set before; nil: written
}

// newTask enters the request in the list of those in flight, where it is until finish.
func (g *gateway) newTask(r *request, info client.Info) *task {
	agent := g.agent(r, info)
	if agent == "" {
		agent = r.claimedAgent()
	}
	return &task{
		gateway: g, request: r, info: info, done: make(chan struct{}),
		flight: g.inflight.Add(r.signal, info.Addr, agent, r.arrived),
	}
}

// run does the work and waits for it, but only as long as the client does. The
// pipeline gets the values of request.
func (t *task) run(answer, request context.Context) (job, *refusal) {
	w, r := t.gateway.workers, t.request
	if r.patience == nil {
		if t.ready(t.receive(answer)) {
			w.run(func() { t.write(answer, request) })
		}
		return t.await(answer, request)
	}
	if !w.begin(&w.reads) {
		t.finish(errClosing)
		return t.await(answer, request)
	}
	w.run(func() {
		ready := t.ready(t.receive(answer))
		w.reads.Done()
		if ready {
			t.write(answer, request)
		}
	})
	if slow := r.patience(answer, t.done); slow != nil {
		return job{}, slow
	}
	return t.await(answer, request)
}

// finish tells the handler how the work ended.
func (t *task) finish(refused *refusal) {
	t.flight.Done()
	t.refused = refused
	close(t.done)
}

// receive reads the request and makes a job of it. It ends early when answer
// does, but for a body that blocks: that ends with the handler.
func (t *task) receive(answer context.Context) error {
	sent, err := t.take(answer)
	if err == nil {
		t.came = time.Now()
		if err = t.understand(answer, sent); err == nil {
			t.known.Store(&t.job)
			return nil
		}
		t.held.release()
	}
	return err
}

// take reads the body of the request as it was sent. What it reserves covers it,
// and what will come out of it as far as the client says.
func (t *task) take(answer context.Context) ([]byte, error) {
	r := t.request
	length, err := r.begin()
	if err != nil {
		return nil, err
	}
	size := r.size()
	if length > r.limit || size > r.limit {
		return nil, errLarge
	}
	reserve := copies * length
	switch {
	case length < 0:
		reserve = step
	case r.open != nil:
		reserve = max(length+max(size, 0), copies*size)
	}
	if t.held, err = t.gateway.admission.acquire(answer, reserve); err != nil {
		return nil, errBusy
	}
	t.flight.Move(inflight.Reading, reserve)
	sent, err := r.read(t.held, length)
	if err != nil {
		t.held.release()
		return nil, err
	}
	return sent, nil
}

// understand makes a job of the bytes that were sent, which it frees. What small
// bytes can blow up happens here, and for one request per processor.
func (t *task) understand(answer context.Context, sent []byte) (err error) {
	g, r := t.gateway, t.request
	if err := g.admission.takeProcessor(answer); err != nil {
		return err
	}
	defer g.admission.giveProcessor()
	raw, size := sent, r.size()
	defer func() {
		if t.job.raw == nil {
			freeBuffer(raw)
		}
	}()
	if r.open != nil {
		if raw, err = unpack(sent, r.open, t.held, size, r.limit); err != nil {
			return err
		}
		freeBuffer(sent)
	}
	if size >= 0 && size != int64(len(raw)) {
		return errSize
	}
	if r.format == formatJSON {
		if err = t.held.need(jsonMemory(raw)); err != nil {
			return err
		}
		text := raw
		if raw, err = otlpcodec.FromJSON(r.signal, text); err != nil {
			return err
		}
		freeBuffer(text)
	}
	_, ownAgent := r.batchID()
	if t.job, err = g.sinks[r.signal](raw, ownAgent, t.held); err != nil {
		return err
	}
	t.job.size = int64(len(raw))
	switch {
	case ownAgent:
		t.sum = keyedDigest(raw)
	case !g.cfg.Passthrough.ToLifeline():
		t.sum = publicDigest(raw)
	}
	return nil
}

// release gives back what the job held in memory. Nobody reads it any more.
func (t *task) release() {
	freeBuffer(t.job.raw)
	t.held.release()
}

// ready ends the task if receive has failed or the gateway is closing, else it
// reports true: write has to be called.
func (t *task) ready(err error) bool {
	switch {
	case err != nil:
		t.finish(refuseBytes(err))
	case !t.gateway.workers.begin(&t.gateway.workers.writes):
		t.release()
		t.finish(errClosing)
	default:
		return true
	}
	return false
}

// write writes the job, or joins the write of the same batch, and finishes. The
// write has the values of ctx, but neither its deadline nor its cancellation.
func (t *task) write(answer, ctx context.Context) {
	g := t.gateway
	defer g.workers.writes.Done()
	detached := context.WithoutCancel(ctx)
	id, own := t.request.batchID()
	if !own {
		t.finish(t.judge(t.consume(detached)))
		return
	}
	key := newJoinKey(t.request.identity(), t.request.signal, id, t.sum)
	w, first := g.joins.begin(key)
	if first {
		err := t.consume(detached)
		g.joins.end(key, w, err)
		t.finish(t.judge(err))
		return
	}
	t.release()
	t.flight.Move(inflight.Writing, 0)
	g.telemetry.countResend(detached)
	select {
	case <-w.done:
		t.finish(t.judge(w.err))
	case <-answer.Done():
		t.finish(errLate)
	}
}

// consume hands the job to the pipeline and returns when that is done with it.
func (t *task) consume(detached context.Context) error {
	g, r := t.gateway, t.request
	t.flight.Move(inflight.Writing, t.held.bytes)
	err := t.job.write(detached, t.info, g.clientMetadata(r, t.info, t.sum))
	t.release()
	if err == nil && !g.cfg.TrustFlareHeaders {
		g.lane.acked(t.came, time.Now())
	}
	g.health.explain(r.signal, err)
	return err
}

func (t *task) judge(err error) *refusal {
	if err != nil {
		return refuseWrite(err, t.job)
	}
	return nil
}

// await waits for the work as long as the client does. The job of a refused
// request is what is known of it: nothing before it was understood.
func (t *task) await(answer, request context.Context) (job, *refusal) {
	select {
	case <-t.done:
		return t.job, t.refused
	case <-answer.Done():
	}
	var j job
	if known := t.known.Load(); known != nil {
		j = *known
	}
	if request.Err() != nil {
		return j, errGone
	}
	return j, errLate
}
