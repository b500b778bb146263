package otlpsend

import (
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/pprofile/pprofileotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// maxMessage bounds a server's words, in bytes.
const maxMessage = 256

// decodeAck decodes the Export*ServiceResponse of the signal. An empty body is
// the encoding of a full success.
func decodeAck(s frame.Signal, body []byte) (rejected int64, message string, err error) {
	switch s {
	case frame.Traces:
		r := ptraceotlp.NewExportResponse()
		err = r.UnmarshalProto(body)
		rejected, message = r.PartialSuccess().RejectedSpans(), r.PartialSuccess().ErrorMessage()
	case frame.Metrics:
		r := pmetricotlp.NewExportResponse()
		err = r.UnmarshalProto(body)
		rejected, message = r.PartialSuccess().RejectedDataPoints(), r.PartialSuccess().ErrorMessage()
	case frame.Logs:
		r := plogotlp.NewExportResponse()
		err = r.UnmarshalProto(body)
		rejected, message = r.PartialSuccess().RejectedLogRecords(), r.PartialSuccess().ErrorMessage()
	default:
		r := pprofileotlp.NewExportResponse()
		err = r.UnmarshalProto(body)
		rejected, message = r.PartialSuccess().RejectedProfiles(), r.PartialSuccess().ErrorMessage()
	}
	return max(rejected, 0), message, err
}

// otlpStatus is a google.rpc.Status as far as it matters here.
type otlpStatus struct {
	message string
	reason  string // of the first ErrorInfo

	retryAfter time.Duration // of RetryInfo
}

// decodeStatus returns the Status of a refusal, if the answer holds one that
// says anything: an empty body decodes too, and proves nothing.
func decodeStatus(r Response) (otlpStatus, bool) {
	var s spb.Status
	if r.BodyErr != nil || !isProtobuf(r.Header) || proto.Unmarshal(r.Body, &s) != nil {
		return otlpStatus{}, false
	}
	if s.GetCode() == 0 && s.GetMessage() == "" {
		return otlpStatus{}, false
	}
	return readStatus(&s), true
}

// tooLarge knows our own gateway by its reason, grpc-go and net/http by their
// words. A bare "too large" may speak of anything, a length inside the data too.
func (s otlpStatus) tooLarge() bool {
	text := strings.ToLower(s.message)
	return s.reason == "MESSAGE_TOO_LARGE" ||
		strings.Contains(text, "larger than max") || strings.Contains(text, "request body too large")
}

func (s otlpStatus) unsupportedEncoding() bool {
	text := strings.ToLower(s.message)
	return strings.Contains(text, "unsupported") && strings.Contains(text, "encoding")
}

// oneLine makes a stranger's words fit for a log and a manifest: printable
// ASCII, one line, at most maxMessage bytes.
func oneLine(text string) string {
	text = text[:min(len(text), 4*maxMessage)]
	clean := strings.Map(func(c rune) rune {
		if c < 0x20 || c > 0x7e {
			return ' '
		}
		return c
	}, text)
	clean = strings.Join(strings.Fields(clean), " ")
	return clean[:min(len(clean), maxMessage)]
}
