package recovery

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/deploy/policies"
	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/s3"
)

// rig is a recovery process with a bucket, a gateway and key files of its own.
type rig struct {
	t       *testing.T
	dir     string
	bucket  string
	root    *awss3.Client
	tap     *tap
	sink    *sink
	id      *age.X25519Identity
	env     []string
	more    []string // configs over the shipped one
	lease   bool     // shards are leased; else the process works on all of them
	metrics string   // host:port
	p       *proc.Process
}

// newRig makes everything but the agents: what they are allowed is trust's.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), root: store.SDK(s3.Root)}
	r.bucket = "flares-" + frame.RandomHex()[:16]
	_, err := r.root.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &r.bucket})
	require.NoError(t, err)
	r.policy(policies.Bucket(policies.Names{BucketName: r.bucket, Writer: s3.Writer.AccessKeyID, Recovery: s3.Recovery.AccessKeyID}))
	r.tap = newTap(t, r.bucket, store.Addr())
	r.sink = newSink(t, r.tap)
	r.id, err = age.GenerateX25519Identity()
	require.NoError(t, err)
	r.write("recovery.key", r.id.String())
	require.NoError(t, s3.Recovery.WriteFile(filepath.Join(r.dir, "s3")))
	addrs, err := proc.FreeAddrs(3)
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(addrs[1])
	require.NoError(t, err)
	r.metrics = addrs[1]
	r.env = []string{
		"LIFELINE_BUCKET=" + r.bucket, "LIFELINE_REGION=" + s3.Region, "LIFELINE_S3_PATH_STYLE=true",
		"LIFELINE_S3_ENDPOINT=" + r.tap.s3.URL, "LIFELINE_RECOVERY_CREDENTIALS=" + filepath.Join(r.dir, "s3"),
		"LIFELINE_IDENTITIES=" + filepath.Join(r.dir, "recovery.key"),
		"LIFELINE_ALLOWED_SIGNERS=" + filepath.Join(r.dir, "allowed_signers"),
		"LIFELINE_FORWARD=" + r.sink.URL, "LIFELINE_POLL_INTERVAL=1s", "LIFELINE_AUDIENCE=" + audience,
		"LIFELINE_HEALTH=" + addrs[0], "LIFELINE_METRICS_PORT=" + port, "LIFELINE_STATUS=" + addrs[2],
	}
	t.Cleanup(r.kill)
	return r
}

// policy gives the bucket a policy.
func (r *rig) policy(text string) {
	_, err := r.root.PutBucketPolicy(r.t.Context(), &awss3.PutBucketPolicyInput{Bucket: &r.bucket, Policy: &text})
	require.NoError(r.t, err)
}

// write writes a file of the operator's, in one step.
func (r *rig) write(name string, lines ...string) {
	path := filepath.Join(r.dir, name)
	require.NoError(r.t, os.WriteFile(path+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	require.NoError(r.t, os.Rename(path+".new", path))
}

// start starts the process and does not wait.
func (r *rig) start() {
	r.t.Helper()
	args := []string{"--config", filepath.Join(configs, "recovery.yaml"), "--config", fmt.Sprintf("yaml:extensions::flare_recovery::lease: %t", r.lease)}
	for _, c := range r.more {
		args = append(args, "--config", c)
	}
	p, err := proc.Start(proc.Command{Name: "recovery", Path: otelcol, Args: args, Env: r.env})
	require.NoError(r.t, err)
	r.p = p
}

// kill kills the process with SIGKILL, if it runs.
func (r *rig) kill() {
	if r.p == nil {
		return
	}
	r.p.Kill()
	if r.t.Failed() {
		lines := r.p.Lines()
		r.t.Log("its last lines:\n" + strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
	r.p = nil
}

// expireLeases lets the minute pass after which the shards of a process that was
// killed are free: to the store, its leases are old.
func (r *rig) expireLeases() {
	files, err := filepath.Glob(filepath.Join(objects, r.bucket, "lifeline", "lease", "*"))
	require.NoError(r.t, err)
	old := time.Now().Add(-2 * time.Minute)
	for _, file := range files {
		require.NoError(r.t, os.Chtimes(file, old, old))
	}
}

// idle returns what a process needs that finds nothing in the bucket.
func (r *rig) idle(ctx context.Context) int64 {
	r.t.Helper()
	seen, _ := r.tap.effects()
	r.start()
	r.tap.await(ctx, r.t, func(done []call) bool { return count(done[len(seen):], "list flare") >= 2 })
	defer r.kill()
	return r.peak()
}

// peak returns the most memory that was resident since the process started.
func (r *rig) peak() int64 {
	r.t.Helper()
	n, err := r.p.PeakRSS()
	require.NoError(r.t, err)
	return n
}

// dieAt starts the process and kills it at the n-th call that matches.
func (r *rig) dieAt(ctx context.Context, n int, when moment, match func(call) bool) {
	r.t.Helper()
	trap := r.setTrap(n, when, match)
	r.start()
	r.dieIn(ctx, trap)
}

// setTrap holds the n-th call that matches from now on.
func (r *rig) setTrap(n int, when moment, match func(call) bool) *trap {
	trap := &trap{match, n, when, make(chan struct{}), make(chan struct{}), r.t.Context()}
	r.tap.set(trap)
	return trap
}

// dieIn waits until a call is in the trap, and kills who made it.
func (r *rig) dieIn(ctx context.Context, trap *trap) {
	r.t.Helper()
	select {
	case <-trap.caught:
	case <-r.p.Done():
		r.t.Fatal("it ended by itself")
	case <-ctx.Done():
		r.t.Fatal("the call never came: ", r.tap.calls())
	}
	r.kill()
	close(trap.released)
	r.tap.set(nil)
}

// put stores an object with root's rights.
func (r *rig) put(key string, data []byte) {
	_, err := r.root.PutObject(r.t.Context(), &awss3.PutObjectInput{Bucket: &r.bucket, Key: aws.String(key), Body: bytes.NewReader(data)})
	require.NoError(r.t, err)
}

// under returns the rest of the keys below prefix, in byte order.
func (r *rig) under(prefix string) []string {
	keys := []string{}
	for after := (*string)(nil); ; {
		page, err := r.root.ListObjectsV2(r.t.Context(), &awss3.ListObjectsV2Input{Bucket: &r.bucket, Prefix: &prefix, StartAfter: after}, again)
		require.NoError(r.t, err)
		for _, o := range page.Contents {
			keys = append(keys, strings.TrimPrefix(*o.Key, prefix))
			after = o.Key
		}
		if !aws.ToBool(page.IsTruncated) {
			return keys
		}
	}
}

// again lets a listing be tried again: the server answers 500 if a folder goes
// while it is listed.
func again(o *awss3.Options) { o.RetryMaxAttempts = 10 }

// settled blocks until n flares and no try marker are left.
func (r *rig) settled(ctx context.Context, n int) {
	r.t.Helper()
	seen := 0
	r.tap.await(ctx, r.t, func(done []call) bool { //nolint:contextcheck // what the test asks the store ends with the test
		fresh := done[seen:]
		seen = len(done)
		return slices.ContainsFunc(fresh, func(c call) bool { return strings.HasPrefix(c.name, "delete") }) &&
			len(r.under("f/")) == n && len(r.under("lifeline/try/")) == 0
	})
}

// sink is the gateway: it acks, and keeps a ledger of what it acked.
type sink struct {
	*httptest.Server
	t   *testing.T
	tap *tap
	// answer, if set, may answer a request itself, and tells so.
	answer func(w http.ResponseWriter, raw []byte) bool
	*book
}

// book is a ledger that several sinks may share.
type book struct {
	mu     sync.Mutex
	ledger audit.Ledger // guarded by mu
}

func newSink(t *testing.T, tp *tap) *sink {
	s := &sink{t: t, tap: tp, book: &book{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *sink) accept(raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	require.NoError(s.t, s.ledger.Accept(frame.Logs, raw))
}

// row is the account so far.
func (s *sink) row() audit.Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.Row(frame.Logs)
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := bodyOf(r)
	if err != nil {
		panic(http.ErrAbortHandler) // the process died while it sent
	}
	size, err := strconv.ParseInt(r.Header.Get(frame.HeaderSize), 10, 64)
	if err != nil || size > flare.MaxRawSize {
		s.t.Errorf("size: %d, %v", size, err)
		return
	}
	raw, err := otlpcodec.Decompress(frame.Bytes(body), size)
	if err != nil {
		s.t.Errorf("the gateway got what is no record: %v", err)
		return
	}
	id := r.Header.Get(frame.HeaderBatchID)
	s.tap.pass(w, call{"forward", id, r.Header.Get(frame.HeaderFlareID)}, func(w http.ResponseWriter) {
		if s.answer != nil && s.answer(w, raw) {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.ledger.Kafka(frame.Logs, raw, frame.BatchID(id)); err != nil {
			s.t.Errorf("the gateway got what is no OTLP: %v", err)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		w.WriteHeader(http.StatusOK)
	})
}
