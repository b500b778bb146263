package otlpsend_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/certtest"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/nettest"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// listen accepts connections and gives each to serve, which may do with it what
// it wants. The returned channel says that one was served.
func listen(t *testing.T, serve func(*net.TCPConn)) (addr string, served <-chan struct{}) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{}, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = conn.Close() }()
				serve(conn.(*net.TCPConn))
				done <- struct{}{}
			})
		}
	})
	t.Cleanup(func() { _ = listener.Close(); wg.Wait() })
	return listener.Addr().String(), done
}

// hear waits until the client has spoken: to a server that speaks first it would
// say nothing at all, and which error that gives is a matter of luck.
func hear(conn *net.TCPConn) { _, _ = conn.Read(make([]byte, 16<<10)) }

// reset sends RST instead of FIN.
func reset(conn *net.TCPConn) { _ = conn.SetLinger(0); _ = conn.Close() }

// certificate returns a self-signed one for 127.0.0.1 or another name.
func certificate(t *testing.T, host string, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	cert, _ := certtest.Self(t, host, until)
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	return cert, pool
}

func ack(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", protobuf)
}

// tlsServer answers acks under the certificate.
func tlsServer(t *testing.T, cert tls.Certificate) *httptest.Server {
	server := httptest.NewUnstartedServer(http.HandlerFunc(ack))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func trusting(t *testing.T, pool *x509.CertPool) *http.Client {
	client := freshClient(t)
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return client
}

func sendWith(ctx context.Context, t *testing.T, client *http.Client, endpoint string) otlpsend.Answer {
	transport, err := overHTTP(client, endpoint)
	require.NoError(t, err)
	return transport.Send(ctx, &otlpsend.Request{Signal: frame.Traces, Body: frame.Bytes(make([]byte, 1<<20))})
}

func soon() time.Time { return time.Now().Add(time.Hour) }
func past() time.Time { return time.Now().Add(-time.Minute) }

// headSeen tells when the head of an answer has come.
type headSeen struct {
	http.RoundTripper
	seen func()
}

func (h headSeen) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := h.RoundTripper.RoundTrip(r)
	h.seen()
	return resp, err
}

// outages is the table: what exactly this error of the network means.
var outages = []struct {
	name  string
	cause otlpsend.Cause
	send  func(t *testing.T) otlpsend.Answer
}{
	{"refused", otlpsend.CauseRefused, func(t *testing.T) otlpsend.Answer {
		return sendWith(t.Context(), t, freshClient(t), "http://"+nettest.Reserve(t))
	}},
	{"reset before the request was read", otlpsend.CauseRefused, func(t *testing.T) otlpsend.Answer {
		addr, served := listen(t, reset)
		answer := sendWith(t.Context(), t, freshClient(t), "http://"+addr)
		<-served
		return answer
	}},
	// The fault after the effect: the gateway has the data, the agent must not
	// believe it.
	{"reset after the request was read", otlpsend.CauseRefused, func(t *testing.T) otlpsend.Answer {
		read := make(chan int64, 1)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			read <- n
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				reset(conn.(*net.TCPConn))
			}
		}))
		defer server.Close()
		answer := sendWith(t.Context(), t, freshClient(t), server.URL)
		require.EqualValues(t, 1<<20, <-read, "the whole request arrived")
		return answer
	}},
	{"closed without an answer", otlpsend.CauseRefused, func(t *testing.T) otlpsend.Answer {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		}))
		defer server.Close()
		return sendWith(t.Context(), t, freshClient(t), server.URL)
	}},
	{"no answer in time", otlpsend.CauseTimeout, func(t *testing.T) otlpsend.Answer {
		ctx := nettest.NewDeadline(t.Context())
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			ctx.Pass()
			<-r.Context().Done()
		}))
		defer server.Close()
		return sendWith(ctx, t, freshClient(t), server.URL)
	}},
	{"answer stops in the middle", otlpsend.CauseTimeout, func(t *testing.T) otlpsend.Answer {
		ctx := nettest.NewDeadline(t.Context())
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", protobuf)
			w.Header().Set("Content-Length", "10")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		defer server.Close()
		client := freshClient(t)
		client.Transport = headSeen{client.Transport, ctx.Pass}
		return sendWith(ctx, t, client, server.URL)
	}},
	{"dial takes too long", otlpsend.CauseTimeout, func(t *testing.T) otlpsend.Answer {
		client := freshClient(t)
		client.Transport.(*http.Transport).DialContext = (&net.Dialer{Timeout: time.Nanosecond}).DialContext
		return sendWith(t.Context(), t, client, "http://127.0.0.1:9")
	}},
	{"the name is gone", otlpsend.CauseDNS, func(t *testing.T) otlpsend.Answer {
		client := freshClient(t)
		client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			// A resolver that answers like one that knows no such name.
			resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("no resolver")
			}}
			return (&net.Dialer{Resolver: resolver}).DialContext(ctx, network, addr)
		}
		return sendWith(t.Context(), t, client, "http://gateway.invalid")
	}},
	{"expired certificate", otlpsend.CauseTLSExpired, func(t *testing.T) otlpsend.Answer {
		cert, pool := certificate(t, "127.0.0.1", past())
		return sendWith(t.Context(), t, trusting(t, pool), tlsServer(t, cert).URL)
	}},
	{"certificate of another host", otlpsend.CauseTLSOther, func(t *testing.T) otlpsend.Answer {
		cert, pool := certificate(t, "parking.example.com", soon())
		return sendWith(t.Context(), t, trusting(t, pool), tlsServer(t, cert).URL)
	}},
	{"unknown authority", otlpsend.CauseTLSOther, func(t *testing.T) otlpsend.Answer {
		cert, _ := certificate(t, "127.0.0.1", soon())
		return sendWith(t.Context(), t, freshClient(t), tlsServer(t, cert).URL)
	}},
	{"plain HTTP answers TLS", otlpsend.CauseTLSOther, func(t *testing.T) otlpsend.Answer {
		server := httptest.NewServer(http.HandlerFunc(ack))
		defer server.Close()
		return sendWith(t.Context(), t, freshClient(t), "https://"+server.Listener.Addr().String())
	}},
	{"a server without TLS closes", otlpsend.CauseTLSOther, func(t *testing.T) otlpsend.Answer {
		addr, served := listen(t, func(conn *net.TCPConn) {
			hear(conn)
			_, _ = conn.Write([]byte("220 smtp.example.com ESMTP\r\n"))
		})
		answer := sendWith(t.Context(), t, freshClient(t), "https://"+addr)
		<-served
		return answer
	}},
	{"our certificate has expired", otlpsend.CauseTLSExpired, func(t *testing.T) otlpsend.Answer {
		cert, pool := certificate(t, "127.0.0.1", soon())
		ours, oursPool := certificate(t, "agent", past())
		server := httptest.NewUnstartedServer(http.HandlerFunc(ack))
		server.TLS = &tls.Config{
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12,
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: oursPool,
		}
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		defer server.Close()
		client := trusting(t, pool)
		client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{ours}
		// TLS 1.3 lets the client write before it knows, and then the reset may be
		// seen before the alert.
		client.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
		return sendWith(t.Context(), t, client, server.URL)
	}},
	{"our certificate is missing", otlpsend.CauseTLSOther, func(t *testing.T) otlpsend.Answer {
		cert, pool := certificate(t, "127.0.0.1", soon())
		server := httptest.NewUnstartedServer(http.HandlerFunc(ack))
		server.TLS = serving(cert)
		server.TLS.ClientAuth = tls.RequireAnyClientCert
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		defer server.Close()
		client := trusting(t, pool)
		client.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12 // as above
		return sendWith(t.Context(), t, client, server.URL)
	}},
	{"black hole", otlpsend.CauseTimeout, func(t *testing.T) otlpsend.Answer {
		ctx := nettest.NewDeadline(t.Context())
		addr, served := listen(t, func(c *net.TCPConn) { hear(c); ctx.Pass(); _, _ = io.Copy(io.Discard, c) })
		answer := sendWith(ctx, t, freshClient(t), "http://"+addr)
		<-served
		return answer
	}},
	{"proxy is gone", otlpsend.CauseProxy, func(t *testing.T) otlpsend.Answer {
		return sendWith(t.Context(), t, through(t, nettest.Reserve(t)), "https://gateway.invalid")
	}},
	{"proxy refuses to connect", otlpsend.CauseProxy, func(t *testing.T) otlpsend.Answer {
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodConnect {
				w.WriteHeader(http.StatusForbidden)
			}
		}))
		defer proxy.Close()
		return sendWith(t.Context(), t, through(t, proxy.Listener.Addr().String()), "https://gateway.invalid")
	}},
}

func TestEveryNetworkErrorHasItsCause(t *testing.T) {
	for _, test := range outages {
		t.Run(test.name, func(t *testing.T) {
			answer := test.send(t)
			require.Equal(t, test.cause, answer.Cause, "error: %v", answer.Err)
			require.Equal(t, otlpsend.Down, answer.Verdict)
			require.Error(t, answer.Err)
			require.Zero(t, answer.Rejected)
		})
	}
}

func through(t *testing.T, proxy string) *http.Client {
	client := freshClient(t)
	client.Transport.(*http.Transport).Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: proxy})
	return client
}

func TestAnotherProtocolIsNoAck(t *testing.T) {
	addr, served := listen(t, func(conn *net.TCPConn) {
		// Not before it was asked: what comes earlier breaks the request instead.
		if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		_, _ = conn.Write([]byte("SSH-2.0-OpenSSH_9.9\r\n"))
	})
	answer := send(t, "http://"+addr)
	<-served
	require.Equal(t, otlpsend.Broken, answer.Verdict, "error: %v", answer.Err)
	require.Equal(t, otlpsend.CauseNotAnAck, answer.Cause)
}

func TestWhoCancelsGetsNoCause(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		cancel()
	}))
	defer server.Close()
	// The server's handler returns only after cancel: its 200 must not count.
	answer := sendWith(ctx, t, freshClient(t), server.URL)
	require.Equal(t, otlpsend.Down, answer.Verdict)
	require.Equal(t, otlpsend.CauseNone, answer.Cause)
	require.ErrorIs(t, answer.Err, context.Canceled)
}
