package recovery

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"filippo.io/age"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// maxMarker bounds a done marker that is read.
const maxMarker = 64 << 10

// marker is what done/<id> says, sealed to recovery's own recipients: it names
// customers, and the store shall not learn whose flare it held.
type marker struct {
	FlareID    string   `json:"flare_id"`
	Principal  string   `json:"principal"`
	Agent      string   `json:"agent"`
	BootID     string   `json:"boot_id"`
	Seq        uint64   `json:"seq"`
	Unresolved []uint64 `json:"unresolved,omitempty"`

	// Markers of earlier versions have none of the following.
	Reason  flare.Reason     `json:"reason,omitempty"`
	Created *flare.Time      `json:"created,omitempty"`
	Lost    map[string]int64 `json:"lost,omitempty"` // by signal
}

func markerOf(fl *flare.Flare) marker {
	m := &fl.Manifest
	return marker{
		FlareID: m.FlareID, Principal: fl.Principal, Agent: m.Agent,
		BootID: m.BootID, Seq: m.Seq, Unresolved: m.Unresolved,
		Reason: m.Reason, Created: &m.Created, Lost: m.Lost,
	}
}

// seal encrypts the marker.
func (m marker) seal(to []age.Recipient) ([]byte, error) {
	var buf bytes.Buffer
	w, err := age.Encrypt(&buf, to...)
	if err == nil {
		err = json.NewEncoder(w).Encode(m)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("seal the done marker: %w", err)
	}
	return buf.Bytes(), nil
}

// openMarker is the inverse of seal.
func openMarker(data []byte, by []age.Identity) (marker, error) {
	r, err := age.Decrypt(bytes.NewReader(data), by...)
	if err != nil {
		return marker{}, fmt.Errorf("open the done marker: %w", err)
	}
	var m marker
	if err := json.NewDecoder(io.LimitReader(r, maxMarker)).Decode(&m); err != nil {
		return marker{}, fmt.Errorf("read the done marker: %w", err)
	}
	return m, nil
}

// mark writes done/<id>. Writing it twice is harmless.
func (l *Loop) mark(ctx context.Context, id string, w *work) error {
	var data []byte
	var err error
	l.outside(func() { data, err = w.marker.seal(w.keys.Recipients) })
	if err != nil {
		return err
	}
	if _, err := l.bucket.Put(ctx, l.s.doneKey(id), frame.Bytes(data), bucket.PutOptions{}); err != nil {
		return err
	}
	l.keeping.learn(w.marker)
	return nil
}

// isDone reports whether a flare of this id was taken before.
func (l *Loop) isDone(ctx context.Context, id string) (bool, error) {
	_, _, err := l.bucket.Get(ctx, l.s.doneKey(id), bucket.GetOptions{Limit: maxMarker})
	switch {
	case err == nil, bucket.KindOf(err) == bucket.TooLarge:
		return true, nil
	case bucket.KindOf(err) == bucket.NotFound:
		return false, nil
	default:
		return false, bucketPath(err)
	}
}
