package recovery

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"filippo.io/age"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Forwarder forwards single verified flares for a person, and judges the answers
// as a Loop does. It touches no bucket. It is not safe for concurrent use.
type Forwarder struct {
	loop     *Loop
	patience time.Duration
}

// NewForwarder returns a Forwarder to g, without its Senders. A gateway that does
// not take a record is asked again, with growing pauses, for as long as patience.
func NewForwarder(g Gateway, patience time.Duration) *Forwarder {
	g.Senders = 1
	return &Forwarder{New(Settings{Bucket: nowhere{}, Gateway: g}), patience}
}

// Forwarded is what became of a flare's records.
type Forwarded struct {
	Items    int64    // acked now, without Rejected
	Rejected int64    // refused by partial_success
	Acked    []string // the records acked so far: what Forward takes
	Refused  error    // records that the gateway refused as bad data; nil for none
}

// Forward sends every record of fl that is not among acked. An error means that
// the gateway did not take part, or that ctx ended; what was acked until then is
// in the result all the same.
func (f *Forwarder) Forward(ctx context.Context, fl *flare.Flare, acked []string) (Forwarded, error) {
	w := newWork()
	w.verified(nil, fl)
	for _, k := range acked {
		w.acked[recordKey(k)] = true
	}
	before := f.loop.Snapshot()
	err := f.insist(ctx, w, fl)
	after := f.loop.Snapshot()
	r := Forwarded{Items: after.RecoveredItems - before.RecoveredItems, Rejected: after.RejectedItems - before.RejectedItems}
	for _, k := range slices.Sorted(maps.Keys(w.acked)) {
		r.Acked = append(r.Acked, string(k))
	}
	switch {
	case len(w.bad) > 0:
		r.Refused = w.whyBad()
	case len(w.doubt) > 0 && err == nil:
		r.Refused = w.whyDoubt()
	}
	return r, err
}

func (f *Forwarder) insist(ctx context.Context, w *work, fl *flare.Flare) error {
	until := time.Now().Add(f.patience)
	for failed := 1; ; failed++ {
		err := f.loop.byHand(func() error { return f.loop.forward(ctx, w, fl) })
		if err == nil || ctx.Err() != nil {
			return err
		}
		wait := pause(err, failed, rand.Float64()) //nolint:gosec // spreads load, keeps no secret
		if time.Now().Add(wait).After(until) {
			return err
		}
		sleep(ctx, wait)
	}
}

// byHand does a part of a loop's work, as a pass of its own.
func (l *Loop) byHand(do func() error) error {
	l.state.Lock()
	defer l.state.Unlock()
	l.round = round{}
	return do()
}

// nowhere is the bucket of a process that leaves no trace: whether splitting a
// record kills it is seen by the person who started it.
type nowhere struct{ bucket.Bucket }

func (nowhere) Put(context.Context, string, frame.Body, bucket.PutOptions) (bucket.Info, error) {
	return bucket.Info{}, nil
}

func (nowhere) Delete(context.Context, string) (bucket.Info, error) { return bucket.Info{}, nil }

// Notes are recovery's own objects in a bucket, for a person who does recovery's
// work or takes it back.
type Notes struct{ loop *Loop }

// NotesIn returns the notes under statePrefix of b.
func NotesIn(b bucket.Bucket, statePrefix string) *Notes {
	return &Notes{New(Settings{Bucket: b, StatePrefix: statePrefix})}
}

// Done reports whether there is a done marker: everything of the flare was
// taken, and a copy of it would only be deleted.
func (n *Notes) Done(ctx context.Context, id string) (done bool, err error) {
	err = n.loop.byHand(func() error {
		done, err = n.loop.isDone(ctx, id)
		return err
	})
	return done, err
}

// MarkDone writes the done marker of a flare whose every record was acked.
func (n *Notes) MarkDone(ctx context.Context, fl *flare.Flare, by []age.Identity) error {
	w := newWork()
	to, _ := RecipientsOf(by)
	w.verified(&Keys{Recipients: to}, fl)
	return n.loop.byHand(func() error { return n.loop.mark(ctx, fl.Manifest.FlareID, w) })
}

// Forget removes the done marker and the try markers of a flare, so that
// recovery takes it as a new one.
func (n *Notes) Forget(ctx context.Context, id string) error {
	return n.loop.byHand(func() error { return n.loop.forgetNotes(ctx, id) })
}

func (l *Loop) forgetNotes(ctx context.Context, id string) error {
	var keys []string
	err := l.each(ctx, l.s.StatePrefix+"try/"+id+".", func(info bucket.Info, _ time.Time) {
		keys = append(keys, info.Key)
	})
	if err != nil {
		return err
	}
	for _, key := range append(keys, l.s.doneKey(id)) {
		if _, err := l.bucket.Delete(ctx, key); err != nil {
			return bucketPath(err)
		}
	}
	return nil
}

// Prove shows that b's credential has recovery's rights, as a Loop does before
// it forwards anything: it writes, reads and deletes probes.
func Prove(ctx context.Context, b bucket.Bucket, prefix, statePrefix string) error {
	l := New(Settings{Bucket: b, Prefix: prefix, StatePrefix: statePrefix})
	return l.byHand(func() error {
		if _, err := l.bucket.List(ctx, prefix, ""); err != nil {
			return proofFailed("list", prefix, err)
		}
		return l.prove(ctx)
	})
}

// nameLen is how much of a public key names an identity in a metric.
const nameLen = 20

// RecipientsOf returns the public keys of identities for done markers, and the
// names of all of them. age does not seal to both kinds at once, so only those of
// the first one's kind are recipients; each of them opens a marker.
func RecipientsOf(identities []age.Identity) (to []age.Recipient, names []string) {
	for _, id := range identities {
		var r age.Recipient
		same := false
		switch id := id.(type) {
		case *age.HybridIdentity:
			r = id.Recipient()
			_, same = identities[0].(*age.HybridIdentity)
		case *age.X25519Identity:
			r = id.Recipient()
			_, same = identities[0].(*age.X25519Identity)
		}
		if same {
			to = append(to, r)
		}
		name := fmt.Sprint(r)
		names = append(names, name[:min(nameLen, len(name))])
	}
	return to, names
}
