package main

import (
	"encoding/xml"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lifeline": main})
}

// TestScript runs testdata/script, one file per behaviour. The scripts find the
// published keys in keys/, the golden flares in flares/, and the same flares in
// the bucket acme-flares of a server at $S3, stored when they were made.
func TestScript(t *testing.T) {
	store := httptest.NewServer(fakeS3(t))
	t.Cleanup(store.Close) // the scripts run in parallel, after this function returned
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("S3", store.URL)
			for from, to := range map[string]string{"keys": "keys", "flares/v1": "flares"} {
				source := os.DirFS(filepath.Join("..", "..", "testdata", from))
				if err := os.CopyFS(filepath.Join(env.WorkDir, to), source); err != nil {
					return err
				}
			}
			creds := "[default]\naws_access_key_id = key\naws_secret_access_key = secret\n" +
				"[agent]\naws_access_key_id = writer\naws_secret_access_key = secret\n"
			return os.WriteFile(filepath.Join(env.WorkDir, "s3.creds"), []byte(creds), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"mode": checkMode},
	})
}

// checkMode is the command `mode OCTAL FILE`.
func checkMode(ts *testscript.TestScript, neg bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := "0" + strings.TrimPrefix(info.Mode().Perm().String(), "-"); neg == (modes[args[0]] == info.Mode().Perm()) {
		ts.Fatalf("%s has mode %s", args[1], got)
	}
}

var modes = map[string]fs.FileMode{"0600": 0o600, "0644": 0o644, "0700": 0o700}

// fakeS3 lists and gets the golden flares under f/, in pages of two. The key
// "writer" may do neither.
func fakeS3(t *testing.T) http.Handler {
	dir := os.DirFS(filepath.Join("..", "..", "testdata", "flares", "v1"))
	names, err := fs.Glob(dir, "*.age")
	if err != nil {
		t.Fatal(err)
	}
	modified := time.Date(2026, 9, 21, 6, 31, 1, 0, time.UTC)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch key, _ := strings.CutPrefix(r.URL.Path, "/acme-flares"); {
		case strings.Contains(r.Header.Get("Authorization"), "Credential=writer/"):
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("<Error><Code>AccessDenied</Code><Message>no</Message></Error>"))
		case r.URL.Query().Get("list-type") == "2":
			writeListing(w, dir, names, r.URL.Query(), modified)
		default:
			data, err := fs.ReadFile(dir, strings.TrimPrefix(key, "/f/"))
			if err != nil {
				w.WriteHeader(http.StatusNotFound)
				_, _ = w.Write([]byte("<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"))
				return
			}
			w.Header().Set("Etag", `"1"`)
			w.Header().Set("Last-Modified", modified.Format(http.TimeFormat))
			_, _ = w.Write(data) //nolint:gosec // a golden flare, not a page
		}
	})
}

type listedObject struct {
	Key          string
	Size         int64
	ETag         string
	LastModified time.Time
}

func writeListing(w http.ResponseWriter, dir fs.FS, names []string, query url.Values, modified time.Time) {
	result := struct {
		XMLName     xml.Name `xml:"ListBucketResult"`
		IsTruncated bool
		Contents    []listedObject
	}{}
	foreign := []string{"f/notes.txt"} // not a flare: never shown, never read
	for _, key := range slices.Concat(keysOf(names), foreign) {
		if key <= query.Get("start-after") || !strings.HasPrefix(key, query.Get("prefix")) {
			continue
		}
		if len(result.Contents) == 2 {
			result.IsTruncated = true
			break
		}
		size := int64(5)
		if info, err := fs.Stat(dir, strings.TrimPrefix(key, "f/")); err == nil {
			size = info.Size()
		}
		result.Contents = append(result.Contents, listedObject{key, size, `"1"`, modified})
	}
	_ = xml.NewEncoder(w).Encode(result)
}

func keysOf(names []string) []string {
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = "f/" + name
	}
	return keys
}
