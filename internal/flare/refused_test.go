package flare

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Golden flares that must be refused, each for its reason. They are written as
// the others are, once: they are attacks that need nothing but the published
// files and what stands beside the flare.
var refusedNames = []string{
	"replayed under another id", "replayed after max_age", "from the future", "cut to one byte", "one byte cut off", "bytes behind", "twice in one object", "armored",
	"not for us", "17 recipients", "a passphrase", "another version of age", "a stanza of a plugin", "wrapped key of ours changed", "MAC changed",
	"nonce changed", "first chunk changed", "last tag changed", "cut behind the header",
	"a stranger's key", "a stranger's certificate", "revoked serial", "manifest changed", "certificate changed", "signed for git", "signed by ECDSA",
	"signature with a line behind", "certificate expired", "certificate not valid yet",
	"other audience", "signed under another id", "newer type", "critical field", "other type", "no JSON", "two documents", "a key twice", "a key twice, escaped",
	"a key twice, in another case", "a key twice in a record", "not UTF-8", "too many records", "a negative size", "a size of a fraction", "name is a path", "name of another number",
	"metadata in the name of another", "metadata that ends a header", "frame text that lies",
	"record changed", "records with their contents swapped", "a size that lies in both places", "a zstd window of 512 MiB", "a zstd bomb that says so",
	"a zstd bomb of one segment", "a zstd dictionary", "a skippable frame", "gzip",
	"a symbolic link for a record", "a pax header before the manifest", "a long name before the manifest", "a path for a record", "setuid for a record",
	"a negative size for a record", "a size in base 256 for the manifest", "a size of 12 digits for a record", "magic of GNU tar for a record",
	"the signature first", "records swapped", "two manifests", "a record twice", "the end before the records", "a manifest of 5 GiB", "a checksum that is wrong",
	"what fills a block is not zero", "padding of another size", "end is not zero", "archive cut within its end", "archive longer by a block", "no archive",
}

// refusal stands beside a golden flare that must be refused.
type refusal struct {
	About        string    `json:"about"`
	ID           string    `json:"id"` // as stored
	LastModified time.Time `json:"last_modified"`
	Class        string    `json:"class"` // bad or not-now
	Reason       string    `json:"reason"`
}

const refusedDir = "../../testdata/refused/v1"

// refusedGoldens returns the table by the name of the files.
func refusedGoldens(t testing.TB) map[string]refusal {
	t.Helper()
	files, err := filepath.Glob(refusedDir + "/*.json")
	require.NoError(t, err)
	require.Len(t, files, len(refusedNames), "every file is in the table")
	table := map[string]refusal{}
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // a golden flare's
		require.NoError(t, err)
		var r refusal
		require.NoError(t, json.Unmarshal(text, &r))
		table[strings.TrimSuffix(file, ".json")] = r
	}
	return table
}

func TestGoldenRefused(t *testing.T) {
	if *writeGolden {
		writeRefused(t)
	}
	known := map[string]bool{}
	for _, name := range refusedNames {
		known[name] = true
	}
	for file, r := range refusedGoldens(t) {
		t.Run(r.About, func(t *testing.T) {
			require.True(t, known[r.About])
			data, err := os.ReadFile(file + ".age") //nolint:gosec // a golden flare
			require.NoError(t, err)
			f, err := testOpener(t).Open(Object{ID: r.ID, LastModified: r.LastModified}, data)
			require.Nil(t, f)
			requireReason(t, err, r.Class == "bad", r.Reason)
		})
	}
}

func writeRefused(t *testing.T) {
	all := map[string]attack{}
	for _, a := range attacks(t) {
		all[a.name] = a
	}
	require.NoError(t, os.MkdirAll(refusedDir, 0o750))
	for _, name := range refusedNames {
		a, ok := all[name]
		require.True(t, ok && a.f.opener == nil, name)
		file := filepath.Join(refusedDir, strings.Trim(strings.Map(slug, name), "-"))
		if _, err := os.Stat(file + ".age"); err == nil {
			continue
		}
		a.f.few = true
		_, o := a.f.reader(t)
		r := refusal{name, o.ID, o.LastModified, map[bool]string{true: "bad", false: "not-now"}[a.bad], a.reason}
		text, err := json.MarshalIndent(r, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file+".age", a.f.forge(t), 0o600))
		require.NoError(t, os.WriteFile(file+".json", append(text, '\n'), 0o600))
	}
}

func slug(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		return r
	case r >= 'A' && r <= 'Z':
		return r - 'A' + 'a'
	case r == '\'', r == ',':
		return -1
	}
	return '-'
}
