package s3bucket

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// sessionTimeout bounds one call to a service that hands out sessions.
const sessionTimeout = 10 * time.Second

// newSession returns where temporary credentials come from, nil if none are
// configured. All agents share one session name: it is written to the trail.
func newSession(cfg Config, long *credentials, rt http.RoundTripper) aws.CredentialsProvider {
	var from aws.CredentialsProvider
	if cfg.IMDS {
		from = ec2rolecreds.New()
	}
	if cfg.RoleARN == "" {
		return from
	}
	if from == nil {
		from = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return long.base() })
	}
	client := sts.New(sts.Options{
		Region:      cfg.region(),
		Credentials: from,
		HTTPClient:  &http.Client{Transport: rt, Timeout: sessionTimeout},
	})
	return stscreds.NewAssumeRoleProvider(client, cfg.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = "lifeline"
	})
}
