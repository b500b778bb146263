package flarerecoveryextension

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

// keyFiles are the files of a recovery in a folder of their own.
type keyFiles struct {
	t     *testing.T
	cfg   *Config
	clock time.Time // of the files: every write has a time of its own
}

func newKeyFiles(t *testing.T) *keyFiles {
	t.Helper()
	dir := t.TempDir()
	cfg := createDefaultConfig().(*Config)
	cfg.IdentitiesFile = filepath.Join(dir, "recovery.key")
	cfg.AllowedSignersFile = filepath.Join(dir, "allowed_signers")
	return &keyFiles{t: t, cfg: cfg, clock: time.Now().Add(-time.Hour)}
}

func (k *keyFiles) write(path string, lines ...string) {
	require.NoError(k.t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	k.clock = k.clock.Add(time.Second)
	require.NoError(k.t, os.Chtimes(path, k.clock, k.clock))
}

func identity(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	return id
}

func signer(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	s, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	return s
}

func trustLine(principal string, s ssh.Signer) string {
	return principal + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
}

func TestKeyringWaitsForFiles(t *testing.T) {
	files := newKeyFiles(t)
	k := newKeyring(files.cfg)
	require.Nil(t, k.current())
	require.ErrorContains(t, k.problem(), "identities_file:")
	require.ErrorContains(t, k.problem(), "lifeline keygen recovery")
	require.ErrorContains(t, k.problem(), "allowed_signers_file:")

	id := identity(t)
	files.write(files.cfg.IdentitiesFile, id.String())
	require.Nil(t, k.current(), "nobody is believed yet")
	files.write(files.cfg.AllowedSignersFile, trustLine("acme/a", signer(t)))
	keys := k.current()
	require.NotNil(t, keys)
	require.NoError(t, k.problem())
	require.Equal(t, []age.Recipient{id.Recipient()}, keys.Recipients)
	require.Equal(t, []string{id.Recipient().String()[:20]}, keys.Names)
	require.Same(t, keys, k.current(), "another pointer means a change")
}

// A version that cannot be taken is named and never replaces one that was.
func TestKeyringKeepsTheOld(t *testing.T) {
	var many []string
	for _, name := range []string{"acme/a", "acme/b", "acme/c"} {
		many = append(many, trustLine(name, signer(t)))
	}
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"empty":          {nil, "stays in force"},
		"broken":         {[]string{"acme/a ssh-ed25519 AAAA"}, "stays in force"},
		"a secret":       {[]string{"-----BEGIN OPENSSH PRIVATE KEY-----"}, "stays in force"},
		"most are gone":  {many[:1], "only 1 of 3 entries are left"},
		"another, alone": {[]string{trustLine("evil/x", signer(t))}, "only 1 of 3 entries are left"},
	} {
		t.Run(name, func(t *testing.T) {
			files := newKeyFiles(t)
			files.write(files.cfg.IdentitiesFile, identity(t).String())
			files.write(files.cfg.AllowedSignersFile, many...)
			k := newKeyring(files.cfg)
			old := k.current()
			require.NotNil(t, old)

			files.write(files.cfg.AllowedSignersFile, c.lines...)
			require.Same(t, old, k.current())
			require.ErrorContains(t, k.problem(), "allowed_signers_file:")
			require.ErrorContains(t, k.problem(), c.want)
			require.Same(t, old, k.current())
			require.Error(t, k.problem(), "what is wrong stays wrong until the file changes")

			files.write(files.cfg.AllowedSignersFile, many[:2]...)
			require.NotSame(t, old, k.current())
			require.NoError(t, k.problem())
		})
	}
}

// A file that could not be taken is read again although its time and size are the
// same: a right to read it that comes later changes neither.
func TestKeyringLooksAgainAtWhatIsBroken(t *testing.T) {
	files := newKeyFiles(t)
	path, good := files.cfg.IdentitiesFile, identity(t).String()
	files.write(files.cfg.AllowedSignersFile, trustLine("acme/a", signer(t)))
	files.write(path, strings.Repeat("x", len(good)))
	k := newKeyring(files.cfg)
	require.Nil(t, k.current())
	before, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte(good+"\n"), 0o600))
	require.NoError(t, os.Chtimes(path, files.clock, before.ModTime()))
	require.NotNil(t, k.current())
	require.NoError(t, k.problem())
}

// A file that is gone for a moment (a secret being replaced) changes nothing.
func TestKeyringFileGone(t *testing.T) {
	files := newKeyFiles(t)
	files.write(files.cfg.IdentitiesFile, identity(t).String())
	line := trustLine("acme/a", signer(t))
	files.write(files.cfg.AllowedSignersFile, line)
	k := newKeyring(files.cfg)
	old := k.current()
	require.NotNil(t, old)
	require.NoError(t, os.Remove(files.cfg.AllowedSignersFile))
	require.Same(t, old, k.current())
	require.Error(t, k.problem())
	files.write(files.cfg.AllowedSignersFile, line)
	require.NotNil(t, k.current())
	require.NoError(t, k.problem())
}

// Without a readable list of revocations nobody is trusted; an empty one is fine.
func TestKeyringRevoked(t *testing.T) {
	files := newKeyFiles(t)
	files.cfg.RevokedFile = filepath.Join(t.TempDir(), "revoked")
	files.write(files.cfg.IdentitiesFile, identity(t).String())
	files.write(files.cfg.AllowedSignersFile, trustLine("acme/a", signer(t)))
	k := newKeyring(files.cfg)
	require.Nil(t, k.current())
	require.ErrorContains(t, k.problem(), "revoked_file:")
	files.write(files.cfg.RevokedFile, "# nothing yet")
	first := k.current()
	require.NotNil(t, first)
	files.write(files.cfg.RevokedFile, "principal:acme/a")
	second := k.current()
	require.NotSame(t, first, second)
	files.write(files.cfg.RevokedFile, "")
	require.Same(t, second, k.current(), "a list that was emptied is an accident")
	require.ErrorContains(t, k.problem(), "revoked_file:")
}

// Identities of both kinds open flares; done markers go to the kind of the first.
func TestKeyringBothKinds(t *testing.T) {
	files := newKeyFiles(t)
	hybrid, err := age.GenerateHybridIdentity()
	require.NoError(t, err)
	classic := identity(t)
	files.write(files.cfg.IdentitiesFile, hybrid.String(), classic.String())
	files.write(files.cfg.AllowedSignersFile, trustLine("acme/a", signer(t)))
	keys := newKeyring(files.cfg).current()
	require.NotNil(t, keys)
	require.Len(t, keys.Identities, 2)
	require.Len(t, keys.Names, 2)
	require.Equal(t, []age.Recipient{hybrid.Recipient()}, keys.Recipients)
}

// Trust files on a filesystem that hangs: recovery goes on with what it trusts, after a
// moment, and says so.
func TestKeyringOfFilesThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := newKeyFiles(t)
		files.write(files.cfg.IdentitiesFile, identity(t).String())
		files.write(files.cfg.AllowedSignersFile, trustLine("acme/a", signer(t)))
		k := newKeyring(files.cfg)
		old := k.current()
		require.NotNil(t, old)
		read, release := k.signers.file.Read, make(chan struct{})
		k.signers.file.Read = func() (*version[*flare.Signers], error) {
			<-release
			return read()
		}
		files.write(files.cfg.AllowedSignersFile, trustLine("acme/b", signer(t)))
		began := time.Now()
		for range 3 {
			require.Same(t, old, k.current())
			require.ErrorContains(t, k.problem(), "allowed_signers_file: no answer while reading")
		}
		require.Equal(t, time.Second, time.Since(began), "one wait for all")
		close(release)
		synctest.Wait()
		require.NotSame(t, old, k.current())
		require.NoError(t, k.problem())
	})
}
