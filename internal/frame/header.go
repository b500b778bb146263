package frame

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The headers of a frame, spelled the same in HTTP, gRPC, client metadata,
// Kafka and flares.
const (
	HeaderBatchID   = "lifeline-batch-id"   // BatchID
	HeaderBatchRoot = "lifeline-batch-root" // BatchID.Root, made by the gateway
	HeaderFrame     = "lifeline-frame"      // Header.String
	HeaderPart      = "lifeline-part"       // "k/n", made by the gateway
	HeaderAudience  = "lifeline-audience"   // which gateway and recovery the data is for
	HeaderSize      = "lifeline-size"       // uncompressed bytes, decimal
	HeaderAgent     = "lifeline-agent"      // the verified principal
	HeaderFlareID   = "lifeline-flare-id"   // the flare a record came back in
	HeaderReceipt   = "lifeline-receipt"    // proof that our gateway acked
	HeaderWindow    = "lifeline-window"     // of an ack: how many requests of recovery may be on their way
)

// MaxAgent is the longest name of an agent, in bytes.
const MaxAgent = 128

// MaxReason is the longest reason of lost items, in bytes.
const MaxReason = 32

// maxHeader bounds the text ParseHeader looks at. What String writes of a header
// that was parsed is always shorter.
const maxHeader = 1024

// Header describes a frame to the gateway, to consumers of Kafka and inside a
// flare. It is the value of the lifeline-frame header: a claim of the agent,
// not a verified fact.
type Header struct {
	Agent      string // printable ASCII, at most MaxAgent bytes
	Boot       string // 32 hex digits, new at every start of an exporter
	Seq        uint64 // from 1, per boot and signal, without gaps
	From, To   int64  // Unix ms, the agent's clock at the first and last accepted call
	Items      int64  // spans, data points, log records, samples
	Attempt    int64  // 1 for the first send
	Lost       int64  // items of this signal lost since boot; left out when 0
	LostReason string // the latest reason; a lower-case token of at most MaxReason bytes, only with Lost
	Rejected   int64  // items of this signal rejected since boot; left out when 0
}

// ValidAgent reports whether name can stand in a header: printable ASCII
// without quote or backslash, 1 to MaxAgent bytes.
func ValidAgent(name string) bool {
	if name == "" || len(name) > MaxAgent {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// String returns h as an RFC 9651 dictionary.
func (h Header) String() string {
	b := make([]byte, 0, 192)
	b = append(b, `agent="`...)
	b = append(b, h.Agent...)
	b = append(b, `", boot="`...)
	b = append(b, h.Boot...)
	b = append(b, `", seq=`...)
	b = strconv.AppendUint(b, h.Seq, 10)
	for _, f := range []struct {
		name  string
		value int64
	}{{"from", h.From}, {"to", h.To}, {"items", h.Items}, {"attempt", h.Attempt}} {
		b = append(b, ", "+f.name+"="...)
		b = strconv.AppendInt(b, f.value, 10)
	}
	if h.Lost > 0 {
		b = append(b, ", lost="...)
		b = strconv.AppendInt(b, h.Lost, 10)
		if h.LostReason != "" {
			b = append(b, ";reason="+h.LostReason...)
		}
	}
	if h.Rejected > 0 {
		b = append(b, ", rejected="...)
		b = strconv.AppendInt(b, h.Rejected, 10)
	}
	return string(b)
}

var errHeader = errors.New("malformed lifeline-frame header")

// ParseHeader parses the value of a lifeline-frame header. It accepts what
// String writes, in any order of members, and ignores members it does not know,
// as RFC 9651 asks; it refuses anything over 1 KiB, a member given twice, and a
// header without agent, boot, seq, from, to, items or attempt.
func ParseHeader(s string) (Header, error) {
	var h Header
	if len(s) > maxHeader {
		return h, fmt.Errorf("%w: longer than %d bytes", errHeader, maxHeader)
	}
	seen := map[string]bool{}
	for rest := s; rest != ""; {
		var m member
		var err error
		if m, rest, err = nextMember(rest); err != nil {
			return Header{}, err
		}
		if seen[m.key] {
			return Header{}, fmt.Errorf("%w: %s stands twice", errHeader, m.key)
		}
		seen[m.key] = true
		if err := h.set(m); err != nil {
			return Header{}, err
		}
	}
	for _, key := range []string{"agent", "boot", "seq", "from", "to", "items", "attempt"} {
		if !seen[key] {
			return Header{}, fmt.Errorf("%w: %s is missing", errHeader, key)
		}
	}
	return h, nil
}

func (h *Header) set(m member) error {
	var target *int64
	switch m.key {
	case "agent":
		h.Agent = m.value
		return m.must(m.quoted && ValidAgent(m.value))
	case "boot":
		h.Boot = m.value
		return m.must(m.quoted && IsHex32(m.value))
	case "seq":
		var seq int64
		if err := m.integer(&seq); err != nil || seq <= 0 {
			return m.must(false)
		}
		h.Seq = uint64(seq)
		return nil
	case "from":
		target = &h.From
	case "to":
		target = &h.To
	case "items":
		target = &h.Items
	case "attempt":
		target = &h.Attempt
	case "lost":
		target, h.LostReason = &h.Lost, m.reason
	case "rejected":
		target = &h.Rejected
	default:
		return nil
	}
	return m.integer(target)
}

// integer sets n to the member's value.
func (m member) integer(n *int64) error {
	v, err := strconv.ParseInt(m.value, 10, 64)
	*n = v
	return m.must(!m.quoted && err == nil && v >= 0 && v <= 999_999_999_999_999) // RFC 9651, 3.3.1
}

func (m member) must(ok bool) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%w: %s=%q", errHeader, m.key, m.value)
}

// member is one entry of a dictionary: key=value;reason=token.
type member struct {
	key, value, reason string
	quoted             bool
}

// nextMember takes one member off the front of s, with the comma behind it.
func nextMember(s string) (member, string, error) {
	var m member
	key, rest, ok := strings.Cut(s, "=")
	if !ok || !isToken(key) {
		return m, "", fmt.Errorf("%w: expected key=value at %q", errHeader, s)
	}
	m.key = key
	if strings.HasPrefix(rest, `"`) {
		m.quoted = true
		m.value, rest, ok = strings.Cut(rest[1:], `"`)
		if !ok {
			return m, "", fmt.Errorf("%w: %s: the string does not end", errHeader, key)
		}
	} else {
		end := strings.IndexAny(rest, ",;")
		if end < 0 {
			end = len(rest)
		}
		m.value, rest = rest[:end], rest[end:]
	}
	if params, ok := strings.CutPrefix(rest, ";reason="); ok {
		m.reason, rest = params, ""
		if end := strings.IndexByte(params, ','); end >= 0 {
			m.reason, rest = params[:end], params[end:]
		}
		if !isToken(m.reason) || len(m.reason) > MaxReason {
			return m, "", fmt.Errorf("%w: %s: reason %q", errHeader, key, m.reason)
		}
	}
	if rest == "" {
		return m, "", nil
	}
	next, ok := strings.CutPrefix(rest, ",")
	next = strings.TrimLeft(next, " \t")
	if !ok || next == "" {
		return m, "", fmt.Errorf("%w: unexpected %q after %s", errHeader, rest, key)
	}
	return m, next, nil
}

// isToken reports whether s is a lower-case token as our keys and reasons are.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '_' && c != '-') {
			return false
		}
	}
	return s != ""
}
