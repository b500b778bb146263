package lifelineexporter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/delivery"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/reload"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
	"github.com/otel-lifeline/lifeline/internal/trouble"
)

// watchInterval is how often the fallback looks at its files, and how soon it
// tries a bucket again that did not answer.
const watchInterval = time.Minute

// probeTimeout bounds one look at one bucket.
const probeTimeout = 30 * time.Second

// fallback keeps ready what makes and stores flares, so that nothing has to be
// found out in an emergency. What is broken is an alarm and never an error of
// the exporter: the path to the gateway does not depend on it.
type fallback struct {
	keys     *reload.Files[*flare.Sealer]
	keysOK   atomic.Bool
	telling  sync.Mutex // held while what the keys are is found out and told
	looking  sync.Mutex // held for one look at the buckets
	buckets  []*flareBucket
	troubles *trouble.List
	log      *zap.Logger
}

// flareBucket is one bucket that flares may go to.
type flareBucket struct {
	name   string
	client *s3bucket.Client
	proven atomic.Bool // the last look at it was good

	// fallback.looking guards the following.
	files *reload.Files[int] // its credentials and certificates; the value counts their versions
	seen  int                // the version at the last look
}

func newFallback(cfg *FlareConfig, t *trouble.List, log *zap.Logger) (*fallback, error) {
	f := &fallback{keys: newKeys(cfg), troubles: t, log: log}
	names := map[string]int{}
	for i, bucket := range cfg.Buckets {
		client, err := s3bucket.New(bucket)
		if err != nil {
			return nil, fmt.Errorf("flare::buckets::%d: %w", i, err)
		}
		name := bucket.Bucket + "/" + bucket.Prefix
		if names[name]++; names[name] > 1 {
			name = fmt.Sprintf("%s (%d)", name, names[name])
		}
		f.buckets = append(f.buckets, &flareBucket{name: name, client: client, files: newVersions(bucket.CredentialsFile, bucket.CAFile)})
	}
	return f, nil
}

// targets returns the buckets as delivery wants them.
func (f *fallback) targets() []delivery.Target {
	var targets []delivery.Target
	for _, b := range f.buckets {
		targets = append(targets, delivery.Target{Name: b.name, Bucket: b.client, Prefix: b.client.Prefix()})
	}
	return targets
}

// keyError is what is wrong with the key files; the fallback has told it.
type keyError struct{ error }

// sealer is delivery's way to the keys in force. It fails with a keyError.
func (f *fallback) sealer() (*flare.Sealer, error) {
	sealer, err := f.checkKeys()
	if sealer == nil {
		return nil, keyError{err}
	}
	return sealer, nil
}

// watch checks at once and then every minute, until ctx ends.
func (f *fallback) watch(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		f.check(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (f *fallback) check(ctx context.Context) {
	_, _ = f.checkKeys() // what is wrong is told
	if flare.CheckFIPS() != nil {
		return // no flare can be made, so no bucket matters
	}
	f.looking.Lock()
	defer f.looking.Unlock()
	for _, b := range f.buckets {
		f.checkBucket(ctx, b)
	}
}

// checkKeys returns the keys in force, nil if there were never good ones, and what is
// wrong with their files, which it tells.
func (f *fallback) checkKeys() (sealer *flare.Sealer, broken error) {
	f.telling.Lock() // or what was read first could be told last
	defer f.telling.Unlock()
	sealer, broken = f.keys.State()
	f.keysOK.Store(broken == nil)
	switch news := f.troubles.Set(keyTrouble, broken); {
	case news && broken != nil:
		f.log.Error("The key files of the fallback are not usable. The last good keys, if there were any, stay in force.", zap.Error(broken))
	case news:
		f.log.Info("The key files of the fallback are good again.")
	}
	return sealer, broken
}

// checkBucket proves a bucket when its credentials are new or the last look
// failed; otherwise it only renews what expires.
func (f *fallback) checkBucket(ctx context.Context, b *flareBucket) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	look := b.client.Refresh
	if b.filesChanged() || !b.proven.Load() {
		look = b.client.Probe
	}
	err := look(ctx)
	if errors.Is(err, s3bucket.ErrCanRead) {
		f.log.Warn("The credentials of a flare bucket can do more than put.", zap.String("bucket", b.name), zap.Error(err))
		err = nil
	}
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return // the exporter stops: that says nothing about the bucket
	}
	b.proven.Store(err == nil)
	if err != nil {
		err = fmt.Errorf("flare::buckets: %s: %w; check name, region, endpoint and credentials", b.name, err)
	}
	if !f.troubles.Set("bucket "+b.name, err) {
		return
	}
	if err != nil {
		f.log.Error("A flare bucket would not take flares.", zap.String("bucket", b.name), zap.Error(err))
		return
	}
	f.log.Info("A flare bucket answers as it should again.", zap.String("bucket", b.name))
}

// newVersions counts the versions of files, of which some may have no name.
func newVersions(paths ...string) *reload.Files[int] {
	version := 0
	return &reload.Files[int]{
		Key: "flare::buckets", Paths: slices.DeleteFunc(paths, func(path string) bool { return path == "" }),
		Read: func() (int, error) { version++; return version, nil },
	}
}

// filesChanged reports whether there is another version than at the last call. What
// is wrong with the files is told by who reads them.
func (b *flareBucket) filesChanged() bool {
	now, _ := b.files.Get()
	changed := now != b.seen
	b.seen = now
	return changed
}

// keyTrouble is the trouble of key files that are not usable.
const keyTrouble = "flare keys"

// putRefused is the trouble of a bucket that refused a flare, as delivery tells it.
func putRefused(target string) string { return "put to " + target }

// ready reports whether a flare made now would find its way.
func (f *fallback) ready() bool {
	return f.keysOK.Load() && slices.ContainsFunc(f.buckets, func(b *flareBucket) bool {
		return b.proven.Load() && !f.troubles.Wrong(putRefused(b.name))
	})
}

// close drops idle connections.
func (f *fallback) close() {
	for _, b := range f.buckets {
		b.client.Close()
	}
}
