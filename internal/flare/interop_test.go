package flare

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// These tests run the programs that an operator has when Lifeline is not there.
// They skip where a program is missing; CI installs all of them and fails on a
// skip, for a promise that is not tried is none.

func keyPath(name string) string { return filepath.Join("..", "..", "testdata", "keys", name) }

func runTool(t testing.TB, stdin []byte, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	c := exec.CommandContext(t.Context(), path, args...) //nolint:gosec // the tools under test
	c.Stdin = bytes.NewReader(stdin)
	c.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := c.CombinedOutput()
	return string(out), err
}

func TestSSHKeygenVerifiesOurSignature(t *testing.T) {
	manifest := filled(t)
	for principal, signer := range map[string]ssh.Signer{"acme/host-17": plainSigner(t), "initech/web-1": certSigner(t)} {
		t.Run(principal, func(t *testing.T) {
			sig, err := sign(signer, manifest)
			require.NoError(t, err)
			file := filepath.Join(t.TempDir(), signatureName)
			require.NoError(t, os.WriteFile(file, sig, 0o600))
			verify := func(who, namespace string, message []byte) (string, error) {
				return runTool(t, message, "ssh-keygen", "-Y", "verify", "-f", keyPath("allowed_signers"),
					"-I", who, "-n", namespace, "-s", file, "-Overify-time=20260921063100Z")
			}
			out, err := verify(principal, Namespace, manifest)
			require.NoError(t, err, out)
			require.Contains(t, out, `Good "flare@lifeline" signature for `+principal)
			// The tool does say no.
			for _, wrong := range [][3]string{
				{"acme/other", Namespace, string(manifest)}, {principal, "git", string(manifest)}, {principal, Namespace, "x"},
			} {
				_, err = verify(wrong[0], wrong[1], []byte(wrong[2]))
				require.Error(t, err)
			}
		})
	}
}

func TestWeVerifySSHKeygensSignature(t *testing.T) {
	manifest := filled(t)
	signers := parsed(t, "allowed_signers", ParseAllowedSigners)
	for file, principal := range map[string]string{"agent_ed25519": "acme/host-17", "certified_ed25519-cert.pub": "initech/web-1"} {
		t.Run(principal, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"agent_ed25519", "certified_ed25519", "certified_ed25519-cert.pub"} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), keyFile(t, name), 0o600))
			}
			path := filepath.Join(dir, manifestName)
			require.NoError(t, os.WriteFile(path, manifest, 0o600))
			if key, ok := strings.CutSuffix(file, "-cert.pub"); ok {
				file = key // ssh-keygen takes the certificate beside the key only from its agent
				require.NoError(t, os.Rename(filepath.Join(dir, key+"-cert.pub"), filepath.Join(dir, key+".pub")))
			}
			out, err := runTool(t, nil, "ssh-keygen", "-Y", "sign", "-f", filepath.Join(dir, file), "-n", Namespace, path)
			require.NoError(t, err, out)
			text, err := os.ReadFile(path + ".sig") //nolint:gosec // in a temporary folder
			require.NoError(t, err)
			sig, err := parseSignature(text)
			require.NoError(t, err)
			require.NoError(t, sig.verify(manifest))
			who, err := signers.find(sig.key)
			require.NoError(t, err)
			require.NoError(t, who.verify())
			require.NoError(t, who.validAt(testTime))
			require.Equal(t, principal, who.principal)
		})
	}
}

// What ssh-keygen certifies, we take; what it stops taking, we stop taking.
func TestSSHKeygenAgreesOnTimes(t *testing.T) {
	sig, err := sign(certSigner(t), filled(t))
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), signatureName)
	require.NoError(t, os.WriteFile(file, sig, 0o600))
	parsedSig, err := parseSignature(sig)
	require.NoError(t, err)
	who, err := parsed(t, "allowed_signers", ParseAllowedSigners).find(parsedSig.key)
	require.NoError(t, err)
	for _, at := range []time.Time{
		time.Date(2025, 12, 31, 23, 59, 0, 0, time.UTC), time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC),
		time.Date(2026, 12, 31, 23, 59, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 1, 0, 0, time.UTC),
	} {
		_, theirs := runTool(t, filled(t), "ssh-keygen", "-Y", "verify", "-f", keyPath("allowed_signers"), "-I", "initech/web-1",
			"-n", Namespace, "-s", file, "-Overify-time="+at.Format("20060102150405Z"))
		require.Equal(t, theirs == nil, who.validAt(at) == nil, at)
	}
}

func TestTarOpensTheArchive(t *testing.T) {
	m := testManifest()
	require.NoError(t, m.fill(testFrames()))
	raw, err := encodeManifest(m)
	require.NoError(t, err)
	sig, err := sign(plainSigner(t), raw)
	require.NoError(t, err)
	var buf bytes.Buffer
	require.NoError(t, writeArchive(&buf, archive{raw, sig, m.Records, testFrames()}))
	dir := t.TempDir()
	out, err := runTool(t, buf.Bytes(), "tar", "-x", "-v", "-C", dir, "-f", "-")
	require.NoError(t, err, out)
	require.NotContains(t, out, "tar:", "no warning either")
	got, err := os.ReadFile(filepath.Join(dir, "000001.traces.binpb.zst")) //nolint:gosec // in a temporary folder
	require.NoError(t, err)
	require.Equal(t, frameHeader+"stored traces", string(got))
}

// Another writer needs nothing but tar, ssh-keygen and age.
func TestWeReadWhatTarWrites(t *testing.T) {
	content := []byte("content")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, manifestName), content, 0o600))
	file := filepath.Join(dir, "out.tar")
	out, err := runTool(t, nil, "tar", "--format=ustar", "--owner=:0", "--group=:0", "--numeric-owner", "--mtime=@0", "--mode=0644",
		"-C", dir, "-cf", file, manifestName)
	require.NoError(t, err, out)
	written, err := os.ReadFile(file) //nolint:gosec // in a temporary folder
	require.NoError(t, err)
	got, err := (&ustarReader{r: bytes.NewReader(written), max: 1 << 20}).small(manifestName, maxManifest)
	require.NoError(t, err)
	require.Equal(t, content, got)
}
