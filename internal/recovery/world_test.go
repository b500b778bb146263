package recovery

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// world is everything around a recovery: agents, a bucket, a gateway. It lives
// in one synctest bubble.
type world struct {
	t       *testing.T
	bucket  *bucket.Fake
	gateway *gateway
	id      *age.X25519Identity
	keys    *Keys // nil: no usable key files
	agents  map[string]ssh.Signer
	trusted []string // agents in the allowed signers file
	events  []Event  // of all processes, in order
	paths   []error
	set     Settings // of the next process

	boots map[string]string
	seqs  map[string]uint64
	ours  map[frame.BatchID]frame.Frame // frames in flares of trusted agents
}

// inWorld runs f in a bubble with a new world.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		id, err := age.GenerateX25519Identity()
		require.NoError(t, err)
		w := &world{
			t: t, id: id, bucket: bucket.NewFake(), agents: map[string]ssh.Signer{},
			boots: map[string]string{}, seqs: map[string]uint64{}, ours: map[frame.BatchID]frame.Frame{},
		}
		w.gateway = &gateway{t: t, got: map[frame.BatchID]int{}}
		w.set = Settings{
			Bucket: w.bucket, Prefix: "f/", StatePrefix: "lifeline/",
			Keys:         func() *Keys { return w.keys },
			Gateway:      Gateway{Transport: w.gateway, Timeout: 30 * time.Second, Audience: "acme-prod", MaxRate: 1 << 40},
			PollInterval: 30 * time.Second, MaxAge: 336 * time.Hour, QuarantineMaxBytes: 1 << 30,
			Observer: Observer{
				Flare: func(e Event) { w.events = append(w.events, e) },
				Path:  func(err error) { w.paths = append(w.paths, err) },
			},
		}
		w.trust("acme/host-17", "globex/db-1")
		f(w)
	})
}

// agent returns the signing key of an agent, new if need be.
func (w *world) agent(name string) ssh.Signer {
	if w.agents[name] == nil {
		_, key, err := ed25519.GenerateKey(nil)
		require.NoError(w.t, err)
		w.agents[name], err = ssh.NewSignerFromKey(key)
		require.NoError(w.t, err)
		w.boots[name] = frame.RandomHex()
	}
	return w.agents[name]
}

// trust writes an allowed signers file with exactly these agents, and reads the
// key files again.
func (w *world) trust(names ...string) {
	var file strings.Builder
	for _, name := range names {
		fmt.Fprintf(&file, "%s %s", name, ssh.MarshalAuthorizedKey(w.agent(name).PublicKey()))
	}
	signers, err := flare.ParseAllowedSigners(strings.NewReader(file.String()))
	require.NoError(w.t, err)
	w.trusted = names
	w.keys = &Keys{
		Opener: &flare.Opener{
			Identities: []age.Identity{w.id}, Signers: signers, Audience: "acme-prod", MaxAge: w.set.MaxAge,
		},
		Identities: []age.Identity{w.id},
		Recipients: []age.Recipient{w.id.Recipient()},
		Names:      []string{"recovery"},
	}
}

// logs returns a frame of n log records as an agent's ring holds it.
func (w *world) logs(agent string, n int, body string) frame.Frame {
	ld := plog.NewLogs()
	records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	for i := range n {
		records.AppendEmpty().Body().SetStr(fmt.Sprintf("%s %d", body, i))
	}
	return w.frameOf(agent, ld)
}

func (w *world) frameOf(agent string, ld plog.Logs) frame.Frame {
	pieces, err := new(otlpcodec.Scratch).EncodeLogs(ld, flare.MaxRawSize)
	require.NoError(w.t, err)
	require.Len(w.t, pieces, 1)
	var stored bytes.Buffer
	require.NoError(w.t, otlpcodec.Compress(&stored, pieces[0].Raw))
	w.agent(agent)
	return frame.Frame{
		Signal: frame.Logs, BatchID: frame.NewBatchID(), RawSize: int64(len(pieces[0].Raw)), Stored: frame.Bytes(stored.Bytes()),
		Header: frame.Header{
			Agent: agent, Boot: w.boots[agent], Seq: 1, From: time.Now().UnixMilli(), To: time.Now().UnixMilli(),
			Items: pieces[0].Items, Attempt: 2,
		},
	}
}

// seal returns a flare as the agent makes it, with changes, and its manifest.
func (w *world) seal(agent string, change func(*flare.Manifest), frames ...frame.Frame) (*flare.Manifest, []byte) {
	signer := w.agent(agent)
	w.seqs[agent]++
	m := &flare.Manifest{
		Agent: agent, Audience: "acme-prod", BootID: w.boots[agent], Seq: w.seqs[agent],
		Reason: flare.Expired, Created: flare.TimeOf(time.Now()),
	}
	if change != nil {
		change(m)
	}
	var sealed bytes.Buffer
	s := flare.Sealer{Recipients: []age.Recipient{w.id.Recipient()}, Signer: signer}
	require.NoError(w.t, s.Seal(&sealed, m, frames))
	if slices.Contains(w.trusted, agent) {
		for _, f := range frames {
			w.ours[f.BatchID] = f
		}
	}
	return m, sealed.Bytes()
}

// put stores an object as an agent does.
func (w *world) put(key string, data []byte) {
	_, err := w.bucket.Put(w.t.Context(), key, frame.Bytes(data), bucket.PutOptions{IfNoneMatch: true})
	require.NoError(w.t, err)
}

// flare seals and stores a flare, and returns its id.
func (w *world) flare(agent string, frames ...frame.Frame) string {
	m, data := w.seal(agent, nil, frames...)
	w.put(flare.Key("f/", m.FlareID), data)
	return m.FlareID
}

// flareAs stores a flare of one record under a given id.
func (w *world) flareAs(id string) string {
	m, data := w.seal("acme/host-17", func(m *flare.Manifest) { m.FlareID = id }, w.logs("acme/host-17", 1, "x"))
	w.put(flare.Key("f/", m.FlareID), data)
	return m.FlareID
}

// run starts a process and lets it run for d. Its loop is returned after it ended.
func (w *world) run(d time.Duration) *Loop {
	l := New(w.set)
	w.resume(l, d)
	return l
}

// resume lets a loop run for d.
func (w *world) resume(l *Loop, d time.Duration) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { l.Run(ctx) })
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
	cancel()
	wg.Wait()
}

// keys returns what is under a prefix in the bucket.
func (w *world) under(prefix string) []string {
	var keys []string
	for _, k := range w.bucket.Keys() {
		if rest, ok := strings.CutPrefix(k, prefix); ok {
			keys = append(keys, rest)
		}
	}
	return keys
}

// states returns the states that flares reached, in order.
func (w *world) states() []string {
	var s []string
	for _, e := range w.events {
		text := string(e.State)
		if e.Reason != "" {
			text += " " + e.Reason
		}
		s = append(s, text)
	}
	return s
}

// onlyOurs asserts that nothing unverified was forwarded, and that what was
// forwarded is what the agent stored.
func (w *world) onlyOurs() {
	for id := range w.gateway.got {
		_, ok := w.ours[id.Root()]
		require.True(w.t, ok, "%s was forwarded and stands in no verified flare", id)
	}
	for _, r := range w.gateway.requests {
		if f := w.ours[frame.BatchID(r.Header[frame.HeaderBatchID])]; f.Stored != nil {
			require.Equal(w.t, f.Stored, r.Body)
		}
	}
}

// gateway is a scripted transport: it acks everything unless told otherwise.
type gateway struct {
	t  *testing.T
	mu sync.Mutex
	// mu guards the following, and is not held while answer and seen run.

	// answer decides over a request; nil or Verdict Delivered without effect
	// acks it. It may block until ctx ends.
	answer   func(ctx context.Context, r *otlpsend.Request) otlpsend.Answer
	lose     func(r *otlpsend.Request) bool // store it, and lose the ack
	got      map[frame.BatchID]int          // how often a record reached Kafka
	requests []*otlpsend.Request
	lost     int
	seen     func(r *otlpsend.Request)
}

func (g *gateway) Send(ctx context.Context, r *otlpsend.Request) otlpsend.Answer {
	g.mu.Lock()
	g.requests = append(g.requests, r)
	answer := g.answer
	g.mu.Unlock()
	if g.seen != nil {
		g.seen(r)
	}
	if answer != nil {
		if a := answer(ctx, r); a.Verdict != otlpsend.Delivered {
			return a
		}
	}
	if ctx.Err() != nil {
		return down()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.got[frame.BatchID(r.Header[frame.HeaderBatchID])]++
	if g.lose != nil && g.lose(r) {
		g.lost++
		return down()
	}
	return otlpsend.Answer{Verdict: otlpsend.Delivered}
}

// count changes what a test counts in answer.
func (g *gateway) count(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

// times returns how often a record reached Kafka.
func (g *gateway) times(id frame.BatchID) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got[id]
}

func down() otlpsend.Answer {
	return otlpsend.Answer{Verdict: otlpsend.Down, Cause: otlpsend.CauseTimeout, Err: fmt.Errorf("no answer")}
}

func badData() otlpsend.Answer {
	return otlpsend.Answer{Verdict: otlpsend.BadData, Cause: otlpsend.CauseClient, Err: fmt.Errorf("status 3: undecodable")}
}

// drillLogs is the one record of a drill.
func drillLogs() plog.Logs {
	piece, err := otlpcodec.EncodeDrill(otlpcodec.Drill{Agent: "acme/host-17", Time: time.Now()})
	if err != nil {
		panic(err)
	}
	ld, err := otlpcodec.DecodeLogs(piece.Raw)
	if err != nil {
		panic(err)
	}
	return ld
}
