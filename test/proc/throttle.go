package proc

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Throttle is a TCP proxy that lets only so many bytes per second through to its
// upstream, all connections together; answers pass as they come. It can also be
// shut: then it takes nobody's connection. Its methods may be called concurrently.
type Throttle struct {
	l        net.Listener
	upstream string
	per      time.Duration // of one byte
	refused  atomic.Int64
	wg       sync.WaitGroup

	mu sync.Mutex
	// mu guards the following.
	free  time.Time // when the line is free again
	conns map[net.Conn]struct{}
	shut  bool
}

// StartThrottle starts a proxy to upstream, a host:port. It runs until Close.
func StartThrottle(ctx context.Context, upstream string, bytesPerSecond int64) (*Throttle, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the throttle: %w", err)
	}
	p := &Throttle{l: l, upstream: upstream, per: time.Second / time.Duration(bytesPerSecond), conns: map[net.Conn]struct{}{}}
	ctx = context.WithoutCancel(ctx)
	p.wg.Go(func() { p.serve(ctx) })
	return p, nil
}

// Addr returns host:port of the proxy.
func (p *Throttle) Addr() string { return p.l.Addr().String() }

// Shut ends all connections and lets none in, or lets them in again.
func (p *Throttle) Shut(shut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut = shut
	if shut {
		for c := range p.conns {
			_ = c.Close()
		}
	}
}

// Refused returns how many connections came while it was shut.
func (p *Throttle) Refused() int64 { return p.refused.Load() }

// Close ends the proxy and all its connections.
func (p *Throttle) Close() error {
	err := p.l.Close()
	p.Shut(true)
	p.wg.Wait()
	return err
}

func (p *Throttle) serve(ctx context.Context) {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return // closed
		}
		p.wg.Go(func() { p.pass(ctx, client) })
	}
}

// pass carries one connection until one side ends it.
func (p *Throttle) pass(ctx context.Context, client net.Conn) {
	defer p.leave(client)
	if !p.enter(client) {
		p.refused.Add(1)
		return
	}
	server, err := new(net.Dialer).DialContext(ctx, "tcp", p.upstream)
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() { _ = client.Close() }()
		_, _ = io.Copy(client, server) // either side may leave
	})
	_, _ = io.Copy(paced{server, p}, client)
	_ = server.Close()
	wg.Wait()
}

// enter notes a connection and reports whether it may pass.
func (p *Throttle) enter(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
	return !p.shut
}

func (p *Throttle) leave(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close()
}

// paced writes at the throttle's pace.
type paced struct {
	w io.Writer
	p *Throttle
}

func (w paced) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	now := time.Now()
	if w.p.free.Before(now) {
		w.p.free = now
	}
	w.p.free = w.p.free.Add(time.Duration(len(b)) * w.p.per)
	wait := w.p.free.Sub(now)
	w.p.mu.Unlock()
	<-time.After(wait)
	return w.w.Write(b)
}
