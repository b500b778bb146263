package flare

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Type is the type of every manifest this version writes and reads.
const Type = "lifeline.flare/v1"

// Reason is why a flare was made. The set is closed.
type Reason string

// The reasons.
const (
	Expired  Reason = "expired"
	RingFull Reason = "ring_full"
	Shutdown Reason = "shutdown"
	Rejected Reason = "rejected"
	Drill    Reason = "drill"
	Manual   Reason = "manual"
)

// Valid reports whether r is one of the reasons.
func (r Reason) Valid() bool {
	switch r {
	case Expired, RingFull, Shutdown, Rejected, Drill, Manual:
		return true
	}
	return false
}

// Manifest is manifest.json: what the agent says about a flare. Everything in
// it is covered by the signature and is a claim of the signer, no more.
// A field of a newer version that this one does not know is ignored, unless
// its name stands in Critical.
type Manifest struct {
	Type       string           `json:"type"`
	FlareID    string           `json:"flare_id"` // 32 hex digits, as in the object's key
	Audience   string           `json:"audience"` // may be empty
	Agent      string           `json:"agent"`    // a claim: the principal counts
	BootID     string           `json:"boot_id"`  // 32 hex digits
	Seq        uint64           `json:"seq"`      // 1 to 10^15-1, per boot, over flares of all reasons
	Unresolved []uint64         `json:"unresolved,omitempty"`
	Reason     Reason           `json:"reason"`
	Report     Report           `json:"report"`
	Created    Time             `json:"created"`        // corrected by the report's clock offset
	Oldest     Time             `json:"oldest"`         // first ConsumeX of the frames, the agent's clock
	Newest     Time             `json:"newest"`         // last ConsumeX of the frames
	Lost       map[string]int64 `json:"lost,omitempty"` // signal: items lost since boot
	Totals     map[string]Total `json:"totals"`         // signal: sums over the records
	Critical   []string         `json:"critical,omitempty"`
	Records    []Record         `json:"records"`
}

// Report is the agent's account of its trouble, at most 4 KiB as JSON. Seal
// leaves the samples out, then the causes, when it would be longer.
type Report struct {
	Version     string            `json:"version"`          // printable ASCII
	Uptime      int64             `json:"uptime"`           // ms since the exporter's start
	ClockOffset int64             `json:"clock_offset"`     // ms to add to the agent's clock
	Causes      map[string]int64  `json:"causes,omitempty"` // cause: attempts since the last ack
	Sample      map[string]string `json:"sample,omitempty"` // cause: one sanitised error
}

// Total sums up the records of one signal.
type Total struct {
	Frames   int64 `json:"frames"`
	Items    int64 `json:"items"`
	RawBytes int64 `json:"raw_bytes"` // before compression
}

// Record describes one record file: one frame.
type Record struct {
	Name    string              `json:"name"`
	Size    int64               `json:"size"`     // stored bytes
	SHA256  string              `json:"sha256"`   // of the stored bytes, hex
	RawSize int64               `json:"raw_size"` // bytes before compression
	Items   int64               `json:"items"`
	BatchID frame.BatchID       `json:"batch_id"`
	Frame   string              `json:"frame"` // lifeline-frame text; empty only in a drill
	Meta    map[string][]string `json:"meta,omitempty"`
}

// Time is an instant in a manifest: UTC, RFC 3339 with milliseconds. Only that
// spelling is read.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.000Z"

// TimeOf returns t as a manifest holds it: in UTC, cut to milliseconds.
func TimeOf(t time.Time) Time { return Time{t.UTC().Truncate(time.Millisecond)} }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.UTC().Format(timeLayout) + `"`), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Time) UnmarshalJSON(b []byte) error {
	parsed, err := time.Parse(`"`+timeLayout+`"`, string(b))
	if err != nil || parsed.Format(`"`+timeLayout+`"`) != string(b) {
		return fmt.Errorf("time %.40q is not of the form %s", b, timeLayout)
	}
	t.Time = parsed
	return nil
}

// encodeManifest returns m as JSON: one line, the fields in the order of the
// type, maps sorted, so that equal manifests have equal bytes.
func encodeManifest(m *Manifest) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	if buf.Len() > maxManifest {
		return nil, fmt.Errorf("the manifest has %d bytes, more than %d: put fewer frames into a flare", buf.Len(), maxManifest)
	}
	return buf.Bytes(), nil
}

// errNewer marks a manifest that only a newer version can read.
var errNewer = errors.New("needs a newer version of Lifeline")

// decodeManifest parses raw, which is at most maxManifest bytes, and checks
// everything that can be checked without the records, the signer and the store.
func decodeManifest(raw []byte) (*Manifest, error) {
	if err := checkJSON(raw); err != nil {
		return nil, err
	}
	var m Manifest
	broken := json.Unmarshal(raw, &m)
	if broken != nil { // what says whether the rest can be understood may stand behind it
		var version struct {
			Type     string   `json:"type"`
			Critical []string `json:"critical"`
		}
		if err := json.Unmarshal(raw, &version); err != nil {
			return nil, fmt.Errorf("parse the manifest: %w", err)
		}
		m.Type, m.Critical = version.Type, version.Critical
	}
	switch {
	case isNewerType(m.Type) && m.Type != Type:
		return nil, fmt.Errorf("%w: type %.40q", errNewer, m.Type)
	case m.Type != Type:
		return nil, fmt.Errorf("type %.40q is not %s", m.Type, Type)
	case len(m.Critical) > 0:
		return nil, fmt.Errorf("%w: critical %.80q", errNewer, m.Critical)
	case broken != nil:
		return nil, fmt.Errorf("parse the manifest: %w", broken)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return &m, nil
}

func isNewerType(t string) bool {
	const family = "lifeline.flare/v"
	return len(t) > len(family) && len(t) <= len(family)+6 && t[:len(family)] == family &&
		t[len(family)] >= '1' && t[len(family)] <= '9'
}

// WithoutRecords returns a copy of m that lists no records; nil for nil.
func (m *Manifest) WithoutRecords() *Manifest {
	if m == nil {
		return nil
	}
	short := *m
	short.Records = nil
	return &short
}
