package sim

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/receipt"
)

// receipts are the keys of all gateways and of whoever checks them.
var receipts = sync.OnceValue(func() *receipt.Keys {
	keys, err := receipt.Parse([]byte("sim AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="))
	if err != nil {
		panic(err) // the file is ours
	}
	return keys
})

// ack returns what the product makes of a 200. In a foul mood it is no ack, for it
// is a page of somebody else's, or has no receipt or another one's.
func (g *gateway) ack(dice *rand.Rand, t *try, mood string) otlpsend.Answer {
	claim := receipt.Claim{Audience: audience, Signal: t.signal, BatchID: string(t.batch), Length: t.rawSize}
	r := otlpsend.Response{
		Signal: t.signal, Status: http.StatusOK, Now: g.clock(),
		Header: http.Header{}, Verify: func(given string) error { return receipts().Verify(given, claim) },
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("Date", g.clock().UTC().Format(http.TimeFormat))
	r.Body = partial(len(t.refused), string(t.batch))
	if n := g.window(dice); n > 0 {
		r.Header.Set(frame.HeaderWindow, strconv.Itoa(n))
	}
	signed := claim
	switch mood {
	case "not_an_ack":
		r.Body = []byte("<html>please log in</html>")
		r.Header.Set("Content-Type", pick(dice, "text/html", "application/x-protobuf"))
	case "wrong_receipt":
		signed.BatchID = pick(dice, string(frame.NewBatchID()), string(t.batch)+".0")
		if chance(dice, 3) {
			signed = claim
			signed.Length++
		}
	}
	if mood != "no_receipt" {
		r.Header.Set(receipt.Header, receipts().Sign(signed))
	}
	return otlpsend.Classify(r)
}

// partial returns the answer to an export request. It is the same on the wire for
// all signals.
func partial(refused int, message string) []byte {
	answer := plogotlp.NewExportResponse()
	if refused > 0 {
		answer.PartialSuccess().SetRejectedLogRecords(int64(refused))
		answer.PartialSuccess().SetErrorMessage(message)
	}
	body, err := answer.MarshalProto()
	if err != nil {
		panic(err) // two fields
	}
	return body
}
