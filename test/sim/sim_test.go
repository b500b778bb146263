package sim

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

var (
	seed = flag.Uint64("seed", 1, "the first seed")
	runs = flag.Int("runs", 12, "how many seeds")
)

// TestOutages lives through simulated outages, one seed each.
func TestOutages(t *testing.T) {
	keys := testKeys(t)
	total := map[string]int64{}
	var virtual, outage time.Duration
	for i := range *runs {
		s := *seed + uint64(i) //nolint:gosec // a count
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			r := run(t, s, keys)
			add(total, r.Tally)
			virtual += r.Virtual
			outage += r.Outage
		})
	}
	for _, name := range sorted(total) {
		t.Logf("%12d %s", total[name], name)
	}
	t.Logf("%d runs, %.0f hours, %.0f of them without a gateway", *runs, virtual.Hours(), outage.Hours())
}

// run lives through one seed in a bubble of its own.
func run(t *testing.T, seed uint64, keys *Keys) (r Report) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
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
	return &Keys{
		Sealer: &flare.Sealer{Recipients: recipients, Signer: signer}, Identities: identities,
		Opener: &flare.Opener{Identities: identities, Signers: signers, Audience: audience, MaxAge: 336 * time.Hour},
	}
}
