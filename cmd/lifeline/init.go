package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otel-lifeline/lifeline/testdata/configs"
)

// initFlags say what stands in the configurations.
type initFlags struct {
	principal, audience      string
	bucket, region, endpoint string
	gateway, kafka           string
	at                       string
	classic                  bool
}

func newInit() *cobra.Command {
	var flags initFlags
	c := &cobra.Command{
		Use: "init [flags] FOLDER", Short: "Write keys and three configurations that run",
		Long: `Writes into FOLDER, which must be empty or not exist, all that a first deployment
needs: keys, who is trusted, and the configurations of an agent, a gateway and
recovery that use them. It prints what goes where. It never overwrites anything.

Every value in the configurations can be changed by an environment variable or by
editing the file.`,
		DisableFlagsInUseLine: true,
		Args:                  usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			made, err := flags.files(args[0])
			if err != nil {
				return err
			}
			if err := writeFolder(args[0], made); err != nil {
				return err
			}
			return printLine(c.OutOrStdout(), strings.ReplaceAll(nextSteps, "FOLDER", args[0]))
		},
	}
	f := c.Flags()
	f.StringVar(&flags.principal, "principal", "", "name of the agent, <tenant>/<agent> (default default/<host name>)")
	f.StringVar(&flags.audience, "audience", "prod", "which deployment this is: data for another one is refused")
	f.StringVar(&flags.bucket, "bucket", "acme-flares", "bucket for flares")
	f.StringVar(&flags.region, "region", "eu-west-1", "its region")
	f.StringVar(&flags.endpoint, "endpoint", "", "URL of the S3 server (default AWS)")
	f.StringVar(&flags.gateway, "gateway", "https://gateway.example.com:4318", "where agents find the gateway")
	f.StringVar(&flags.kafka, "kafka", "localhost:9092", "a Kafka broker")
	f.StringVar(&flags.at, "at", "", "where the files will lie on the hosts, such as /etc/lifeline (default FOLDER)")
	f.BoolVar(&flags.classic, "classic", false, "make X25519 keys, for versions of age before 1.3")
	return c
}

const nextSteps = `FOLDER holds:

  every agent   agent.yaml  s3  recipients.txt  receipt.key  agent_ed25519 (one for each host)
  gateways      gateway.yaml  receipt.key
  recovery      recovery.yaml  s3-recovery  recovery.key  allowed_signers  receipt.key
  a safe        break-glass.key, and nowhere else

Next:
  1. Make the bucket with the policies of deploy/policies, and put its keys into
     FOLDER/s3 (may only put) and FOLDER/s3-recovery.
  2. Make the topics otlp_spans, otlp_metrics and otlp_logs, with 3 replicas.
  3. lifeline check FOLDER/agent.yaml, and the same for gateway.yaml and recovery.yaml
  4. otelcol-lifeline --config FOLDER/gateway.yaml, then recovery, then the agent
  5. lifeline drill FOLDER/agent.yaml --recovery FOLDER/recovery.yaml

For every further host: lifeline keygen agent --output agent_ed25519 --principal TENANT/HOST
and append the line it prints to FOLDER/allowed_signers. For many: lifeline keygen ca --help`

// plainWords can stand in YAML, and behind ${env:NAME:-, without quotes.
var plainWords = regexp.MustCompile(`^[A-Za-z0-9/._~@+:,\[\]-]*$`)

// file is one file that init writes.
type file struct {
	name    string
	content string
	mode    fs.FileMode
}

// files makes everything in memory, so that nothing is written if something is
// wrong.
func (f *initFlags) files(folder string) ([]file, error) {
	if f.at == "" {
		abs, err := filepath.Abs(folder)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", folder, err)
		}
		f.at = filepath.ToSlash(abs)
	}
	if f.principal == "" {
		var err error
		if f.principal, err = defaultPrincipal(); err != nil {
			return nil, err
		}
	}
	for flag, value := range map[string]string{
		"--at": f.at, "--principal": f.principal, "--audience": f.audience, "--bucket": f.bucket, "--region": f.region,
		"--endpoint": f.endpoint, "--gateway": f.gateway, "--kafka": f.kafka,
	} {
		if !plainWords.MatchString(value) {
			return nil, usagef("%s %q holds a blank or another character that these configurations cannot: use letters, digits and / . _ - : @; other values are set by editing the files", flag, value)
		}
	}
	keys, err := f.keys()
	if err != nil {
		return nil, err
	}
	yaml, err := f.configurations()
	return append(keys, yaml...), err
}

func (f *initFlags) keys() ([]file, error) {
	recovery, recoveryPublic, err := newIdentity(f.classic)
	if err != nil {
		return nil, err
	}
	glass, glassPublic, err := newIdentity(f.classic)
	if err != nil {
		return nil, err
	}
	agent, err := newSSHKey(f.principal)
	if err != nil {
		return nil, err
	}
	line, err := signersLine(f.principal, agent.public)
	if err != nil {
		return nil, err
	}
	_, receipt, err := newReceiptKey("")
	if err != nil {
		return nil, err
	}
	const secret, public = 0o600, 0o644
	return []file{
		{"recovery.key", identityFile(recovery, recoveryPublic), secret},
		{"break-glass.key", identityFile(glass, glassPublic), secret},
		{"recipients.txt", "# recovery\n" + recoveryPublic + "\n# break-glass\n" + glassPublic + "\n", public},
		{"agent_ed25519", string(agent.private), secret},
		{"agent_ed25519.pub", agent.public + " " + agent.comment + "\n", public},
		{"allowed_signers", line, public},
		{"receipt.key", receipt, secret},
		{"s3", "# The agents' key: it may put objects below f/, and nothing else.\n" + emptyProfile, secret},
		{"s3-recovery", "# Recovery's key: deploy/policies says what it may do.\n" + emptyProfile, secret},
	}, nil
}

const emptyProfile = "[default]\naws_access_key_id =\naws_secret_access_key =\n"

func (f *initFlags) configurations() ([]file, error) {
	values := map[string]string{
		"LIFELINE_AGENT": f.principal, "LIFELINE_AUDIENCE": f.audience,
		"LIFELINE_GATEWAY": f.gateway, "LIFELINE_KAFKA": f.kafka,
		"LIFELINE_BUCKET": f.bucket, "LIFELINE_REGION": f.region,
		"LIFELINE_RECEIPT_KEYS": f.at + "/receipt.key",
	}
	if f.endpoint != "" {
		values["LIFELINE_S3_ENDPOINT"], values["LIFELINE_S3_PATH_STYLE"] = f.endpoint, "true"
	}
	var made []file
	for _, name := range []string{"agent", "gateway", "recovery"} {
		text, err := configs.Get(name, f.at, values)
		if err != nil {
			return nil, fmt.Errorf("make %s.yaml: %w", name, err)
		}
		made = append(made, file{name + ".yaml", text, 0o644})
	}
	return made, nil
}

// writeFolder writes all files or none.
func writeFolder(folder string, all []file) (err error) {
	made := os.Mkdir(folder, 0o700) == nil
	there, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("%w: make the folder above it first", err)
	}
	if len(there) > 0 {
		return fmt.Errorf("%s is not empty, and nothing is overwritten: name a new folder", folder)
	}
	var done []string
	defer func() {
		if err == nil {
			return
		}
		for _, name := range done {
			err = errors.Join(err, os.Remove(name))
		}
		if made {
			err = errors.Join(err, os.Remove(folder))
		}
	}()
	for _, f := range all {
		name := filepath.Join(folder, f.name)
		if err := createFile(name, []byte(f.content), f.mode); err != nil {
			return err
		}
		done = append(done, name)
	}
	return nil
}
