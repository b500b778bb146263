package otlpsend

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/receipt"
)

// maxAnswer is the most bytes of an answer's body that are looked at. An OTLP
// answer is a few bytes; whoever sends more is no OTLP server.
const maxAnswer = 64 << 10

var errLongAnswer = errors.New("the answer is longer than 64 KiB")

// verifier checks the receipt of an answer.
type verifier func(value string) error

// verifier returns how to check a receipt for r, nil if none is demanded. It
// fails if no receipt could be checked.
func (o *Options) verifier(r *Request) (verifier, error) {
	if o.Receipts == nil {
		return nil, nil //nolint:nilnil // no verifier is no fault
	}
	if _, err := o.Receipts(); err != nil {
		return nil, err
	}
	claim := receipt.Claim{
		Audience: r.Header[frame.HeaderAudience], Signal: r.Signal,
		BatchID: r.Header[frame.HeaderBatchID], Length: r.RawSize,
	}
	return func(value string) error {
		keys, err := o.Receipts() // as of the answer: they may have been rotated
		if err != nil {
			return err
		}
		return keys.Verify(value, claim)
	}, nil
}

// noKeys is the answer of a transport that sends nothing.
func noKeys(err error) Answer {
	return Answer{Verdict: Broken, Cause: CauseClient, Err: fmt.Errorf("nothing is sent, because no receipt could be checked: %w", err)}
}

// judgeAck demands of what looks like an ack that it proves to be one.
func judgeAck(s frame.Signal, body []byte, given string, verify verifier) Answer {
	rejected, message, err := decodeAck(s, body)
	if err != nil {
		return notAnAck(errors.New("the body does not decode as an OTLP answer"))
	}
	if verify != nil {
		if err := verify(given); err != nil {
			return notAnAck(fmt.Errorf("%w: check receipt_key_file at both ends", err))
		}
	}
	return Answer{Verdict: Delivered, Rejected: rejected, Message: oneLine(message)}
}

// window returns what a server asks for, 0 if that is nothing sensible.
func window(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return max(n, 0)
}

func notAnAck(err error) Answer {
	return Answer{Verdict: Broken, Cause: CauseNotAnAck, Err: err}
}
