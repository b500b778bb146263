package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/recovery"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

// item is one object that may be a flare.
type item struct {
	name   string    // path or key
	id     string    // the hex of the name; empty if the name is not a flare's
	size   int64     // bytes
	stored time.Time // the store's LastModified; zero for a file
	listed time.Time // the store's clock when it listed the object; zero for a file
}

// source is where flares are.
type source interface {
	fmt.Stringer // names the place
	list(ctx context.Context) ([]item, error)
	read(ctx context.Context, it item) ([]byte, error)
	// done reports whether recovery has taken the flare already.
	done(ctx context.Context, it item) (bool, error)
	// remove removes a flare whose every record was acked, for good. by are the
	// identities that can open what is noted about it.
	remove(ctx context.Context, it item, fl *flare.Flare, by []age.Identity) error
}

// files are flares in the file system: args name files and folders.
type files struct{ args []string }

func (f files) String() string { return strings.Join(f.args, ", ") }

func (f files) list(context.Context) ([]item, error) {
	var items []item
	for _, arg := range f.args {
		err := filepath.WalkDir(arg, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path != arg && !strings.HasSuffix(path, ".age") {
				return err
			}
			info, err := os.Stat(path) // a link that was named is followed
			if err != nil {
				return err
			}
			if info.IsDir() {
				return fmt.Errorf("%s: a link to a folder is not followed: name the folder itself", path)
			}
			id, ok := flare.KeyID("", filepath.Base(path))
			if !ok {
				id = ""
			}
			items = append(items, item{name: path, id: id, size: info.Size()})
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("look for flares: %w", err)
		}
	}
	return items, nil
}

func (f files) read(_ context.Context, it item) ([]byte, error) {
	if it.size > flare.MaxObject {
		return nil, fmt.Errorf("%d bytes: a flare has at most %d", it.size, flare.MaxObject)
	}
	return os.ReadFile(it.name)
}

func (f files) done(context.Context, item) (bool, error) { return false, nil }

func (f files) remove(_ context.Context, it item, _ *flare.Flare, _ []age.Identity) error {
	return os.Remove(it.name)
}

// objects are flares in a bucket: args name ids or keys, none means all.
type objects struct {
	bucket bucket.Bucket
	cfg    s3bucket.Config // how bucket is reached
	name   string
	prefix string
	state  string // prefix of recovery's own objects
	args   []string
}

func (o objects) String() string { return "s3://" + o.name + "/" + o.prefix }

// id returns the flare id in a key. Recovery names the folders of quarantine by
// reasons, which may hold what an agent's folder may not.
func (o objects) id(key string) (string, bool) {
	if strings.HasSuffix(o.prefix, "quarantine/") {
		_, name, _ := strings.Cut(strings.TrimPrefix(key, o.prefix), "/")
		return flare.KeyID("", name)
	}
	return flare.KeyID(o.prefix, key)
}

func (o objects) list(ctx context.Context) ([]item, error) {
	wanted := map[string]bool{}
	for _, arg := range o.args {
		wanted[arg] = true
	}
	var items []item
	for after := ""; ; {
		page, err := o.bucket.List(ctx, o.prefix, after)
		if err != nil {
			return nil, fmt.Errorf("list the bucket: %w%s", err, hint(err))
		}
		for _, info := range page.Objects {
			id, ok := o.id(info.Key)
			if !ok || len(wanted) > 0 && !wanted[id] && !wanted[info.Key] {
				continue
			}
			delete(wanted, id)
			delete(wanted, info.Key)
			items = append(items, item{name: info.Key, id: id, size: info.Size, stored: info.LastModified, listed: info.Date})
			if len(o.args) > 0 && len(wanted) == 0 {
				return items, nil
			}
		}
		if !page.More || len(page.Objects) == 0 {
			break
		}
		after = page.Objects[len(page.Objects)-1].Key
	}
	for arg := range wanted {
		return nil, fmt.Errorf("no flare %s under %s: `lifeline flare ls` shows what there is", arg, o)
	}
	return items, nil
}

func (o objects) read(ctx context.Context, it item) ([]byte, error) {
	data, _, err := o.bucket.Get(ctx, it.name, bucket.GetOptions{Limit: flare.MaxObject})
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, hint(err))
	}
	return data, nil
}

func (o objects) done(ctx context.Context, it item) (bool, error) {
	if it.id == "" {
		return false, nil
	}
	done, err := recovery.NotesIn(o.bucket, o.state).Done(ctx, it.id)
	if err != nil {
		return false, fmt.Errorf("look for %sdone/%s: %w%s", o.state, it.id, err, hint(err))
	}
	return done, nil
}

// remove marks, then deletes: in between a crash leaves a flare that recovery
// only deletes.
func (o objects) remove(ctx context.Context, it item, fl *flare.Flare, by []age.Identity) error {
	if err := recovery.NotesIn(o.bucket, o.state).MarkDone(ctx, fl, by); err != nil {
		return fmt.Errorf("write the done marker: %w%s", err, hint(err))
	}
	if _, err := o.bucket.Delete(ctx, it.name); err != nil {
		return fmt.Errorf("%w%s", err, hint(err))
	}
	return nil
}

// hint says what to do about an error of the bucket.
func hint(err error) string {
	switch bucket.KindOf(err) {
	case bucket.Denied:
		return "; use recovery's credentials: an agent's can only write"
	case bucket.Unreachable:
		return "; check the endpoint, the region and the network"
	case bucket.NotFound:
		return "; check the names of the bucket and the object"
	}
	return ""
}
