package main

import (
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/otel-lifeline/lifeline/testdata/configs"
)

// initFlags say what stands in the configurations.
type initFlags struct {
	principal, audience      string
	bucket, region, endpoint string
	gateway, kafka           string
	at                       string
	classic, json            bool
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
			made, err := flags.deployment(args[0])
			if err != nil {
				return err
			}
			if err := made.write(); err != nil {
				return err
			}
			if flags.json {
				return printJSON(c.OutOrStdout(), made)
			}
			return printLine(c.OutOrStdout(), made.nextSteps())
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
	f.BoolVar(&flags.json, "json", false, "print one JSON object")
	return c
}

// plainWords can stand in YAML, and behind ${env:NAME:-, without quotes.
var plainWords = regexp.MustCompile(`^[A-Za-z0-9/._~@+:,\[\]-]*$`)

// deployment makes everything in memory, so that nothing is written if something
// is wrong.
func (f *initFlags) deployment(folder string) (*deployment, error) {
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
	return &deployment{folder, append(keys, yaml...)}, err
}

func (f *initFlags) keys() ([]deployFile, error) {
	recovery, err := newIdentity(f.classic)
	if err != nil {
		return nil, err
	}
	glass, err := newIdentity(f.classic)
	if err != nil {
		return nil, err
	}
	agent, err := newAgentKey(f.principal)
	if err != nil {
		return nil, err
	}
	receipt, err := newReceiptKey("")
	if err != nil {
		return nil, err
	}
	recipients := "# recovery\n" + recovery.made.Recipient + "\n# break-glass\n" + glass.made.Recipient + "\n"
	return []deployFile{
		secretFile("recovery.key", recovery.secret, "recovery"),
		secretFile("break-glass.key", glass.secret, "safe"),
		publicFile("recipients.txt", recipients, "agent"),
		secretFile("agent_ed25519", agent.secret, "agent"),
		publicFile("agent_ed25519.pub", agent.public),
		publicFile("allowed_signers", agent.made.AllowedSigners+"\n", "recovery"),
		secretFile("receipt.key", receipt.secret, "agent", "gateway", "recovery"),
		secretFile("s3", "# The agents' key: it may put objects below f/, and nothing else.\n"+emptyProfile, "agent"),
		secretFile("s3-recovery", "# Recovery's key: deploy/policies says what it may do.\n"+emptyProfile, "recovery"),
	}, nil
}

const emptyProfile = "[default]\naws_access_key_id =\naws_secret_access_key =\n"

func (f *initFlags) configurations() ([]deployFile, error) {
	values := map[string]string{
		"LIFELINE_AGENT": f.principal, "LIFELINE_AUDIENCE": f.audience,
		"LIFELINE_GATEWAY": f.gateway, "LIFELINE_KAFKA": f.kafka,
		"LIFELINE_BUCKET": f.bucket, "LIFELINE_REGION": f.region,
		"LIFELINE_RECEIPT_KEYS": f.at + "/receipt.key",
	}
	if f.endpoint != "" {
		values["LIFELINE_S3_ENDPOINT"], values["LIFELINE_S3_PATH_STYLE"] = f.endpoint, "true"
	}
	var made []deployFile
	for _, name := range []string{"agent", "gateway", "recovery"} {
		text, err := configs.Get(name, f.at, values)
		if err != nil {
			return nil, fmt.Errorf("make %s.yaml: %w", name, err)
		}
		made = append(made, publicFile(name+".yaml", text, name))
	}
	return made, nil
}
