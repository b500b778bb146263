package flare

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

func TestParseRecipients(t *testing.T) {
	pq := strings.Fields(string(keyFile(t, "recipients.txt")))
	classic := strings.Fields(string(keyFile(t, "recipients_classic.txt")))
	many := ""
	for range maxStanzas + 1 {
		id, err := age.GenerateX25519Identity()
		require.NoError(t, err)
		many += id.Recipient().String() + "\n"
	}
	for name, c := range map[string]struct {
		text   string
		single bool
		n      int
		want   string
	}{
		"two":            {"# recovery\n" + pq[0] + "\n\n# break-glass\r\n" + pq[1] + "\r\n", false, 2, ""},
		"two classic":    {classic[0] + "\n" + classic[1], false, 2, ""},
		"one, allowed":   {pq[0], true, 1, ""},
		"one":            {pq[0], false, 0, "break-glass"},
		"none":           {"# nobody\n", true, 0, "lifeline keygen recovery"},
		"twice the same": {pq[0] + "\n" + pq[0], false, 0, "line 2: this recipient stands twice"},
		"mixed":          {pq[0] + "\n" + classic[0], false, 0, "line 2: post-quantum (age1pq1...) and classic (age1...) recipients are mixed"},
		"17":             {many, false, 0, "more than 16"},
		"secret key":     {"AGE-SECRET-KEY-1QQQQ", false, 0, "secret key"},
		"SSH key":        {authorized(plainSigner(t)), false, 0, "cannot be used"},
		"plugin":         {"age1yubikey1q2w3e", false, 0, "plugins cannot be used"},
		"typo":           {pq[0][:100], false, 0, "malformed"},
		"comment behind": {classic[0] + " recovery", false, 0, "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := ParseRecipients(strings.NewReader(c.text), c.single)
			require.Len(t, list, c.n)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestParseIdentities(t *testing.T) {
	both := string(keyFile(t, "recovery.key")) + string(keyFile(t, "recovery_classic.key"))
	list, err := ParseIdentities(strings.NewReader(both))
	require.NoError(t, err)
	require.Len(t, list, 2)

	for name, text := range map[string]string{
		"empty":     "# public key: age1...\n",
		"recipient": string(keyFile(t, "recipients_classic.txt")),
		"cut off":   "AGE-SECRET-KEY-1SECRETSECRETSECRET",
		"cut pq":    "AGE-SECRET-KEY-PQ-1SECRETSECRET",
		"too many":  strings.Repeat(both, 9),
		"SSH key":   string(keyFile(t, "agent_ed25519")),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseIdentities(strings.NewReader(text))
			require.ErrorContains(t, err, "identities: ")
			require.NotContains(t, err.Error(), "SECRETSECRET", "an error never shows a key")
		})
	}
}

func TestParseSigner(t *testing.T) {
	signer := certSigner(t)
	principal, notAfter := SignerPrincipal(signer)
	require.Equal(t, "initech/web-1", principal)
	require.Equal(t, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), notAfter)
	principal, notAfter = SignerPrincipal(plainSigner(t))
	require.Empty(t, principal)
	require.Zero(t, notAfter)
	_, notAfter = SignerPrincipal(certify(t, freshSigner(t), "a", nil))
	require.Zero(t, notAfter, "valid for ever")
}

func TestParseSignerRefuses(t *testing.T) {
	key, cert := keyFile(t, "certified_ed25519"), keyFile(t, "certified_ed25519-cert.pub")
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(newEd25519(t), "", []byte("passphrase"))
	require.NoError(t, err)
	rsa := marshalRSA(t)
	damaged, _ := pem.Decode(keyFile(t, "agent_ed25519"))
	public, _ := plainSigner(t).PublicKey().(ssh.CryptoPublicKey).CryptoPublicKey().(ed25519.PublicKey)
	damaged.Bytes[bytes.LastIndex(damaged.Bytes, public)-1] ^= 1 // the last bit of the secret in front of it
	manyNames := certify(t, freshSigner(t), "a", func(c *ssh.Certificate) { c.ValidPrincipals = []string{"a", "b"} })
	for name, c := range map[string]struct {
		key, cert []byte
		want      string
	}{
		"empty":                 {nil, nil, "lifeline keygen agent"},
		"public key":            {keyFile(t, "agent_ed25519.pub"), nil, "not an OpenSSH private key"},
		"damaged":               {pem.EncodeToMemory(damaged), nil, "do not belong together"},
		"passphrase":            {pem.EncodeToMemory(locked), nil, "passphrase"},
		"RSA":                   {rsa, nil, "must be Ed25519"},
		"another's certificate": {keyFile(t, "agent_ed25519"), cert, "not of this signing key"},
		"no certificate":        {key, []byte("x"), "malformed"},
		"public key for a cert": {key, keyFile(t, "certified_ed25519.pub"), "must be an OpenSSH certificate"},
		"many principals":       {key, []byte(authorized(manyNames)), "exactly one principal"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseSigner(c.key, c.cert)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestKeyID(t *testing.T) {
	key := Key("f/", testID)
	require.Equal(t, "f/"+testID+".age", key)
	for _, good := range []string{key, "f/a-1/" + testID + ".age", "f/" + strings.Repeat("z", 32) + "/" + testID + ".age"} {
		id, ok := KeyID("f/", good)
		require.True(t, ok, good)
		require.Equal(t, testID, id)
	}
	for _, other := range []string{
		"", "f/", testID, testID + ".age", "f/.age", "f/" + testID, "f/" + testID + ".AGE", "f/" + testID + ".age.age",
		"f//" + testID + ".age", "f/A/" + testID + ".age", "f/a/b/" + testID + ".age", "f/../" + testID + ".age",
		"f/" + strings.Repeat("z", 33) + "/" + testID + ".age", "f/" + testID[1:] + ".age", "f/" + testID + "0.age",
		"f/" + strings.ToUpper(testID) + ".age", "g/" + testID + ".age", "f/a/" + testID + ".age/",
	} {
		_, ok := KeyID("f/", other)
		require.False(t, ok, other)
	}
}

// Under fips140=only age's key generation would spin for ever: nothing here may
// get that far. The setting is of a whole process, hence the child.
func TestFIPSOnlyIsRefused(t *testing.T) {
	if os.Getenv("FLARE_TEST_FIPS") == "" {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFIPSOnlyIsRefused$", "-test.v") //nolint:gosec // this test itself
		c.Env = append(os.Environ(), "FLARE_TEST_FIPS=1", "GODEBUG=fips140=only")
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "all four refused")
		return
	}
	_, err := ParseRecipients(strings.NewReader(""), false)
	require.ErrorIs(t, err, ErrFIPS)
	_, err = ParseIdentities(strings.NewReader(""))
	require.ErrorIs(t, err, ErrFIPS)
	require.ErrorIs(t, (&Sealer{}).SelfTest(), ErrFIPS)
	require.ErrorIs(t, CheckFIPS(), ErrFIPS)
	fmt.Println("all four refused")
}
