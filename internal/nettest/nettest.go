// Package nettest helps tests to need neither luck nor a clock with the network.
package nettest

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Reserve returns an address of 127.0.0.1 where nobody listens. Its port is the
// test's until that ends: no process is given it, but whoever is told the address
// may listen there, and again after that.
func Reserve(t testing.TB) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr = listener.Addr().String()
	// Both ends of a connection hold their ports. The accepted end lets others listen
	// beside it, since its listener did; the system itself hands out no such port.
	out, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	in, err := listener.Accept()
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	t.Cleanup(func() { _, _ = in.Close(), out.Close() })
	return addr
}

// Deadline is a context whose deadline passes when it is told to. It may be used
// concurrently.
type Deadline struct {
	context.Context

	once   sync.Once
	passed chan struct{}
}

// NewDeadline returns one with the values of ctx. The end of ctx does not end it.
func NewDeadline(ctx context.Context) *Deadline {
	return &Deadline{Context: context.WithoutCancel(ctx), passed: make(chan struct{})}
}

// Pass lets the deadline pass, once.
func (d *Deadline) Pass() { d.once.Do(func() { close(d.passed) }) }

// Done implements context.Context.
func (d *Deadline) Done() <-chan struct{} { return d.passed }

// Err implements context.Context.
func (d *Deadline) Err() error {
	select {
	case <-d.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
