package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/test/s3"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// backlog is what an outage leaves in the bucket: flares of frames as a ring
// holds them.
type backlog struct {
	flares      [][]frame.Frame
	raw, stored int64 // bytes of telemetry: as it is, and as it is stored
	seals       uint64
}

// flareStored is how much a flare holds, so that it is no larger than the 8 MiB
// that agents seal by default.
const flareStored = 8<<20 - 256<<10

// newBacklog makes n flares of spans.
func newBacklog(n int) (*backlog, error) {
	b := &backlog{}
	next := Load{Signal: frame.Traces, Items: 100}.Stream(1)
	for range n {
		frames, raw, err := storedFrames(frame.Traces, next, flareStored)
		if err != nil {
			return nil, err
		}
		for _, f := range frames {
			b.stored += f.Stored.Len()
		}
		b.flares, b.raw = append(b.flares, frames), b.raw+raw
	}
	return b, nil
}

// storedFrames returns frames of 256 KiB, made of the requests that next returns,
// until they hold as much as stored says, and what they were before.
func storedFrames(s frame.Signal, next func() ([]byte, error), stored int64) (frames []frame.Frame, raw int64, err error) {
	boot := frame.RandomHex()
	for left := stored; left > 0; {
		var request []byte
		for len(request) < 256<<10 {
			r, err := next()
			if err != nil {
				return nil, 0, err
			}
			request = append(request, r...)
		}
		var out bytes.Buffer
		if err := otlpcodec.Compress(&out, request); err != nil {
			return nil, 0, err
		}
		items, err := otlpcodec.Count(s, request)
		if err != nil {
			return nil, 0, err
		}
		frames = append(frames, frame.Frame{
			Signal: s, BatchID: frame.NewBatchID(), RawSize: int64(len(request)), Stored: frame.Bytes(out.Bytes()),
			Header: frame.Header{Agent: stack.Principal, Boot: boot, Seq: uint64(len(frames) + 1), Items: items, Attempt: 1},
		})
		left, raw = left-int64(out.Len()), raw+int64(len(request))
	}
	return frames, raw, nil
}

// put seals the backlog to the keys of a stack and stores it in its bucket. Every
// time all ids are new: nobody has met any of it before.
func (b *backlog) put(ctx context.Context, s *stack.Stack) error {
	sealer, err := sealerOf(s)
	if err != nil {
		return err
	}
	client := s.S3.SDK(s3.Root)
	boot := frame.RandomHex()
	for _, frames := range b.flares {
		for i := range frames {
			frames[i].BatchID, frames[i].Header.Boot = frame.NewBatchID(), boot
		}
		b.seals++
		m := &flare.Manifest{
			Agent: stack.Principal, Audience: stack.Audience, BootID: boot, Seq: b.seals,
			Reason: flare.Expired, Created: flare.TimeOf(time.Now()),
		}
		var object bytes.Buffer
		if err := sealer.Seal(&object, m, frames); err != nil {
			return err
		}
		if _, err := client.PutObject(ctx, &awss3.PutObjectInput{
			Bucket: aws.String(s3.Bucket), Key: aws.String(flare.Key(s3.Prefix, m.FlareID)), Body: bytes.NewReader(object.Bytes()),
		}); err != nil {
			return fmt.Errorf("store the backlog: %w", err)
		}
	}
	return nil
}

func sealerOf(s *stack.Stack) (*flare.Sealer, error) {
	to, err := os.ReadFile(s.Path("keys", "recipients.txt"))
	if err != nil {
		return nil, err
	}
	by, err := os.ReadFile(s.Path("keys", "agent_ed25519"))
	if err != nil {
		return nil, err
	}
	return newSealer(to, by)
}

// newSealer takes the contents of two key files.
func newSealer(recipients, signingKey []byte) (*flare.Sealer, error) {
	to, err := flare.ParseRecipients(bytes.NewReader(recipients), false)
	if err != nil {
		return nil, err
	}
	by, err := flare.ParseSigner(signingKey, nil)
	return &flare.Sealer{Recipients: to, Signer: by}, err
}

// left returns how many flares are still in the bucket. It asks the server's disk
// and not the server: that costs nobody anything.
func left(s *stack.Stack) (int, error) {
	files, err := os.ReadDir(filepath.Join(s.Path("s3"), "objects", s3.Bucket, s3.Prefix))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return len(files), err
}
