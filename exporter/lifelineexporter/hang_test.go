package lifelineexporter

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/trouble"
)

// Key files, and those of a bucket, on a filesystem that hangs: flares are sealed with
// the keys from before, what is wrong is told, and the watch ends when it has to.
func TestFilesThatHangHoldUpNoFlare(t *testing.T) {
	dir := keyDir(t)
	synctest.Test(t, func(t *testing.T) {
		cfg := &FlareConfig{RecipientsFile: filepath.Join(dir, "recipients.txt"), SigningKeyFile: filepath.Join(dir, "agent_ed25519")}
		f, err := newFallback(cfg, &trouble.List{}, zap.NewNop())
		require.NoError(t, err)
		bucket := flareBucket{files: newVersions(cfg.RecipientsFile, "")}
		require.True(t, bucket.filesChanged(), "new")
		require.False(t, bucket.filesChanged())
		keys, err := f.sealer()
		require.NoError(t, err)

		reads, release := make(chan struct{}, 2), make(chan struct{})
		f.keys.Read = func() (*flare.Sealer, error) {
			reads <- struct{}{}
			<-release
			return keys, nil
		}
		bucket.files.Read = func() (int, error) {
			reads <- struct{}{}
			<-release
			return 2, nil
		}
		require.NoError(t, os.Chtimes(cfg.RecipientsFile, time.Time{}, time.Now().Add(time.Hour)))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var watching sync.WaitGroup
		watching.Go(func() { f.watch(ctx) })
		time.Sleep(2 * watchInterval)
		synctest.Wait()
		<-reads
		require.ErrorContains(t, f.keys.Check(), "flare: no answer while reading "+cfg.RecipientsFile)
		require.True(t, f.troubles.Wrong(keyTrouble))
		require.False(t, bucket.filesChanged(), "nobody knows")
		<-reads

		began := time.Now()
		still, err := f.sealer()
		require.NoError(t, err)
		require.Same(t, keys, still)
		cancel()
		watching.Wait()
		require.Zero(t, time.Since(began))

		close(release)
		synctest.Wait()
		require.NoError(t, f.keys.Check())
		require.True(t, bucket.filesChanged())
	})
}
