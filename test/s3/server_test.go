package s3

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/deploy/policies"
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

// TestGuardIsStillNeeded fails when versitygw learns what the Guard is there for.
func TestGuardIsStillNeeded(t *testing.T) {
	s := start(t)
	policy := policies.AWSOnly(policies.Names{BucketName: Bucket, Writer: Writer.AccessKeyID, Recovery: Recovery.AccessKeyID})
	_, err := s.SDK(Root).PutBucketPolicy(t.Context(), &awss3.PutBucketPolicyInput{Bucket: aws.String(Bucket), Policy: aws.String(policy)})
	require.ErrorContains(t, err, "MalformedPolicy")
}
