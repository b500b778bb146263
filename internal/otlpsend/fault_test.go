package otlpsend_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/otel-lifeline/lifeline/internal/dial"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/nettest"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// target is a server in trouble.
type target struct {
	addr string
	tls  *tls.Config // nil: none
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// dialGRPC returns a client of the target.
func (to target) dialGRPC(t *testing.T) *otlpsend.GRPC {
	if to.dial == nil {
		to.dial = dial.New().DialContext
	}
	g, err := otlpsend.NewGRPC(func(w *otlpsend.Watch) (*grpc.ClientConn, error) {
		opts := append(w.Options(), w.Dialer(to.dial))
		if to.tls != nil {
			opts = append(opts, w.TLS(to.tls))
		} else {
			opts = append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))
		}
		return grpc.NewClient("passthrough:///"+to.addr, opts...)
	}, otlpsend.Options{})
	require.NoError(t, err)
	t.Cleanup(g.Close)
	return g
}

// secure starts a server of HTTP/2 under the certificate.
func secure(t *testing.T, cfg *tls.Config) string {
	server := httptest.NewUnstartedServer(ok(nil))
	server.EnableHTTP2 = true
	server.TLS = cfg
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// rpcOutages is the table of network errors for gRPC.
var rpcOutages = []struct {
	name string
	want want
	to   func(t *testing.T) (target, <-chan struct{}) // the channel says that the fault happened; nil: the answer alone does
}{
	{"refused", down(otlpsend.CauseRefused), func(t *testing.T) (target, <-chan struct{}) { return target{addr: nettest.Reserve(t)}, nil }},
	{"reset before the request was read", down(otlpsend.CauseRefused), func(t *testing.T) (target, <-chan struct{}) {
		addr, served := listen(t, func(c *net.TCPConn) { hear(c); reset(c) })
		return target{addr: addr}, served
	}},
	{"reset after the request was read", down(otlpsend.CauseRefused), func(t *testing.T) (target, <-chan struct{}) {
		read := make(chan struct{}, 1)
		addr, _ := h2c(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if n, _ := io.Copy(io.Discard, r.Body); n > 1<<20 {
				read <- struct{}{}
			}
			panic(http.ErrAbortHandler)
		}))
		return target{addr: addr}, read
	}},
	{"black hole", down(otlpsend.CauseTimeout), func(t *testing.T) (target, <-chan struct{}) {
		heard := make(chan struct{}, 100)
		addr, _ := listen(t, func(c *net.TCPConn) { hear(c); heard <- struct{}{}; _, _ = io.Copy(io.Discard, c) })
		return target{addr: addr}, heard
	}},
	{"no answer in time", down(otlpsend.CauseTimeout), func(t *testing.T) (target, <-chan struct{}) {
		read := make(chan struct{}, 1)
		addr, _ := h2c(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			read <- struct{}{}
			<-r.Context().Done()
		}))
		return target{addr: addr}, read
	}},
	{"slow drip", down(otlpsend.CauseTimeout), func(t *testing.T) (target, <-chan struct{}) {
		dripped := make(chan struct{}, 1)
		addr, _ := h2c(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc+proto")
			_, _ = w.Write([]byte{0, 0})
			_ = http.NewResponseController(w).Flush()
			dripped <- struct{}{}
			<-r.Context().Done()
		}))
		return target{addr: addr}, dripped
	}},
	{"frozen flow", down(otlpsend.CauseTimeout), func(t *testing.T) (target, <-chan struct{}) {
		begun := make(chan struct{}, 1)
		addr, _ := h2c(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			begun <- struct{}{} // and the body is never read: the window stays closed
			<-r.Context().Done()
		}))
		return target{addr: addr}, begun
	}},
	{"the name is gone", down(otlpsend.CauseDNS), func(*testing.T) (target, <-chan struct{}) {
		return target{addr: "gateway.invalid:4317", dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "gateway.invalid"}}
		}}, nil
	}},
	{"dial takes too long", down(otlpsend.CauseTimeout), func(*testing.T) (target, <-chan struct{}) {
		return target{addr: "127.0.0.1:9", dial: (&net.Dialer{Timeout: time.Nanosecond}).DialContext}, nil
	}},
	{"expired certificate", down(otlpsend.CauseTLSExpired), func(t *testing.T) (target, <-chan struct{}) {
		cert, pool := certificate(t, "127.0.0.1", past())
		return target{addr: secure(t, serving(cert)), tls: trust(pool)}, nil
	}},
	{"certificate of another host", down(otlpsend.CauseTLSOther), func(t *testing.T) (target, <-chan struct{}) {
		cert, pool := certificate(t, "parking.example.com", soon())
		return target{addr: secure(t, serving(cert)), tls: trust(pool)}, nil
	}},
	{"unknown authority", down(otlpsend.CauseTLSOther), func(t *testing.T) (target, <-chan struct{}) {
		cert, _ := certificate(t, "127.0.0.1", soon())
		return target{addr: secure(t, serving(cert)), tls: trust(x509.NewCertPool())}, nil
	}},
	{"no TLS there", down(otlpsend.CauseTLSOther), func(t *testing.T) (target, <-chan struct{}) {
		addr, served := listen(t, func(c *net.TCPConn) { hear(c); _, _ = c.Write([]byte("220 smtp.example.com ESMTP\r\n")) })
		return target{addr: addr, tls: trust(x509.NewCertPool())}, served
	}},
	{"our certificate has expired", down(otlpsend.CauseTLSExpired), func(t *testing.T) (target, <-chan struct{}) {
		cert, pool := certificate(t, "127.0.0.1", soon())
		ours, oursPool := certificate(t, "agent", past())
		server := serving(cert)
		server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, oursPool
		client := trust(pool)
		client.Certificates, client.MaxVersion = []tls.Certificate{ours}, tls.VersionTLS12
		return target{addr: secure(t, server), tls: client}, nil
	}},
	{"our certificate is missing", down(otlpsend.CauseTLSOther), func(t *testing.T) (target, <-chan struct{}) {
		cert, pool := certificate(t, "127.0.0.1", soon())
		server := serving(cert)
		server.ClientAuth = tls.RequireAnyClientCert
		client := trust(pool)
		client.MaxVersion = tls.VersionTLS12
		return target{addr: secure(t, server), tls: client}, nil
	}},
	{"HTTP/1 there", notAck, func(t *testing.T) (target, <-chan struct{}) {
		addr, served := listen(t, func(c *net.TCPConn) {
			hear(c)
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
		})
		return target{addr: addr}, served
	}},
}

func serving(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
}

func trust(pool *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func TestEveryNetworkErrorOfGRPCHasItsCause(t *testing.T) {
	for _, test := range rpcOutages {
		t.Run(test.name, func(t *testing.T) {
			to, happened := test.to(t)
			client := to.dialGRPC(t)
			ctx := nettest.NewDeadline(t.Context())
			var waiting sync.WaitGroup
			if happened != nil {
				waiting.Go(func() {
					<-happened
					if test.want.cause == otlpsend.CauseTimeout {
						ctx.Pass() // there is no other way on
					}
				})
			}
			answer := client.Send(ctx, &otlpsend.Request{Signal: frame.Traces, Body: frame.Bytes(make([]byte, 2<<20))})
			test.want.check(t, answer)
			client.Close()
			waiting.Wait()
		})
	}
}

func TestWhoCancelsAnRPCGetsNoCause(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	addr, served := h2c(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	answer := sendRPC(ctx, t, addr)
	require.Equal(t, otlpsend.Down, answer.Verdict)
	require.Equal(t, otlpsend.CauseNone, answer.Cause)
	require.ErrorIs(t, answer.Err, context.Canceled)
	require.EqualValues(t, 1, served.Load())
}

// The first fear: the certificate was not renewed. It must be seen weeks ahead,
// and still be seen when it has expired and no handshake succeeds any more.
func TestTheEndOfTheServersCertificateIsKnown(t *testing.T) {
	for _, until := range []time.Time{soon(), past()} {
		until = until.UTC().Truncate(time.Second)
		cert, pool := certificate(t, "127.0.0.1", until)
		overHTTP, err := otlpsend.NewHTTP(tlsServer(t, cert).URL, fresh(trusting(t, pool).Transport.(*http.Transport)), otlpsend.Options{})
		require.NoError(t, err)
		defer overHTTP.Close()
		for _, client := range []otlpsend.Client{overHTTP, target{addr: secure(t, serving(cert)), tls: trust(pool)}.dialGRPC(t)} {
			require.True(t, client.NotAfter().IsZero())
			answer := client.Send(t.Context(), &otlpsend.Request{Signal: frame.Logs, Body: frame.Bytes("x")})
			require.Equal(t, until.After(time.Now()), answer.Verdict == otlpsend.Delivered, "error: %v", answer.Err)
			require.Equal(t, until, client.NotAfter())
		}
	}
}

// Nothing reads the ring once a call has returned, whatever gRPC still does.
func TestNobodyReadsABodyAfterAnRPC(t *testing.T) {
	begun := make(chan struct{}, 1)
	addr, _ := h2c(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-r.Context().Done()
	}))
	client := target{addr: addr}.dialGRPC(t)
	body := &paged{data: make([]byte, 8<<20)}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { <-begun; cancel() })
	defer wg.Wait()
	answer := client.Send(ctx, &otlpsend.Request{Body: body, Released: body.release})
	require.ErrorIs(t, answer.Err, context.Canceled)
	client.Close()
	require.Zero(t, body.late.Load())
}
