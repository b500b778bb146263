package s3

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

var once = bucket.PutOptions{IfNoneMatch: true}

// The keys that rights are tried on; each exists when it is tried.
const (
	flareKey = Prefix + "0123456789abcdef0123456789abcdef.age"
	doneKey  = "lifeline/done/0123456789abcdef0123456789abcdef"
	tryKey   = "lifeline/try/0123456789abcdef0123456789abcdef.1"
	leaseKey = "lifeline/lease/0"
	badKey   = "lifeline/quarantine/malformed/0123456789abcdef0123456789abcdef.age"
	rootKey  = "elsewhere"
)

// exists makes every key of the table anew, with root's rights.
func exists(t *testing.T, root *s3bucket.Client) {
	t.Helper()
	for _, key := range []string{flareKey, doneKey, tryKey, leaseKey, badKey, rootKey} {
		_, err := root.Put(t.Context(), key, frame.Bytes("x"), bucket.PutOptions{})
		require.NoError(t, err)
	}
}

func TestRights(t *testing.T) {
	s := start(t)
	root := client(t, s.Config(Root))
	for _, c := range []struct {
		account                Account
		key                    string
		put, get, del, allList bool
	}{
		{Writer, flareKey, true, false, false, false},
		{Writer, doneKey, false, false, false, false},
		{Writer, tryKey, false, false, false, false},
		{Writer, leaseKey, false, false, false, false},
		{Writer, badKey, false, false, false, false},
		{Writer, rootKey, false, false, false, false},
		{Recovery, flareKey, false, true, true, true},
		{Recovery, doneKey, true, true, true, true},
		{Recovery, tryKey, true, true, true, true},
		{Recovery, leaseKey, true, true, true, true},
		{Recovery, badKey, true, true, false, true},
		{Recovery, rootKey, false, false, false, true},
	} {
		t.Run(c.account.AccessKeyID+" "+c.key, func(t *testing.T) {
			exists(t, root)
			b := client(t, s.Config(c.account))
			allowed := func(want bool, err error) {
				t.Helper()
				if want {
					require.NoError(t, err)
					return
				}
				require.Equal(t, bucket.Denied, bucket.KindOf(err), "%v", err)
				require.ErrorContains(t, err, "AccessDenied")
			}
			_, err := b.Put(t.Context(), c.key, frame.Bytes("y"), bucket.PutOptions{})
			allowed(c.put, err)
			_, _, err = b.Get(t.Context(), c.key, 10)
			allowed(c.get, err)
			_, err = b.List(t.Context(), c.key, "")
			allowed(c.allList, err)
			_, err = b.Copy(t.Context(), c.key, c.key+".copy")
			allowed(c.put && c.get, err)
			_, err = b.Delete(t.Context(), c.key)
			allowed(c.del, err)
		})
	}
}

func TestRecoveryQuarantinesByCopy(t *testing.T) {
	s := start(t)
	exists(t, client(t, s.Config(Root)))
	b := client(t, s.Config(Recovery))
	_, err := b.Copy(t.Context(), flareKey, badKey)
	require.NoError(t, err)
	_, err = b.Copy(t.Context(), badKey, flareKey+".back")
	require.Equal(t, bucket.Denied, bucket.KindOf(err))
}

func TestWriterCannotHead(t *testing.T) {
	s := start(t)
	exists(t, client(t, s.Config(Root)))
	for _, key := range []string{flareKey, "f/missing"} { // 403 for both: no oracle but the PUT itself
		_, err := s.SDK(Writer).HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: aws.String(Bucket), Key: aws.String(key)})
		require.ErrorContains(t, err, "StatusCode: 403")
	}
}

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
			data, _, err := client(t, s.Config(Root)).Get(t.Context(), key, 10)
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
	begin := time.Now()
	require.NoError(t, s.Stop())
	require.Less(t, time.Since(begin), 5*time.Second, "an idle connection holds the server up")

	_, err = b.Put(t.Context(), flareKey, frame.Bytes("x"), once)
	require.Equal(t, bucket.Unreachable, bucket.KindOf(err), "%v", err)

	o.Addr = s.Addr()
	s, err = Start(t.Context(), o)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Stop()) }()
	_, err = b.Put(t.Context(), flareKey, frame.Bytes("x"), once)
	require.Equal(t, bucket.Exists, bucket.KindOf(err), "%v", err)
	data, _, err := client(t, s.Config(Recovery)).Get(t.Context(), flareKey, 10)
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
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := b.Put(ctx, key, frame.Bytes("x"), once)
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
