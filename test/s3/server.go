// Package s3 runs a real S3 server, versitygw, inside the test's or the demo's
// own process: signatures, bucket policies and conditional writes are enforced.
// Its accounts and its policy are those of a deployment: a writer for agents, a
// recovery, and root, which may do everything.
//
// versitygw has package globals and works relative to the working directory: at
// most one Server runs in a process, and from Start to Stop the working directory
// is the server's. Use absolute paths. What AWS enforces and versitygw does not,
// a Guard in front of it does.
package s3

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3api"
	"go.opentelemetry.io/collector/config/configopaque"

	"github.com/otel-lifeline/lifeline/deploy/policies"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
	"github.com/otel-lifeline/lifeline/test/proc"
)

// Names that the server is set up with.
const (
	Bucket = "acme-flares"
	Prefix = "f/"
	Region = "us-east-1"
)

// Account is a key pair that the server knows. The secrets are no secrets.
type Account struct{ AccessKeyID, SecretAccessKey string }

// The accounts of every Server.
var (
	Root     = Account{"lifeline-root", "root-for-tests-only"}
	Writer   = Account{"flare-writer", "writer-for-tests-only"}
	Recovery = Account{"flare-recovery", "recovery-for-tests-only"}
)

// WriteFile writes the account to path in AWS's shared-credentials format.
func (a Account) WriteFile(path string) error {
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", a.AccessKeyID, a.SecretAccessKey)
	return os.WriteFile(path, []byte(text), 0o600)
}

// Options are where a Server lives. Both survive Stop, so that Start with the
// same Options is the same server again.
type Options struct {
	Dir  string // objects and accounts; made if it is missing
	Addr string // host:port; "" for a free port of 127.0.0.1
	// Versions lets a bucket have versioning, if it is switched on for it: what is
	// deleted is then hidden behind a delete marker. The server says so on stdout.
	Versions bool
}

// Server is a running server.
type Server struct {
	addr string
	cwd  string
	iam  auth.IAMService
	stop context.CancelFunc
	wg   sync.WaitGroup
	err  error // of the server; owned by its goroutine until wg is done

	writers, recoveries []string // access keys that the policy names
}

// Start starts a server, makes the bucket if it is missing and applies the
// policy of deploy/policies. The server runs until Stop; ctx bounds the start only.
func Start(ctx context.Context, o Options) (*Server, error) {
	s := &Server{addr: o.Addr, writers: []string{Writer.AccessKeyID}, recoveries: []string{Recovery.AccessKeyID}}
	var err error
	if s.cwd, err = os.Getwd(); err != nil {
		return nil, err
	}
	if s.addr == "" {
		addrs, err := proc.FreeAddrs(1)
		if err != nil {
			return nil, err
		}
		s.addr = addrs[0]
	}
	if err := s.run(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("start S3 on %s: %w", s.addr, err), os.Chdir(s.cwd))
	}
	if err := s.setUp(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("set up bucket %s: %w", Bucket, err), s.Stop())
	}
	return s, nil
}

// run starts the server's goroutine and waits until it listens.
func (s *Server) run(ctx context.Context, o Options) error {
	objects, accounts, versions := filepath.Join(o.Dir, "objects"), filepath.Join(o.Dir, "accounts"), filepath.Join(o.Dir, "versions")
	for _, dir := range []string{objects, accounts, versions} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	opts := posix.PosixOpts{CopyObjectThreshold: 5 << 30}
	if o.Versions {
		opts.VersioningDir = versions
	}
	var err error
	if s.iam, err = accountsIn(accounts); err != nil {
		return fmt.Errorf("create the accounts: %w", err)
	}
	store, err := posix.New(objects, meta.XattrMeta{}, opts)
	if err != nil {
		return err
	}
	listening, ended := make(chan struct{}), make(chan struct{})
	runCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.wg.Go(func() {
		defer close(ended)
		s.err = embedgw.RunVersityGW(runCtx, store, &embedgw.Config{
			RootUserAccess: Root.AccessKeyID, RootUserSecret: Root.SecretAccessKey,
			Region: Region, Ports: []string{s.addr}, IAMService: s.iam,
			MaxConnections: 1024, MaxRequests: 512, MultipartMaxParts: 1,
			KeepAlive: true, Quiet: true,
			S3Options: []s3api.Option{s3api.WithOnListen(sync.OnceFunc(func() { close(listening) }))},
		})
	})
	select {
	case <-listening:
		return nil
	case <-ended:
		stop()
		return s.err
	case <-ctx.Done():
		stop()
		s.wg.Wait()
		return context.Cause(ctx)
	}
}

// accountsIn opens the account store in dir. It is not cached.
func accountsIn(dir string) (auth.IAMService, error) {
	iam, err := auth.NewInternal(auth.Account{Access: Root.AccessKeyID, Secret: Root.SecretAccessKey, Role: auth.RoleAdmin}, dir)
	if err != nil {
		return nil, err
	}
	for _, a := range []Account{Writer, Recovery} {
		err := iam.CreateAccount(auth.Account{Access: a.AccessKeyID, Secret: a.SecretAccessKey, Role: auth.RoleUser})
		if err != nil && !errors.Is(err, auth.ErrUserExists) {
			return nil, err
		}
	}
	return iam, nil
}

// AddKey makes a second key with the rights of one that the Server knows, as a
// rotation begins.
func (s *Server) AddKey(ctx context.Context, like, a Account) error {
	if err := s.iam.CreateAccount(auth.Account{Access: a.AccessKeyID, Secret: a.SecretAccessKey, Role: auth.RoleUser}); err != nil {
		return fmt.Errorf("create account %s: %w", a.AccessKeyID, err)
	}
	if slices.Contains(s.writers, like.AccessKeyID) {
		s.writers = append(s.writers, a.AccessKeyID)
	}
	if slices.Contains(s.recoveries, like.AccessKeyID) {
		s.recoveries = append(s.recoveries, a.AccessKeyID)
	}
	return s.applyPolicy(ctx)
}

// RemoveKey takes a key away, as a rotation ends: nobody can sign with it any more.
func (s *Server) RemoveKey(ctx context.Context, a Account) error {
	is := func(key string) bool { return key == a.AccessKeyID }
	s.writers, s.recoveries = slices.DeleteFunc(s.writers, is), slices.DeleteFunc(s.recoveries, is)
	return errors.Join(s.applyPolicy(ctx), s.iam.DeleteUserAccount(a.AccessKeyID))
}

// setUp makes the bucket and applies the policy.
func (s *Server) setUp(ctx context.Context) error {
	client := s.SDK(Root)
	if _, err := client.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String(Bucket)}); err != nil {
		if _, head := client.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: aws.String(Bucket)}); head != nil {
			return err
		}
	}
	return s.applyPolicy(ctx)
}

// applyPolicy applies the shipped policy to the keys there are. On AWS a key is
// not a principal, so there the text does not change with the keys.
func (s *Server) applyPolicy(ctx context.Context) error {
	const next = `","` // of the list that the template's one name stands in
	policy := policies.Bucket(policies.Names{
		BucketName: Bucket, Writer: strings.Join(s.writers, next), Recovery: strings.Join(s.recoveries, next),
	})
	_, err := s.SDK(Root).PutBucketPolicy(ctx, &awss3.PutBucketPolicyInput{Bucket: aws.String(Bucket), Policy: aws.String(policy)})
	return err
}

// Stop ends the server, closes its connections and gives the working directory
// back. What was stored stays.
func (s *Server) Stop() error {
	s.stop()
	s.wg.Wait()
	return errors.Join(s.err, os.Chdir(s.cwd))
}

// Addr returns host:port of the server.
func (s *Server) Addr() string { return s.addr }

// Endpoint returns the URL of the server.
func (s *Server) Endpoint() string { return "http://" + s.addr }

// Config returns what an agent's or recovery's configuration would be for a.
func (s *Server) Config(a Account) s3bucket.Config { return ConfigAt(s.Endpoint(), a) }

// ConfigAt is Config for the bucket behind another endpoint, a Guard's for example.
func ConfigAt(endpoint string, a Account) s3bucket.Config {
	return s3bucket.Config{
		Bucket: Bucket, Prefix: Prefix, Region: Region, Endpoint: endpoint, PathStyle: true,
		AccessKeyID: a.AccessKeyID, SecretAccessKey: configopaque.String(a.SecretAccessKey),
	}
}

// SDK returns AWS's own client, for what our client does not speak.
func (s *Server) SDK(a Account) *awss3.Client { return sdk(s.Endpoint(), a) }

func sdk(endpoint string, a Account) *awss3.Client {
	return awss3.New(awss3.Options{
		BaseEndpoint: aws.String(endpoint), UsePathStyle: true, Region: Region,
		RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey}, nil
		}),
	})
}
