package sim

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/recovery"
)

var (
	seed = flag.Uint64("seed", 1, "the first seed")
	runs = flag.Int("runs", defaultRuns, "how many seeds")
)

// TestOutages lives through simulated outages, one seed each, and says what
// happened in them.
func TestOutages(t *testing.T) {
	keys := testKeys(t)
	total := map[string]int64{}
	var virtual, outage time.Duration
	var outages int
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // a run needs little memory
	begin := cpu()
	for i := range *runs {
		s := *seed + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			r := run(t, s, keys)
			add(total, r.Tally)
			virtual += r.Virtual
			outage += r.Outage
			outages += r.Outages
		})
	}
	used := cpu() - begin
	for _, name := range sorted(total) {
		t.Logf("%12d  %s", total[name], name)
	}
	t.Logf("%d runs, %d outages in %.0f virtual hours, %.0f of them without a gateway: %.0f outage-hours per CPU-minute (%.0f s of CPU)",
		*runs, outages, virtual.Hours(), outage.Hours(), outage.Hours()/used.Minutes(), used.Seconds())
	must := common
	if *runs >= manyRuns {
		must = append(must, rare...)
	}
	if *runs >= mostRuns {
		must = append(must, seldom...)
	}
	if *runs >= fewRuns && !t.Failed() {
		for _, name := range must {
			require.Positive(t, total[name], "never happened: %s", name)
		}
	}
}

// run lives through one seed in a bubble of its own.
func run(t *testing.T, seed uint64, keys *Keys) (r Report) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, seed) // ids are drawn from the seed too
		r = Run(seed, keys)
		for _, f := range r.Failures {
			t.Error(f)
		}
		if len(r.Failures) > 0 {
			t.Logf("again: make sim SEED=%d N=1", seed)
		}
	})
	return r
}

func testKeys(t *testing.T) *Keys {
	t.Helper()
	dir, err := os.OpenRoot(filepath.Join("..", "..", "testdata", "keys"))
	require.NoError(t, err)
	defer dir.Close()
	read := func(name string) []byte {
		b, err := dir.ReadFile(name)
		require.NoError(t, err)
		return b
	}
	signer, err := flare.ParseSigner(read("agent_ed25519"), nil)
	require.NoError(t, err)
	recipients, err := flare.ParseRecipients(bytes.NewReader(read("recipients_classic.txt")), false)
	require.NoError(t, err)
	identities, err := flare.ParseIdentities(bytes.NewReader(read("recovery_classic.key")))
	require.NoError(t, err)
	signers, err := flare.ParseAllowedSigners(bytes.NewReader(read("allowed_signers")))
	require.NoError(t, err)
	opener := &flare.Opener{Identities: identities, Signers: signers, Audience: audience, MaxAge: MaxAge}
	theirs := recovery.Keys{
		Opener: opener, Identities: identities, Names: []string{"recovery"}, Recipients: recipients,
	}
	blind := theirs
	blind.Opener = &flare.Opener{Identities: identities, Audience: audience, MaxAge: MaxAge}
	return &Keys{
		Sealer: &flare.Sealer{Recipients: recipients, Signer: signer}, Opener: opener,
		Recovery: map[string]*recovery.Keys{"ok": &theirs, "nobody": &blind},
	}
}
