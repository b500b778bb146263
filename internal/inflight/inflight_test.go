package inflight_test

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/inflight"
)

func TestOldestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r inflight.Registry
		require.Empty(t, r.Snapshot())
		require.Equal(t, inflight.Totals{}, r.Totals())

		first := r.Add(frame.Traces, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 4711}, "acme/host-17", time.Now())
		first.Move(inflight.Reading, 100)
		time.Sleep(time.Second)
		second := r.Add(frame.Logs, nil, "", time.Now())
		time.Sleep(time.Second)
		second.Move(inflight.Writing, 20)
		time.Sleep(time.Second)
		second.Move(inflight.Writing, 30) // still the same write
		require.Equal(t, []inflight.Request{
			{Age: 3 * time.Second, Peer: "10.0.0.7:4711", Agent: "acme/host-17", Signal: frame.Traces, Bytes: 100, Stage: inflight.Reading},
			{Age: 2 * time.Second, Signal: frame.Logs, Bytes: 30, Stage: inflight.Writing},
		}, r.Snapshot())
		require.Equal(t, inflight.Totals{
			Requests: [inflight.NumStages]int64{0, 1, 1}, Bytes: 130, OldestAge: 3 * time.Second, OldestWrite: time.Second,
		}, r.Totals())
		require.Equal(t, time.Second, r.OldestWrite())

		first.Done()
		first.Done()
		second.Done()
		second.Move(inflight.Writing, 1)
		require.Empty(t, r.Snapshot())
		require.Zero(t, r.OldestWrite())
		require.Equal(t, "waiting reading writing", inflight.Waiting.String()+" "+inflight.Reading.String()+" "+inflight.Writing.String())
	})
}
