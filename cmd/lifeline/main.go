// Command lifeline is the operator's tool: it makes keys, reads flares by hand,
// does recovery's work by hand, and checks configurations. It writes only files
// that do not exist yet, and deletes only what it was told to and what was acked.
// It needs no running collector.
//
// Exit codes: 0 all went well; 1 something failed, or a flare or a configuration
// is not good; 2 the command line is wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot() //nolint:contextcheck // cobra hands the context to the command that runs
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "lifeline:", err)
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "lifeline",
		Short: "Keys, flares and configurations of Lifeline, by hand",
		Long: `Lifeline keeps telemetry when a gateway cannot be reached: agents seal it into
flares, objects in a bucket that should never see any. This tool makes the keys
for that, reads flares by hand, and checks the configurations of collectors.

  lifeline init keys                       # all keys and three configurations
  lifeline keygen recovery --output recovery.key >> recipients.txt
  lifeline keygen agent --output agent_ed25519 --principal acme/host-17 >> allowed_signers
  lifeline flare verify --identities recovery.key --allowed-signers allowed_signers FLARE.age
  lifeline check gateway.yaml

Exit codes: 0 all went well; 1 something failed, or a flare or a configuration
is not good; 2 the command line is wrong.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return flare.CheckFIPS()
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
	})
	root.AddCommand(newInit(), newKeygen(), newFlare(), newDrill(), newCheck(), newVersion())
	return root
}

// usageError is a wrong command line.
type usageError struct{ error }

// Unwrap returns the cause.
func (e *usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// usageArgs makes a check of arguments report a wrong command line.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usagef("%w; see `%s --help`", err, c.CommandPath())
		}
		return nil
	}
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return usagef("%s needs a command; see `%s --help`", c.CommandPath(), c.CommandPath())
		},
	}
	c.AddCommand(commands...)
	return c
}
