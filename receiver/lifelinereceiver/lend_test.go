package lifelinereceiver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc/codes"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/passthrough"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

// taker is the lifeline exporter behind a receiver: it takes what it is lent.
type taker func(info client.Info, r *passthrough.Request, raw []byte) error

func (taker) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (f taker) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	r, err := passthrough.FromContext(ctx, ld)
	if err != nil {
		return err
	}
	return r.Take(func(raw []byte) error { return f(client.FromContext(ctx), r, raw) })
}

func toTheRing(c *Config) { c.Passthrough.To = toLifeline }

// lending is a gateway without listeners that lends to next.
func lending(t *testing.T, next consumer.Logs) *gateway {
	t.Helper()
	r, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), testConfig(toTheRing), next)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Shutdown(context.Background())) })
	return r.(*shared).gateway
}

// A buffer is not used again while somebody reads it, however long ago the client
// was answered.
func TestLentBytesOutliveTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw := encoded(t, frame.Traces, 50)
		release, seen := make(chan struct{}), make(chan []byte, 1)
		var first atomic.Bool
		first.Store(true)
		g := lending(t, taker(func(_ client.Info, _ *passthrough.Request, lent []byte) error {
			if first.CompareAndSwap(true, false) {
				<-release
				seen <- append([]byte(nil), lent...)
			}
			return nil
		}))
		require.Equal(t, errLate, ask(t.Context(), g, raw, nil, nil), "the answer was given on the receiver's own clock")
		held := g.admission.total - g.admission.room()
		require.GreaterOrEqual(t, held, int64(len(raw)), "its bytes are still held")
		for range 100 { // each would get that buffer if it were free
			require.Nil(t, ask(t.Context(), g, append([]byte(nil), encoded(t, frame.Traces, 49)...), nil, nil))
		}
		close(release)
		require.Equal(t, raw, <-seen)
		synctest.Wait()
		require.Equal(t, g.admission.total, g.admission.room())
	})
}

// The rules for resends hold here too, and a client that nobody named as its own
// agent gets no digest of its bytes.
func TestResendsOfWhatIsLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		full := true
		g := lending(t, taker(func(client.Info, *passthrough.Request, []byte) error {
			calls.Add(1)
			time.Sleep(time.Second)
			if full {
				return errors.New("the ring is full")
			}
			return nil
		}))
		raw := encoded(t, frame.Traces, 3)
		own := map[string]string{frame.HeaderBatchID: rootID}
		require.Equal(t, errWrite, ask(t.Context(), g, raw, own, nil))
		full = false
		answers := make(chan *refusal, 3)
		for range cap(answers) {
			background(t, func() { answers <- ask(t.Context(), g, raw, own, nil) })
		}
		for range cap(answers) {
			require.Nil(t, <-answers)
		}
		require.EqualValues(t, 2, calls.Load(), "one that failed, one for three")
		require.Nil(t, ask(t.Context(), g, raw, own, &x509.Certificate{Raw: []byte("another client")}))
		require.Nil(t, ask(t.Context(), g, raw, nil, nil))
		require.EqualValues(t, 4, calls.Load())
		require.Equal(t, g.admission.total, g.admission.room())
	})
}

// What is lent was checked, counts its items, and brings metadata_keys alone.
func TestWhatIsLent(t *testing.T) {
	type lent struct {
		signal frame.Signal
		items  int64
		raw    string
		md     map[string]string
	}
	var got []lent
	g := startPassthrough(t, taker(func(info client.Info, r *passthrough.Request, raw []byte) error {
		got = append(got, lent{r.Signal, r.Items, string(raw), metadataOf(info)})
		return nil
	}), toTheRing, func(c *Config) { c.MetadataKeys = []string{"x-tenant"} })
	raw := encoded(t, frame.Traces, 3)
	for _, protocol := range protocols {
		require.Equal(t, codes.OK, send(t.Context(), g, protocol, raw, frame.HeaderBatchID, rootID+map[string]string{"grpc": ".0"}[protocol],
			frame.HeaderFrame, header, "x-tenant", "acme", "x-other", "secret").status.Code())
		require.Equal(t, codes.OK, send(t.Context(), g, protocol, nil).status.Code(), "nothing to lend")
		require.Equal(t, codes.OK, send(t.Context(), g, protocol, []byte{0x0a, 0}).status.Code(), "a resource without spans")
		require.Equal(t, codes.InvalidArgument, send(t.Context(), g, protocol, raw[:len(raw)-1]).status.Code())
	}
	want := lent{frame.Traces, 3, string(raw), map[string]string{"x-tenant": "acme"}}
	require.Equal(t, []lent{want, want}, got)
}

// Fields of old are put into the words of today before they reach the ring, where
// they will stand beside others.
func TestDeprecatedRequestsAreModernizedBeforeTheyAreLent(t *testing.T) {
	var items int64
	g := startPassthrough(t, taker(func(_ client.Info, r *passthrough.Request, raw []byte) error {
		var err error
		items, err = otlpcodec.Count(r.Signal, raw)
		return err
	}), toTheRing)
	raw := field(1, field(1000, field(2, field(5, []byte("a span of old")))))
	require.Equal(t, codes.OK, send(t.Context(), g, "http", raw).status.Code())
	require.EqualValues(t, 1, items)
	require.Equal(t, g.admission.total, g.admission.room())
}

// Behind a fan-out to two rings, one that refuses for good says nothing about the
// other, which may only be full.
func TestARefusalForGoodNeedsBothRings(t *testing.T) {
	j := job{raw: []byte{0}}
	full := errors.New("full")
	large := consumererror.NewPermanent(passthrough.ErrTooLarge)
	metadata := consumererror.NewPermanent(errors.New("metadata"))
	require.Same(t, errWrite, refuseWrite(errors.Join(full, large), j))
	require.Same(t, errWrite, refuseWrite(errors.Join(metadata, full), j))
	require.Same(t, errWrite, refuseWrite(fmt.Errorf("%w", full), j))
	require.Equal(t, codes.ResourceExhausted, refuseWrite(errors.Join(large, large), j).code)
	require.Equal(t, codes.InvalidArgument, refuseWrite(errors.Join(metadata, large), j).code)
}
