package recovery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

var errOtherBytes = errors.New("the store handed out other bytes the second time")

// isDone reports whether a flare of this id was taken before. Then it is deleted, so
// one answer is not enough, which may be another object's: the marker names the flare,
// or is the same when it is read again.
func (l *Loop) isDone(ctx context.Context, id string) (bool, error) {
	marker, found, err := l.readDone(ctx, id)
	if err != nil || !found || l.marks(marker, id) {
		return found, err
	}
	again, found, err := l.readDone(ctx, id)
	if err == nil && (!found || !bytes.Equal(again, marker)) {
		err = bucketPath(fmt.Errorf("%s: %w", l.s.doneKey(id), errOtherBytes))
	}
	return err == nil, err
}

// readDone returns what stands in done/<id>; nothing of what is too large for a marker.
func (l *Loop) readDone(ctx context.Context, id string) (data []byte, found bool, err error) {
	data, _, err = l.bucket.Get(ctx, l.s.doneKey(id), bucket.GetOptions{Limit: maxMarker})
	switch {
	case err == nil, bucket.KindOf(err) == bucket.TooLarge:
		return data, true, nil
	case bucket.KindOf(err) == bucket.NotFound:
		return nil, false, nil
	default:
		return nil, false, bucketPath(err)
	}
}

// marks reports whether data is the marker of a flare, as far as the keys can tell.
func (l *Loop) marks(data []byte, id string) bool {
	keys := l.keys
	if keys == nil {
		return false
	}
	m, err := l.openOutside(data, keys)
	return err == nil && m.FlareID == id
}

// openOutside opens a marker without the lock.
func (l *Loop) openOutside(data []byte, keys *Keys) (m marker, err error) {
	l.outside(func() { m, err = openMarker(data, keys.Identities) })
	return m, err
}
