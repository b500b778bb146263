package flare

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// check verifies that m keeps the rules of the format, its sums included.
func (m *Manifest) check() error {
	switch {
	case !frame.IsHex32(m.FlareID):
		return errors.New("flare_id is not 32 hex digits")
	case !frame.IsHex32(m.BootID):
		return errors.New("boot_id is not 32 hex digits")
	case m.Seq == 0:
		return errors.New("seq is missing: it begins with 1")
	case m.Seq > maxSeq:
		return fmt.Errorf("seq %d: must be at most %d", m.Seq, uint64(maxSeq))
	case !frame.ValidAgent(m.Agent):
		return errors.New("agent is not a name")
	case m.Audience != "" && !printable(m.Audience, maxAudience):
		return errors.New("audience is not a name")
	case !m.Reason.Valid():
		return fmt.Errorf("unknown reason %.40q", m.Reason)
	case m.Created.IsZero():
		return errors.New("created is missing")
	case len(m.Unresolved) > maxUnresolved:
		return fmt.Errorf("more than %d seqs in unresolved", maxUnresolved)
	case m.Newest.Before(m.Oldest.Time):
		return errors.New("newest is before oldest")
	case len(m.Records) == 0 || len(m.Records) > MaxRecords:
		return fmt.Errorf("%d records: must be 1 to %d", len(m.Records), MaxRecords)
	}
	for signal, items := range m.Lost {
		if _, err := frame.ParseSignal(signal); err != nil || items < 0 {
			return fmt.Errorf("lost: %.20q: %d", signal, items)
		}
	}
	if v := m.Report.Version; v != "" && !printable(v, maxReport) {
		return errors.New("report: version is not printable")
	}
	if report, err := json.Marshal(m.Report); err != nil || len(report) > maxReport {
		return fmt.Errorf("report is longer than %d bytes", maxReport)
	}
	return m.checkRecords()
}

func (m *Manifest) checkRecords() error {
	totals := map[string]Total{}
	ids := map[batch]bool{}
	left := int64(MaxObject)
	for i := range m.Records {
		r := &m.Records[i]
		signal, err := r.check(i, m.Reason)
		if err != nil {
			return fmt.Errorf("record %d: %w", i+1, err)
		}
		if left -= r.Size; left < 0 {
			return fmt.Errorf("records hold more than %d bytes", MaxObject)
		}
		id := batch{signal, r.BatchID}
		if ids[id] {
			return fmt.Errorf("record %d: batch_id %s stands twice among the %s", i+1, id.id, signal)
		}
		ids[id] = true
		t := totals[signal]
		totals[signal] = Total{t.Frames + 1, t.Items + r.Items, t.RawBytes + r.RawSize}
	}
	if len(totals) != len(m.Totals) {
		return errors.New("totals do not list the signals of the records")
	}
	for signal, t := range totals {
		if m.Totals[signal] != t {
			return fmt.Errorf("totals of %s do not match the records", signal)
		}
	}
	return checkHalves(ids)
}

// batch is what one ack answers for.
type batch struct {
	signal string
	id     frame.BatchID
}

// checkHalves refuses a batch beside a part of it: whoever splits the batch
// would take the ack of the one for the other's.
func checkHalves(ids map[batch]bool) error {
	for b := range ids {
		for n := len(b.id) - len(".0"); n >= len(b.id.Root()); n -= len(".0") {
			if ids[batch{b.signal, b.id[:n]}] {
				return fmt.Errorf("batch_id %s stands beside %s, which holds it", b.id, b.id[:n])
			}
		}
	}
	return nil
}

// check verifies the i-th record, from 0, and returns its signal.
func (r *Record) check(i int, reason Reason) (string, error) {
	signal, err := signalOfName(r.Name, i)
	if err != nil {
		return "", err
	}
	if _, ok := frame.ParseBatchID(string(r.BatchID)); !ok {
		return "", errors.New("batch_id is malformed")
	}
	switch {
	case r.Size < 1 || r.Size > MaxObject:
		return "", fmt.Errorf("size %d is impossible", r.Size)
	case r.RawSize < 1 || r.RawSize > MaxRawSize:
		return "", fmt.Errorf("raw_size %d: must be 1 to %d", r.RawSize, MaxRawSize)
	case r.Items < 0 || r.Items > r.RawSize:
		return "", fmt.Errorf("%d items in %d bytes are impossible", r.Items, r.RawSize)
	case len(r.SHA256) != 64 || !frame.IsHex(r.SHA256):
		return "", errors.New("sha256 is not 64 lower-case hex digits")
	}
	if err := checkMeta(r.Meta); err != nil {
		return "", err
	}
	if r.Frame == "" && reason == Drill {
		return signal.String(), nil
	}
	h, err := frame.ParseHeader(r.Frame)
	if err != nil {
		return "", err
	}
	if h.Items != r.Items {
		return "", fmt.Errorf("frame says %d items, the record %d", h.Items, r.Items)
	}
	return signal.String(), nil
}

// recordName returns the name of the i-th record file, from 0.
func recordName(i int, s frame.Signal) string {
	return fmt.Sprintf("%06d.%s.binpb.zst", i+1, s)
}

// signalOfName is the inverse of recordName.
func signalOfName(name string, i int) (frame.Signal, error) {
	_, signal, _ := strings.Cut(strings.TrimSuffix(name, ".binpb.zst"), ".")
	if s, err := frame.ParseSignal(signal); err == nil && name == recordName(i, s) {
		return s, nil
	}
	return 0, fmt.Errorf("name %.40q: want %06d.<signal>.binpb.zst", name, i+1)
}

// printable reports whether s is 1 to limit bytes of printable ASCII.
func printable(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
