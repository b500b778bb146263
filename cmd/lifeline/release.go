package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/recovery"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

const stateReleased = "released" // back where recovery looks

func newFlareRelease() *cobra.Command {
	var write bucketFlags
	c := flareCommand{
		use: "release", short: "Put quarantined flares back before recovery",
		long: `Verifies flares in quarantine, with the keys and the trust of now, and puts every
good one back where agents put flares, so that recovery takes it as a new one: its
done marker and try markers are removed first. One that is still bad is left alone,
because recovery would only put it away again. The copy in quarantine stays.

Name the quarantine, or one folder of it: s3://BUCKET/lifeline/quarantine/signature/

Recovery's own key may not put flares, so name one that may with
--write-credentials-file: an agent's. Recovery judges the time of the new object, so
a flare older than its max_age is stale and is not released; use ` + "`flare replay`" + ` for that.`,
		needsKey: true, needsTrust: true,
		run: func(c *cobra.Command, d *desk, items []item, asJSON bool) error {
			r, err := newRelease(d, write)
			if err != nil {
				return err
			}
			return tally(c, items, "released", func(ctx context.Context, it item) (bool, error) {
				res := r.one(ctx, it)
				return res.State == stateReleased, printResult(c, &res, asJSON)
			})
		},
	}.build()
	registerWrite(c.Flags(), &write)
	return c
}

func registerWrite(flags *pflag.FlagSet, write *bucketFlags) {
	flags.StringVar(&write.cfg.CredentialsFile, "write-credentials-file", "", "AWS shared-credentials file with a key that may put flares")
	flags.StringVar(&write.cfg.Profile, "write-profile", "", "section of that file")
}

// release puts flares back.
type release struct {
	desk   *desk
	from   objects
	to     bucket.Bucket
	prefix string // of agents' flares
}

func newRelease(d *desk, write bucketFlags) (*release, error) {
	from, ok := d.source.(objects)
	if !ok || !strings.HasPrefix(from.prefix, from.state+"quarantine/") {
		return nil, usagef("name flares in quarantine, as in s3://BUCKET/lifeline/quarantine/signature/")
	}
	if write.cfg.CredentialsFile == "" {
		return nil, usagef("--write-credentials-file is missing: recovery's key may not put flares; name the file with an agent's")
	}
	cfg := write.over(from.cfg)
	cfg.Prefix = "f/"
	if d.conf != nil {
		cfg.Prefix = d.conf.S3.Prefix
	}
	to, err := s3bucket.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("--write-credentials-file: %w", err)
	}
	return &release{d, from, to, cfg.Prefix}, nil
}

func (r *release) one(ctx context.Context, it item) result {
	data, err := r.from.read(ctx, it)
	if err != nil {
		res := newResult(it)
		res.State, res.Error = stateUnread, err.Error()
		return res
	}
	it.stored = time.Now() // as recovery will see it
	res, fl := r.desk.open(it, data)
	res.Stored = nil
	if fl == nil {
		return res
	}
	if fl.Manifest.Reason == flare.Rejected {
		res.State, res.Error = stateNotWritten, "it holds what the gateway refused for good, so recovery would put it away again: `lifeline flare replay` sends it"
		return res
	}
	if err := r.put(ctx, it, data); err != nil {
		res.State, res.Error = stateNotWritten, err.Error()
		return res
	}
	res.State = stateReleased
	return res
}

// put removes the notes first: behind a done marker the flare would be deleted
// unseen. A crash in between leaves it in quarantine, to be released again.
func (r *release) put(ctx context.Context, it item, data []byte) error {
	if err := recovery.NotesIn(r.from.bucket, r.from.state).Forget(ctx, it.id); err != nil {
		return fmt.Errorf("remove what recovery noted about it: %w%s", err, hint(err))
	}
	_, err := r.to.Put(ctx, flare.Key(r.prefix, it.id), frame.Bytes(data), bucket.PutOptions{IfNoneMatch: true})
	if err == nil {
		return nil
	}
	switch bucket.KindOf(err) {
	case bucket.Exists:
		return fmt.Errorf("%s is there already: recovery will take it", flare.Key(r.prefix, it.id))
	case bucket.Denied:
		return fmt.Errorf("%w; use a key that may put below %s", err, r.prefix)
	}
	return fmt.Errorf("%w%s", err, hint(err))
}
