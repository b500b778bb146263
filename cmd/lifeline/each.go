package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Work of less than this is over before a bar could be read.
const (
	longBytes = 16 << 20
	longItems = 32
)

// each calls do for every item, with a progress bar if that takes long and
// somebody is there to look at it.
func each(c *cobra.Command, items []item, do func(context.Context, item) error) error {
	var total int64
	for _, it := range items {
		total += it.size
	}
	step := func(int64) {}
	if stdout, stderr := c.OutOrStdout(), c.ErrOrStderr(); isTerminal(stderr) && (total > longBytes || len(items) > longItems) {
		progress := mpb.NewWithContext(c.Context(), mpb.WithOutput(stderr))
		bar := progress.AddBar(total,
			mpb.PrependDecorators(decor.CountersKibiByte("% .1f / % .1f")),
			mpb.AppendDecorators(decor.Percentage()))
		step = bar.IncrInt64
		c.SetErr(progress) // lines for the terminal go above the bar
		if isTerminal(stdout) {
			c.SetOut(progress)
		}
		defer func() {
			bar.Abort(false) // no effect on a bar that is full
			progress.Wait()
			c.SetOut(stdout)
			c.SetErr(stderr)
		}()
	}
	for _, it := range items {
		if err := c.Context().Err(); err != nil {
			return fmt.Errorf("interrupted: %w", err)
		}
		if err := do(c.Context(), it); err != nil {
			return err
		}
		step(it.size)
	}
	return nil
}

// tally is each for a command that fails if one item is not what it should be:
// good, written.
func tally(c *cobra.Command, items []item, what string, do func(context.Context, item) (bool, error)) error {
	failed := 0
	err := each(c, items, func(ctx context.Context, it item) error {
		ok, err := do(ctx, it)
		if !ok {
			failed++
		}
		return err
	})
	if err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d flares are not %s", failed, len(items), what)
	}
	return nil
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
