package recovery

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/proc"
)

var (
	killFor    = flag.Duration("kill-for", 15*time.Second, "how long at least one of two recoveries after the other is killed")
	killFlares = flag.Int("kill-flares", 300, "flares that come meanwhile")
	killSeed   = flag.Uint64("kill-seed", 1, "who is killed, and when")
)

// storm is two recoveries that share a bucket by leases, and one of which is
// killed again and again.
type storm struct {
	t    *testing.T
	r    *rand.Rand
	pair [2]*rig
	from [2]int // effects that the tap of each had seen when its process began

	kills, atWork, takeovers int
}

// TestReplicasUnderKills: two recoveries share a bucket by leases, and for a while
// either of them is killed with SIGKILL at any call, or at any moment, and started
// again. Nothing is lost, and what arrives twice does so under one batch id.
func TestReplicasUnderKills(t *testing.T) {
	s := &storm{t: t, r: rand.New(rand.NewPCG(*killSeed, 7))} //nolint:gosec // to be repeated
	s.pair[0] = newRig(t)
	s.pair[1] = s.pair[0].twin()
	a := s.pair[0].agent("acme/host-17")
	s.pair[0].write("allowed_signers", a.trust())
	for i, r := range s.pair {
		r.lease = true
		s.start(i)
	}
	ctx := env.Within(t, *killFor+3*time.Minute)
	begin, put := time.Now(), 0
	feed := func(until int) {
		for ; put < until; put++ {
			a.flare(flare.Expired, a.logs(1), a.logs(2), a.logs(3))
		}
	}
	for elapsed := time.Duration(0); elapsed < *killFor || !s.hasSeenAll(); elapsed = time.Since(begin) {
		feed(int(float64(*killFlares)*elapsed.Seconds()/killFor.Seconds()) + 1)
		s.strike(ctx)
	}
	feed(max(put, *killFlares))
	s.buryTheDead(s.name(0), s.name(1)) // what the dead had sent may have arrived later
	s.drained(ctx)
	poisoned := s.release()
	s.drained(ctx)
	for _, r := range s.pair {
		r.p.Kill()
	}

	row := s.pair[0].sink.row()
	require.True(t, row.OK(), "%+v", row)
	require.Equal(t, row.Duplicates, row.Marked, "duplicates come with equal batch ids: %+v", row)
	require.EqualValues(t, 6*put, row.Accepted)
	t.Logf("seed %d: %d flares, %d records accepted, %d in Kafka, lost %d; %d duplicates, %d of them by batch id; %d kills, %d of them of work in progress; leases of a living one ran out %d times; put away as deadly and released: %d; requests acked: %v",
		*killSeed, put, row.Accepted, row.Kafka, row.Lost, row.Duplicates, row.Marked, s.kills, s.atWork, s.takeovers, poisoned, s.forwarded())
}

// forwarded returns how many requests of each were acked.
func (s *storm) forwarded() (n [2]int) {
	for i, r := range s.pair {
		done, _ := r.tap.effects()
		n[i] = count(done, "forward")
	}
	return n
}

// hasSeenAll reports whether a kill hit work in progress, a lease was taken from a
// living one, and both work.
func (s *storm) hasSeenAll() bool {
	n := s.forwarded()
	return s.atWork > 0 && s.takeovers > 0 && n[0] > 0 && n[1] > 0
}

// twin returns another recovery of the same bucket, gateway and key files, with
// a tap of its own.
func (r *rig) twin() *rig {
	other := *r
	other.tap = newTap(r.t, r.bucket, store.Addr())
	other.sink = newSink(r.t, other.tap)
	other.sink.book = r.sink.book
	addrs, err := proc.FreeAddrs(3)
	require.NoError(r.t, err)
	_, port, err := net.SplitHostPort(addrs[1])
	require.NoError(r.t, err)
	other.metrics = addrs[1]
	other.env = append(slices.Clip(r.env), "LIFELINE_S3_ENDPOINT="+other.tap.s3.URL, "LIFELINE_FORWARD="+other.sink.URL,
		"LIFELINE_HEALTH="+addrs[0], "LIFELINE_METRICS_PORT="+port, "LIFELINE_STATUS="+addrs[2])
	r.t.Cleanup(other.kill)
	return &other
}

func (s *storm) start(i int) {
	done, _ := s.pair[i].tap.effects()
	s.from[i] = len(done)
	s.pair[i].start()
}

// strike lets one of the two live until some call of its, or for some time from its
// first call on, kills it there, and starts it again. Every fourth time the leases of both run out, as
// if the other one had been asleep.
func (s *storm) strike(ctx context.Context) {
	i := s.r.IntN(2)
	r := s.pair[i]
	when := before
	if s.r.IntN(2) == 0 {
		when = after
	}
	lives := time.Second + time.Duration(s.r.IntN(2000))*time.Millisecond
	trap := r.setTrap(1+s.r.IntN(200), when, func(call) bool { return true })
	var over <-chan time.Time
	for alive := true; alive; {
		done, more := r.tap.effects()
		if over == nil && len(done) > s.from[i] {
			over = time.After(lives)
		}
		select {
		case <-trap.caught:
			alive = false
		case <-over:
			alive = false
		case <-more:
		case <-r.p.Done():
			s.t.Fatal("it ended by itself")
		case <-ctx.Done():
			s.t.Fatal("no time is left: ", s.kills, s.atWork, s.takeovers, s.forwarded())
		}
	}
	r.p.Kill()
	r.tap.set(nil)
	close(trap.released)
	mine, _ := r.tap.effects()
	mine = mine[s.from[i]:]
	s.kills++
	if inHand(mine) > 0 {
		s.atWork++
	}
	if s.kills%4 == 2 {
		s.takeovers++
		r.expireLeases()
	} else {
		s.buryTheDead(s.name(1 - i))
	}
	s.start(i)
}

// inHand returns how many flares a process had fetched and not dealt with.
func inHand(done []call) int {
	flares := map[string]bool{}
	for _, c := range done {
		switch c.name {
		case "get flare":
			flares[c.flare] = true
		case "delete flare":
			delete(flares, c.flare)
		}
	}
	return len(flares)
}

// name returns the name that a recovery goes by in the leases, "" while it has
// written none.
func (s *storm) name(i int) string {
	done, _ := s.pair[i].tap.effects()
	for _, c := range done[s.from[i]:] {
		if name := strings.TrimPrefix(c.key, "lifeline/lease/"); c.name == "put lease" && frame.IsHex32(name) {
			return name
		}
	}
	return ""
}

// buryTheDead lets the minute pass for the leases of everyone but the living.
func (s *storm) buryTheDead(living ...string) {
	files, err := filepath.Glob(filepath.Join(objects, s.pair[0].bucket, "lifeline", "lease", "*"))
	require.NoError(s.t, err)
	old := time.Now().Add(-2 * time.Minute)
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // our own directory
		owner, _, _ := strings.Cut(string(text), "\n")
		if err == nil && !slices.Contains(living, owner) && !slices.Contains(living, filepath.Base(file)) {
			err = os.Chtimes(file, old, old)
		}
		if !errors.Is(err, fs.ErrNotExist) { // given back meanwhile
			require.NoError(s.t, err)
		}
	}
}

// drained blocks until the bucket holds no flare.
func (s *storm) drained(ctx context.Context) {
	for {
		_, one := s.pair[0].tap.effects()
		_, two := s.pair[1].tap.effects()
		files, err := os.ReadDir(filepath.Join(objects, s.pair[0].bucket, "f"))
		if len(files) == 0 && (err == nil || errors.Is(err, fs.ErrNotExist)) {
			return
		}
		select {
		case <-one:
		case <-two:
		case <-ctx.Done():
			s.t.Fatalf("%d flares are left", len(files))
		}
	}
}

// release puts back what was put away because three processes had died with it,
// as an operator would, and returns how many those were. Kills at random hit one
// flare three times now and then.
func (s *storm) release() int {
	r := s.pair[0]
	remove := func(key string) {
		_, err := r.root.DeleteObject(s.t.Context(), &awss3.DeleteObjectInput{Bucket: &r.bucket, Key: &key})
		require.NoError(s.t, err)
	}
	names := r.under("lifeline/quarantine/poison/")
	for _, name := range names {
		id := strings.TrimSuffix(name, ".age")
		for _, try := range r.under("lifeline/try/" + id) {
			remove("lifeline/try/" + id + try)
		}
		from := "lifeline/quarantine/poison/" + name
		_, err := r.root.CopyObject(s.t.Context(), &awss3.CopyObjectInput{
			Bucket: &r.bucket, Key: aws.String("f/" + name), CopySource: aws.String(r.bucket + "/" + from),
		})
		require.NoError(s.t, err)
		remove(from)
	}
	require.Equal(s.t, []string{"probe"}, r.under("lifeline/quarantine/"), "nothing else is bad")
	return len(names)
}
