package otlpclient

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.uber.org/goleak"

	"github.com/otel-lifeline/lifeline/internal/dial"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/nettest"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// healthy acks over HTTP and gRPC alike.
func healthy(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if r.Header.Get("Content-Type") != "application/grpc+proto" {
		w.Header().Set("Content-Type", "application/x-protobuf")
		return
	}
	w.Header().Set("Content-Type", "application/grpc+proto")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = w.Write(make([]byte, 5))
	w.Header().Set("Grpc-Status", "0")
}

// serve starts a server that takes HTTP/1 and HTTP/2 without TLS.
func serve(t *testing.T, handler http.HandlerFunc) string {
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// sick are the ways of one gateway to be sick. Each returns its address. Visited is
// called when it was asked; silent, when there will be no answer.
var sick = map[string]func(t *testing.T, visited, silent func()) string{
	"refused": func(t *testing.T, visited, _ func()) string {
		visited() // nobody is there to tell
		return nettest.Reserve(t)
	},
	"black hole": func(t *testing.T, visited, silent func()) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				wg.Go(func() {
					_, _ = c.Read(make([]byte, 1))
					visited()
					silent()
					_, _ = io.Copy(io.Discard, c)
					_ = c.Close()
				})
			}
		})
		t.Cleanup(func() { _ = l.Close(); wg.Wait() })
		return l.Addr().String()
	},
	"answers 503": func(t *testing.T, visited, _ func()) string {
		return serve(t, func(w http.ResponseWriter, _ *http.Request) {
			visited()
			w.WriteHeader(http.StatusServiceUnavailable)
		})
	},
	"is another's now": func(t *testing.T, visited, _ func()) string {
		return serve(t, func(w http.ResponseWriter, _ *http.Request) {
			visited()
			_, _ = io.WriteString(w, "<html>for sale</html>")
		})
	},
	"frozen flow": func(t *testing.T, visited, silent func()) string {
		return serve(t, func(http.ResponseWriter, *http.Request) { visited(); silent(); <-t.Context().Done() })
	},
}

// addressed is a connection to an address of the documentation's network.
type addressed struct {
	net.Conn
	at string
}

func (a addressed) RemoteAddr() net.Addr {
	addr, _ := net.ResolveTCPAddr("tcp", a.at)
	return addr
}

// internet resolves gw to hosts, each of which is a local server.
type internet struct {
	hosts   []string
	servers map[string]string // host to local address
	gone    atomic.Bool       // the name
}

func (i *internet) lookup(_ context.Context, host string) ([]string, error) {
	if i.gone.Load() {
		return nil, &net.DNSError{Err: "no such host", Name: host}
	}
	return append([]string(nil), i.hosts...), nil
}

func (i *internet) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	hosts := []string{host}
	if host == "gw" {
		if hosts, err = i.lookup(ctx, host); err != nil {
			return nil, &net.OpError{Op: "dial", Err: err}
		}
	}
	for _, h := range hosts {
		var c net.Conn
		if c, err = (&net.Dialer{}).DialContext(ctx, network, i.servers[h]); err == nil {
			return addressed{c, net.JoinHostPort(h, port)}, nil
		}
	}
	return nil, err
}

func (i *internet) client(t *testing.T, cfg Config) otlpsend.Client {
	m := &maker{
		ctx: t.Context(), cfg: cfg, set: componenttest.NewNopTelemetrySettings(),
		dialer: &dial.Dialer{Connect: i.connect, Lookup: i.lookup}, proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
	}
	c, err := m.client(nil)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// ways are the two transports to gw.
func ways() map[string]Config {
	overHTTP := confighttp.NewDefaultClientConfig()
	overHTTP.Endpoint = "http://gw:4318"
	overGRPC := configgrpc.NewDefaultClientConfig()
	overGRPC.Endpoint = "gw:4317"
	overGRPC.TLS = configtls.ClientConfig{Insecure: true}
	overGRPC.Keepalive = configoptional.None[configgrpc.KeepaliveClientConfig]()
	return map[string]Config{"http": {HTTP: &overHTTP, Senders: 4}, "grpc": {GRPC: &overGRPC, Senders: 4}}
}

func attempt(t *testing.T, c otlpsend.Client) otlpsend.Answer {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return attemptWithin(ctx, c)
}

func attemptWithin(ctx context.Context, c otlpsend.Client) otlpsend.Answer {
	return c.Send(ctx, &otlpsend.Request{Signal: frame.Logs, Body: frame.Bytes(make([]byte, 1<<20))})
}

// A sick gateway behind a name with three addresses is left within two failures.
func TestASickGatewayOfThreeIsLeft(t *testing.T) {
	for name, cfg := range ways() {
		for how, fault := range sick {
			t.Run(name+" "+how, func(t *testing.T) {
				var visits atomic.Int32
				first := nettest.NewDeadline(t.Context())
				net3 := &internet{hosts: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, servers: map[string]string{
					"192.0.2.1": fault(t, func() { visits.Add(1) }, first.Pass), "192.0.2.2": serve(t, healthy), "192.0.2.3": serve(t, healthy),
				}}
				c := net3.client(t, cfg)
				if attemptWithin(first, c).Verdict != otlpsend.Delivered {
					// A sick one that does not answer takes this time. A healthy one may take any.
					second, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
					defer cancel()
					attemptWithin(second, c)
				}
				require.NotZero(t, visits.Load(), "the sick one was not asked")
				answer := attempt(t, c)
				require.Equal(t, otlpsend.Delivered, answer.Verdict, "error: %v", answer.Err)
				for range 5 {
					require.Equal(t, otlpsend.Delivered, attempt(t, c).Verdict, "it goes back to the sick one")
				}
			})
		}
	}
}

// Where nothing proves who answers, an address that worked must not stand for a
// name that is gone: it may be a stranger's by now.
func TestWhoAnswersIsProven(t *testing.T) {
	change := func(way string, change func(*Config)) *Config {
		cfg := ways()[way]
		change(&cfg)
		return &cfg
	}
	for name, c := range map[string]struct {
		cfg    *Config
		proven bool
	}{
		"http in the clear":        {change("http", func(*Config) {}), false},
		"https":                    {change("http", func(c *Config) { c.HTTP.Endpoint = "https://gw:4318" }), true},
		"https with any name":      {change("http", func(c *Config) { c.HTTP.Endpoint, c.HTTP.TLS.InsecureSkipVerify = "https://gw:4318", true }), false},
		"receipts":                 {change("http", func(c *Config) { c.ReceiptKeyFile = "keys" }), true},
		"grpc in the clear":        {change("grpc", func(*Config) {}), false},
		"grpc in the clear by URL": {change("grpc", func(c *Config) { c.GRPC.TLS.Insecure, c.GRPC.Endpoint = false, "http://gw:4317" }), false},
		"grpc with TLS":            {change("grpc", func(c *Config) { c.GRPC.TLS.Insecure = false }), true},
		"grpc with any name":       {change("grpc", func(c *Config) { c.GRPC.TLS = configtls.ClientConfig{InsecureSkipVerify: true} }), false},
	} {
		require.Equal(t, c.proven, c.cfg.proven(), name)
	}
}

// The second fear: the name is gone. What worked yesterday still answers.
func TestANameThatIsGoneIsNoOutage(t *testing.T) {
	for name, cfg := range ways() {
		t.Run(name, func(t *testing.T) {
			var refuse atomic.Bool
			var conns atomic.Int32
			one := &internet{hosts: []string{"192.0.2.1"}, servers: map[string]string{
				"192.0.2.1": serve(t, func(w http.ResponseWriter, r *http.Request) {
					if refuse.Load() {
						conns.Add(1)
						w.WriteHeader(http.StatusServiceUnavailable)
						return
					}
					healthy(w, r)
				}),
			}}
			c := one.client(t, cfg)
			require.Equal(t, otlpsend.Delivered, attempt(t, c).Verdict)
			one.gone.Store(true)
			refuse.Store(true) // so that fresh connections are needed
			for range 2 {
				require.Equal(t, otlpsend.Down, attempt(t, c).Verdict)
			}
			refuse.Store(false)
			answer := attempt(t, c)
			require.Equal(t, otlpsend.Delivered, answer.Verdict, "error: %v", answer.Err)
			require.EqualValues(t, 2, conns.Load())
			// Whoever was never there before learns that the name is gone.
			late := &internet{}
			late.gone.Store(true)
			require.Equal(t, otlpsend.CauseDNS, attempt(t, late.client(t, cfg)).Cause)
		})
	}
}
