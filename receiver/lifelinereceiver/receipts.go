package lifelinereceiver

import (
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/receipt"
	"github.com/otel-lifeline/lifeline/internal/reload"
)

// newReceipts returns the keys in the file at path, read when they are asked for.
func newReceipts(path string) *reload.File[*receipt.Keys] {
	return &reload.File[*receipt.Keys]{Key: "receipt_key_file", Path: path, Parse: receipt.Parse}
}

// receipt returns the proof that goes with a success, empty if none is due: it is
// for requests that brought a batch id.
func (g *gateway) receipt(r *request, j job) string {
	id, ok := r.batchID()
	if g.receipts == nil || !ok {
		return ""
	}
	keys, err := g.receipts.Get()
	if err != nil {
		return ""
	}
	return keys.Sign(receipt.Claim{Audience: r.one(frame.HeaderAudience), Signal: r.signal, BatchID: string(id), Length: j.size})
}

// checkReceipts returns what is wrong with the key file as it is now. A broken
// one ends the start; later the keys that were read before stay in force.
func (g *gateway) checkReceipts() error {
	if g.receipts == nil {
		return nil
	}
	return g.receipts.Check()
}

// watchReceipts logs what is wrong with the key file, once for every change of it,
// and returns that for the next call.
func (g *gateway) watchReceipts(before string) string {
	err := g.checkReceipts()
	if err == nil {
		return ""
	}
	if err.Error() != before {
		g.log.Error("The new receipt key file cannot be used: receipts are made with the keys from before it. "+
			"Put a good one in its place; `lifeline keygen receipt` makes one.", zap.Error(err))
	}
	return err.Error()
}
