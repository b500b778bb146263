package main

import (
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lifeline": main})
}

// TestScript runs testdata/script, one file per behaviour. The scripts find the
// published keys in keys/, the golden flares in flares/, and in damaged/ one of
// which only the first of two records is whole. Every bucket of the server at $S3
// holds the golden flares, stored when they were made; a script that changes
// something uses a bucket of its own. At $OTLP/<name>/<behaviour> there are OTLP
// servers, each a script's own.
func TestScript(t *testing.T) {
	store := httptest.NewServer(newFakeS3(t))
	server := &fakeOTLP{got: map[string][]string{}}
	target := httptest.NewServer(server)
	t.Cleanup(func() { store.Close(); target.Close() }) // the scripts run in parallel, after this function returned
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("S3", store.URL)
			env.Setenv("OTLP", target.URL)
			for from, to := range map[string]string{"keys": "keys", "flares/v1": "flares"} {
				source := os.DirFS(filepath.Join("..", "..", "testdata", from))
				if err := os.CopyFS(filepath.Join(env.WorkDir, to), source); err != nil {
					return err
				}
			}
			if err := writeDamaged(filepath.Join(env.WorkDir, "damaged")); err != nil {
				return err
			}
			creds := "[default]\naws_access_key_id = key\naws_secret_access_key = secret\n" +
				"[agent]\naws_access_key_id = writer\naws_secret_access_key = secret\n"
			return os.WriteFile(filepath.Join(env.WorkDir, "s3.creds"), []byte(creds), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"mode": checkMode, "got": server.check},
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
