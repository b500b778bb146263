package nettest_test

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/nettest"
)

// A reserved port refuses, is listened on by who knows it, as often as it wants,
// and refuses again.
func TestReserve(t *testing.T) {
	addr := nettest.Reserve(t)
	for range 3 {
		_, err := net.Dial("tcp", addr)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		listener, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		require.NoError(t, listener.Close())
	}
}

func TestDeadline(t *testing.T) {
	d := nettest.NewDeadline(t.Context())
	under, cancel := context.WithTimeout(d, time.Hour)
	defer cancel()
	require.NoError(t, under.Err())
	d.Pass()
	d.Pass()
	<-under.Done()
	require.ErrorIs(t, under.Err(), context.DeadlineExceeded)
	require.ErrorIs(t, context.Cause(under), context.DeadlineExceeded)
}
