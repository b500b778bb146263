package recovery

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
)

// fault is what a store does to a call instead of answering it in peace. do lets
// the call have its effect, and writes its answer.
type fault func(w http.ResponseWriter, do func(http.ResponseWriter))

// everyCall is each kind of call that recovery makes for a flare.
var everyCall = []string{"put try", "get flare", "put done", "delete flare"}

// storeFails is a row in which the first call of every name meets a fault.
func storeFails(f fault, names ...string) func(*way) {
	return func(w *way) {
		var mu sync.Mutex
		left := slices.Clone(names)
		w.tap.spoilCalls(func(to http.ResponseWriter, r *http.Request, c call) bool {
			mu.Lock()
			i := slices.Index(left, c.name)
			if i >= 0 {
				left = slices.Delete(left, i, i+1)
			}
			mu.Unlock()
			if i >= 0 {
				f(to, w.passOn(r, c))
			}
			return i >= 0
		})
		good := w.good()
		w.start()
		w.gone(good)
		mu.Lock()
		defer mu.Unlock()
		require.Empty(w.t, left, "every fault struck")
		w.ends(good)
	}
}

// passOn returns what makes a call whose answer is spoilt.
func (w *way) passOn(r *http.Request, c call) func(http.ResponseWriter) {
	return func(to http.ResponseWriter) {
		w.tap.pass(to, c, func(to http.ResponseWriter) { w.tap.proxy.ServeHTTP(to, r) })
	}
}

// answers is a store that refuses a call.
func answers(status int, code string) fault {
	return func(w http.ResponseWriter, _ func(http.ResponseWriter)) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>not now</Message></Error>`, code)
	}
}

// answerIsLost is a connection that is reset when the call has had its effect.
func answerIsLost(_ http.ResponseWriter, do func(http.ResponseWriter)) {
	do(discard{http.Header{}})
	panic(http.ErrAbortHandler)
}

// bodyEnds is a connection that is reset in the middle of the answer's body.
func bodyEnds(w http.ResponseWriter, do func(http.ResponseWriter)) {
	body := headOf(w, do)
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// bodyDrips is a body that takes its time.
func bodyDrips(w http.ResponseWriter, do func(http.ResponseWriter)) {
	body := headOf(w, do)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for piece := range slices.Chunk(body, len(body)/100+1) {
		<-tick.C
		_, _ = w.Write(piece)
		_ = http.NewResponseController(w).Flush()
	}
}

// headOf makes a call, answers with the head of its answer, and returns the body.
func headOf(w http.ResponseWriter, do func(http.ResponseWriter)) []byte {
	got := httptest.NewRecorder()
	do(got)
	maps.Copy(w.Header(), got.Header())
	w.WriteHeader(got.Code)
	return got.Body.Bytes()
}

// wrongBytes: the store hands out wrong bytes with every sign of a good answer,
// at the flare's beginning and in its middle, and right ones the next time. That
// is trouble with the store, and condemns no flare.
func (w *way) wrongBytes() {
	var mu sync.Mutex
	gets := 0
	w.tap.spoilCalls(func(to http.ResponseWriter, r *http.Request, c call) bool {
		mu.Lock()
		defer mu.Unlock()
		if c.name != "get flare" {
			return false
		}
		body := headOf(to, w.passOn(r, c))
		if gets++; gets == 1 {
			body[0] ^= 1
		} else if gets == 3 {
			body[len(body)/2] ^= 1
		}
		_, _ = to.Write(body)
		return true
	})
	good := w.good()
	w.start()
	_, err := w.p.WaitLine(w.ctx, "other bytes the second time", good)
	require.NoError(w.t, err)
	w.gone(good)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(w.t, 5, gets, "wrong, right, wrong, right, and right again")
	w.ends(good)
}
