package recovery

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// stranger is an object that no agent we trust made, or not like this.
type stranger struct {
	name  string
	put   func(w *world)
	state string
	stays bool
}

func strangers() []stranger {
	const agent = "acme/host-17"
	id := frame.RandomHex()
	return []stranger{
		{"garbage", func(w *world) { w.put("f/"+id+".age", []byte("garbage")) }, "quarantined malformed", false},
		{"truncated", func(w *world) {
			m, data := w.seal(agent, nil, w.logs(agent, 1, "x"))
			w.put("f/"+m.FlareID+".age", data[:len(data)-1])
		}, "quarantined malformed", false},
		{"one bit flipped", func(w *world) {
			m, data := w.seal(agent, nil, w.logs(agent, 1, "x"))
			data[len(data)/2] ^= 1
			w.put("f/"+m.FlareID+".age", data)
		}, "quarantined malformed", false},
		{"under another name", func(w *world) {
			_, data := w.seal(agent, nil, w.logs(agent, 1, "x"))
			w.put("f/"+id+".age", data)
		}, "quarantined id_mismatch", false},
		{"forged by a stranger", func(w *world) {
			w.flare("mallory/laptop", w.logs("mallory/laptop", 1, "x"))
		}, "waiting unknown_signer", true},
		{"for another audience", func(w *world) {
			m, data := w.seal(agent, func(m *flare.Manifest) { m.Audience = "acme-test" }, w.logs(agent, 1, "x"))
			w.put("f/"+m.FlareID+".age", data)
		}, "waiting audience", true},
		{"for another identity", func(w *world) {
			mine := w.id
			w.id, _ = age.GenerateX25519Identity()
			m, data := w.seal(agent, nil, w.logs(agent, 1, "x"))
			w.id = mine
			w.put("f/"+m.FlareID+".age", data)
		}, "waiting no_identity", true},
		{"stale", func(w *world) {
			m, data := w.seal(agent, nil, w.logs(agent, 1, "x"))
			time.Sleep(w.set.MaxAge + time.Hour)
			w.put("f/"+m.FlareID+".age", data)
		}, "waiting stale", true},
		{"from the future", func(w *world) {
			m, data := w.seal(agent, func(m *flare.Manifest) {
				m.Created = flare.TimeOf(time.Now().Add(25 * time.Hour))
			}, w.logs(agent, 1, "x"))
			w.put("f/"+m.FlareID+".age", data)
		}, "waiting clock", true},
		{"foreign key", func(w *world) { w.put("f/README.txt", []byte("hello")) }, "waiting foreign", true},
		{"too large", func(w *world) {
			w.put("f/"+id+".age", make([]byte, flare.MaxObject+1))
		}, "waiting too_large", true},
	}
}

// None of them is forwarded, and none is deleted without a copy.
func TestOutcomes(t *testing.T) {
	const agent = "acme/host-17"
	for _, c := range strangers() {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				c.put(w)
				mine := w.logs(agent, 1, "good")
				w.flare(agent, mine)
				l := w.run(5 * time.Minute)
				require.ElementsMatch(t, []string{c.state, "recovered"}, w.states(), "each state is told once")
				require.Len(t, w.gateway.requests, 1)
				require.Equal(t, 1, w.gateway.got[mine.BatchID])
				if c.stays {
					require.Len(t, w.under("f/"), 1)
					require.Len(t, l.Snapshot().Waiting, 1)
					require.Equal(t, []string{"probe"}, w.under("lifeline/quarantine/"))
				} else {
					require.Empty(t, w.under("f/"))
					require.Len(t, w.under("lifeline/quarantine/"), 2)
				}
				require.Len(t, w.under("lifeline/done/"), 1, "only what was signed well gets a marker")
				require.Zero(t, l.Snapshot().Pending)
			})
		})
	}
}

// A waiting flare is fetched again when a file changed, and else once an hour.
func TestWaitingUntilTrusted(t *testing.T) {
	inWorld(t, func(w *world) {
		f := w.logs("newco/host-1", 1, "hello")
		id := w.flare("newco/host-1", f)
		gets := 0
		w.bucket.Seen = func(c bucket.Call) {
			if c.Op == "get" && c.Key == "f/"+id+".age" {
				gets++
			}
		}
		l := New(w.set)
		w.resume(l, 2*time.Hour+30*time.Minute)
		require.Equal(t, 3, gets)
		require.Equal(t, []string{"waiting unknown_signer"}, w.states())
		require.Empty(t, w.under("lifeline/try/"))

		w.trust("acme/host-17", "newco/host-1")
		w.ours[f.BatchID] = f
		w.resume(l, w.set.PollInterval)
		require.Equal(t, []string{"waiting unknown_signer", "recovered"}, w.states())
		require.Empty(t, l.Snapshot().Waiting)
		w.onlyOurs()
	})
}

// A copy of a flare that was taken before is deleted, not taken: within one
// process, in the next one, and under another folder.
func TestReplay(t *testing.T) {
	inWorld(t, func(w *world) {
		f := w.logs("acme/host-17", 1, "once")
		m, data := w.seal("acme/host-17", nil, f)
		key := "f/" + m.FlareID + ".age"
		w.put(key, data)
		l := New(w.set)
		w.resume(l, time.Minute)
		require.Equal(t, 1, w.gateway.got[f.BatchID])

		w.put(key, data)
		w.resume(l, time.Minute)
		w.put(key, data)
		w.put("f/eu/"+m.FlareID+".age", data)
		w.run(time.Minute)
		require.Empty(t, w.under("f/"))
		require.Equal(t, 1, w.gateway.got[f.BatchID])
		require.Equal(t, []string{"recovered"}, w.states())
	})
}

// A marker outlives max_age by two days, and is removed then.
func TestMarkersAreSwept(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		w.set.PollInterval = 10 * time.Minute
		l := New(w.set)
		w.resume(l, w.set.MaxAge+47*time.Hour)
		require.Equal(t, []string{id}, w.under("lifeline/done/"))
		require.Len(t, l.keeping.known, 1)
		require.Len(t, l.keeping.boots, 1)
		w.resume(l, 3*time.Hour)
		require.Empty(t, w.under("lifeline/done/"))
		require.Empty(t, l.keeping.known)
		require.Empty(t, l.keeping.boots)
	})
}

// More than one page of flares, in two folders: all arrive, the folders take
// turns, each oldest first.
func TestManyPages(t *testing.T) {
	inWorld(t, func(w *world) {
		w.bucket.PageSize = 10
		var order []string
		for i := range 40 {
			folder := "f/a/"
			if i >= 35 {
				folder = "f/b/"
			}
			m, data := w.seal("acme/host-17", nil, w.logs("acme/host-17", 1, "x"))
			w.put(folder+m.FlareID+".age", data)
			time.Sleep(time.Second)
		}
		w.bucket.Seen = func(c bucket.Call) {
			if c.Op == "get" && c.Effect && c.Key[0] == 'f' {
				order = append(order, c.Key[:4])
			}
		}
		l := w.run(time.Minute)
		require.Len(t, w.gateway.got, 40)
		require.Empty(t, w.under("f/"))
		require.EqualValues(t, 40, l.Snapshot().RecoveredFlares)
		require.Equal(t, []string{"f/a/", "f/b/", "f/a/", "f/b/"}, order[:4])
		require.Equal(t, 5, count(order[:10], "f/b/"))
		w.onlyOurs()
	})
}

func count(list []string, s string) int {
	n := 0
	for _, x := range list {
		if x == s {
			n++
		}
	}
	return n
}

// Quarantine is bounded: what does not fit stays in the bucket and is shown, and
// goes when there is room.
func TestQuarantineIsFull(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set.QuarantineMaxBytes = 1000
		w.put("lifeline/quarantine/malformed/old.age", make([]byte, 900))
		id := frame.RandomHex()
		w.put("f/"+id+".age", bytes.Repeat([]byte("x"), 200))
		f := w.logs("acme/host-17", 1, "good")
		w.flare("acme/host-17", f)
		l := New(w.set)
		w.resume(l, time.Hour-time.Minute)
		require.ElementsMatch(t, []string{"stuck copy", "recovered"}, w.states())
		require.Equal(t, []string{id + ".age"}, w.under("f/"))

		_, err := w.bucket.Delete(t.Context(), "lifeline/quarantine/malformed/old.age")
		require.NoError(t, err)
		w.resume(l, time.Hour)
		require.Equal(t, "quarantined malformed", w.states()[2])
		require.Empty(t, w.under("f/"))
		require.True(t, slices.Contains(w.under("lifeline/quarantine/"), "malformed/"+id+".age"))
	})
}

// What a pass puts into quarantine counts at once.
func TestQuarantineFillsUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set.QuarantineMaxBytes = 1000
		for _, c := range []string{"x", "y"} {
			w.put("f/"+frame.RandomHex()+".age", bytes.Repeat([]byte(c), 600))
		}
		w.run(time.Minute)
		require.ElementsMatch(t, []string{"quarantined malformed", "stuck copy"}, w.states())
		require.Len(t, w.under("f/"), 1)
	})
}

// Without usable key files flares are counted and left alone.
func TestNoKeys(t *testing.T) {
	inWorld(t, func(w *world) {
		w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		keys := w.keys
		w.keys = nil
		l := New(w.set)
		w.resume(l, time.Hour)
		require.Equal(t, 1, l.Snapshot().Pending)
		require.Empty(t, w.events)
		for _, c := range w.bucket.Calls() {
			require.False(t, c.Op == "get" && c.Key[:2] == "f/", "a flare was fetched without keys")
		}
		w.keys = keys
		w.resume(l, w.set.PollInterval)
		require.Equal(t, []string{"recovered"}, w.states())
	})
}

// An object that the store refuses to hand out (somebody else's key) does not
// stop the others; a right that is missing stops all.
func TestUnreadable(t *testing.T) {
	inWorld(t, func(w *world) {
		locked := w.flare("acme/host-17", w.logs("acme/host-17", 1, "locked"))
		time.Sleep(time.Minute)
		w.set.Bucket = denied{w.bucket, "f/" + locked + ".age"}
		l := New(w.set)
		w.resume(l, time.Hour)
		require.Error(t, l.Snapshot().PathError)
		require.Empty(t, w.events)
		probes := 0
		for _, c := range w.bucket.Calls() {
			if c.Op == "put" && c.Key == "lifeline/quarantine/probe" {
				probes++
			}
		}
		require.Greater(t, probes, 1, "after a refusal the rights are proven again")

		f := w.logs("acme/host-17", 1, "good")
		w.flare("acme/host-17", f)
		w.resume(l, time.Minute)
		require.ElementsMatch(t, []string{"recovered", "waiting unreadable"}, w.states())
		require.NoError(t, l.Snapshot().PathError)
		require.Equal(t, 1, w.gateway.got[f.BatchID])
	})
}

// Flare numbers missing between others of one boot are shown, also by a process
// that has not seen those flares itself.
func TestSeqGaps(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 5 {
			if i == 1 || i == 3 {
				w.seqs["acme/host-17"]++ // 2 and 5 never arrive
			}
			m, data := w.seal("acme/host-17", func(m *flare.Manifest) {
				if m.Seq >= 6 {
					m.Unresolved = []uint64{5}
				}
			}, w.logs("acme/host-17", 1, "x"))
			w.put("f/"+m.FlareID+".age", data)
		}
		l := New(w.set)
		w.resume(l, time.Minute)
		require.EqualValues(t, 1, l.Snapshot().SeqGaps)
		require.EqualValues(t, 1, w.run(2*time.Minute).Snapshot().SeqGaps)
	})
}
