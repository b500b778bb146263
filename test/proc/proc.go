// Package proc runs the programs under test as child processes: their output can
// be waited for line by line, their metrics scraped, their death forced.
//
// Each Process owns one goroutine, which reads the child's output and ends with
// it. On Linux children die with the process that started them.
package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Command says what to run.
type Command struct {
	Name string // in errors
	Path string
	Args []string
	Env  []string  // the whole environment
	Dir  string    // where it runs; empty: where this process does
	Log  io.Writer // gets every line of stdout and stderr; may be nil
}

// Process is a running or ended child. Its methods may be called concurrently.
type Process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the child was waited for

	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed and replaced at every line
	err   error         // of Wait; set before done is closed
}

// tail is how many lines of output an error shows.
const tail = 12

// Start starts the command.
func Start(c Command) (*Process, error) {
	cmd := exec.Command(c.Path, c.Args...) //nolint:gosec // the caller's own binary
	cmd.Env, cmd.Dir = c.Env, c.Dir
	cmd.SysProcAttr = dieWithParent()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	_ = w.Close() // the child has its own copy
	if err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	p := &Process{name: c.Name, cmd: cmd, done: make(chan struct{}), more: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() { p.read(r, c.Log) })
	return p, nil
}

// read collects lines until the child has closed its output, then waits for it.
func (p *Process) read(r *os.File, log io.Writer) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := sc.Text()
		if log != nil {
			_, _ = fmt.Fprintln(log, line)
		}
		p.mu.Lock()
		p.lines = append(p.lines, line)
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, r) // after a line too long for the scanner the child must not block
	_ = r.Close()
	err := p.cmd.Wait()
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	close(p.done)
}

// Done is closed when the child has ended and all its output was read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Lines returns all lines of output so far.
func (p *Process) Lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clip(p.lines)
}

// WaitLine blocks until a line of the output contains every one of parts and
// returns it; lines printed before the call count. It fails when ctx ends or
// the child does, with the end of the output.
func (p *Process) WaitLine(ctx context.Context, parts ...string) (string, error) {
	return p.WaitLineAfter(ctx, 0, parts...)
}

// WaitLineAfter is WaitLine without the first seen lines.
func (p *Process) WaitLineAfter(ctx context.Context, seen int, parts ...string) (string, error) {
	for {
		p.mu.Lock()
		lines, more := p.lines, p.more
		p.mu.Unlock()
		for ; seen < len(lines); seen++ {
			if containsAll(lines[seen], parts) {
				return lines[seen], nil
			}
		}
		select {
		case <-more:
		case <-p.done:
			if len(p.Lines()) == seen {
				return "", p.failf("ended without a line with %q", parts)
			}
		case <-ctx.Done():
			return "", errors.Join(p.failf("no line with %q", parts), ctx.Err())
		}
	}
}

func containsAll(line string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(line, part) {
			return false
		}
	}
	return true
}

// Kill ends the child with SIGKILL and waits for it. Nothing of what it would
// have done at its end is done.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // an error means it has ended already
	<-p.done
}

// Pause stops the child in the middle of what it does, until Resume.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %s to %s: %w", s, p.name, err)
	}
	return nil
}

// Killed returns an error unless the child has died of SIGKILL.
func (p *Process) Killed(ctx context.Context) error {
	err := p.Wait(ctx)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return nil
		}
	}
	return errors.Join(p.failf("did not die of SIGKILL"), err)
}

// Stop sends SIGTERM and waits until the child has ended. It fails when the
// child ends with an error or ctx ends first.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	return p.Wait(ctx)
}

// Wait waits until the child has ended and returns its error, with the end of
// its output.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return errors.Join(p.failf("has not ended"), ctx.Err())
	case <-p.done:
	}
	p.mu.Lock()
	err := p.err
	p.mu.Unlock()
	if err != nil {
		return errors.Join(p.failf("failed"), err)
	}
	return nil
}

func (p *Process) failf(format string, args ...any) error {
	lines := p.Lines()
	lines = lines[max(0, len(lines)-tail):]
	return fmt.Errorf("%s %s; its last lines:\n  %s", p.name, fmt.Sprintf(format, args...), strings.Join(lines, "\n  "))
}

// PID returns the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }
