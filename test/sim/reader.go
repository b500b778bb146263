package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// reader is one recovery process's way to a store. It implements bucket.Bucket.
type reader struct {
	store   *store
	process *process
}

// Put implements bucket.Bucket.
func (rd *reader) Put(ctx context.Context, key string, body frame.Body, opts bucket.PutOptions) (info bucket.Info, err error) {
	err = rd.call(ctx, "put", key, func(string, *rand.Rand) (err error) {
		if info, err = rd.store.fake.Put(context.WithoutCancel(ctx), key, body, opts); err == nil {
			rd.wrote(key)
		}
		return err
	})
	if err != nil {
		return bucket.Info{}, err
	}
	return info, nil
}

// Get implements bucket.Bucket.
func (rd *reader) Get(ctx context.Context, key string, opts bucket.GetOptions) (data []byte, info bucket.Info, err error) {
	err = rd.call(ctx, "get", key, func(kind string, dice *rand.Rand) (err error) {
		data, info, err = rd.store.fake.Get(context.WithoutCancel(ctx), key, opts)
		if kind == "altered" && len(data) > 0 && strings.HasPrefix(key, prefix) {
			rd.store.w.count(rd.store.name+": hands out other bytes", 1)
			data[dice.IntN(len(data))] ^= 1 << rd.store.alters(key)
		}
		return err
	})
	if id, ok := strings.CutPrefix(key, statePrefix+"done/"); ok {
		rd.process.note(func(p *process) { p.looked[id] = bucket.KindOf(err) == bucket.NotFound })
	}
	if err != nil {
		return nil, bucket.Info{}, err
	}
	return data, info, nil
}

// alters returns the bit that is wrong in an object that is handed out: another one than
// the last time, for nobody can tell an object from what is twice the same.
func (s *store) alters(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.altered[key]++
	return s.altered[key] % 8
}

// List implements bucket.Bucket.
func (rd *reader) List(ctx context.Context, prefix, after string) (page bucket.Page, err error) {
	err = rd.call(ctx, "list", prefix, func(kind string, _ *rand.Rand) (err error) {
		page, err = rd.store.list(context.WithoutCancel(ctx), prefix, after, kind == "stale")
		return err
	})
	if err != nil {
		return bucket.Page{}, err
	}
	return page, nil
}

// Delete implements bucket.Bucket.
func (rd *reader) Delete(ctx context.Context, key string) (info bucket.Info, err error) {
	err = rd.call(ctx, "delete", key, func(string, *rand.Rand) (err error) {
		rd.deletes(key)
		info, err = rd.store.fake.Delete(context.WithoutCancel(ctx), key)
		return err
	})
	if err != nil {
		return bucket.Info{}, err
	}
	return info, nil
}

// Copy implements bucket.Bucket.
func (rd *reader) Copy(ctx context.Context, src, dst string) (info bucket.Info, err error) {
	err = rd.call(ctx, "copy", src, func(string, *rand.Rand) (err error) {
		if info, err = rd.store.fake.Copy(context.WithoutCancel(ctx), src, dst); err == nil {
			rd.copied(src, dst)
		}
		return err
	})
	if err != nil {
		return bucket.Info{}, err
	}
	return info, nil
}

// call lets one call take its course.
func (rd *reader) call(ctx context.Context, op, key string, effect func(kind string, dice *rand.Rand) error) (err error) {
	s, p, w := rd.store, rd.process, rd.store.w
	fail := func(e *bucket.Error) error {
		e.Op, e.Key = op, key
		return e
	}
	if closed(p.dead) {
		return fail(&bucket.Error{Kind: bucket.Unreachable, Err: errors.New("the process is dead")})
	}
	what := op + " " + s.alias(key)
	n := p.begins(what)
	dice := w.dice(s.name, p.name(), what, n)
	c, refusal, kind := s.answers(dice, op)
	done, answered := p.passes(ctx, c, dice, func() { err = effect(kind, dice) })
	w.happened(s.name+": "+op+": "+when(kind, done), p.name(), what, n, answered)
	rd.leases(op, key, done && err == nil, !answered || refusal != nil, err)
	switch {
	case !answered:
		return fail(&bucket.Error{Kind: bucket.Unknown, Err: errors.New("no answer")})
	case refusal != nil:
		return fail(refusal)
	}
	return err
}

// alias is a key with the name of a flare for its id, which is random.
func (s *store) alias(key string) string {
	for i := range len(key) - 31 {
		if id := key[i : i+32]; frame.IsHex32(id) {
			name := "probe"
			if ob := s.object(id); ob != nil {
				name = ob.name()
			}
			return key[:i] + name + key[i+32:]
		}
	}
	return key
}

// rights are what a policy can take away from a recovery.
var rights = []string{"put", "get", "list", "delete", "copy"}

// answers draws how one call of a recovery goes, and what is answered if not
// what the store says.
func (s *store) answers(dice *rand.Rand, op string) (c course, refusal *bucket.Error, kind string) {
	sp := now(s.readers)
	mood := sp.mood
	switch mood {
	case "flaky":
		mood = pick(dice, "ok", "ok", readerFoul[dice.IntN(len(readerFoul))])
	case "taken_away":
		if mood = "ok"; op == rights[sp.salt%uint64(len(rights))] {
			mood = "denied"
		}
	}
	switch {
	case mood == "exists", // nobody else writes under these keys
		mood == "stale" && op != "list", mood == "altered" && op != "get":
		mood = "ok"
	}
	return fair(dice).fault(dice, mood), s.refuses(mood), mood
}

// leases counts what becomes of a shard's lease: whether the call changed it, and
// whether its process does not know.
func (rd *reader) leases(op, key string, changed, untold bool, err error) {
	s, p := rd.store, rd.process
	shard, ok := strings.CutPrefix(key, statePrefix+"lease/")
	if !ok || len(shard) != 1 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if changed && op == "delete" {
		delete(s.holders, shard)
	}
	if op != "put" {
		return
	}
	switch holder := s.holders[shard]; {
	case !changed && bucket.KindOf(err) == bucket.Exists:
		s.w.count("leases: not written, another one was faster", 1)
	case !changed:
	case untold:
		s.w.count("leases: written, and nobody was told", 1)
	case holder != nil && holder != p && !closed(holder.dead):
		s.w.count("leases: taken from a process that lives", 1)
	}
	if changed {
		s.w.count("leases: written", 1)
		s.holders[shard] = p
	}
}

// list lists what is there, or what was there when somebody last asked for the same.
func (s *store) list(ctx context.Context, prefix, after string, stale bool) (bucket.Page, error) {
	page, err := s.fake.List(ctx, prefix, after)
	s.mu.Lock()
	defer s.mu.Unlock()
	old, found := s.listed[prefix+" "+after]
	switch {
	case err != nil:
	case !stale:
		s.listed[prefix+" "+after] = page
	case found:
		if !slices.Equal(old.Objects, page.Objects) {
			s.w.count(s.name+": lists what is not true any more", 1)
		}
		page.Objects, page.More = old.Objects, old.More
	}
	return page, err
}

// wrote checks what a recovery writes down: a flare is done only when nothing
// of it is left.
func (rd *reader) wrote(key string) {
	if strings.HasPrefix(key, statePrefix+"try/") {
		rd.store.tried(key, rd.process)
	}
	id, ok := strings.CutPrefix(key, statePrefix+"done/")
	if !ok || !frame.IsHex32(id) {
		return
	}
	w, ob := rd.store.w, rd.store.object(id)
	reason := flare.Reason("")
	if ob != nil {
		reason = ob.reason()
	}
	w.oracle.mu.Lock()
	defer w.oracle.mu.Unlock()
	switch {
	case reason == "":
		w.failf("%s: a done marker of %s, which is no flare", rd.process.name(), id)
		return
	case reason == flare.Rejected && ob.quarantined != "rejected":
		w.failf("%s: %s is marked as done, and not in quarantine", rd.process.name(), ob.name())
	case reason != flare.Rejected && ob.left() > 0:
		w.failf("%s: %s is marked as done, and %d records are left", rd.process.name(), ob.name(), ob.left())
	}
	ob.marked = true
}

// deletes checks that nothing is deleted that is not somewhere else.
func (rd *reader) deletes(key string) {
	w := rd.store.w
	if id, ok := strings.CutPrefix(key, statePrefix+"done/"); ok && frame.IsHex32(id) {
		w.failf("%s: a young done marker is deleted: %s", rd.process.name(), id)
	}
	ob := rd.store.object(flareID(key))
	if ob == nil || !strings.HasPrefix(key, prefix) {
		return
	}
	w.oracle.mu.Lock()
	defer w.oracle.mu.Unlock()
	if !ob.marked && ob.quarantined == "" {
		w.failf("%s: %s is deleted, and neither done nor in quarantine", rd.process.name(), ob.name())
	}
}

// copied checks that a flare belongs into quarantine.
func (rd *reader) copied(src, dst string) {
	w, ob := rd.store.w, rd.store.object(flareID(src))
	reason, name, _ := strings.Cut(strings.TrimPrefix(dst, statePrefix+"quarantine/"), "/")
	if ob == nil || name != ob.id+".age" {
		w.failf("%s: copies %s to %s", rd.process.name(), src, dst)
		return
	}
	why := ob.reason()
	w.oracle.mu.Lock()
	defer w.oracle.mu.Unlock()
	right := false
	switch reason {
	case "poison":
		right = rd.store.deaths(ob.id) >= 3
	case "rejected":
		right = why == flare.Rejected
	case "refused_record":
		right = ob.returns() && ob.left() == 0 && len(ob.barred) > 0
	default:
		right = ob.foreign
	}
	if !right {
		w.failf("%s: %s, a flare for %q with %d records left and %d refused, is quarantined as %s",
			rd.process.name(), ob.name(), why, ob.left(), len(ob.barred), reason)
	}
	ob.quarantined = reason
}

// tried notes who wrote a try marker.
func (s *store) tried(key string, by *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries[key] = by
}

// deaths counts the processes that ended and left a try marker of a flare.
func (s *store) deaths(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := map[*process]bool{}
	for _, key := range s.fake.Keys() {
		if p := s.tries[key]; p != nil && strings.HasPrefix(key, statePrefix+"try/"+id+".") && closed(p.dead) {
			ended[p] = true
		}
	}
	return len(ended)
}
