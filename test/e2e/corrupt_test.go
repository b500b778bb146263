package e2e

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/s3"
)

// TestCorruptObject: an object that is no flare goes to quarantine, byte for byte
// as it was, and nothing of it goes to Kafka.
func TestCorruptObject(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 60*time.Second)
	root := s.S3.SDK(s3.Root)
	id, garbage := frame.RandomHex(), random(t, 8192)
	_, err := root.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String(s3.Bucket), Key: aws.String(s3.Prefix + id + ".age"), Body: bytes.NewReader(garbage)})
	require.NoError(t, err)
	s.Recovery.Env = append(s.Recovery.Env, "LIFELINE_POLL_INTERVAL=1s")
	require.NoError(t, s.Gateway.Start(ctx))
	require.NoError(t, s.Recovery.Start(ctx))

	line, err := s.Recovery.P.WaitLine(ctx, "flare moved to quarantine", id)
	require.NoError(t, err)
	require.Contains(t, line, "lifeline flare inspect")
	require.Contains(t, line, `"reason": "malformed"`)
	got, err := root.GetObject(ctx, &awss3.GetObjectInput{Bucket: aws.String(s3.Bucket), Key: aws.String("lifeline/quarantine/malformed/" + id + ".age")})
	require.NoError(t, err)
	data, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.NoError(t, got.Body.Close())
	require.Equal(t, garbage, data)
	require.Zero(t, s.Kafka.HighWater())
}
