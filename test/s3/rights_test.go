package s3

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/nettest"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

var once = bucket.PutOptions{IfNoneMatch: true}

// Keys that rights are tried on; each exists when it is tried.
const (
	flareKey = Prefix + "0123456789abcdef0123456789abcdef.age"
	doneKey  = "lifeline/done/0123456789abcdef0123456789abcdef"
	tryKey   = "lifeline/try/0123456789abcdef0123456789abcdef.1"
	leaseKey = "lifeline/lease/0"
	badKey   = "lifeline/quarantine/malformed/0123456789abcdef0123456789abcdef.age"
	rootKey  = "elsewhere"
)

func TestWriterWritesOnce(t *testing.T) {
	s := start(t)
	guard, err := StartGuard(t.Context(), "", s.Addr())
	require.NoError(t, err)
	defer func() { require.NoError(t, guard.Close()) }()
	for name, endpoint := range map[string]string{"direct": s.Endpoint(), "guarded": guard.Endpoint()} {
		t.Run(name, func(t *testing.T) {
			b := client(t, ConfigAt(endpoint, Writer))
			key := Prefix + frame.RandomHex() + ".age"
			_, err := b.Put(t.Context(), key, frame.Bytes("first"), once)
			require.NoError(t, err)
			_, err = b.Put(t.Context(), key, frame.Bytes("second"), once)
			require.Equal(t, bucket.Exists, bucket.KindOf(err), "%v", err)

			_, err = b.Put(t.Context(), key, frame.Bytes("third"), bucket.PutOptions{})
			if name == "direct" {
				require.NoError(t, err, "if this is refused now, the guard is not needed for it any more")
				return
			}
			require.Equal(t, bucket.Denied, bucket.KindOf(err), "%v", err)
			data, _, err := client(t, s.Config(Root)).Get(t.Context(), key, bucket.GetOptions{Limit: 10})
			require.NoError(t, err)
			require.Equal(t, "first", string(data))
		})
	}
}

func TestProbe(t *testing.T) {
	s := start(t)
	require.NoError(t, client(t, s.Config(Writer)).Probe(t.Context()))
	require.ErrorIs(t, client(t, s.Config(Recovery)).Probe(t.Context()), s3bucket.ErrCanRead)
	for _, c := range []struct {
		account    Account
		bucket     string
		kind, code string
	}{
		{Account{Writer.AccessKeyID, "wrong"}, Bucket, "denied", "SignatureDoesNotMatch"},
		{Account{"nobody", "x"}, Bucket, "denied", "InvalidAccessKeyId"},
		{Writer, "no-such-bucket", "not_found", "NoSuchBucket"},
	} {
		cfg := s.Config(c.account)
		cfg.Bucket = c.bucket
		err := client(t, cfg).Probe(t.Context())
		require.ErrorContains(t, err, "list f/: "+c.kind+" "+c.code)
	}
}

func TestRestart(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	s, err := Start(t.Context(), o)
	require.NoError(t, err)
	b := client(t, s.Config(Writer))
	_, err = b.Put(t.Context(), flareKey, frame.Bytes("kept"), once)
	require.NoError(t, err)
	require.NoError(t, s.Stop()) // whatever connections are idle

	_, err = b.Put(t.Context(), flareKey, frame.Bytes("x"), once)
	require.Equal(t, bucket.Unreachable, bucket.KindOf(err), "%v", err)

	o.Addr = s.Addr()
	s, err = Start(t.Context(), o)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Stop()) }()
	_, err = b.Put(t.Context(), flareKey, frame.Bytes("x"), once)
	require.Equal(t, bucket.Exists, bucket.KindOf(err), "%v", err)
	data, _, err := client(t, s.Config(Recovery)).Get(t.Context(), flareKey, bucket.GetOptions{Limit: 10})
	require.NoError(t, err)
	require.Equal(t, "kept", string(data))
}

func TestGuardFaults(t *testing.T) {
	s := start(t)
	guard, err := StartGuard(t.Context(), "", s.Addr())
	require.NoError(t, err)
	defer func() { require.NoError(t, guard.Close()) }()
	recovery := client(t, s.Config(Recovery))
	for _, c := range []struct {
		name   string
		fault  Fault
		kind   bucket.Kind
		stored bool
	}{
		{"drop", Drop, bucket.Unknown, false},
		{"lost ack", LostAck, bucket.Unknown, true},
		{"slow down", SlowDown, bucket.Throttled, false},
		{"blackhole", Blackhole, bucket.Unknown, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := client(t, ConfigAt(guard.Endpoint(), Writer))
			key := Prefix + frame.RandomHex() + ".age"
			guard.Inject(c.fault, http.MethodPut, 1)
			ctx := nettest.NewDeadline(t.Context())
			var waiting sync.WaitGroup
			waiting.Go(func() {
				<-guard.Met()
				if c.fault == Blackhole {
					ctx.Pass() // there is no other end
				}
			})
			_, err := b.Put(ctx, key, frame.Bytes("x"), once)
			waiting.Wait()
			require.Equal(t, c.kind, bucket.KindOf(err), "%v", err)
			require.Equal(t, 1, guard.Struck())

			page, err := recovery.List(t.Context(), key, "")
			require.NoError(t, err)
			require.Equal(t, c.stored, len(page.Objects) == 1)

			_, err = b.Put(t.Context(), key, frame.Bytes("x"), once)
			if c.stored {
				require.Equal(t, bucket.Exists, bucket.KindOf(err), "after an attempt of our own this means: stored")
				return
			}
			require.NoError(t, err)
		})
	}
}
