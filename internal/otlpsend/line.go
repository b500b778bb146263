package otlpsend

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// failuresToLeave is how often in a row a path may fail before its connections
// are left: a sick server behind a load balancer must not keep an agent that
// two healthy ones would serve.
const failuresToLeave = 2

// lines hands out the connections in force. Connections that failed are left,
// not cut: whoever still waits for an answer on them gets it, because an ack
// that is lost is a duplicate. They are closed when the last one is done.
type lines[C any] struct {
	open  func() (C, error) // does not wait for the network
	close func(C)
	leave func()       // told that the server in use should be avoided; may be nil
	lame  func(C) bool // the connection will not recover by itself; may be nil

	mu sync.Mutex
	// mu guards the following.
	current  *line[C] // nil: there was none yet, or all is closed
	failures int      // in a row
}

// line is one generation of connections.
type line[C any] struct {
	conn  C
	users int
	left  bool // a fresh one takes its place as soon as it can be opened
}

// outcome is what an attempt says about the connections it used.
type outcome uint8

const (
	nothing  outcome = iota // it was ended by the caller
	worked                  // the server took the request, or blames the data
	failed                  // no answer, or one that says that the path is to blame
	unusable                // as failed, and the connections will not recover by themselves
)

// attempt makes one attempt on the line in force.
func attempt[C any](ctx context.Context, l *lines[C], send func(C) Answer) Answer {
	n, err := l.take()
	if err != nil {
		return Answer{Verdict: Broken, Cause: CauseClient, Err: fmt.Errorf("connect: %w", err)}
	}
	answer := send(n.conn)
	o := judge(ctx, &answer)
	if o == failed && l.lame != nil && l.lame(n.conn) {
		o = unusable
	}
	l.done(n, o)
	return answer
}

// judge says what an answer means for the connections it came over.
func judge(ctx context.Context, a *Answer) outcome {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nothing
	case a.Verdict == Down, a.Verdict == Broken:
		return failed
	}
	return worked
}

// first opens the first line.
func (l *lines[C]) first() error {
	n, err := l.take()
	if err == nil {
		l.done(n, nothing)
	}
	return err
}

// take returns the line in force. Every take is followed by a done.
func (l *lines[C]) take() (*line[C], error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.current
	if old == nil || old.left {
		conn, err := l.open()
		switch {
		case err == nil:
			l.current = &line[C]{conn: conn}
			l.retire(old)
		case old == nil:
			return nil, err
		}
	}
	l.current.users++
	return l.current, nil
}

// done says how it went on n.
func (l *lines[C]) done(n *line[C], o outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.users--
	// What comes late from a line that was left is no news.
	if n == l.current && !n.left {
		l.judge(n, o)
	}
	if n != l.current {
		l.retire(n)
	}
}

func (l *lines[C]) judge(n *line[C], o outcome) {
	switch o {
	case worked:
		l.failures = 0
	case failed, unusable:
		l.failures++
		n.left = o == unusable
	case nothing:
	}
	if l.failures < failuresToLeave {
		return
	}
	l.failures, n.left = 0, true
	if l.leave != nil {
		l.leave()
	}
}

// retire closes a line that is not in force any more, unless somebody uses it.
// The caller holds mu.
func (l *lines[C]) retire(n *line[C]) {
	if n != nil && n.users == 0 {
		l.close(n.conn)
	}
}

// shut closes what is in force once nobody uses it. Nothing is taken after it.
func (l *lines[C]) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.current
	l.current = nil
	l.retire(n)
}
