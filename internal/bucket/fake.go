package bucket

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Fake is a Bucket in memory that keeps the whole contract and breaks it on
// demand. Like S3 it tells the time in whole seconds, and equal bytes have equal
// ETags. It starts no goroutine and may be used inside a testing/synctest bubble.
// Methods may be called concurrently.
type Fake struct {
	// Set before the first call and not changed later.

	Now      func() time.Time // the store's clock
	PageSize int              // keys in one page of List
	// Seen, if set, is told of every call after it was decided, with no lock
	// held. It may block and may call the Fake.
	Seen func(Call)

	mu sync.Mutex
	// mu guards the following.
	objects map[string]object
	faults  []*fault
	calls   []Call
}

// Call is one call that a Fake has seen.
type Call struct {
	Op, Key string // Key is the prefix for list, the source for copy
	Effect  bool   // the call did what it is there for
	Fault   bool   // an injected fault met it
	Err     error  // what the caller got
}

// When says at which moment a fault strikes.
type When uint8

// The moments of a fault.
const (
	BeforeEffect When = iota // the store never did it
	AfterEffect              // the store did it, the caller does not learn it
)

type object struct {
	data []byte // never modified
	info Info
}

type fault struct {
	op   string
	left int // negative: until Heal
	when When
	err  *Error // nil: hang until the caller's context ends
}

// NewFake returns an empty Fake with the local clock and pages of 1000 keys.
func NewFake() *Fake {
	return &Fake{Now: time.Now, PageSize: 1000, objects: map[string]object{}}
}

// Fail makes the next n calls of op ("" for any) fail with a copy of err, whose
// Op, Key, Date and, if it is nil, Err are filled in. A negative n lasts until
// Heal. Faults strike in the order in which they were injected.
func (f *Fake) Fail(op string, n int, when When, err *Error) {
	f.inject(&fault{op: op, left: n, when: when, err: err})
}

// Hang makes the next n calls of op ("" for any) wait until their context ends;
// they fail as Unknown. A negative n lasts until Heal, which does not wake up
// calls that already hang.
func (f *Fake) Hang(op string, n int, when When) {
	f.inject(&fault{op: op, left: n, when: when})
}

// Heal removes every fault that has not struck yet.
func (f *Fake) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Calls returns all calls so far, oldest first.
func (f *Fake) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Keys returns all keys in byte order. It is no call and meets no fault.
func (f *Fake) Keys() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.objects))
}

// Put implements Bucket.
func (f *Fake) Put(ctx context.Context, key string, body frame.Body, opts PutOptions) (info Info, err error) {
	err = f.call(ctx, "put", key, func() *Error {
		old, found := f.objects[key]
		switch {
		case opts.IfNoneMatch && found, opts.IfMatch != "" && found && old.info.ETag != opts.IfMatch:
			return &Error{Kind: Exists, Code: "PreconditionFailed"}
		case opts.IfMatch != "" && !found:
			return &Error{Kind: NotFound, Code: "NoSuchKey"}
		}
		var buf bytes.Buffer
		if _, err := body.WriteTo(&buf); err != nil {
			return &Error{Kind: Unreachable, Err: fmt.Errorf("read the body: %w", err)}
		}
		info = f.store(key, buf.Bytes())
		info.LastModified = time.Time{} // a PUT's answer does not carry it
		return nil
	})
	return only(info, err)
}

// Get implements Bucket.
func (f *Fake) Get(ctx context.Context, key string, opts GetOptions) (data []byte, info Info, err error) {
	err = f.call(ctx, "get", key, func() *Error {
		o, found := f.objects[key]
		switch {
		case !found:
			return &Error{Kind: NotFound, Code: "NoSuchKey"}
		case o.info.Size > opts.Limit:
			return &Error{Kind: TooLarge}
		}
		data, info = bytes.Clone(o.data), o.info
		info.Date = f.date()
		return nil
	})
	if err != nil {
		return nil, Info{}, err
	}
	data = data[:opts.needed(data)]
	info.Size = int64(len(data))
	return data, info, nil
}

// needed returns how many bytes of data are read.
func (o GetOptions) needed(data []byte) int64 {
	var read int64
	for {
		next := o.Next(data[:read])
		if left := int64(len(data)) - read; next > left {
			return int64(len(data))
		}
		if next <= 0 {
			return read
		}
		read += next
	}
}

// List implements Bucket.
func (f *Fake) List(ctx context.Context, prefix, after string) (page Page, err error) {
	err = f.call(ctx, "list", prefix, func() *Error {
		page = Page{Date: f.date()}
		for _, key := range slices.Sorted(maps.Keys(f.objects)) {
			if key <= after || !strings.HasPrefix(key, prefix) {
				continue
			}
			if len(page.Objects) == f.PageSize {
				page.More = true
				break
			}
			info := f.objects[key].info
			info.Date = page.Date
			page.Objects = append(page.Objects, info)
		}
		return nil
	})
	if err != nil {
		return Page{}, err
	}
	return page, nil
}

// Delete implements Bucket.
func (f *Fake) Delete(ctx context.Context, key string) (info Info, err error) {
	err = f.call(ctx, "delete", key, func() *Error {
		delete(f.objects, key)
		info = Info{Key: key, Date: f.date()}
		return nil
	})
	return only(info, err)
}

// Copy implements Bucket.
func (f *Fake) Copy(ctx context.Context, src, dst string) (info Info, err error) {
	err = f.call(ctx, "copy", src, func() *Error {
		o, found := f.objects[src]
		if !found {
			return &Error{Kind: NotFound, Code: "NoSuchKey"}
		}
		info = f.store(dst, o.data)
		info.Size = 0 // a copy's answer does not carry it
		return nil
	})
	return only(info, err)
}

// only returns info, or nothing beside an error.
func only(info Info, err error) (Info, error) {
	if err != nil {
		return Info{}, err
	}
	return info, nil
}

// call runs effect under the lock, with the faults that are due around it.
func (f *Fake) call(ctx context.Context, op, key string, effect func() *Error) error {
	c := Call{Op: op, Key: key}
	if err := context.Cause(ctx); err != nil {
		return f.done(c, &Error{Kind: Unreachable, Err: err})
	}
	due := f.take(op)
	c.Fault = due != nil
	if due != nil && due.when == BeforeEffect {
		return f.done(c, due.strike(ctx, f.date()))
	}
	f.mu.Lock()
	err := effect()
	f.mu.Unlock()
	c.Effect = err == nil
	if err != nil {
		err.Date = f.date()
	}
	if due != nil {
		err = due.strike(ctx, f.date())
	}
	return f.done(c, err)
}

// strike returns what the caller gets from the fault, if need be after a wait.
func (ft *fault) strike(ctx context.Context, date time.Time) *Error {
	if ft.err == nil {
		<-ctx.Done()
		return &Error{Kind: Unknown, Err: context.Cause(ctx)}
	}
	err := *ft.err
	err.Err = cmp.Or(err.Err, errInjected)
	if err.Kind != Unreachable {
		err.Date = date
	}
	return &err
}

var (
	errInjected = errors.New("injected fault")
	errRefused  = errors.New("the store refuses")
)

// done completes err, writes the call down and returns err as an error.
func (f *Fake) done(c Call, err *Error) error {
	if err != nil {
		err.Op, err.Key, err.Err = c.Op, c.Key, cmp.Or(err.Err, errRefused)
		c.Err = err
	}
	f.mu.Lock()
	f.calls = append(f.calls, c)
	f.mu.Unlock()
	if f.Seen != nil {
		f.Seen(c)
	}
	return c.Err
}

// take returns the fault that is due for a call of op, or nil.
func (f *Fake) take(op string) *fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, ft := range f.faults {
		if ft.op != "" && ft.op != op {
			continue
		}
		if ft.left--; ft.left == 0 {
			f.faults = slices.Delete(f.faults, i, i+1)
		}
		return ft
	}
	return nil
}

func (f *Fake) inject(ft *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ft.left != 0 {
		f.faults = append(f.faults, ft)
	}
}

// store sets key to data and returns what is now known of it.
func (f *Fake) store(key string, data []byte) Info {
	sum := sha256.Sum256(data)
	info := Info{Key: key, Size: int64(len(data)), ETag: hex.EncodeToString(sum[:16]), LastModified: f.date()}
	f.objects[key] = object{data: data, info: info}
	info.Date = f.date()
	return info
}

func (f *Fake) date() time.Time { return f.Now().UTC().Truncate(time.Second) }
