package flare

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Signers is an allowed signers file: who may sign flares, and under which
// name. It is immutable and safe for concurrent use.
type Signers struct {
	keys  map[string][]signerLine // by the key's wire form
	cas   map[string][]signerLine // by the authority's wire form
	names map[string]bool         // the principals of keys
	n     int
}

// signerLine is one line that counts for flares.
type signerLine struct {
	principals  string // exact for a key, patterns for an authority
	authority   bool
	ours        bool // the namespaces option lets it sign flares
	validAfter  time.Time
	validBefore time.Time
}

// Len returns the number of keys and authorities that may sign flares.
func (s *Signers) Len() int {
	if s == nil {
		return 0
	}
	return s.n
}

// ParseAllowedSigners reads a file in the format of ALLOWED SIGNERS in
// ssh-keygen(1): plain Ed25519 keys with exactly one principal each, and
// cert-authority lines whose principals are patterns. A line whose namespaces
// leave out flares is skipped. Everything else is an error that names the line:
// a trust file is taken whole or not at all, and never empty.
func ParseAllowedSigners(r io.Reader) (*Signers, error) {
	s := &Signers{keys: map[string][]signerLine{}, cas: map[string][]signerLine{}, names: map[string]bool{}}
	err := eachLine(r, maxTrustFile, func(text string) error {
		line, key, err := parseSignerLine(text)
		if err != nil || !line.ours {
			return err
		}
		s.n++
		wire := string(key.Marshal())
		if line.authority {
			s.cas[wire] = append(s.cas[wire], line)
			return nil
		}
		if known := s.keys[wire]; len(known) > 0 && known[0].principals != line.principals {
			return fmt.Errorf("the key of %s stands here again as %s: give every agent a key of its own",
				known[0].principals, line.principals)
		}
		s.keys[wire], s.names[line.principals] = append(s.keys[wire], line), true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("allowed signers: %w", err)
	}
	if s.n == 0 {
		return nil, errors.New("allowed signers: no key in the file may sign flares; add a line as `lifeline keygen agent` prints it")
	}
	return s, nil
}

func parseSignerLine(text string) (signerLine, ssh.PublicKey, error) {
	line := signerLine{ours: true}
	principals, rest, ok := cutField(text)
	if !ok {
		return line, nil, errors.New("want: principal [options] ssh-ed25519 key")
	}
	line.principals = principals
	algo, blob, _ := cutField(rest)
	if !isKeyType(algo) {
		options, behind, err := cutOptions(rest)
		if err != nil {
			return line, nil, err
		}
		if err := line.setAll(options); err != nil {
			return line, nil, err
		}
		algo, blob, _ = cutField(behind)
	}
	if !line.ours {
		return line, nil, nil
	}
	if algo != ssh.KeyAlgoED25519 {
		return line, nil, fmt.Errorf("key of type %.40q: only %s keys can sign flares", algo, ssh.KeyAlgoED25519)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(algo + " " + blob))
	if err != nil || key.Type() != ssh.KeyAlgoED25519 {
		return line, nil, errors.New("the key is malformed")
	}
	return line, key, line.checkPrincipals()
}

func (l *signerLine) checkPrincipals() error {
	if l.authority {
		return nil
	}
	if !exactName(l.principals) {
		return fmt.Errorf("principal %.80q of a plain key must be one exact name: at most %d printable characters without quotes or #; only a cert-authority may have patterns",
			l.principals, frame.MaxAgent)
	}
	return nil
}

// exactName reports whether name can be a principal: only what a line of the
// revocation list can name.
func exactName(name string) bool {
	return frame.ValidAgent(name) && !strings.ContainsAny(name, " *?!,#")
}

// setAll sets the options of a line. Of one that stands twice nobody could say
// which counts.
func (l *signerLine) setAll(options []string) error {
	seen := map[string]bool{}
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		name = strings.ToLower(name)
		if seen[name] {
			return fmt.Errorf("option %.40q stands twice", name)
		}
		seen[name] = true
		if err := l.set(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (l *signerLine) set(name, value string) error {
	switch name {
	case "cert-authority":
		l.authority = true
		return nil
	case "namespaces":
		l.ours = matchList(value, Namespace)
		return nil
	case "valid-after":
		return parseValidity(value, &l.validAfter)
	case "valid-before":
		return parseValidity(value, &l.validBefore)
	}
	return fmt.Errorf("unknown option %.40q", name)
}

// parseValidity reads YYYYMMDD[HHMM[SS]], in UTC with a Z behind it, else in
// the local time zone, as OpenSSH does. Time begins with 1970 for it, too: the zero
// time.Time would be no limit at all.
func parseValidity(text string, t *time.Time) error {
	zone := time.Local
	digits, utc := strings.CutSuffix(text, "Z")
	if utc {
		zone = time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if parsed, err := time.ParseInLocation(layout, digits, zone); err == nil && len(digits) == len(layout) && parsed.Unix() > 0 {
			*t = parsed
			return nil
		}
	}
	return fmt.Errorf("time %.40q: want YYYYMMDDZ or YYYYMMDDHHMM[SS]Z, after 1970 began", text)
}

// validAt reports whether the line lets its key sign at t.
func (l *signerLine) validAt(t time.Time) bool {
	return (l.validAfter.IsZero() || !t.Before(l.validAfter)) &&
		(l.validBefore.IsZero() || t.Before(l.validBefore))
}

func isKeyType(field string) bool {
	return strings.HasPrefix(field, "ssh-") || strings.HasPrefix(field, "ecdsa-") || strings.HasPrefix(field, "sk-")
}

// cutField cuts text at its first run of blanks.
func cutField(text string) (field, rest string, ok bool) {
	i := strings.IndexAny(text, " \t")
	if i < 0 {
		return text, "", false
	}
	return text[:i], strings.TrimLeft(text[i:], " \t"), true
}

// cutOptions cuts a comma-separated list of options, whose values may stand in
// double quotes, off the front of text. The quotes are removed.
func cutOptions(text string) (options []string, rest string, err error) {
	var option strings.Builder
	quoted := false
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case !quoted && c == ',':
			options = append(options, option.String())
			option.Reset()
		case !quoted && (c == ' ' || c == '\t'):
			return append(options, option.String()), strings.TrimLeft(text[i:], " \t"), nil
		default:
			option.WriteByte(c)
		}
	}
	if quoted {
		return nil, "", errors.New("a quote is not closed")
	}
	return nil, "", errors.New("no key behind the options")
}

// eachLine calls use for every line that is neither empty nor a comment, and
// names the line in its error. What the line holds is never part of an error of
// its own: key files are read this way too. A carriage return is allowed at the
// end of a line only: base64 skips it, so a fingerprint with one inside would
// name no key, and a comment with one inside may hide lines.
func eachLine(r io.Reader, limit int64, use func(string) error) error {
	limited := &io.LimitedReader{R: r, N: limit + 1}
	scanner := bufio.NewScanner(limited)
	scanner.Buffer(make([]byte, 0, 4096), maxTrustLine)
	n := 0
	for scanner.Scan() {
		n++
		line := bytes.TrimSpace(scanner.Bytes())
		if bytes.IndexByte(line, '\r') >= 0 {
			return fmt.Errorf("line %d: a carriage return inside the line: lines end with \\n or \\r\\n", n)
		}
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if err := use(string(line)); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	if limited.N == 0 {
		return fmt.Errorf("longer than %d bytes", limit)
	}
	return nil
}
