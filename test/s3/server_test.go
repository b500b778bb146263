package s3

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/bucket/buckettest"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

func start(t *testing.T) *Server {
	t.Helper()
	s, err := Start(t.Context(), Options{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	return s
}

func client(t *testing.T, cfg s3bucket.Config) *s3bucket.Client {
	t.Helper()
	c, err := s3bucket.New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestContract(t *testing.T) {
	s := start(t)
	buckettest.Run(t, func(t *testing.T) bucket.Bucket { return client(t, s.Config(Root)) })
}
