package recovery

import (
	"bytes"
	"context"
	"fmt"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

const probeText = "Lifeline proves its rights with this object.\n"

// prove shows that this process may do all it will have to do after a forward.
// A recovery that can forward and not write a marker would send the same flares
// for ever.
func (l *Loop) prove(ctx context.Context) error {
	if l.proven {
		return nil
	}
	// crash here: a probe stays in done/; it is swept like an old marker.
	done, try := l.s.StatePrefix+"done/probe-"+l.s.NewID(), l.s.StatePrefix+"try/probe"
	if err := l.writeRead(ctx, done); err != nil {
		return err
	}
	if err := l.writeRead(ctx, l.s.StatePrefix+"quarantine/probe"); err != nil {
		return err
	}
	if _, err := l.bucket.Put(ctx, try, frame.Bytes(probeText), bucket.PutOptions{}); err != nil {
		return proofFailed("write", try, err)
	}
	// No flare has the last name: it shows the right, and deletes nothing.
	for _, key := range []string{done, try, l.s.Prefix + "probe-" + l.s.NewID() + ".age"} {
		if _, err := l.bucket.Delete(ctx, key); err != nil {
			return proofFailed("delete", key, err)
		}
	}
	if l.s.Lease {
		if err := l.proveLeases(ctx); err != nil {
			return err
		}
	}
	l.proven = true
	return nil
}

func (l *Loop) writeRead(ctx context.Context, key string) error {
	if _, err := l.bucket.Put(ctx, key, frame.Bytes(probeText), bucket.PutOptions{}); err != nil {
		return proofFailed("write", key, err)
	}
	got, _, err := l.bucket.Get(ctx, key, bucket.GetOptions{Limit: maxMarker})
	if err != nil {
		return proofFailed("read", key, err)
	}
	if !bytes.Equal(got, []byte(probeText)) {
		return proofFailed("read back", key, fmt.Errorf("the store returned other bytes"))
	}
	return nil
}

// proofFailed names what recovery must be able to do. Only a refusal is about
// rights: what fails otherwise is soon tried again.
func proofFailed(verb, key string, err error) error {
	return bucketPath(fmt.Errorf(
		"recovery must be able to %s %s before it forwards anything; give its credential put, get and delete under state_prefix, and get and delete under s3::prefix: %w", verb, key, err))
}
