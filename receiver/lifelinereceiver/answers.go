package lifelinereceiver

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/passthrough"
)

// refusal is an answer that is not success. This file is the whole table of
// them. Its rule: a client throws data away when it is told that the data is
// bad, so it is told so only when that is proven. Everything else asks it to
// come again.
type refusal struct {
	code     codes.Code
	httpCode int
	message  string
	retry    bool   // with RetryInfo and Retry-After
	reason   string // ErrorInfo.reason, when clients act on it
}

// Error implements error, for the receiver's own metrics.
func (r *refusal) Error() string { return r.message }

// The shortest and longest time a client is asked to wait. Jitter keeps those
// refused together from coming back together.
const (
	minRetry = time.Second
	maxRetry = 3 * time.Second
)

// status returns the answer with its details, and the pause it asks for.
func (r *refusal) status() (*status.Status, time.Duration) {
	var details []protoadapt.MessageV1
	var pause time.Duration
	if r.retry {
		pause = minRetry + rand.N(maxRetry-minRetry) //nolint:gosec // jitter needs no secrecy
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(pause)})
	}
	if r.reason != "" {
		details = append(details, &errdetails.ErrorInfo{Reason: r.reason, Domain: "lifeline"})
	}
	st := status.New(r.code, r.text())
	if with, err := st.WithDetails(details...); err == nil {
		st = with
	}
	return st, pause
}

// maxMessage bounds the text of an answer; parsers quote what they could not read.
const maxMessage = 512

// text returns the message as protobuf and JSON can carry it.
func (r *refusal) text() string {
	return strings.ToValidUTF8(r.message[:min(len(r.message), maxMessage)], "?")
}

func unavailable(message string) *refusal {
	return &refusal{code: codes.Unavailable, httpCode: http.StatusServiceUnavailable, message: message, retry: true}
}

func undecodable(err error) *refusal {
	return &refusal{code: codes.InvalidArgument, httpCode: http.StatusBadRequest, message: err.Error()}
}

// tooLarge says "larger than max" as grpc-go does: our agent splits and sends again.
func tooLarge(what string) *refusal {
	return &refusal{
		code: codes.ResourceExhausted, httpCode: http.StatusRequestEntityTooLarge,
		message: what + " larger than max", reason: "MESSAGE_TOO_LARGE",
	}
}

func wrongAudience(sent string) *refusal {
	return &refusal{
		code: codes.FailedPrecondition, httpCode: http.StatusMisdirectedRequest,
		message: "this gateway is not for the audience " + sent + ": check the endpoint or the audience of the sender",
	}
}

func unsupported(httpCode int, message string) *refusal {
	return &refusal{code: codes.Unimplemented, httpCode: httpCode, message: message}
}

var (
	errLate    = unavailable("the write did not finish in time; it may still succeed")
	errLarge   = tooLarge("the request is")
	errCut     = unavailable("the request did not arrive whole")
	errSize    = unavailable("the request is not of the size that its lifeline-size says")
	errSlow    = unavailable("the request did not arrive in time")
	errGone    = unavailable("the client went away")
	errBusy    = unavailable("the gateway has no room for more requests")
	errClosing = unavailable("the gateway is shutting down")
	errWrite   = unavailable("the data could not be stored; try again")
)

// refuseBytes judges an error about the bytes of a request.
func refuseBytes(err error) *refusal {
	if own, ok := errors.AsType[*refusal](err); ok {
		return own
	}
	if errors.Is(err, otlpcodec.ErrMalformed) {
		return undecodable(err)
	}
	return unavailable("the request could not be read; try again")
}

// all reports whether is holds for every one of the errors that a fan-out has joined
// in err: what one exporter refuses for good another may take later.
func all(err error, is func(error) bool) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) > 0 {
		return !slices.ContainsFunc(joined.Unwrap(), func(e error) bool { return !all(e, is) })
	}
	return is(err)
}

// refuseWrite judges an error of the pipeline. It never shows the client what
// happened behind the gateway, and never passes on a status: what is permanent
// between the gateway and Kafka is not the fault of the data. On an agent there
// is nothing behind but the lifeline exporter, which knows what it says.
func refuseWrite(err error, j job) *refusal {
	if all(err, func(e error) bool { return errors.Is(e, passthrough.ErrTooLarge) }) {
		return tooLarge("one record of the request is")
	}
	_, hasStatus := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err)
	_, fromKafka := errors.AsType[*kerr.Error](err)
	switch proven := all(err, consumererror.IsPermanent) && !hasStatus && !fromKafka; {
	case proven && j.raw != nil:
		return undecodable(err)
	case proven && j.decoded:
		return undecodable(errors.New("a processor of the gateway refused the data for good"))
	}
	return errWrite
}
