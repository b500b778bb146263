package kafka

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// When a broker dies, seen from a write.
type When int

// The write that finds the broker dying is lost, or on disk with nobody told.
const (
	BeforeWrite When = iota
	AfterWrite
)

var (
	errDead = errors.New("the broker is dead")
	errCut  = errors.New("the connection is cut")
)

// Die makes the broker die of the next write: from then on it says nothing more
// to anybody, on old and new connections, until Restart. The channel is closed at
// that write.
func (b *Broker) Die(when When) <-chan struct{} {
	died := make(chan struct{})
	b.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.DropControl()
		b.dead.Store(true)
		close(died)
		return nil, errDead, when == BeforeWrite // not handled: it is written, and its answer meets a dead connection
	})
	return died
}

// LoseAnswer makes the broker write what comes next, call then, and cut the
// connection where it should answer. The client has not learnt of the cut while
// then runs.
func (b *Broker) LoseAnswer(then func()) {
	b.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.DropControl()
		b.cut.Store(&then)
		return nil, nil, false
	})
}

// Hang makes the broker stop at the next write, as a paused process does. The
// channel is closed then. It goes on when resume is called, which must be.
func (b *Broker) Hang() (hung <-chan struct{}, resume func()) {
	at, on := make(chan struct{}), make(chan struct{})
	b.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.DropControl()
		close(at)
		<-on
		return nil, nil, false
	})
	return at, sync.OnceFunc(func() { close(on) })
}

// listen is what the broker listens with: connections that Die can cut.
func (b *Broker) listen(network, address string) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	return &listener{l, b}, nil
}

type listener struct {
	net.Listener
	broker *Broker
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{c, l.broker}, nil
}

type conn struct {
	net.Conn
	broker *Broker
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.broker.dead.Load() {
		return 0, errors.Join(errDead, c.Close())
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if c.broker.dead.Load() {
		return 0, errors.Join(errDead, c.Close())
	}
	if then := c.broker.cut.Swap(nil); then != nil {
		(*then)()
		return 0, errors.Join(errCut, c.Close())
	}
	return c.Conn.Write(p)
}
