package delivery

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// world is one agent's engine between a scripted gateway and faulty buckets,
// inside one bubble. Every record it accepts has a number of its own, so that
// what became of each can be told. Conservation and the bound of the ring are
// asserted at every send, at every PUT and at every look.
type world struct {
	t       *testing.T
	e       *Engine
	gw      *gateway
	buckets []*bucket.Fake
	padding int // incompressible bytes per record

	mu       sync.Mutex
	accepted int64 // records
	checks   int
	gateways []bool
	lost     map[LossReason]int64
	rejected int64
	dropped  int64
	poisoned int
	flares   []*flare.Manifest
}

// records decodes the records of one stored frame.
func (w *world) records(body frame.Body, size int64) []string {
	raw, err := otlpcodec.Decompress(body, size)
	require.NoError(w.t, err)
	ld, err := otlpcodec.DecodeLogs(raw)
	require.NoError(w.t, err)
	var ids []string
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, lr := range sl.LogRecords().All() {
				id, _, _ := strings.Cut(lr.Body().Str(), " ")
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func testKey[T any](t *testing.T, name string, parse func(io.Reader) (T, error)) T {
	t.Helper()
	v, err := parse(bytes.NewReader(readKey(t, name)))
	require.NoError(t, err)
	return v
}

// newWorld starts an engine with small sizes and classic keys; change may
// adjust its settings.
func newWorld(t *testing.T, change func(*Settings)) *world {
	t.Helper()
	w := &world{t: t, padding: 100, lost: map[LossReason]int64{}}
	w.gw = &gateway{w: w, script: up, got: map[string][]string{}}
	w.buckets = []*bucket.Fake{bucket.NewFake(), bucket.NewFake()}
	signer, err := flare.ParseSigner(readKey(t, "agent_ed25519"), nil)
	require.NoError(t, err)
	recipients := testKey(t, "recipients_classic.txt", func(r io.Reader) ([]age.Recipient, error) { return flare.ParseRecipients(r, false) })
	s := Settings{
		Agent: "acme/host-17", Audience: "acme-prod",
		Frame:   FrameSettings{MaxSize: 16 << 10, Linger: time.Second},
		Ring:    RingSettings{Capacity: 4 << 20, MaxAge: 5 * time.Minute},
		Retry:   RetrySettings{InitialInterval: time.Second, MaxInterval: 30 * time.Second, Timeout: 30 * time.Second},
		Senders: 4, ShutdownTimeout: 20 * time.Second,
		Flare: &FlareSettings{
			MaxSize: 512 << 10, Budget: 1 << 30,
			Sealer: func() (*flare.Sealer, error) { return &flare.Sealer{Recipients: recipients, Signer: signer}, nil },
		},
		Transport: w.gw, Observer: w.observer(),
	}
	for i, b := range w.buckets {
		b.Seen = func(bucket.Call) { w.check() }
		s.Flare.Targets = append(s.Flare.Targets, Target{Name: fmt.Sprint("bucket-", i), Bucket: b, Prefix: "f/"})
	}
	if change != nil {
		change(&s)
	}
	w.e, err = New(s)
	require.NoError(t, err)
	require.NoError(t, w.e.Start(t.Context()))
	t.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = w.e.Shutdown(now)
	})
	return w
}

func readKey(t *testing.T, name string) []byte {
	t.Helper()
	keys, err := os.OpenRoot(filepath.Join("..", "..", "testdata", "keys"))
	require.NoError(t, err)
	defer keys.Close()
	b, err := keys.ReadFile(name)
	require.NoError(t, err)
	return b
}

func (w *world) observer() Observer {
	locked := func(f func()) {
		w.mu.Lock()
		defer w.mu.Unlock()
		f()
	}
	return Observer{
		Gateway:  func(ok bool, _ otlpsend.Cause, _ error) { locked(func() { w.gateways = append(w.gateways, ok) }) },
		Lost:     func(_ frame.Signal, r LossReason, n int64) { locked(func() { w.lost[r] += n }) },
		Rejected: func(_ frame.Signal, n int64, _ string) { locked(func() { w.rejected += n }) },
		Dropped:  func(_ frame.Signal, n int64) { locked(func() { w.dropped += n }) },
		Flared: func(m *flare.Manifest, _ string, _ time.Duration, _ int64) {
			locked(func() { w.flares = append(w.flares, m) })
		},
	}
}

// accept hands in one call of n new records.
func (w *world) accept(n int) error {
	w.t.Helper()
	pieces, err := new(otlpcodec.Scratch).EncodeLogs(w.newRecords(w.accepted, n), w.e.s.Frame.MaxSize)
	require.NoError(w.t, err)
	if err := w.e.Accept(frame.Logs, nil, pieces); err != nil {
		return err
	}
	w.accepted += int64(n)
	return nil
}

// newRecords returns n records numbered from first.
func (w *world) newRecords(first int64, n int) plog.Logs {
	ld := plog.NewLogs()
	records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	for i := range n {
		pad := make([]byte, w.padding)
		for k := range pad {
			pad[k] = byte('!' + rand.IntN(90)) //nolint:gosec // noise
		}
		records.AppendEmpty().Body().SetStr(fmt.Sprintf("record-%d %s", first+int64(i), pad))
	}
	return ld
}

// feed accepts n records every interval for the given time.
func (w *world) feed(n int, interval, during time.Duration) {
	w.t.Helper()
	for end := time.Now().Add(during); time.Now().Before(end); {
		require.NoError(w.t, w.accept(n))
		w.wait(interval)
	}
}

// wait lets the time pass.
func (w *world) wait(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
	w.check()
}

// check asserts what must be true at every instant.
func (w *world) check() {
	s := w.e.Snapshot()
	for i, c := range s.Signals {
		sum := c.Delivered + c.Rejected + c.Held
		for _, n := range c.Flared {
			sum += n
		}
		for _, n := range c.Lost {
			sum += n
		}
		assert.Equal(w.t, c.Accepted, sum, "conservation of %s: %+v", frame.Signal(i), c)
		assert.GreaterOrEqual(w.t, c.Held, int64(0))
	}
	assert.LessOrEqual(w.t, s.Used, s.Capacity)
	w.mu.Lock()
	w.checks++
	walk := w.checks%16 == 0 // it looks at every frame
	w.mu.Unlock()
	if !walk {
		return
	}
	if err := w.e.ring.Check(); err != nil {
		w.t.Error(err)
	}
}

// failPuts makes every PUT to every bucket fail, with or without its effect.
func (w *world) failPuts(when bucket.When, kind bucket.Kind) {
	for _, b := range w.buckets {
		b.Fail("put", -1, when, &bucket.Error{Kind: kind})
	}
}

// hangPuts makes every PUT to every bucket hang.
func (w *world) hangPuts(when bucket.When) {
	for _, b := range w.buckets {
		b.Hang("put", -1, when)
	}
}

// heal lets the buckets work again.
func (w *world) heal() {
	for _, b := range w.buckets {
		b.Heal()
	}
}

func (w *world) logs() Items { return w.e.Snapshot().Signals[frame.Logs] }

// shutdown ends the engine and returns how long that took.
func (w *world) shutdown() time.Duration {
	w.t.Helper()
	begin := time.Now()
	require.NoError(w.t, w.e.Shutdown(w.t.Context()))
	took := time.Since(begin)
	require.LessOrEqual(w.t, took, w.e.s.ShutdownTimeout)
	w.check()
	require.Zero(w.t, w.logs().Held)
	return took
}

// stored opens everything in the buckets.
func (w *world) stored() []*flare.Flare {
	w.t.Helper()
	opener := &flare.Opener{
		Identities: testKey(w.t, "recovery_classic.key", flare.ParseIdentities),
		Signers:    testKey(w.t, "allowed_signers", flare.ParseAllowedSigners),
	}
	var all []*flare.Flare
	for _, b := range w.buckets {
		for _, key := range b.Keys() {
			data, _, err := b.Get(context.Background(), key, bucket.GetOptions{Limit: flare.MaxObject})
			require.NoError(w.t, err)
			id := strings.TrimSuffix(strings.TrimPrefix(key, "f/"), ".age")
			fl, err := opener.Open(flare.Object{ID: id}, data)
			require.NoError(w.t, err)
			all = append(all, fl)
		}
	}
	return all
}

// nothingIsMissing asserts that all that was accepted has arrived.
func (w *world) nothingIsMissing() {
	w.t.Helper()
	missing, _ := w.verify()
	require.Zero(w.t, missing)
}

// verify holds what arrived, record by record, against what was accepted: a
// record that is missing was counted as lost or rejected, and one that arrived
// twice came with the same batch.
func (w *world) verify() (missing, twice int64) {
	w.t.Helper()
	arrived := map[string][]string{}
	w.gw.mu.Lock()
	for id, batches := range w.gw.got {
		arrived[id] = append(arrived[id], batches...)
	}
	w.gw.mu.Unlock()
	for _, fl := range w.stored() {
		if fl.Manifest.Reason == flare.Rejected {
			continue
		}
		for _, f := range fl.Frames {
			for _, id := range w.records(f.Stored, f.RawSize) {
				arrived[id] = append(arrived[id], string(f.BatchID))
			}
		}
	}
	for i := range w.accepted {
		batches := arrived[fmt.Sprint("record-", i)]
		if len(batches) == 0 {
			missing++
			continue
		}
		if len(batches) > 1 {
			twice++
		}
		for _, b := range batches {
			require.Equal(w.t, batches[0][:32], b[:32], "record %d came in two batches", i)
		}
	}
	require.Positive(w.t, w.checks, "nothing was checked")
	return missing, twice
}

func sum[K comparable](m map[K]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}

func oneRecord() plog.Logs {
	ld := plog.NewLogs()
	ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetStr("record-x")
	return ld
}
