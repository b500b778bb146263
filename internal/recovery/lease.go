package recovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Several recoveries share a bucket by the first hex digit of the flares' ids:
// whoever holds lease/<digit> takes the flares of that shard. A lease is written
// only if nobody else's stands there, or if it was not renewed for leaseTime by
// the store's clock: a local clock decides over nothing but when to stop. A
// holder that was paused and goes on after its time may send what another one
// sends, too; nobody deletes what was not acked to himself.
//
// Beside the leases stands lease/<name> of every recovery that is alive, so that
// each knows how many share the work.
const (
	shards      = 16
	leaseTime   = time.Minute
	leaseRenew  = leaseTime / 3
	leaseMargin = leaseTime / 6 // what has begun may end while the lease is good
	leaseLitter = 10 * leaseTime
)

// leases is what one process knows of the shards.
type leases struct {
	me   string // the name of this process
	held [shards]lease
	free [shards]bool // nobody holds it, as of the last look
	err  error        // of the last look
	busy bool         // a look is under way
}

// lease is this process's hold on one shard.
type lease struct {
	etag  string    // of our object; "" if we have none
	until time.Time // work on the shard ends here; zero if it is not ours
	doubt bool      // a call had no good answer: what stands there may be ours
}

// good reports whether the lease lasts, by both clocks: one of them stands still
// while a machine sleeps, and the other one can be set.
func (e *lease) good(now time.Time) bool {
	return now.Before(e.until) && now.Round(0).Before(e.until.Round(0))
}

func (s *Settings) leaseKey(name string) string { return s.StatePrefix + "lease/" + name }

// shardOf returns the shard of a flare's id.
func shardOf(id string) int { return strings.IndexByte(hexDigits, id[0]) }

const hexDigits = "0123456789abcdef"

// ours reports whether this process may work on a flare.
func (l *Loop) ours(id string) bool {
	return !l.s.Lease || l.leases.held[shardOf(id)].good(time.Now())
}

// nobodys reports whether no process is known to work on a flare.
func (l *Loop) nobodys(id string) bool { return l.leases.free[shardOf(id)] }

// keepLeases renews until ctx ends.
func (l *Loop) keepLeases(ctx context.Context) {
	for {
		sleep(ctx, leaseRenew)
		if ctx.Err() != nil {
			return
		}
		l.state.Lock()
		l.renewLeases(ctx)
		l.state.Unlock()
	}
}

// renewLeases shows that this process is alive, keeps what it holds, and takes or
// gives back shards until it has its share. Without keys it could do nothing with
// a shard, and takes none.
func (l *Loop) renewLeases(ctx context.Context) {
	if l.leases.busy {
		return
	}
	l.leases.busy = true
	defer func() { l.leases.busy = false }()
	share := 0
	if l.keys = l.s.Keys(); l.keys != nil {
		share = shards
	}
	l.leases.err = l.shareWork(ctx, share)
	held := l.heldShards()
	l.update(func(s *Snapshot) { s.Shards = held })
}

// heldShards returns how many shards are this process's now.
func (l *Loop) heldShards() int {
	n := 0
	for i := range l.leases.held {
		if l.leases.held[i].good(time.Now()) {
			n++
		}
	}
	return n
}

func (l *Loop) shareWork(ctx context.Context, share int) error {
	if share > 0 {
		if _, err := l.bucket.Put(ctx, l.s.leaseKey(l.leases.me), frame.Bytes(frame.RandomHex()), bucket.PutOptions{}); err != nil {
			return err
		}
	}
	seen, alive, err := l.listLeases(ctx)
	if err != nil {
		return err
	}
	if share > 0 {
		share = (shards + max(alive, 1) - 1) / max(alive, 1)
	}
	held := 0
	for shard := range shards {
		// A shard in the middle of a flare is kept: another one would begin anew.
		mine, err := l.keepShard(ctx, shard, seen[shard], held < share || l.pace.busy.shards[shard] > 0)
		if err != nil {
			return err
		}
		if mine {
			held++
		}
	}
	return nil
}

// listLeases returns the leases as they stand, and how many processes are alive.
// Age is told by the store's clock alone. What a dead process left is removed
// long after anybody could take it for alive.
func (l *Loop) listLeases(ctx context.Context) (seen [shards]bucket.Info, alive int, err error) {
	prefix := l.s.leaseKey("")
	var litter []string
	err = l.each(ctx, prefix, func(info bucket.Info, date time.Time) {
		info.Date = date
		name := strings.TrimPrefix(info.Key, prefix)
		switch {
		case len(name) == 1 && strings.Contains(hexDigits, name):
			seen[strings.Index(hexDigits, name)] = info
		case frame.IsHex32(name) && !expired(info):
			alive++
		case date.Sub(info.LastModified) > leaseLitter:
			litter = append(litter, info.Key)
		}
	})
	for _, key := range litter {
		_, _ = l.bucket.Delete(ctx, key) // it disturbs nobody
	}
	return seen, alive, err
}

// expired reports whether a lease was not renewed in time.
func expired(info bucket.Info) bool { return info.Date.Sub(info.LastModified) > leaseTime }

// keepShard renews, takes, leaves or gives back one shard, by what stands in the
// store and whether it is wanted. It reports whether the shard is ours.
func (l *Loop) keepShard(ctx context.Context, shard int, seen bucket.Info, want bool) (bool, error) {
	e := &l.leases.held[shard]
	if e.doubt && seen.Key != "" && seen.ETag != e.etag {
		if err := l.recognise(ctx, e, seen); err != nil {
			return false, err
		}
	}
	if mine := seen.Key != "" && e.etag == seen.ETag; !mine {
		*e = lease{doubt: e.doubt}
	}
	l.leases.free[shard] = e.etag == "" && (seen.Key == "" || expired(seen))
	switch {
	case want && (e.etag != "" || l.leases.free[shard]):
		return l.writeLease(ctx, shard, seen)
	case e.etag != "":
		l.giveBack(ctx, shard)
	}
	return false, nil
}

// recognise finds out whether a lease is one of ours whose writing had no answer.
func (l *Loop) recognise(ctx context.Context, e *lease, seen bucket.Info) error {
	body, info, err := l.bucket.Get(ctx, seen.Key, bucket.GetOptions{Limit: maxMarker})
	switch {
	case err != nil:
		return err
	case bytes.HasPrefix(body, []byte(l.leases.me)):
		e.etag = info.ETag
	}
	e.doubt = false
	return nil
}

// writeLease writes a lease over what was seen, and nothing else. crash here: the
// shard is nobody's until the lease expires.
func (l *Loop) writeLease(ctx context.Context, shard int, over bucket.Info) (bool, error) {
	e := &l.leases.held[shard]
	began := time.Now()
	// No two writings have the same bytes, so none has the same ETag.
	body := frame.Bytes(l.leases.me + "\n" + frame.RandomHex() + "\n")
	info, err := l.bucket.Put(ctx, l.s.leaseKey(hexDigits[shard:shard+1]), body, bucket.PutOptions{IfNoneMatch: over.Key == "", IfMatch: over.ETag})
	switch kind := bucket.KindOf(err); {
	case err == nil:
		*e = lease{etag: info.ETag, until: began.Add(leaseTime - leaseMargin)}
		l.leases.free[shard] = false
		return true, nil
	case kind == bucket.Exists || kind == bucket.NotFound:
		*e = lease{} // another one was faster
		l.leases.free[shard] = false
		return false, nil
	default:
		e.doubt = true // what we held lasts as long as it did
		return false, err
	}
}

// giveBack removes a lease while it is good: nobody else can have taken it.
func (l *Loop) giveBack(ctx context.Context, shard int) {
	e := &l.leases.held[shard]
	good := e.good(time.Now())
	*e = lease{} // before the call: no visit begins any more
	if good {
		_, err := l.bucket.Delete(ctx, l.s.leaseKey(hexDigits[shard:shard+1]))
		e.doubt = err != nil // it is still there: we know it again, or it expires
	}
}

// leave gives everything back at the end of Run, so that others go on at once.
func (l *Loop) leave(ctx context.Context) {
	ctx, cancel := l.bucket.tidying(ctx)
	defer cancel()
	for shard := range l.leases.held {
		if l.leases.held[shard].etag != "" {
			l.giveBack(ctx, shard)
		}
	}
	_, _ = l.bucket.Delete(ctx, l.s.leaseKey(l.leases.me)) // else it is litter
	l.update(func(s *Snapshot) { s.Shards = 0 })
}

var errConditions = errors.New("the store took it although the condition does not hold: set lease: false and run one recovery")

// proveLeases shows that the store honours the conditions of a write.
func (l *Loop) proveLeases(ctx context.Context) error {
	key := l.s.leaseKey("probe-" + l.s.NewID())
	if _, err := l.bucket.Put(ctx, key, frame.Bytes(probeText), bucket.PutOptions{IfNoneMatch: true}); err != nil {
		return proofFailed("write", key, err)
	}
	// crash here: the probe is removed as litter.
	if _, _, err := l.bucket.Get(ctx, key, bucket.GetOptions{Limit: maxMarker}); err != nil {
		return proofFailed("read", key, err)
	}
	for _, opts := range []bucket.PutOptions{{IfNoneMatch: true}, {IfMatch: strings.Repeat("0", 32)}} {
		_, err := l.bucket.Put(ctx, key, frame.Bytes(probeText), opts)
		if err == nil {
			err = errConditions
		}
		if bucket.KindOf(err) != bucket.Exists {
			return proofFailed("write", key, fmt.Errorf("with a condition: %w", err))
		}
	}
	if _, err := l.bucket.Delete(ctx, key); err != nil {
		return proofFailed("delete", key, err)
	}
	return nil
}
