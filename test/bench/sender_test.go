package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

func TestSenderAndSink(t *testing.T) {
	pool, err := Load{Signal: frame.Logs, Items: 10}.Pool(1)
	require.NoError(t, err)
	for _, w := range []Wire{{true, ""}, {true, "gzip"}, {false, ""}, {false, "zstd"}} {
		t.Run(w.String(), func(t *testing.T) {
			sink, err := StartSink(t.Context(), "")
			require.NoError(t, err)
			messages, err := w.Prepare(frame.Logs, pool)
			require.NoError(t, err)
			s := NewSender(sink.Addr(), w)
			d, err := s.Drive(t.Context(), messages, Plan{Requests: 200, Workers: 4})
			require.NoError(t, err)
			require.Equal(t, 200, d.Acked)
			require.Positive(t, d.Latency(0.99))
			require.EqualValues(t, 200, sink.Requests())
			s.Close()
			require.NoError(t, sink.Close())
			_, err = s.Drive(t.Context(), messages, Plan{Requests: 1, Workers: 1})
			require.Error(t, err, "nobody is there")
		})
	}
}

func TestSenderIsRefused(t *testing.T) {
	sink, err := StartSink(t.Context(), "")
	require.NoError(t, err)
	defer func() { require.NoError(t, sink.Close()) }()
	s := NewSender(sink.Addr(), Wire{})
	defer s.Close()
	s.header.Set("Expect", "a miracle") // net/http answers 417
	d, err := s.Drive(t.Context(), []Message{{path: "/v1/logs"}}, Plan{Requests: 3, Workers: 2})
	require.NoError(t, err)
	require.Equal(t, 3, d.Refused)
	require.Zero(t, d.Acked)
}
