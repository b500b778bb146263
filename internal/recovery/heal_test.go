package recovery

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// trouble is a cause that keeps one good flare from being taken. start brings it
// about and returns what ends it.
type trouble struct {
	name  string
	start func(w *world, f frame.Frame) (heal func())
	state string        // of the flare meanwhile; "" pending
	path  string        // the part that does not take part meanwhile
	soon  time.Duration // after heal, until the flare is recovered
}

const soon = 31 * time.Second // a poll, or the longest pause after a failure

// keysWith puts keys in force that differ from the world's by change.
func (w *world) keysWith(change func(k *Keys, o *flare.Opener)) {
	k, o := *w.keys, *w.keys.Opener.(*flare.Opener)
	k.Opener = &o
	change(&k, &o)
	w.keys = &k
}

// breakBucket lets calls fail until the returned function is called.
func (w *world) breakBucket(kind bucket.Kind, code string, fails func(op, key string) bool) (heal func()) {
	b := &broken{Bucket: w.bucket, kind: kind, code: code, fails: fails}
	w.set.Bucket = b
	return func() {
		require.Positive(w.t, b.struck, "the fault never struck")
		b.fails = func(string, string) bool { return false }
	}
}

// breakGateway answers every record with a until the returned function is called.
func (w *world) breakGateway(a otlpsend.Answer) (heal func()) {
	w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer { return a }
	return func() {
		require.Greater(w.t, len(w.gateway.requests), 100, "it is asked all day")
		w.gateway.answer = nil
	}
}

// putChanged stores the flare of a trouble, changed by change.
func (w *world) putChanged(f frame.Frame, change func(*flare.Manifest)) {
	m, data := w.seal("acme/host-17", change, f)
	w.put(flare.Key("f/", m.FlareID), data)
}

// notTrusted are troubles with keys and what they say.
func notTrusted() []trouble {
	return []trouble{
		{"an agent enrolled late", func(w *world, f frame.Frame) func() {
			w.trust("globex/db-1")
			w.putChanged(f, nil)
			return func() { w.trust("globex/db-1", "acme/host-17") }
		}, "waiting unknown_signer", "", soon},
		{"a key whose time is over", func(w *world, f frame.Frame) func() {
			w.keysWith(func(_ *Keys, o *flare.Opener) {
				line := `acme/host-17 valid-before="19990101" ` + string(ssh.MarshalAuthorizedKey(w.agent("acme/host-17").PublicKey()))
				o.Signers = signers(w.t, line)
			})
			w.putChanged(f, nil)
			return func() { w.trust("acme/host-17") }
		}, "waiting expired_certificate", "", soon},
		{"another audience", func(w *world, f frame.Frame) func() {
			w.putChanged(f, func(m *flare.Manifest) { m.Audience = "acme-test" })
			return func() { w.keysWith(func(_ *Keys, o *flare.Opener) { o.Audience = "acme-test" }) }
		}, "waiting audience", "", soon},
		{"an identity that is missing", func(w *world, f frame.Frame) func() {
			mine := w.id
			other, err := age.GenerateX25519Identity()
			require.NoError(w.t, err)
			w.id = other
			w.putChanged(f, nil)
			w.id = mine
			return func() {
				w.keysWith(func(k *Keys, o *flare.Opener) {
					o.Identities = append(o.Identities, other)
					k.Identities, k.Names = o.Identities, append(k.Names, "other")
				})
			}
		}, "waiting no_identity", "", soon},
		{"a max_age that is too short", func(w *world, f frame.Frame) func() {
			created := time.Now()
			time.Sleep(w.set.MaxAge + time.Hour)
			w.putChanged(f, func(m *flare.Manifest) { m.Created = flare.TimeOf(created) })
			return func() { w.keysWith(func(_ *Keys, o *flare.Opener) { o.MaxAge *= 2 }) }
		}, "waiting stale", "", soon},
		{"no key files", func(w *world, f frame.Frame) func() {
			keys := w.keys
			w.keys = nil
			w.putChanged(f, nil)
			return func() { w.keys = keys }
		}, "", "", soon},
	}
}

// notYet are troubles that only time, another key or another version ends.
func notYet() []trouble {
	return []trouble{
		{"a certificate that ended", func(w *world, f frame.Frame) func() {
			key := w.agent("acme/host-17")
			certified, authority := certify(w.t, key, "acme/host-17")
			w.agents["acme/host-17"] = certified
			w.keysWith(func(_ *Keys, o *flare.Opener) { o.Signers = signers(w.t, authority) })
			w.putChanged(f, nil)
			return func() {
				plain := "acme/host-17 " + string(ssh.MarshalAuthorizedKey(key.PublicKey()))
				w.keysWith(func(_ *Keys, o *flare.Opener) { o.Signers = signers(w.t, authority+plain) })
			}
		}, "waiting expired_certificate", "", soon},
		{"an agent's clock that is ahead", func(w *world, f frame.Frame) func() {
			w.putChanged(f, func(m *flare.Manifest) { m.Created = flare.TimeOf(time.Now().Add(48*time.Hour + time.Minute)) })
			return func() {}
		}, "waiting clock", "", time.Minute + lookAgain + soon},
		{"a version that is too old", func(w *world, f frame.Frame) func() {
			file := func(name string) []byte {
				data, err := os.ReadFile("../../testdata/" + name) //nolint:gosec // a published file
				require.NoError(w.t, err)
				return data
			}
			id := strings.Repeat("0123456789abcdef", 2)
			w.put(flare.Key("f/", id), file("refused/v1/newer-type.age"))
			w.keysWith(func(_ *Keys, o *flare.Opener) {
				published, err := flare.ParseIdentities(bytes.NewReader(file("keys/recovery_classic.key")))
				require.NoError(w.t, err)
				o.Identities, o.Signers = append(o.Identities, published...), signers(w.t, string(file("keys/allowed_signers")))
			})
			return func() {
				w.trust("acme/host-17")
				_, data := w.seal("acme/host-17", func(m *flare.Manifest) { m.FlareID = id }, f)
				w.keysWith(func(k *Keys, o *flare.Opener) { k.Opener = upgraded{o, data} })
			}
		}, "waiting needs_newer", "", soon},
	}
}

// upgraded is the opener of a version that makes of a flare what it is.
type upgraded struct {
	*flare.Opener
	data []byte
}

func (u upgraded) Open(o flare.Object, _ []byte) (*flare.Flare, error) {
	return u.Opener.Open(o, u.data)
}

// certify returns signer with a certificate that ended an hour ago, and the line of
// its authority.
func certify(t *testing.T, signer ssh.Signer, principal string) (certified ssh.Signer, line string) {
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	authority, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	cert := &ssh.Certificate{
		Key: signer.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{principal},
		ValidBefore: uint64(time.Now().Add(-time.Hour).Unix()), //nolint:gosec // after 1970
	}
	require.NoError(t, cert.SignCert(rand.Reader, authority))
	certified, err = ssh.NewCertSigner(cert, signer)
	require.NoError(t, err)
	return certified, "acme/* cert-authority " + string(ssh.MarshalAuthorizedKey(authority.PublicKey()))
}

func signers(t *testing.T, file string) *flare.Signers {
	s, err := flare.ParseAllowedSigners(strings.NewReader(file))
	require.NoError(t, err)
	return s
}

// brokenPaths are troubles with the bucket or the gateway.
func brokenPaths() []trouble {
	flares := func(op, key string) bool { return op == "get" && strings.HasPrefix(key, "f/") }
	all := func(string, string) bool { return true }
	marker := func(op, key string) bool { return op == "put" && len(key) == len("lifeline/done/")+32 }
	inBucket := func(kind bucket.Kind, code string, fails func(op, key string) bool) func(*world, frame.Frame) func() {
		return func(w *world, f frame.Frame) func() {
			w.putChanged(f, nil)
			return w.breakBucket(kind, code, fails)
		}
	}
	atGateway := func(a otlpsend.Answer) func(*world, frame.Frame) func() {
		return func(w *world, f frame.Frame) func() {
			w.putChanged(f, nil)
			return w.breakGateway(a)
		}
	}
	return []trouble{
		{"a gateway that is down", atGateway(down()), "", "gateway", soon},
		{"a gateway that is somebody else", atGateway(otlpsend.Answer{Verdict: otlpsend.Broken, Err: fmt.Errorf("302")}), "", "gateway", soon},
		{"a gateway that asks for time", atGateway(otlpsend.Answer{Verdict: otlpsend.Down, RetryAfter: time.Minute, Err: fmt.Errorf("503")}), "", "gateway", 2 * time.Minute},
		{"a gateway that refuses everything", atGateway(badData()), "waiting refused", "", soon},
		{"a store that throttles", inBucket(bucket.Throttled, "SlowDown", all), "", "bucket", soon},
		{"a store that fails", inBucket(bucket.Unknown, "InternalError", all), "", "bucket", soon},
		{"a store that is away", inBucket(bucket.Unreachable, "", all), "", "bucket", soon},
		{"a credential that expired", inBucket(bucket.Denied, "ExpiredToken", all), "", "bucket", soon},
		{"no right to read flares", inBucket(bucket.Denied, "AccessDenied", flares), "", "bucket", soon},
		{"an archived flare", inBucket(bucket.Denied, "InvalidObjectState", flares), "waiting unreadable", "", lookAgain + soon},
		{"no right to write markers", inBucket(bucket.Denied, "AccessDenied", marker), "stuck marker", "bucket", soon},
	}
}

// TestTroubleForADay: whatever keeps a flare from being taken for a day, it stays
// where it is, nothing is copied, and when the cause is gone the same process
// takes it by itself.
func TestTroubleForADay(t *testing.T) {
	for _, c := range slices.Concat(notTrusted(), notYet(), brokenPaths()) {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				f := w.logs("acme/host-17", 2, "kept")
				heal := c.start(w, f)
				w.ours[f.BatchID] = f
				l := New(w.set)
				w.resume(l, 24*time.Hour)
				require.Len(t, w.under("f/"), 1)
				require.Empty(t, w.under("lifeline/try/"))
				require.Empty(t, w.under("lifeline/done/"))
				for _, key := range w.under("lifeline/quarantine/") {
					require.Equal(t, "probe", key)
				}
				part, _, _ := strings.Cut(troubleOf(l.Snapshot().PathError), " ")
				require.Equal(t, c.path, part)
				before := len(w.gateway.requests)
				if c.state == "" {
					require.Empty(t, w.events)
					require.Equal(t, 1, l.Snapshot().Pending)
				} else {
					require.Equal(t, []string{c.state}, w.states(), "told once")
				}

				heal()
				w.resume(l, c.soon)
				require.Equal(t, "recovered", w.states()[len(w.events)-1])
				require.Equal(t, map[frame.BatchID]int{f.BatchID: 1}, w.gateway.got)
				require.LessOrEqual(t, len(w.gateway.requests), before+1)
				w.onlyOurs()
				require.Empty(t, w.under("f/"))
				s := l.Snapshot()
				require.NoError(t, s.PathError)
				require.Empty(t, s.Waiting)
				require.Empty(t, s.Stuck)
				require.Zero(t, s.Pending)
			})
		})
	}
}
