package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

func newFlare() *cobra.Command {
	return group("flare", "Look at flares and open them by hand",
		newFlareLs(), newFlareInspect(), newFlareVerify(), newFlareOpen(),
		newFlareReplay(), newFlareRelease())
}

// flareFlags are common to all commands on flares.
type flareFlags struct {
	bucket bucketFlags
	keys   keyFlags
	json   bool
}

// flareCommand is a command on flares. needsTrust makes the allowed signers file
// a must, needsKey the identity file.
type flareCommand struct {
	use, short, long     string
	needsKey, needsTrust bool
	run                  func(c *cobra.Command, d *desk, items []item, asJSON bool) error
}

func (f flareCommand) build() *cobra.Command {
	var flags flareFlags
	c := &cobra.Command{
		Use: f.use + " [flags] (FILE | FOLDER)... | s3://BUCKET/PREFIX/ | --config CONFIG [ID]...", Short: f.short, Long: f.long,
		DisableFlagsInUseLine: true,
		RunE: func(c *cobra.Command, args []string) error {
			d, err := f.desk(c.Context(), flags, args)
			if err != nil {
				return err
			}
			items, err := d.source.list(c.Context())
			if err != nil {
				return err
			}
			if len(items) == 0 {
				fmt.Fprintf(c.ErrOrStderr(), "no flares in %s\n", d.source)
				return nil
			}
			return f.run(c, d, items, flags.json)
		},
	}
	flags.bucket.register(c.Flags())
	flags.keys.register(c.Flags())
	c.Flags().BoolVar(&flags.json, "json", false, "print one JSON object per flare and line")
	return c
}

// desk makes ready what the command needs, before it looks at any flare.
func (f flareCommand) desk(ctx context.Context, flags flareFlags, args []string) (*desk, error) {
	where, err := parsePlace(args)
	if err != nil {
		return nil, err
	}
	d := &desk{}
	if flags.bucket.config != "" {
		if d.conf, err = loadRecovery(ctx, flags.bucket.config, where.bucket); err != nil {
			return nil, err
		}
		flags.keys.fill(d.conf)
	}
	d.keys = flags.keys
	if f.needsKey && d.keys.identities == "" {
		return nil, usagef("--identities is missing: name the file with recovery's secret key, or its configuration with --config")
	}
	if f.needsTrust && d.keys.allowedSigners == "" {
		return nil, usagef("--allowed-signers is missing: it says who may sign flares; `lifeline flare inspect` works without")
	}
	if d.source, err = flags.bucket.source(where, d.conf); err != nil {
		return nil, err
	}
	d.opener, err = d.keys.opener()
	return d, err
}

func newFlareLs() *cobra.Command {
	return flareCommand{
		use: "ls", short: "List flares",
		long: `Lists flares with size and time. With --identities or --config it also tells what
they hold: as they claim, unless there are allowed signers too.`,
		run: runLs,
	}.build()
}

func runLs(c *cobra.Command, d *desk, items []item, asJSON bool) error {
	return each(c, items, func(ctx context.Context, it item) error {
		r := newResult(it)
		if d.opener != nil {
			r = d.inspect(ctx, it)
			r.Manifest = r.Manifest.WithoutRecords()
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), r)
		}
		if d.opener != nil {
			return printLine(c.OutOrStdout(), r.line())
		}
		stored := strings.Repeat(" ", 20)
		if r.Stored != nil {
			stored = r.Stored.Format("2006-01-02T15:04:05Z")
		}
		return printLine(c.OutOrStdout(), fmt.Sprintf("%10d  %s  %s", it.size, stored, it.name))
	})
}

func newFlareInspect() *cobra.Command {
	return flareCommand{
		use: "inspect", short: "Show what flares say about themselves",
		long: `Shows the manifest and whether the records are what it says. It works without
--allowed-signers, and then says what it could not verify: everything it shows may
have been made up by anybody who can write to the bucket.`,
		needsKey: true,
		run: func(c *cobra.Command, d *desk, items []item, asJSON bool) error {
			return tally(c, items, "good", func(ctx context.Context, it item) (bool, error) {
				r := d.inspect(ctx, it)
				ok := r.State == stateGood || r.State == stateUnverified
				if asJSON {
					return ok, printJSON(c.OutOrStdout(), r)
				}
				return ok, printLine(c.OutOrStdout(), r.details())
			})
		},
	}.build()
}

func newFlareVerify() *cobra.Command {
	return flareCommand{
		use: "verify", short: "Verify flares as recovery does",
		long: `Checks flares as recovery does: signer, revocation, audience, id, times, every
record's hash, to the last byte. Exit code 1 if one of them is not good.`,
		needsKey: true, needsTrust: true,
		run: func(c *cobra.Command, d *desk, items []item, asJSON bool) error {
			return tally(c, items, "good", func(ctx context.Context, it item) (bool, error) {
				r, _ := d.verify(ctx, it)
				return r.State == stateGood, printResult(c, &r, asJSON)
			})
		},
	}.build()
}

// printResult prints a result and, for a person, what to do about it.
func printResult(c *cobra.Command, r *result, asJSON bool) error {
	if asJSON {
		return printJSON(c.OutOrStdout(), r)
	}
	if remedy := r.remedy(); remedy != "" {
		fmt.Fprintf(c.ErrOrStderr(), "%s: %s\n", r.Name, remedy)
	}
	return printLine(c.OutOrStdout(), r.line())
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func printLine(w io.Writer, text string) error {
	_, err := fmt.Fprintln(w, text)
	return err
}

// contents sums up what a flare holds.
func contents(m *flare.Manifest) string {
	var parts []string
	for s := range frame.Signal(frame.NumSignals) {
		if t, ok := m.Totals[s.String()]; ok {
			parts = append(parts, fmt.Sprintf("%d %s in %d records", t.Items, itemName(s), t.Frames))
		}
	}
	return strings.Join(parts, ", ")
}

func itemName(s frame.Signal) string {
	return [frame.NumSignals]string{"spans", "data points", "log records", "samples"}[s]
}
