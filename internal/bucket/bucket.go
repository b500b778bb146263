// Package bucket is the contract between Lifeline and an object store: five
// methods, one error type and a suite of tests that every implementation passes.
// It does no I/O of its own and imports nothing but the standard library; the
// real store is in internal/s3bucket, a faulty fake for tests in this package.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Bucket is one bucket of an object store. Methods may be called concurrently.
// Every error is an *Error. One call is one attempt: implementations never
// retry, because only the caller knows what a second attempt would mean.
type Bucket interface {
	// Put stores body under key. With IfNoneMatch it refuses an existing key
	// (Exists), with IfMatch a key whose ETag differs (Exists). Once it returned
	// nil the object is durable and visible to Get and List.
	Put(ctx context.Context, key string, body frame.Body, opts PutOptions) (Info, error)
	// Get returns the whole object, or as much of its beginning as is needed. The
	// caller owns the slice.
	Get(ctx context.Context, key string, opts GetOptions) ([]byte, Info, error)
	// List returns one page of the keys that begin with prefix, in byte order,
	// beginning behind after (exclusive; "" for the first page).
	List(ctx context.Context, prefix, after string) (Page, error)
	// Delete removes key; a missing key is no error.
	Delete(ctx context.Context, key string) (Info, error)
	// Copy copies src to dst within the bucket, over whatever dst held.
	Copy(ctx context.Context, src, dst string) (Info, error)
}

// PutOptions are the conditions of a Put. At most one is set.
type PutOptions struct {
	IfNoneMatch bool   // only if the key does not exist
	IfMatch     string // only if the object still has this ETag
}

// GetOptions bound what a Get reads.
type GetOptions struct {
	Limit int64 // bytes; a larger object is refused (TooLarge), without reading it if the store says its size
	// Need, if set, is shown what was read so far, nothing at first, and returns how
	// many bytes of the object are needed in all. When there are as many, it is asked
	// again, until they are enough or the object ends. What is behind them is not read.
	// It must not keep or change the slice.
	Need func(read []byte) int64
}

// Next returns how many bytes an implementation of Get is to read behind those that
// it has read; 0 or less: they are enough. Whoever needs Limit bytes gets one more to
// read, which tells that the object is too large.
func (o GetOptions) Next(read []byte) int64 {
	need := o.Limit + 1
	if o.Need != nil {
		if n := o.Need(read); n < o.Limit {
			need = n
		}
	}
	return need - int64(len(read))
}

// Info is what the store said about an object. Fields that the answer did not
// carry are zero.
type Info struct {
	Key          string
	Size         int64
	ETag         string
	LastModified time.Time
	Date         time.Time // the store's clock when it answered
}

// Page is one page of a listing.
type Page struct {
	Objects []Info
	More    bool      // call again with after = the last key
	Date    time.Time // the store's clock when it answered
}

// Kind is what an error means to the caller. The set is closed. All but
// Unreachable and Unknown are the store's own word: what a proxy or a stranger on
// the way answers, whatever its status, is Unknown.
type Kind uint8

// The kinds of errors.
const (
	Unknown     Kind = iota // the call may have taken effect: no answer, a 5xx, 408, 409
	Unreachable             // no connection was made: nothing was sent
	Denied                  // 401, 403: no right, wrong or expired credential
	NotFound                // no such object (or no such bucket, see Code)
	Exists                  // 412: the condition of a Put does not hold
	Throttled               // 429, 503 SlowDown: refused for now
	TooLarge                // larger than Get's limit
	Refused                 // any other 4xx: not done, and doing it again will not help
)

var kindNames = [...]string{"unknown", "unreachable", "denied", "not_found", "exists", "throttled", "too_large", "refused"}

// String returns the lower-case name, as used in metrics and logs.
func (k Kind) String() string { return kindNames[k] }

// Error is the error of every method of a Bucket.
type Error struct {
	Op   string // put, get, list, delete or copy
	Key  string
	Kind Kind
	Code string    // the store's own code, "AccessDenied" for example; may be empty
	Date time.Time // the store's clock, if it answered
	Err  error     // the cause; never nil
}

// Error implements error.
func (e *Error) Error() string {
	code := e.Code
	if code != "" {
		code = " " + code
	}
	return fmt.Sprintf("%s %s: %s%s: %v", e.Op, e.Key, e.Kind, code, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of err; Unknown if err is not an *Error.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Unknown
}

// CodeOf returns the code that the store gave err; "" if it gave none, or err is not
// an *Error.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}
