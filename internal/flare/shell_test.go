package flare

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// testdata/flare.sh knows docs/FLARE.md and none of this code. What the two agree
// on stands in the text.

// shell runs flare.sh with the published keys. It skips where a tool is missing;
// age is built, because distributions have one that knows no post-quantum keys.
type shell struct {
	t   testing.TB
	env []string
}

func newShell(t testing.TB) *shell {
	t.Helper()
	for _, tool := range []string{"go", "bash", "zstd", "tar", "ssh-keygen", "jq", "iconv"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "-C", filepath.Join("..", "tools"), "build", "-o", filepath.Join(dir, "age"), "filippo.io/age/cmd/age") //nolint:gosec // constants
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("age cannot be built: %s", out)
	}
	private := func(name string, files ...string) string {
		var text []byte
		for _, f := range files {
			text = append(text, keyFile(t, f)...)
		}
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, text, 0o600))
		return path
	}
	return &shell{t, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "AUDIENCE=acme-prod",
		"IDENTITIES="+private("identities", "recovery.key", "recovery_classic.key"), "KEY="+private("key", "agent_ed25519"),
		"SIGNERS="+keyPath("allowed_signers"), "REVOKED="+keyPath("revoked"))}
}

func (s *shell) run(args ...string) (string, error) {
	c := exec.CommandContext(s.t.Context(), "bash", append([]string{filepath.Join("testdata", "flare.sh")}, args...)...) //nolint:gosec // the script under test
	c.Env = s.env
	out, err := c.CombinedOutput()
	return string(out), err
}

func (s *shell) open(o Object, file, folder string) (string, error) {
	return s.run("open", o.ID, o.LastModified.UTC().Format(time.RFC3339Nano), file, folder)
}

// Both ways: the script opens our flares and gets what we get; we open what it
// seals of the same content, and get it back.
func TestShellAgreesOnGoodFlares(t *testing.T) {
	s := newShell(t)
	for _, g := range goldens {
		t.Run(g.about, func(t *testing.T) {
			file, dir := filepath.Join(goldenDir, g.id+".age"), t.TempDir()
			data, err := os.ReadFile(file) //nolint:gosec // a golden flare
			require.NoError(t, err)
			want, err := testOpener(t).Open(storedAs(g.id), data)
			require.NoError(t, err)

			out, err := s.open(storedAs(g.id), file, dir)
			require.NoError(t, err, out)
			require.Equal(t, "good "+want.Principal+"\n", out)
			list, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, list, len(want.Frames)+2)
			for i, r := range want.Manifest.Records {
				got, err := os.ReadFile(filepath.Join(dir, r.Name)) //nolint:gosec // in a temporary folder
				require.NoError(t, err)
				require.Equal(t, want.Frames[i].Stored, frame.Bytes(got))
			}

			path := filepath.Join(dir, manifestName)
			raw, err := os.ReadFile(path) //nolint:gosec // in a temporary folder
			require.NoError(t, err)
			require.Equal(t, want.RawManifest, raw)
			require.NoError(t, os.WriteFile(path, draft(t, raw), 0o600))
			s.env = append(s.env, "RECIPIENTS="+keyPath(g.recipients))
			theirs := filepath.Join(dir, "sealed.age")
			out, err = s.run("seal", dir, theirs)
			require.NoError(t, err, out)
			data, err = os.ReadFile(theirs) //nolint:gosec // in a temporary folder
			require.NoError(t, err)
			got, err := testOpener(t).Open(storedAs(g.id), data)
			require.NoError(t, err)
			require.Equal(t, want.Manifest, got.Manifest)
			require.Equal(t, want.Frames, got.Frames)
			require.Equal(t, "acme/host-17", got.Principal)
		})
	}
}

// draft leaves out of a manifest what follows from the records.
func draft(t testing.TB, raw []byte) []byte {
	t.Helper()
	var m map[string]any
	require.NoError(t, json.Unmarshal(raw, &m))
	delete(m, "type")
	delete(m, "totals")
	records, _ := m["records"].([]any)
	for _, r := range records {
		record, _ := r.(map[string]any)
		for _, field := range []string{"size", "sha256", "raw_size"} {
			delete(record, field)
		}
	}
	text, err := json.Marshal(m)
	require.NoError(t, err)
	return text
}

// The text says why a flare is refused, so two who read it give one reason.
func TestShellAgreesOnRefusals(t *testing.T) {
	s := newShell(t)
	for file, r := range refusedGoldens(t) {
		t.Run(r.About, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			out, err := s.open(Object{ID: r.ID, LastModified: r.LastModified}, file+".age", dir)
			require.Error(t, err, out)
			require.True(t, strings.HasPrefix(out, r.Class+" "+r.Reason+": "), "want %s %s, got %s", r.Class, r.Reason, out)
			list, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, list, "nothing is written")
		})
	}
}

// The text's example is what lies in testdata.
func TestTheExampleInTheText(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "FLARE.md"))
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join(goldenDir, "00000000000000000000000000000004.age"))
	require.NoError(t, err)
	f, err := testOpener(t).Open(storedAs("00000000000000000000000000000004"), data)
	require.NoError(t, err)
	tar := plaintext(t, data)
	parts := map[string][]byte{"tar": tar, "sig": mustUnarmor(t, f.RawSignature)}
	require.Equal(t, int64(len(tar)), padme(int64(len(tar))))
	lines := 0
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || len(fields[1]) != 4 || parts[fields[0]] == nil {
			continue
		}
		checkDump(t, parts[fields[0]], fields[1], line)
		lines++
	}
	require.Equal(t, 19, lines)
}

// checkDump compares a line `tar 0200  7b 22 ...  {"` with content.
func checkDump(t testing.TB, content []byte, offset, line string) {
	t.Helper()
	at, err := strconv.ParseInt(offset, 16, 64)
	require.NoError(t, err)
	dump, _, ok := strings.Cut(line[len("tar 0000  "):], "  ")
	require.True(t, ok, line)
	want, err := hex.DecodeString(strings.ReplaceAll(dump, " ", ""))
	require.NoError(t, err, line)
	require.Equal(t, want, content[at:at+int64(len(want))], line)
}

// plaintext returns the archive in a flare.
func plaintext(t testing.TB, data []byte) []byte {
	t.Helper()
	r, err := age.Decrypt(bytes.NewReader(data), testOpener(t).Identities...)
	require.NoError(t, err)
	plain, err := io.ReadAll(r)
	require.NoError(t, err)
	return plain
}
