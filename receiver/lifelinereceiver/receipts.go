package lifelinereceiver

import (
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/receipt"
	"github.com/otel-lifeline/lifeline/internal/reload"
)

// receipts prove acks with the keys of a file. nil: there is no file.
type receipts struct{ keys *reload.Files[*receipt.Keys] }

// newReceipts returns receipts with the keys in the file at path, looked at when
// they are asked for, once a second.
func newReceipts(path string) *receipts {
	if path == "" {
		return nil
	}
	return &receipts{reload.File("receipt_key_file", path, receipt.Parse)}
}

// proof returns what goes with a success, empty if none is due: it is for requests
// that brought a batch id.
func (p *receipts) proof(r *request, j job) string {
	id, ok := r.batchID()
	if p == nil || !ok {
		return ""
	}
	keys, err := p.keys.Recent()
	if err != nil {
		return ""
	}
	return keys.Sign(receipt.Claim{Audience: r.one(frame.HeaderAudience), Signal: r.signal, BatchID: string(id), Length: j.size})
}

// check returns what is wrong with the key file as it is now. A broken one ends the
// start; later the keys that were read before stay in force.
func (p *receipts) check() error {
	if p == nil {
		return nil
	}
	return p.keys.Check()
}
