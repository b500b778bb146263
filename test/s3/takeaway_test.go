package s3

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/deploy/policies"
)

// right is one thing that the shipped policy lets recovery do.
type right struct{ action, resource string }

// Every right of recovery, and what a process that has it no more comes to:
// one that had proven its rights before ("stuck <step>", the call that the path
// fails with, or nothing yet), and one that starts without it.
var rights = []struct {
	right
	running, started string
}{
	{right{"s3:ListBucket", ""}, "path: list", "path: list"},
	{right{"s3:GetObject", "/f/*"}, "path: get f/", "path: get f/"},
	{right{"s3:DeleteObject", "/f/*"}, "stuck delete", "path: delete f/"},
	{right{"s3:PutObject", "/lifeline/done/*"}, "stuck marker", "path: write lifeline/done/"},
	{right{"s3:GetObject", "/lifeline/done/*"}, "path: get lifeline/done/", "path: read lifeline/done/"},
	{right{"s3:DeleteObject", "/lifeline/done/*"}, "", "path: delete lifeline/done/"}, // old markers stay: stuck sweep, in days
	{right{"s3:PutObject", "/lifeline/try/*"}, "path: put lifeline/try/", "path: write lifeline/try/"},
	{right{"s3:DeleteObject", "/lifeline/try/*"}, "", "path: delete lifeline/try/"}, // the marker is removed by and by
	{right{"s3:PutObject", "/lifeline/lease/*"}, "path: put lifeline/lease/", "path: write lifeline/lease/"},
	{right{"s3:GetObject", "/lifeline/lease/*"}, "", "path: read lifeline/lease/"},
	{right{"s3:DeleteObject", "/lifeline/lease/*"}, "", "path: delete lifeline/lease/"}, // leases expire
	{right{"s3:PutObject", "/lifeline/quarantine/*"}, "stuck copy", "path: write lifeline/quarantine/"},
	{right{"s3:GetObject", "/lifeline/quarantine/*"}, "", "path: read lifeline/quarantine/"},
}

// Whatever right is taken from recovery, before it starts or while it runs, it
// names what it misses, sends no record twice, and goes on when it has the right
// again: the same process, and everything is settled.
func TestEveryRightTakenAway(t *testing.T) {
	s := start(t)
	for _, r := range rights {
		t.Run(r.action+r.resource+" before it starts", func(t *testing.T) {
			b := newRig(t, s)
			s.setPolicy(t, &r.right)
			b.place(t)
			b.refusedFor(t, r.started)
			require.Empty(t, b.forwards(), "nothing is forwarded before all rights are proven")
			s.setPolicy(t, nil)
			b.settle(t)
			b.requireSettled(t)
		})
		t.Run(r.action+r.resource+" while it runs", func(t *testing.T) {
			b := newRig(t, s)
			s.setPolicy(t, nil)
			b.place(t)
			b.settle(t)
			s.setPolicy(t, &r.right)
			b.place(t)
			if r.running == "" {
				b.settle(t)
			} else {
				b.refusedFor(t, r.running)
				for id, n := range b.forwards() {
					require.Equal(t, 1, n, id)
				}
			}
			s.setPolicy(t, nil)
			b.settle(t)
			b.requireSettled(t)
		})
	}
}

// setPolicy applies the shipped policy, without one right of recovery.
func (s *Server) setPolicy(t *testing.T, without *right) {
	t.Helper()
	type statement struct {
		Sid       string
		Effect    string
		Principal map[string][]string
		Action    []string
		Resource  []string
	}
	var policy struct {
		Version   string
		Statement []statement
	}
	text := policies.Bucket(policies.Names{BucketName: Bucket, Writer: Writer.AccessKeyID, Recovery: Recovery.AccessKeyID})
	require.NoError(t, json.Unmarshal([]byte(text), &policy))
	taken := 0
	var single []statement
	for _, st := range policy.Statement {
		for _, action := range st.Action {
			for _, resource := range st.Resource {
				r := right{action, strings.TrimPrefix(resource, "arn:aws:s3:::"+Bucket)}
				if without != nil && r == *without && st.Principal["AWS"][0] == Recovery.AccessKeyID {
					taken++
					continue
				}
				sid := fmt.Sprintf("S%d", len(single))
				single = append(single, statement{sid, st.Effect, st.Principal, []string{action}, []string{resource}})
			}
		}
	}
	if without != nil {
		require.Equal(t, 1, taken, "the policy has this right once")
	}
	policy.Statement = single
	filled, err := json.Marshal(policy)
	require.NoError(t, err)
	_, err = s.SDK(Root).PutBucketPolicy(t.Context(), &awss3.PutBucketPolicyInput{Bucket: aws.String(Bucket), Policy: aws.String(string(filled))})
	require.NoError(t, err)
}
