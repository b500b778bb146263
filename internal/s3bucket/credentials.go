package s3bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/otel-lifeline/lifeline/internal/reload"
)

// credentials are what requests are signed with. Choosing them never makes a
// call: in an emergency the services that hand out sessions may be gone as well.
//
// New credentials do not replace proven ones before they are proven themselves
// or the proven ones are refused: a wrong key in a file that was just written
// must not take away a path that works.
type credentials struct {
	static  aws.Credentials
	file    *reload.Files[aws.Credentials] // nil: static
	session aws.CredentialsProvider        // nil: static or file are used as they are

	mu sync.Mutex
	// mu guards the following.
	latest  aws.Credentials // of session
	renewal time.Time       // when half of its life is over
	proven  aws.Credentials // passed Probe, not refused since
}

func newCredentials(cfg Config, rt http.RoundTripper) *credentials {
	c := &credentials{static: aws.Credentials{
		AccessKeyID:     cfg.AccessKeyID,
		SecretAccessKey: string(cfg.SecretAccessKey),
		SessionToken:    string(cfg.SessionToken),
	}}
	if cfg.CredentialsFile != "" {
		profile := cmp.Or(cfg.Profile, "default")
		c.file = reload.File("credentials_file", cfg.CredentialsFile, func(data []byte) (aws.Credentials, error) {
			return parseCredentials(string(data), profile)
		})
	}
	c.session = newSession(cfg, c, rt)
	return c
}

// base returns the long-lived credentials.
func (c *credentials) base() (aws.Credentials, error) {
	if c.file != nil {
		return c.file.Get()
	}
	return c.static, nil
}

// current returns what to sign with: the proven credentials, else the newest.
func (c *credentials) current() (aws.Credentials, error) {
	c.mu.Lock()
	proven := c.proven
	c.mu.Unlock()
	if proven.HasKeys() && !proven.Expired() {
		return proven, nil
	}
	return c.newest()
}

// newest returns the credentials that files, configuration or the last refresh give.
func (c *credentials) newest() (aws.Credentials, error) {
	if c.session == nil {
		return c.base()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.latest.HasKeys():
		return aws.Credentials{}, errors.New("no temporary credentials were obtained yet; check role_arn and imds")
	case c.latest.Expired():
		return aws.Credentials{}, fmt.Errorf("the temporary credentials expired at %s and were not renewed; check role_arn and imds", c.latest.Expires.UTC().Format(time.RFC3339))
	}
	return c.latest, nil
}

// unproven reports whether the newest credentials still have to be proven.
func (c *credentials) unproven() bool {
	newest, err := c.newest()
	c.mu.Lock()
	defer c.mu.Unlock()
	return err != nil || newest != c.proven
}

// prove takes note that the store knows these credentials.
func (c *credentials) prove(known aws.Credentials) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proven = known
}

// refused takes note that the store does not take these credentials.
func (c *credentials) refused(used aws.Credentials) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proven == used {
		c.proven = aws.Credentials{}
	}
}

// refresh reads the file again if it changed, and renews a session that has
// half of its life behind it.
func (c *credentials) refresh(ctx context.Context) error {
	if c.file != nil {
		if err := c.file.Check(); err != nil {
			return err
		}
	}
	if c.session == nil {
		return nil
	}
	c.mu.Lock()
	fresh := c.latest.HasKeys() && time.Now().Before(c.renewal)
	c.mu.Unlock()
	if fresh {
		return nil
	}
	got, err := c.session.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("get temporary credentials: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest, c.renewal = got, time.Now().Add(time.Until(got.Expires)/2)
	return nil
}

// parseCredentials reads one section of AWS's shared-credentials format.
func parseCredentials(text, profile string) (aws.Credentials, error) {
	var got aws.Credentials
	inside, found := false, false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if name, ok := strings.CutPrefix(line, "["); ok {
			inside = strings.TrimSpace(strings.TrimSuffix(name, "]")) == profile
			found = found || inside
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return got, errors.New("not in the shared-credentials format; expected [profile] and lines of key = value")
		}
		if !inside {
			continue
		}
		switch value = strings.TrimSpace(value); strings.ToLower(strings.TrimSpace(key)) {
		case "aws_access_key_id":
			got.AccessKeyID = value
		case "aws_secret_access_key":
			got.SecretAccessKey = value
		case "aws_session_token":
			got.SessionToken = value
		}
	}
	switch {
	case !found:
		return got, fmt.Errorf("has no section [%s]; add it or set profile", profile)
	case !got.HasKeys():
		return got, fmt.Errorf("section [%s] needs aws_access_key_id and aws_secret_access_key", profile)
	}
	return got, nil
}
