package passthrough_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/testdata"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/passthrough"
)

type consume = func(context.Context, plog.Logs) error

var piece = otlpcodec.Piece{Raw: []byte("an export request"), Items: 7}

// take is what the exporter does.
func take(do func(*passthrough.Request, []byte) error) consume {
	return func(ctx context.Context, ld plog.Logs) error {
		r, err := passthrough.FromContext(ctx, ld)
		if err != nil || r == nil {
			return errors.Join(err, errors.New("no request"))
		}
		return r.Take(func(raw []byte) error { return do(r, raw) })
	}
}

func TestBytesAreHandedOver(t *testing.T) {
	var got *passthrough.Request
	err := passthrough.Hand(t.Context(), frame.Metrics, piece, take(func(r *passthrough.Request, raw []byte) error {
		require.Equal(t, piece.Raw, raw)
		got = r
		return nil
	}))
	require.NoError(t, err)
	require.Equal(t, frame.Metrics, got.Signal)
	require.EqualValues(t, 7, got.Items)
	require.ErrorIs(t, got.Take(func([]byte) error { panic("the bytes are somebody else's") }), passthrough.ErrBetween)
}

func TestASuccessNeedsATaker(t *testing.T) {
	full := errors.New("full")
	for name, tc := range map[string]struct {
		consume consume
		want    error
	}{
		"a stranger swallows the envelope": {func(context.Context, plog.Logs) error { return nil }, passthrough.ErrBetween},
		"the exporter refuses":             {take(func(*passthrough.Request, []byte) error { return full }), full},
		"the refusal gets lost": {func(ctx context.Context, ld plog.Logs) error {
			_ = take(func(*passthrough.Request, []byte) error { return full })(ctx, ld)
			return nil
		}, passthrough.ErrBetween},
		"one takes, another fails": {func(ctx context.Context, ld plog.Logs) error {
			return errors.Join(take(func(*passthrough.Request, []byte) error { return nil })(ctx, ld), full)
		}, full},
		"the context is lost": {func(_ context.Context, ld plog.Logs) error {
			return take(func(*passthrough.Request, []byte) error { return nil })(t.Context(), ld) //nolint:contextcheck // the fault of this test
		}, passthrough.ErrBetween},
		"the envelope is lost": {func(ctx context.Context, _ plog.Logs) error {
			return take(func(*passthrough.Request, []byte) error { return nil })(ctx, testdata.GenerateLogs(1))
		}, passthrough.ErrBetween},
		"a record joins the envelope": {func(ctx context.Context, ld plog.Logs) error {
			testdata.GenerateLogs(1).ResourceLogs().MoveAndAppendTo(ld.ResourceLogs())
			return take(func(*passthrough.Request, []byte) error { return nil })(ctx, ld)
		}, passthrough.ErrBetween},
		"two envelopes in one": {func(ctx context.Context, ld plog.Logs) error {
			ld.ResourceLogs().At(0).CopyTo(ld.ResourceLogs().AppendEmpty())
			return take(func(*passthrough.Request, []byte) error { return nil })(ctx, ld)
		}, passthrough.ErrBetween},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, passthrough.Hand(t.Context(), frame.Traces, piece, tc.consume), tc.want)
		})
	}
}

// Who keeps the context for later finds that the bytes are gone, and whoever
// reads them still has them until he is done.
func TestNobodyReadsAfterTheCall(t *testing.T) {
	raw := []byte("an export request")
	reading, release, read := make(chan struct{}), make(chan struct{}), make(chan string, 1)
	var wg sync.WaitGroup
	var kept *passthrough.Request
	returned := make(chan struct{})
	wg.Go(func() {
		err := passthrough.Hand(t.Context(), frame.Logs, otlpcodec.Piece{Raw: raw, Items: 1}, func(ctx context.Context, ld plog.Logs) error {
			kept, _ = passthrough.FromContext(ctx, ld)
			wg.Go(func() {
				_ = kept.Take(func(raw []byte) error {
					close(reading)
					<-release
					read <- string(raw)
					return nil
				})
			})
			<-reading
			return nil
		})
		if err != nil {
			t.Error("it was taken: ", err)
		}
		clear(raw) // the race detector sees a reader that was not waited for
		close(returned)
	})
	<-reading
	select {
	case <-returned:
		t.Fatal("the call must wait for its reader")
	default:
	}
	close(release)
	wg.Wait()
	require.Equal(t, "an export request", <-read)
	require.ErrorIs(t, kept.Take(func([]byte) error { return nil }), passthrough.ErrBetween)
}

func TestAPanicEndsTheLoan(t *testing.T) {
	var kept *passthrough.Request
	require.Panics(t, func() {
		_ = passthrough.Hand(t.Context(), frame.Logs, piece, take(func(r *passthrough.Request, _ []byte) error {
			kept = r
			panic("a bug")
		}))
	})
	require.ErrorIs(t, kept.Take(func([]byte) error { return nil }), passthrough.ErrBetween)
}

// Whatever a client sends is telemetry: it cannot know what marks an envelope.
func TestTelemetryIsWhatItLooksLike(t *testing.T) {
	lookalike := testdata.GenerateLogs(1)
	lookalike.ResourceLogs().At(0).ScopeLogs().At(0).Scope().SetName("lifeline/passthrough/")
	for _, ld := range []plog.Logs{plog.NewLogs(), testdata.GenerateLogs(9), lookalike} {
		r, err := passthrough.FromContext(t.Context(), ld)
		require.NoError(t, err)
		require.Nil(t, r)
	}
}

// What lost its request is refused, and whatever came together with it: delivered
// as a log record it would be a loss that nobody sees.
func TestAnEnvelopeWithoutItsRequest(t *testing.T) {
	var stolen plog.Logs
	err := passthrough.Hand(t.Context(), frame.Logs, piece, func(ctx context.Context, ld plog.Logs) error {
		stolen = plog.NewLogs()
		ld.CopyTo(stolen)
		return take(func(*passthrough.Request, []byte) error { return nil })(ctx, ld)
	})
	require.NoError(t, err)
	_, err = passthrough.FromContext(t.Context(), stolen)
	require.ErrorIs(t, err, passthrough.ErrBetween)
	testdata.GenerateLogs(5).ResourceLogs().MoveAndAppendTo(stolen.ResourceLogs())
	_, err = passthrough.FromContext(t.Context(), stolen)
	require.ErrorIs(t, err, passthrough.ErrBetween, "telemetry that a batch processor put beside it")
}
