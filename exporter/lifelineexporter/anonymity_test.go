package lifelineexporter

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/bits"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/pdata/testdata"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/certtest"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

// tap is a store behind TLS that keeps every byte of every request.
type tap struct {
	addr   string
	caFile string

	mu    sync.Mutex
	hello []string // server names asked for
	puts  [][]byte // raw requests that stored something, head and body
}

// newTap starts a tap with a certificate of its own.
func newTap(t *testing.T) *tap {
	cert, caFile := certtest.Self(t, "localhost", time.Now().Add(time.Hour))
	tp := &tap{caFile: caFile}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{cert},
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			tp.mu.Lock()
			defer tp.mu.Unlock()
			tp.hello = append(tp.hello, h.ServerName)
			return nil, nil
		},
	})
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	tp.addr = "localhost:" + port
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { tp.serve(conn) })
		}
	})
	t.Cleanup(func() { require.NoError(t, l.Close()); wg.Wait() })
	return tp
}

// serve answers the requests of a connection, the last of which ends it.
func (tp *tap) serve(conn net.Conn) {
	defer conn.Close()
	var raw bytes.Buffer
	r := bufio.NewReader(io.TeeReader(conn, &raw))
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		seen := bytes.Clone(raw.Bytes()[:raw.Len()-r.Buffered()])
		raw.Next(len(seen))
		if req.Method != http.MethodPut {
			text := "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
			fmt.Fprintf(conn, "HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
			continue
		}
		tp.mu.Lock()
		tp.puts = append(tp.puts, seen)
		tp.mu.Unlock()
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 0\r\n\r\n")
	}
}

// spied is one PUT as it came over the wire.
type spied struct {
	line   string
	header map[string]string
	body   []byte
}

func (tp *tap) spied(t *testing.T) []spied {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	var all []spied
	for _, raw := range tp.puts {
		head, body, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
		require.True(t, ok)
		lines := strings.Split(string(head), "\r\n")
		s := spied{line: lines[0], header: map[string]string{}, body: body}
		for _, line := range lines[1:] {
			name, value, ok := strings.Cut(line, ": ")
			require.True(t, ok, line)
			require.NotContains(t, s.header, name)
			s.header[name] = value
		}
		all = append(all, s)
	}
	return all
}

// owner opens everything that is sealed to it.
type owner struct{ identities []*age.HybridIdentity }

// recipients is the file that all agents have.
func (o *owner) recipients(t *testing.T) []byte {
	var text string
	for range 2 {
		id, err := age.GenerateHybridIdentity()
		require.NoError(t, err)
		o.identities = append(o.identities, id)
		text += id.Recipient().String() + "\n"
	}
	return []byte(text)
}

// flareOf lets an agent of its own, with its own key, name, environment and way
// of living, store flares, and returns them.
func flareOf(t *testing.T, recipients []byte, name string, change func(*Config)) []spied {
	dir, tp := t.TempDir(), newTap(t)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, name)
	require.NoError(t, err)
	put(t, filepath.Join(dir, "recipients.txt"), recipients)
	put(t, filepath.Join(dir, "agent_ed25519"), pem.EncodeToMemory(block))
	a := newAgent(t, newGateway(t, unavailable).URL, func(cfg *Config) {
		cfg.Agent, cfg.Audience = name, "secret-audience"
		cfg.Flare = configoptional.Some(FlareConfig{
			Buckets: []s3bucket.Config{{
				Bucket: "some-bucket", Prefix: "f/", Endpoint: "https://" + tp.addr, PathStyle: true, CAFile: tp.caFile,
				AccessKeyID: "AKEY", SecretAccessKey: "secret-of-the-key",
			}},
			RecipientsFile: filepath.Join(dir, "recipients.txt"), SigningKeyFile: filepath.Join(dir, "agent_ed25519"), Budget: bytesize.GiB,
		})
		change(cfg)
	})
	a.set.BuildInfo = component.BuildInfo{Command: "otelcol-of-" + name, Version: "v9.8.7-secret"}
	a.shutdown() // those of another build
	a.create()
	a.start()
	for range 3 {
		require.NoError(t, a.traces.ConsumeTraces(t.Context(), testdata.GenerateTraces(50)))
	}
	a.shutdown()
	tp.mu.Lock()
	for _, asked := range tp.hello {
		require.Equal(t, "localhost", asked, "path style keeps the bucket's name out of TLS")
	}
	tp.mu.Unlock()
	all := tp.spied(t)
	require.NotEmpty(t, all)
	return all
}

// What a PUT says besides the flare: everything that S3 needs, and nothing else.
// Only the key, the port of the store, the time and the signature are free in it.
var (
	putForm       = regexp.MustCompile(`^PUT /some-bucket/f/[0-9a-f]{32}\.age HTTP/1\.1$`)
	hostForm      = regexp.MustCompile(`^localhost:\d+$`)
	dateForm      = regexp.MustCompile(`^\d{8}T\d{6}Z$`) // now, which the store sees anyway
	signatureForm = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=AKEY/\d{8}/us-east-1/s3/aws4_request, ` +
		`SignedHeaders=content-length;host;if-none-match;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date, Signature=[0-9a-f]{64}$`)
)

// The whole PUT, as it leaves the host: no header, no name and no figure in it
// says who made it, with what or on what. Every header has one form that holds
// nothing but what the store knows or the body says.
func TestAFlareTellsNothing(t *testing.T) {
	var o owner
	for _, s := range flareOf(t, o.recipients(t), "some-tenant/some-host", func(*Config) {}) {
		require.Regexp(t, putForm, s.line)
		for name, form := range map[string]*regexp.Regexp{"Host": hostForm, "X-Amz-Date": dateForm, "Authorization": signatureForm} {
			require.Regexp(t, form, s.header[name])
			delete(s.header, name)
		}
		sum := sha256.Sum256(s.body)
		require.Equal(t, map[string]string{
			"If-None-Match": "*", "User-Agent": "lifeline",
			"Content-Length":        strconv.Itoa(len(s.body)),
			"X-Amz-Content-Sha256":  hex.EncodeToString(sum[:]),
			"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(sum[:]),
		}, s.header)

		plain := string(o.open(t, s.body))
		for _, secret := range []string{`"agent":"some-tenant/some-host"`, `"version":"v9.8.7-secret"`} {
			require.Contains(t, plain, secret)
			require.False(t, bytes.Contains(s.body, []byte(secret)), "%s is in the body", secret)
		}
	}
}

// Two agents that have nothing in common but the recipients: a store, or whoever
// reads it, cannot tell whose flare is whose by anything but what is random.
func TestFlaresOfTwoAgentsLookAlike(t *testing.T) {
	var o owner
	recipients := o.recipients(t)
	one := flareOf(t, recipients, "a/b", func(cfg *Config) { cfg.Order = "newest_first" })
	other := flareOf(t, recipients, strings.Repeat("long-name", 12), func(cfg *Config) { cfg.MetadataKeys = []string{"x-tenant"} })
	require.Equal(t, shapes(t, one), shapes(t, other))

	seen := map[string]bool{}
	for _, s := range slices.Concat(one, other) {
		require.False(t, seen[s.line], "a key stands twice")
		seen[s.line] = true
		plain := o.open(t, s.body)
		require.Equal(t, len(plain), padded(len(plain)), "sizes come in classes")
		require.Zero(t, len(plain)%512)
	}
}

// shape is all that can be seen of a flare without a key and is not random.
type shape struct {
	headers string // their names, sorted
	stanzas string // of the age header: types and lengths, in order
}

func shapes(t *testing.T, all []spied) []shape {
	var list []shape
	for _, s := range all {
		var names []string
		for name := range s.header {
			names = append(names, name)
		}
		slices.Sort(names)
		header, _, ok := bytes.Cut(s.body, []byte("\n--- "))
		require.True(t, ok)
		var stanzas string
		for line := range strings.Lines(string(header)) {
			kind := ""
			if strings.HasPrefix(line, "->") {
				kind = strings.Fields(line)[1]
			}
			stanzas += fmt.Sprintf("%s %d\n", kind, len(line))
		}
		list = append(list, shape{strings.Join(names, " "), stanzas})
	}
	slices.SortFunc(list, func(a, b shape) int { return strings.Compare(a.stanzas, b.stanzas) })
	return slices.Compact(list)
}

func (o *owner) open(t *testing.T, body []byte) []byte {
	r, err := age.Decrypt(bytes.NewReader(body), o.identities[0])
	require.NoError(t, err)
	plain, err := io.ReadAll(r)
	require.NoError(t, err)
	return plain
}

// padded is the size class of n: as many significant bits as its length has.
func padded(n int) int {
	e := bits.Len(uint(n)) - 1
	mask := 1<<(e-bits.Len(uint(e))) - 1
	return (n + mask) &^ mask
}
