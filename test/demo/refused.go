package demo

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
	"github.com/otel-lifeline/lifeline/test/s3"
)

// refused tries, with the agent's own credential and on the very flares that it
// made, what a thief of that credential would try. The store must refuse all of it.
func (s *script) refused(ctx context.Context) error {
	cfg := s.S3.Config(s3.Writer)
	cfg.AccessKeyID, cfg.SecretAccessKey = "", ""
	cfg.CredentialsFile = s.Path("keys", "s3-agent")
	thief, err := s3bucket.New(cfg)
	if err != nil {
		return err
	}
	defer thief.Close()
	_, err = thief.List(ctx, s3.Prefix, "")
	if err := s.mustRefuse("list", s3.Prefix, err); err != nil {
		return err
	}
	for key := range s.seen {
		_, _, err := thief.Get(ctx, key, bucket.GetOptions{Limit: 64 << 20})
		if err := s.mustRefuse("get", key, err); err != nil {
			return err
		}
		_, err = thief.Delete(ctx, key)
		if err := s.mustRefuse("delete", key, err); err != nil {
			return err
		}
	}
	return nil
}

// mustRefuse shows the store's refusal, and fails if it is none.
func (s *script) mustRefuse(op, key string, err error) error {
	if err == nil {
		return fmt.Errorf("with the agent's own credential, %s %s was allowed", op, key)
	}
	if bucket.KindOf(err) != bucket.Denied {
		return fmt.Errorf("with the agent's own credential, %s %s was not refused, but failed: %w", op, key, err)
	}
	s.eventf("with the agent's own credential: %-6s %s -> refused (%s)", op, filepath.Base(key), bucket.KindOf(err))
	return nil
}
