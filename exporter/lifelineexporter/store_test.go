package lifelineexporter

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// store is S3 as a writer of flares sees it.
type store struct {
	*httptest.Server

	mu      sync.Mutex
	objects map[string][]byte
	headers []http.Header // of the PUTs
	probes  int           // requests that were no PUT
	refuse  bool
	hang    bool
}

func newStore(t *testing.T) *store {
	s := &store{objects: map[string][]byte{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// ServeHTTP implements http.Handler.
func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	hang := s.hang
	s.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method != http.MethodPut {
		s.probes++
	}
	if r.Method != http.MethodPut || s.refuse {
		code := "AccessDenied"
		if s.refuse {
			code = "InvalidAccessKeyId"
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
		return
	}
	s.objects[r.URL.Path] = body
	s.headers = append(s.headers, r.Header)
	w.Header().Set("ETag", `"1"`)
}

func (s *store) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

func (s *store) object(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key]
}

func (s *store) setHang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hang = true
}

func (s *store) probed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probes
}

func (s *store) setRefuse(refuse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}
