package s3

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

// outcome is what became of a request: "done", or why not.
type outcome string

const (
	done     outcome = "done"
	denied   outcome = "denied"   // 403
	conflict outcome = "conflict" // 412: the key exists
)

func outcomeOf(t *testing.T, err error) outcome {
	t.Helper()
	if err == nil {
		return done
	}
	answered, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err)
	require.True(t, ok, "no answer of the store's: %v", err)
	switch answered.HTTPStatusCode() {
	case http.StatusForbidden:
		return denied
	case http.StatusPreconditionFailed:
		return conflict
	}
	return outcome(err.Error())
}

// scene is the bucket in which requests are tried: a flare that an agent sealed,
// one object of every kind that recovery keeps, and an upload in parts that
// somebody began.
type scene struct {
	t      *testing.T
	ctx    context.Context
	root   *s3bucket.Client
	flare  string // key
	sealed []byte
	upload string
}

func newScene(t *testing.T, s *Server) *scene {
	sc := &scene{t: t, ctx: t.Context(), root: client(t, s.Config(Root))}
	_, err := s.SDK(Root).CreateBucket(sc.ctx, &awss3.CreateBucketInput{Bucket: aws.String(otherBucket)})
	require.NoError(t, err)
	begun, err := s.SDK(Root).CreateMultipartUpload(sc.ctx, &awss3.CreateMultipartUploadInput{Bucket: aws.String(Bucket), Key: aws.String(Prefix + "parts")})
	require.NoError(t, err)
	sc.upload = *begun.UploadId
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	a := newAgent(t, "acme/host-17", id.Recipient())
	sc.flare, sc.sealed = a.flare(t, a.logs(t, "kept"))
	_, err = client(t, s.Config(Writer)).Put(sc.ctx, sc.flare, frame.Bytes(sc.sealed), once)
	require.NoError(t, err)
	for _, key := range []string{doneKey, tryKey, leaseKey, badKey, rootKey} {
		_, err := sc.root.Put(sc.ctx, key, frame.Bytes("x"), bucket.PutOptions{})
		require.NoError(t, err)
	}
	return sc
}

const otherBucket = "somebody-elses"

// objects returns what is in the bucket: ETags by key.
func (sc *scene) objects() map[string]string {
	sc.t.Helper()
	page, err := sc.root.List(sc.ctx, "", "")
	require.NoError(sc.t, err)
	objects := map[string]string{}
	for _, o := range page.Objects {
		objects[o.Key] = o.ETag
	}
	return objects
}

// request is one row: what is asked, and what becomes of it when an agent and
// when recovery asks. AWS answers as the guard and versitygw do together, except
// where a row says so.
type request struct {
	name            string
	writer, recover outcome
	do              func(*awss3.Client, *scene) error
}

// put returns a request that puts an object, as change makes it.
func put(key string, change func(*awss3.PutObjectInput)) func(*awss3.Client, *scene) error {
	return func(c *awss3.Client, sc *scene) error {
		in := &awss3.PutObjectInput{Bucket: aws.String(Bucket), Key: aws.String(key), IfNoneMatch: aws.String("*"), Body: strings.NewReader("y")}
		if key == "" {
			in.Key = aws.String(sc.flare)
		}
		if change != nil {
			change(in)
		}
		_, err := c.PutObject(sc.ctx, in)
		return err
	}
}

// copyTo returns a request that copies the flare.
func copyTo(key string, change func(*awss3.CopyObjectInput)) func(*awss3.Client, *scene) error {
	return func(c *awss3.Client, sc *scene) error {
		in := &awss3.CopyObjectInput{Bucket: aws.String(Bucket), Key: aws.String(key), CopySource: aws.String(Bucket + "/" + sc.flare)}
		if change != nil {
			change(in)
		}
		_, err := c.CopyObject(sc.ctx, in)
		return err
	}
}

func get(key string) func(*awss3.Client, *scene) error {
	return func(c *awss3.Client, sc *scene) error {
		in := &awss3.GetObjectInput{Bucket: aws.String(Bucket), Key: aws.String(key)}
		if key == "" {
			in.Key = aws.String(sc.flare)
		}
		out, err := c.GetObject(sc.ctx, in)
		if err != nil {
			return err
		}
		return out.Body.Close()
	}
}

func del(key string) func(*awss3.Client, *scene) error {
	return func(c *awss3.Client, sc *scene) error {
		in := &awss3.DeleteObjectInput{Bucket: aws.String(Bucket), Key: aws.String(key)}
		if key == "" {
			in.Key = aws.String(sc.flare)
		}
		_, err := c.DeleteObject(sc.ctx, in)
		return err
	}
}

// on makes a request out of a call of the client and its input.
func on[In, Out any](call func(*awss3.Client, context.Context, *In, ...func(*awss3.Options)) (*Out, error), input func(*scene) *In) func(*awss3.Client, *scene) error {
	return func(c *awss3.Client, sc *scene) error {
		_, err := call(c, sc.ctx, input(sc))
		return err
	}
}

var here = aws.String(Bucket)

// fresh is a key that no row has used: rows that must be refused would name
// what they made.
const fresh = Prefix + "fedcba9876543210fedcba9876543210.age"

// objectRequests are those that the rights of the policy are about.
var objectRequests = []request{
	{"put a flare that exists", conflict, denied, put("", nil)},
	{"put a flare without If-None-Match", denied, denied, put(fresh, func(in *awss3.PutObjectInput) { in.IfNoneMatch = nil })},
	{"replace a flare", denied, denied, put("", func(in *awss3.PutObjectInput) { in.IfNoneMatch = nil })},
	{"replace a flare with If-Match", denied, denied, put("", func(in *awss3.PutObjectInput) { in.IfNoneMatch, in.IfMatch = nil, aws.String("*") })},
	{"put a flare with tags", denied, denied, put(fresh, func(in *awss3.PutObjectInput) { in.Tagging = aws.String("a=b") })},
	{"put a flare under a lock", denied, denied, put(fresh, func(in *awss3.PutObjectInput) { in.ObjectLockLegalHoldStatus = types.ObjectLockLegalHoldStatusOn })},
	{"put outside f/", denied, denied, put("elsewhere/x", nil)},
	{"put beside f/", denied, denied, put("f", nil)},
	{"put a done marker", denied, done, put("lifeline/done/x", nil)},
	{"put a try marker", denied, done, put("lifeline/try/x", nil)},
	{"put a lease", denied, done, put("lifeline/lease/x", nil)},
	{"put into quarantine", denied, done, put("lifeline/quarantine/x", nil)},
	{"put elsewhere in the state", denied, denied, put("lifeline/x", nil)},
	{"put into another bucket", denied, denied, put(fresh, func(in *awss3.PutObjectInput) { in.Bucket = aws.String(otherBucket) })},
	{"get a flare", denied, done, get("")},
	{"get a flare that is not there", denied, "NoSuchKey", get(fresh)},
	{"get what is elsewhere", denied, denied, get(rootKey)},
	{"get a done marker", denied, done, get(doneKey)},
	{"get from quarantine", denied, done, get(badKey)},
	{"head a flare", denied, done, on((*awss3.Client).HeadObject, func(sc *scene) *awss3.HeadObjectInput {
		return &awss3.HeadObjectInput{Bucket: here, Key: aws.String(sc.flare)}
	})},
	{"head a flare that is not there", denied, "NotFound", on((*awss3.Client).HeadObject, func(*scene) *awss3.HeadObjectInput {
		return &awss3.HeadObjectInput{Bucket: here, Key: aws.String(fresh)}
	})},
	{"copy a flare within f/", denied, denied, copyTo(fresh, nil)},
	{"copy a flare within f/, once", denied, denied, copyTo(fresh, func(in *awss3.CopyObjectInput) { in.IfNoneMatch = aws.String("*") })},
	{"copy a flare into quarantine", denied, done, copyTo("lifeline/quarantine/y", nil)},
	{"copy a flare out of the bucket", denied, denied, copyTo(fresh, func(in *awss3.CopyObjectInput) { in.Bucket = aws.String(otherBucket) })},
	{"delete what is in quarantine", denied, denied, del(badKey)},
	{"delete what is elsewhere", denied, denied, del(rootKey)},
	{"delete a done marker", denied, done, del(doneKey)},
	{"delete a try marker", denied, done, del(tryKey)},
	{"delete a lease", denied, done, del(leaseKey)},
	{"list", denied, done, on((*awss3.Client).ListObjectsV2, func(*scene) *awss3.ListObjectsV2Input {
		return &awss3.ListObjectsV2Input{Bucket: here}
	})},
	{"list as it was once done", denied, done, on((*awss3.Client).ListObjects, func(*scene) *awss3.ListObjectsInput {
		return &awss3.ListObjectsInput{Bucket: here, Prefix: aws.String(Prefix)}
	})},
}

// otherRequests are those that nobody but the bucket's owner may make.
var otherRequests = []request{
	{"list versions", denied, denied, on((*awss3.Client).ListObjectVersions, func(*scene) *awss3.ListObjectVersionsInput {
		return &awss3.ListObjectVersionsInput{Bucket: here}
	})},
	{"list uploads", denied, denied, on((*awss3.Client).ListMultipartUploads, func(*scene) *awss3.ListMultipartUploadsInput {
		return &awss3.ListMultipartUploadsInput{Bucket: here}
	})},
	{"begin an upload in parts", denied, denied, on((*awss3.Client).CreateMultipartUpload, func(*scene) *awss3.CreateMultipartUploadInput {
		return &awss3.CreateMultipartUploadInput{Bucket: here, Key: aws.String(fresh)}
	})},
	{"upload a part", denied, denied, on((*awss3.Client).UploadPart, func(sc *scene) *awss3.UploadPartInput {
		return &awss3.UploadPartInput{Bucket: here, Key: aws.String(Prefix + "parts"), UploadId: aws.String(sc.upload), PartNumber: aws.Int32(1), Body: strings.NewReader("y")}
	})},
	{"list the parts of an upload", denied, denied, on((*awss3.Client).ListParts, func(sc *scene) *awss3.ListPartsInput {
		return &awss3.ListPartsInput{Bucket: here, Key: aws.String(Prefix + "parts"), UploadId: aws.String(sc.upload)}
	})},
	{"abort an upload", denied, denied, on((*awss3.Client).AbortMultipartUpload, func(sc *scene) *awss3.AbortMultipartUploadInput {
		return &awss3.AbortMultipartUploadInput{Bucket: here, Key: aws.String(Prefix + "parts"), UploadId: aws.String(sc.upload)}
	})},
	{"read the ACL of a flare", denied, denied, on((*awss3.Client).GetObjectAcl, func(sc *scene) *awss3.GetObjectAclInput {
		return &awss3.GetObjectAclInput{Bucket: here, Key: aws.String(sc.flare)}
	})},
	{"write the ACL of a flare", denied, denied, on((*awss3.Client).PutObjectAcl, func(sc *scene) *awss3.PutObjectAclInput {
		return &awss3.PutObjectAclInput{Bucket: here, Key: aws.String(sc.flare), ACL: types.ObjectCannedACLPublicRead}
	})},
	{"read the tags of a flare", denied, denied, on((*awss3.Client).GetObjectTagging, func(sc *scene) *awss3.GetObjectTaggingInput {
		return &awss3.GetObjectTaggingInput{Bucket: here, Key: aws.String(sc.flare)}
	})},
	{"tag a flare", denied, denied, on((*awss3.Client).PutObjectTagging, func(sc *scene) *awss3.PutObjectTaggingInput {
		return &awss3.PutObjectTaggingInput{Bucket: here, Key: aws.String(sc.flare), Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}}
	})},
	{"read the policy", denied, denied, on((*awss3.Client).GetBucketPolicy, func(*scene) *awss3.GetBucketPolicyInput {
		return &awss3.GetBucketPolicyInput{Bucket: here}
	})},
	{"write the policy", denied, denied, on((*awss3.Client).PutBucketPolicy, func(*scene) *awss3.PutBucketPolicyInput {
		return &awss3.PutBucketPolicyInput{Bucket: here, Policy: aws.String(`{}`)}
	})},
	{"delete the policy", denied, denied, on((*awss3.Client).DeleteBucketPolicy, func(*scene) *awss3.DeleteBucketPolicyInput {
		return &awss3.DeleteBucketPolicyInput{Bucket: here}
	})},
	{"switch versions on", denied, denied, on((*awss3.Client).PutBucketVersioning, func(*scene) *awss3.PutBucketVersioningInput {
		return &awss3.PutBucketVersioningInput{Bucket: here, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusSuspended}}
	})},
	{"delete the bucket", denied, denied, on((*awss3.Client).DeleteBucket, func(*scene) *awss3.DeleteBucketInput {
		return &awss3.DeleteBucketInput{Bucket: here}
	})},
	{"make a bucket", denied, denied, on((*awss3.Client).CreateBucket, func(*scene) *awss3.CreateBucketInput {
		return &awss3.CreateBucketInput{Bucket: aws.String("one-more")}
	})},
}

// A stolen key of an agent does one thing. Whatever else it asks for, of a flare
// that exists and of everything around it, is refused and has no effect.
func TestTheWriterDoesOneThing(t *testing.T) {
	s, sc, guarded := guardedScene(t)
	before := sc.objects()
	for _, r := range slices.Concat(objectRequests, otherRequests) {
		t.Run(r.name, func(t *testing.T) {
			require.Equal(t, r.writer, outcomeOf(t, r.do(guarded(Writer), sc)))
			require.Equal(t, before, sc.objects(), "it had an effect")
		})
	}
	c := guarded(Writer)
	for _, err := range deleteAll(t, c, sc.flare, rootKey) { // answered key by key, with status 200
		require.Equal(t, "AccessDenied", err)
	}
	require.Equal(t, before, sc.objects())

	require.Equal(t, done, outcomeOf(t, put(fresh, nil)(c, sc)), "the one thing")
	after := sc.objects()
	require.Contains(t, after, fresh)
	delete(after, fresh)
	require.Equal(t, before, after)
	data, _, err := client(t, s.Config(Recovery)).Get(t.Context(), sc.flare, bucket.GetOptions{Limit: 1 << 20})
	require.NoError(t, err)
	require.True(t, bytes.Equal(sc.sealed, data))
}

// Recovery's key does what recovery has to do: it cannot write flares, and what
// is in quarantine it cannot take away.
func TestRecoveryDoesItsWorkAndNoMore(t *testing.T) {
	_, sc, guarded := guardedScene(t)
	c := guarded(Recovery)
	did := 0
	for _, r := range slices.Concat(objectRequests, otherRequests) {
		t.Run(r.name, func(t *testing.T) {
			err := r.do(c, sc)
			if r.recover != done && r.recover != denied {
				require.ErrorContains(t, err, string(r.recover)) // it may list, so it may know
				return
			}
			require.Equal(t, r.recover, outcomeOf(t, err))
			if err == nil {
				did++
			}
		})
	}
	require.Equal(t, 14, did)
	require.Equal(t, []string{"", "AccessDenied", "AccessDenied"}, deleteAll(t, c, sc.flare, badKey, rootKey), "a flare, and nothing else")
	left := sc.objects()
	require.NotContains(t, left, sc.flare)
	require.Contains(t, left, badKey)
	require.Contains(t, left, rootKey)
	require.NotContains(t, left, fresh)
}
