package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/audit"
)

// screen prints events, one line each, and below them one progress line, which
// is rewritten in place on a terminal and printed every few seconds elsewhere.
// Its methods may be called concurrently.
type screen struct {
	w        io.Writer
	terminal bool
	began    time.Time

	mu       sync.Mutex
	progress string    // now on the last line of the terminal
	printed  time.Time // the last progress line, elsewhere
}

// plainEvery is the pace of progress lines where they cannot be rewritten.
const plainEvery = 2 * time.Second

func newScreen(w io.Writer) *screen {
	s := &screen{w: w, began: time.Now()}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		s.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return s
}

// eventf prints one line with the time since the start.
func (s *screen) eventf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	_, _ = fmt.Fprintf(s.w, "%6.1fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
	s.redraw()
}

// progressf shows where things stand.
func (s *screen) progressf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%6.1fs  · %s", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
	switch {
	case s.terminal:
		s.clear()
		s.progress = line
		s.redraw()
	case time.Since(s.printed) >= plainEvery:
		s.printed = time.Now()
		_, _ = fmt.Fprintln(s.w, line)
	}
}

// table ends the progress line and prints the table.
func (s *screen) table(rows []audit.Row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.progress = ""
	head := fmt.Sprintf("  %-8s %10s %10s %11s %11s %6s %8s %21s", "", "accepted", "in Kafka", "duplicates", "(droppable)", "lost", "altered", "seconds without data")
	rule := "  " + strings.Repeat("─", len(head)-2)
	_, _ = fmt.Fprintf(s.w, "\n%s\n%s\n", head, rule)
	for _, r := range rows {
		_, _ = fmt.Fprintf(s.w, "  %-8s %10d %10d %11d %11d %6d %8d %21d\n", r.Signal, r.Accepted, r.Kafka, r.Duplicates, r.Marked, r.Lost, r.Altered, r.Gaps)
	}
	_, _ = fmt.Fprintf(s.w, "%s\n", rule)
}

func (s *screen) clear() {
	if s.terminal && s.progress != "" {
		_, _ = fmt.Fprint(s.w, "\r\x1b[K")
	}
}

func (s *screen) redraw() {
	if s.terminal && s.progress != "" {
		_, _ = fmt.Fprint(s.w, s.progress)
	}
}
