package s3

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/recovery"
)

// rig is one process of recovery on the real server, between an agent and a
// gateway that takes everything.
type rig struct {
	agent  *agent
	writer bucket.Bucket
	root   bucket.Bucket
	loop   *recovery.Loop
	placed int         // times that place was called
	notes  chan string // what the loop noticed, in order

	mu sync.Mutex
	// mu guards the following.
	forwarded map[string]int // by batch id
}

func newRig(t *testing.T, s *Server) *rig {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	b := &rig{
		agent: newAgent(t, "acme/host-17", id.Recipient()), writer: client(t, s.Config(Writer)), root: client(t, s.Config(Root)),
		forwarded: map[string]int{}, notes: make(chan string, 10_000),
	}
	t.Cleanup(func() { b.empty(t) })
	signers, err := flare.ParseAllowedSigners(strings.NewReader(b.agent.trustLine()))
	require.NoError(t, err)
	keys := &recovery.Keys{
		Opener:     &flare.Opener{Identities: []age.Identity{id}, Signers: signers, Audience: "acme-prod", MaxAge: time.Hour},
		Identities: []age.Identity{id}, Recipients: []age.Recipient{id.Recipient()}, Names: []string{"recovery"},
	}
	b.loop = recovery.New(recovery.Settings{
		Bucket: watched{client(t, s.Config(Recovery)), b}, Prefix: Prefix, StatePrefix: "lifeline/",
		Refresh: func(context.Context) { b.note("pass") },
		Keys:    func() *recovery.Keys { return keys },
		Gateway: recovery.Gateway{Transport: b, Timeout: time.Second, Audience: "acme-prod", MaxRate: 1 << 40},
		Lease:   true, PollInterval: time.Millisecond, MaxAge: time.Hour, QuarantineMaxBytes: 1 << 30,
		Observer: recovery.Observer{
			Flare: func(e recovery.Event) { b.note(string(e.State) + " " + e.Reason) },
			Path: func(err error) {
				if err != nil {
					b.note("path: " + err.Error())
				}
			},
		},
	})
	return b
}

func (b *rig) note(text string) {
	select {
	case b.notes <- text:
	default: // nobody waits any more
	}
}

// Send implements otlpsend.Transport.
func (b *rig) Send(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forwarded[r.Header[frame.HeaderBatchID]]++
	return otlpsend.Answer{Verdict: otlpsend.Delivered}
}

// forwards returns how often each record was forwarded, while the loop does not run.
func (b *rig) forwards() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.forwarded
}

// place puts a flare of telemetry, one of rejected data and one that is garbage,
// with an agent's credential.
func (b *rig) place(t *testing.T) {
	t.Helper()
	put := func(key string, data []byte) {
		_, err := b.writer.Put(t.Context(), key, frame.Bytes(data), once)
		require.NoError(t, err)
	}
	put(b.agent.flareOf(t, flare.Expired, b.agent.logs(t, "kept")))
	put(b.agent.flareOf(t, flare.Rejected, b.agent.logs(t, "bad")))
	put(flare.Key(Prefix, frame.RandomHex()), []byte("garbage"))
	b.placed++
}

// run lets the loop run until enough says so about one of its notes. The same
// loop may run again: it remembers what it did, as one process does.
func (b *rig) run(t *testing.T, enough func(note string) bool) {
	t.Helper()
	for len(b.notes) > 0 {
		<-b.notes
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { b.loop.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	for {
		select {
		case note := <-b.notes:
			if enough(note) {
				return
			}
		case <-ctx.Done():
			require.FailNow(t, "the loop did not get there", "%+v", b.loop.Snapshot())
		}
	}
}

// refusedFor lets the loop run until it says want ("stuck <step>" or "path: <the
// call>"), and then for three more passes that the store refuses something in.
func (b *rig) refusedFor(t *testing.T, want string) {
	t.Helper()
	kind, call, _ := strings.Cut(want, " ")
	b.run(t, func(note string) bool { return strings.HasPrefix(note, kind) && strings.Contains(note, call) })
	if kind == "path:" {
		require.ErrorContains(t, b.loop.Snapshot().PathError, "AccessDenied")
	} else {
		require.Positive(t, b.loop.Snapshot().Stuck[call])
	}
	for range 3 {
		b.run(t, func(note string) bool { return note == "denied" })
	}
}

// settle lets the loop run until no flare is left, and for one whole pass more.
func (b *rig) settle(t *testing.T) {
	t.Helper()
	passes := 0
	b.run(t, func(note string) bool {
		if note != "pass" {
			return false
		}
		if page, err := b.root.List(t.Context(), Prefix, ""); err != nil || len(page.Objects) > 0 {
			passes = 0
			return false
		}
		passes++
		return passes > 2
	})
}

// requireSettled asserts that every record was forwarded exactly once, and that
// everything else is where it has to be.
func (b *rig) requireSettled(t *testing.T) {
	t.Helper()
	require.Len(t, b.forwards(), b.placed)
	for id, n := range b.forwards() {
		require.Equal(t, 1, n, id)
	}
	require.Empty(t, b.loop.Snapshot().Stuck)
	for prefix, want := range map[string]int{
		Prefix: 0, "lifeline/try/": 0, "lifeline/done/": 2 * b.placed,
		"lifeline/quarantine/malformed/": b.placed, "lifeline/quarantine/rejected/": b.placed,
	} {
		page, err := b.root.List(t.Context(), prefix, "")
		require.NoError(t, err)
		n := 0
		for _, o := range page.Objects {
			if !strings.Contains(o.Key, "/probe") { // one that could not be removed is swept like an old marker
				n++
			}
		}
		require.Equal(t, want, n, prefix)
	}
}

// empty removes everything from the bucket.
func (b *rig) empty(t *testing.T) {
	page, err := b.root.List(context.WithoutCancel(t.Context()), "", "")
	require.NoError(t, err)
	for _, o := range page.Objects {
		_, err := b.root.Delete(context.WithoutCancel(t.Context()), o.Key)
		require.NoError(t, err)
	}
}

// watched is a bucket that tells a rig of every call that the store refuses.
type watched struct {
	bucket.Bucket
	rig *rig
}

func (w watched) told(err error) {
	if bucket.KindOf(err) == bucket.Denied {
		w.rig.note("denied")
	}
}

func (w watched) Put(ctx context.Context, key string, body frame.Body, opts bucket.PutOptions) (bucket.Info, error) {
	info, err := w.Bucket.Put(ctx, key, body, opts)
	w.told(err)
	return info, err
}

func (w watched) Get(ctx context.Context, key string, opts bucket.GetOptions) ([]byte, bucket.Info, error) {
	data, info, err := w.Bucket.Get(ctx, key, opts)
	w.told(err)
	return data, info, err
}

func (w watched) List(ctx context.Context, prefix, after string) (bucket.Page, error) {
	page, err := w.Bucket.List(ctx, prefix, after)
	w.told(err)
	return page, err
}

func (w watched) Delete(ctx context.Context, key string) (bucket.Info, error) {
	info, err := w.Bucket.Delete(ctx, key)
	w.told(err)
	return info, err
}

func (w watched) Copy(ctx context.Context, src, dst string) (bucket.Info, error) {
	info, err := w.Bucket.Copy(ctx, src, dst)
	w.told(err)
	return info, err
}

// guardedScene is a scene behind a Guard, and what makes AWS's client for an
// account.
func guardedScene(t *testing.T) (*Server, *scene, func(Account) *awss3.Client) {
	s := start(t)
	g, err := StartGuard(t.Context(), "", s.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return s, newScene(t, s), func(a Account) *awss3.Client { return sdk(g.Endpoint(), a) }
}

// deleteAll deletes keys with one request and returns what was said about each.
func deleteAll(t *testing.T, c *awss3.Client, keys ...string) []string {
	t.Helper()
	in := &awss3.DeleteObjectsInput{Bucket: here, Delete: &types.Delete{}}
	for _, key := range keys {
		in.Delete.Objects = append(in.Delete.Objects, types.ObjectIdentifier{Key: aws.String(key)})
	}
	out, err := c.DeleteObjects(t.Context(), in)
	said := make([]string, len(keys))
	if err != nil {
		require.Equal(t, denied, outcomeOf(t, err))
		for i := range said {
			said[i] = "AccessDenied"
		}
		return said
	}
	for _, e := range out.Errors {
		said[slices.Index(keys, *e.Key)] = *e.Code
	}
	return said
}
