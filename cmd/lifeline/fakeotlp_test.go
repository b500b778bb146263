package main

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
)

// fakeOTLP is a set of OTLP servers at /<name>/<behaviour>: ack takes everything,
// once takes the first request and is down from then on, bad refuses traces as
// bad data, page is a stranger that answers 200 to everything.
type fakeOTLP struct {
	mu  sync.Mutex
	got map[string][]string // by name: flare, signal and batch id of what was acked; guarded by mu
}

func (f *fakeOTLP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 3)
	name, behaviour, signal := parts[0], parts[1], parts[2]
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case behaviour == "once" && len(f.got[name]) > 0:
		w.WriteHeader(http.StatusServiceUnavailable)
	case behaviour == "bad" && signal == "v1/traces":
		body, _ := proto.Marshal(&spb.Status{Code: 3, Message: "no such thing as a span"})
		w.Header().Set("Content-Type", "application/x-protobuf")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(body)
	case behaviour == "page":
		_, _ = io.WriteString(w, "<html>welcome</html>")
	default:
		f.got[name] = append(f.got[name], r.Header.Get("lifeline-flare-id")+" "+signal+" "+r.Header.Get("lifeline-batch-id"))
		w.Header().Set("Content-Type", "application/x-protobuf")
	}
}

// check is the command `got NAME N`: so many different records were acked, none
// of them twice.
func (f *fakeOTLP) check(ts *testscript.TestScript, _ bool, args []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	different := map[string]bool{}
	for _, record := range f.got[args[0]] {
		different[record] = true
	}
	if len(f.got[args[0]]) != want || len(different) != want {
		ts.Fatalf("the server got %q", f.got[args[0]])
	}
}
