package otlpsend_test

import (
	"crypto/rand"
	"io"
	"net/http"
	"testing"

	"github.com/otel-lifeline/lifeline/internal/dial"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// BenchmarkSendGRPC sends what a full frame of spans is when stored: 50 KiB.
func BenchmarkSendGRPC(b *testing.B) {
	stored := make(frame.Bytes, 50<<10)
	_, _ = rand.Read(stored)
	addr, _ := h2c(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		ok(nil).ServeHTTP(w, r)
	}))
	client, err := otlpsend.NewGRPC(func(w *otlpsend.Watch) (*grpc.ClientConn, error) {
		return grpc.NewClient("passthrough:///"+addr, append(w.Options(), w.Dialer(dial.New().DialContext), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	}, otlpsend.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	b.SetBytes(int64(len(stored)))
	b.ReportAllocs()
	for b.Loop() {
		if a := client.Send(b.Context(), &otlpsend.Request{Body: stored}); a.Err != nil {
			b.Fatal(a.Err)
		}
	}
}
