package main

import (
	"encoding/xml"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeS3 is a store whose every bucket begins with the golden flares under f/ and
// something that is no flare. In a bucket named quarantine-... they lie in
// quarantine, all taken once; in one named done-... the second one is done. It lists in pages of two. The key "writer" may put
// below f/ and nothing else.
type fakeS3 struct {
	golden map[string]object

	mu sync.Mutex
	// mu guards the following.
	buckets map[string]map[string]object
}

type object struct {
	data     []byte
	modified time.Time
}

func newFakeS3(t *testing.T) *fakeS3 {
	s := &fakeS3{golden: map[string]object{}, buckets: map[string]map[string]object{}}
	made := time.Date(2026, 9, 21, 6, 31, 1, 0, time.UTC)
	dir := os.DirFS(filepath.Join("..", "..", "testdata", "flares", "v1"))
	names, err := fs.Glob(dir, "*.age")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		s.golden["f/"+name] = object{data, made}
	}
	s.golden["f/notes.txt"] = object{[]byte("notes"), made} // never shown, never read
	return s
}

func (s *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	bucket := s.buckets[name]
	if bucket == nil {
		bucket = s.fresh(name)
		s.buckets[name] = bucket
	}
	o, exists := bucket[key]
	writer := strings.Contains(r.Header.Get("Authorization"), "Credential=writer/")
	switch {
	case r.URL.Query().Has("lifecycle"):
		fail(w, http.StatusForbidden, "AccessDenied") // as the shipped policies have it
	case writer && (r.Method != http.MethodPut || !strings.HasPrefix(key, "f/")):
		fail(w, http.StatusForbidden, "AccessDenied")
	case r.URL.Query().Get("list-type") == "2":
		writeListing(w, bucket, r.URL.Query().Get("prefix"), r.URL.Query().Get("start-after"))
	case r.Method == http.MethodDelete:
		delete(bucket, key)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPut && exists && r.Header.Get("If-None-Match") == "*":
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
	case r.Method == http.MethodPut:
		data, _ := io.ReadAll(r.Body)
		bucket[key] = object{data, time.Now()}
		w.Header().Set("Etag", `"1"`)
	case !exists:
		fail(w, http.StatusNotFound, "NoSuchKey")
	default:
		w.Header().Set("Etag", `"1"`)
		w.Header().Set("Last-Modified", o.modified.UTC().Format(http.TimeFormat))
		_, _ = w.Write(o.data)
	}
}

func (s *fakeS3) fresh(name string) map[string]object {
	bucket := maps.Clone(s.golden)
	switch {
	case strings.HasPrefix(name, "done-"):
		bucket["lifeline/done/00000000000000000000000000000002"] = object{modified: time.Now()}
	case strings.HasPrefix(name, "quarantine-"):
		for key, o := range s.golden {
			id := strings.TrimSuffix(strings.TrimPrefix(key, "f/"), ".age")
			delete(bucket, key)
			bucket["lifeline/quarantine/refused_record/"+id+".age"] = o
			bucket["lifeline/done/"+id], bucket["lifeline/try/"+id+".1"] = o, o
		}
	}
	return bucket
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<Error><Code>"+code+"</Code><Message>no</Message></Error>")
}

type listedObject struct {
	Key          string
	Size         int64
	ETag         string
	LastModified time.Time
}

func writeListing(w http.ResponseWriter, bucket map[string]object, prefix, after string) {
	result := struct {
		XMLName     xml.Name `xml:"ListBucketResult"`
		IsTruncated bool
		Contents    []listedObject
	}{}
	for _, key := range slices.Sorted(maps.Keys(bucket)) {
		if key <= after || !strings.HasPrefix(key, prefix) {
			continue
		}
		if len(result.Contents) == 2 {
			result.IsTruncated = true
			break
		}
		o := bucket[key]
		result.Contents = append(result.Contents, listedObject{key, int64(len(o.data)), `"1"`, o.modified})
	}
	_ = xml.NewEncoder(w).Encode(result)
}
