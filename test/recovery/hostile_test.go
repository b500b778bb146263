package recovery

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
)

var (
	garbage = flag.Int("garbage", 200, "objects that are no flares, in front of a good one")
	flares  = flag.Int("flares", 200, "flares of one record each")
)

// maxOver is how much recovery may grow over what it needs when it does nothing.
const maxOver = 150 << 20

// TestHostileBucket: somebody with a writer's key fills the bucket with what is
// no flare, some of it as large as a flare may be, with what is sealed for somebody
// else, with what is sealed for recovery and signed by a stranger or made for another
// audience, with foreign keys and with what is larger than any flare. The good flare
// behind all of it arrives, nothing is forwarded but that, of the large ones the
// beginning is fetched, and memory stays bounded.
func TestHostileBucket(t *testing.T) {
	r := newRig(t)
	ctx := env.Within(t, 5*time.Minute)
	a := r.agent("acme/host-17")
	r.write("allowed_signers", a.trust())
	idle := r.idle(ctx)
	head := []byte("age-encryption.org/v1\n-> X25519 ")
	for i := range *garbage {
		r.put(flare.Key("f/", frame.RandomHex()), bytes.Repeat(head, i%8+1))
	}
	bad := *garbage + 3
	for range 3 {
		r.put(flare.Key("f/", frame.RandomHex()), bytes.Repeat(head[:32], flare.MaxObject/32))
	}
	for range 3 {
		r.put(flare.Key("f/", frame.RandomHex()), r.forSomebodyElse(flare.MaxObject-1<<20))
	}
	elsewhere := *a
	elsewhere.audience = "acme-test"
	r.ofOthers(&elsewhere)
	r.ofOthers(r.agent("acme/host-17"))
	r.put(flare.Key("f/", frame.RandomHex()), make([]byte, flare.MaxObject+1))
	for i := range 20 {
		r.put(fmt.Sprintf("f/notes-%d.txt", i), head)
	}
	a.flare(flare.Expired, a.logs(3))

	begin := time.Now()
	r.start()
	var good time.Duration
	seen, n := 0, map[string]int{} // calls, by name
	r.tap.await(ctx, t, func(done []call) bool {
		for _, c := range done[seen:] {
			n[c.name]++
		}
		seen = len(done)
		if good == 0 && n["forward"] > 0 {
			good = time.Since(begin)
		}
		return n["delete flare"] == bad+1 && n["get flare"] >= 2*bad+3+4+1
	})
	took, over, fetched := time.Since(begin), r.peak()-idle, r.tap.bytes.Load()
	r.kill()
	t.Logf("%d objects of garbage in %s, the good flare behind them after %s, resident at most %d MiB over idle (%d MiB), %d KiB fetched",
		bad+3, took.Round(time.Millisecond), good.Round(time.Millisecond), over>>20, idle>>20, fetched>>10)
	row := r.sink.row()
	require.True(t, row.OK() && row.Kafka == 3, "%+v", row)
	require.Len(t, r.under("lifeline/quarantine/malformed/"), bad)
	require.Len(t, r.under("f/"), 28, "what is not a flare's key, too large, or for or of somebody else stays")
	require.Less(t, fetched, int64(flare.MaxObject), "13 looks at ten large objects take less than one of them")
	require.LessOrEqual(t, over, int64(maxOver), "memory is bounded")
}

// forSomebodyElse returns what only another recovery can open.
func (r *rig) forSomebodyElse(size int) []byte {
	id, err := age.GenerateX25519Identity()
	require.NoError(r.t, err)
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, id.Recipient())
	require.NoError(r.t, err)
	_, err = w.Write(make([]byte, size))
	require.NoError(r.t, err)
	require.NoError(r.t, w.Close())
	return sealed.Bytes()
}

// ofOthers puts two flares of the largest size by a, one with a small
// manifest and one with a manifest of the largest size.
func (r *rig) ofOthers(a *agent) {
	noise := rand.NewChaCha8([32]byte{2})
	seal := func(records, size int, meta map[string][]string) {
		var frames []frame.Frame
		for range records {
			f := a.noise(noise, size)
			f.Meta = meta
			frames = append(frames, f)
		}
		_, data := a.seal(flare.Shutdown, frames...)
		require.Greater(r.t, len(data), 62<<20)
		r.put(flare.Key("f/", frame.RandomHex()), data)
	}
	seal(61, 1<<20, nil)
	seal(240, 250_000, map[string][]string{"x": slices.Repeat([]string{strings.Repeat("x", 3900)}, 4)})
}

// count returns how many calls have a name.
func count(calls []call, name string) int {
	n := 0
	for _, c := range calls {
		if c.name == name {
			n++
		}
	}
	return n
}

// TestManyFlares: counts are exact, through real processes.
func TestManyFlares(t *testing.T) {
	r := newRig(t)
	ctx := env.Within(t, 10*time.Minute)
	a := r.agent("acme/host-17")
	r.write("allowed_signers", a.trust())
	idle := r.idle(ctx)
	for range *flares {
		a.flare(flare.Expired, a.logs(1))
	}
	begin := time.Now()
	r.start()
	r.tap.await(ctx, t, func(done []call) bool { return count(done, "put done") == *flares })
	took, over := time.Since(begin), r.peak()-idle
	r.kill()
	row := r.sink.row()
	require.True(t, row.OK() && row.Kafka == int64(*flares) && row.Duplicates == 0, "%+v", row)
	require.LessOrEqual(t, over, int64(maxOver), "memory is bounded")
	t.Logf("%d flares of one record in %s, resident at most %d MiB over idle (%d MiB)",
		row.Kafka, took.Round(time.Millisecond), over>>20, idle>>20)
}

// TestLargestFlares: flares as large as they can be (62 MiB: the next size is 64
// MiB and what age adds) arrive whole, and memory holds one of them at a time.
func TestLargestFlares(t *testing.T) {
	const records, size = 61, 1 << 20
	r := newRig(t)
	ctx := env.Within(t, 5*time.Minute)
	a := r.agent("acme/host-17")
	r.write("allowed_signers", a.trust())
	idle := r.idle(ctx)
	noise := rand.NewChaCha8([32]byte{1})
	for range 3 {
		var frames []frame.Frame
		for range records {
			frames = append(frames, a.noise(noise, size))
		}
		a.flare(flare.Expired, frames...)
	}
	begin := time.Now()
	r.start()
	r.settled(ctx, 0)
	took, over := time.Since(begin), r.peak()-idle
	r.kill()
	row := r.sink.row()
	require.True(t, row.OK() && row.Kafka == 3*records && row.Duplicates == 0, "%+v", row)
	require.LessOrEqual(t, over, int64(maxOver), "memory is bounded")
	t.Logf("3 flares of 62 MiB in %s, resident at most %d MiB over idle (%d MiB)", took.Round(time.Millisecond), over>>20, idle>>20)
}

// TestFailingStore: a store that answers in every wrong way costs time and
// nothing else.
func TestFailingStore(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := env.Within(t, 2*time.Minute)
	var calls, failed atomic.Int64
	faults := []func(w http.ResponseWriter){
		func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		func(w http.ResponseWriter) { http.Error(w, "<html>bad gateway</html>", http.StatusBadGateway) },
		func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>slower</Message></Error>`))
		},
		func(w http.ResponseWriter) {
			w.Header().Set("Etag", `"x"`)
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("cut off"))
		},
	}
	s.tap.spoilCalls(func(w http.ResponseWriter, _ *http.Request, _ call) bool {
		if n := calls.Add(1); n%11 != 0 || failed.Load() == int64(len(faults)) {
			return false
		}
		faults[failed.Add(1)-1](w)
		return true
	})
	s.start()
	s.settled(ctx, 0)
	s.kill()
	require.EqualValues(t, len(faults), failed.Load(), "every fault struck")
	s.judge()
	require.Zero(t, s.sink.row().Duplicates, "the gateway was well all the time")
}

// TestKeysWhileItRuns: an operator enrolls an agent, breaks the file, mends it and
// revokes a key, and the process follows, but not into the accident.
func TestKeysWhileItRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := env.Within(t, time.Minute)
	one, two, three := r.agent("acme/host-1"), r.agent("acme/host-2"), r.agent("acme/host-3")
	r.write("revoked", "# nobody")
	r.more = append(r.more, "yaml:extensions::flare_recovery::revoked_file: "+r.dir+"/revoked")
	r.write("allowed_signers", one.trust(), two.trust())
	late := three.flare(flare.Expired, three.logs(1))
	r.start()
	says := func(parts ...string) {
		t.Helper()
		_, err := r.p.WaitLine(ctx, parts...)
		require.NoError(t, err)
	}
	says("unknown_signer", late)

	r.write("allowed_signers", one.trust(), two.trust(), three.trust()[:60])
	says("allowed_signers_file", "stays in force")
	one.flare(flare.Expired, one.logs(1))
	r.settled(ctx, 1)
	require.Equal(t, []string{late + ".age"}, r.under("f/"), "the broken file changed nothing")

	r.write("allowed_signers", one.trust(), two.trust(), three.trust())
	r.settled(ctx, 0)

	r.write("allowed_signers", one.trust())
	says("only 1 of 3 entries are left")
	two.flare(flare.Expired, two.logs(1))
	r.settled(ctx, 0)

	r.write("revoked", "principal:acme/host-2")
	bad := two.flare(flare.Drill, two.drill())
	r.settled(ctx, 0)
	require.Contains(t, r.under("lifeline/quarantine/"), "revoked/"+bad+".age")
	r.kill()
	row := r.sink.row()
	require.True(t, row.OK() && row.Kafka == 3 && row.Duplicates == 0, "%+v", row)
	require.NotContains(t, r.under("lifeline/done/"), bad)
}
