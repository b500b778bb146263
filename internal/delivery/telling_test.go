package delivery

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
)

// A bucket takes one flare and refuses another one at once, as it can when a shutdown
// puts several: what is told of it last is how it is.
func TestWhatIsToldLastOfABucketIsTrue(t *testing.T) {
	var telling sync.Mutex
	takes := true
	e, err := New(Settings{
		Agent: "a", Senders: 8, Transport: slowGateway{}, Frame: FrameSettings{MaxSize: 1 << 10},
		Ring:            RingSettings{Capacity: 1 << 20, MaxAge: time.Minute},
		Retry:           RetrySettings{InitialInterval: time.Second, MaxInterval: time.Second, Timeout: time.Second},
		ShutdownTimeout: time.Second,
		Observer: Observer{Bucket: func(_ string, ok bool, _ error) {
			if !assert.True(t, telling.TryLock(), "told two things at the same time") {
				return
			}
			defer telling.Unlock()
			runtime.Gosched() // whoever could come in between does
			assert.NotEqual(t, ok, takes, "no news")
			takes = ok
		}},
	})
	require.NoError(t, err)
	refused := errors.New("refused")
	var flares sync.WaitGroup
	for n := range 8 {
		flares.Go(func() {
			for i := range 200 {
				if (i+n)%2 == 0 {
					e.observeBucket("b", nil)
				} else {
					e.observeBucket("b", refused)
				}
			}
		})
	}
	flares.Wait()
	require.Equal(t, e.fb.targets.refused["b"] == nil, takes)
}

// Sealing fails for one reason after the other, each for several tries: the latest
// reason is what is told last, once. What is wrong with key files would else hide what
// fails when they are good again.
func TestWhyNothingCanBeSealedIsToldWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told []string // mu guards the following
		tries := map[string]int{}
		phase := "files"
		w := newWorld(t, func(s *Settings) {
			s.Observer.Bucket = func(target string, ok bool, err error) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, fmt.Sprint(target, ok, " ", err))
			}
			good := s.Flare.Sealer
			s.Flare.Sealer = func() (*flare.Sealer, error) {
				mu.Lock()
				defer mu.Unlock()
				tries[phase]++
				sealer, err := good()
				switch phase {
				case "files":
					return nil, errors.New("no such file")
				case "recipients":
					sealer.Recipients = nil
				case "signer":
					sealer.Signer = nil
				}
				return sealer, err
			}
		})
		w.gw.set(down)
		require.NoError(t, w.accept(1))
		for _, next := range []string{"recipients", "signer", "files", "good"} {
			w.wait(10 * time.Minute)
			mu.Lock()
			n := tries[phase]
			phase = next
			mu.Unlock()
			require.Greater(t, n, 2, "before %s: it failed more than once", next)
		}
		w.wait(10 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, []string{
			"false no such file", "false seal: 0 recipients: must be 1 to 16", "false seal: no signing key", "false no such file", "true <nil>",
		}, told)
		require.Equal(t, int64(1), w.logs().Flared[flare.Expired])
	})
}

// A bucket refuses for another reason than before: that is told, once, and in other
// words it is not.
func TestWhyABucketRefusesIsToldWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told []string // mu guards it
		w := newWorld(t, func(s *Settings) {
			s.Observer.Bucket = func(target string, ok bool, err error) {
				mu.Lock()
				defer mu.Unlock()
				if target == "bucket-0" {
					told = append(told, fmt.Sprint(ok, " ", bucket.KindOf(err)))
				}
			}
		})
		w.gw.set(down)
		w.buckets[1].Fail("put", -1, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Denied, Code: "AccessDenied"})
		words := func(kind bucket.Kind, code string) {
			w.buckets[0].Heal()
			for n := range 5 {
				w.buckets[0].Fail("put", 1, bucket.BeforeEffect, &bucket.Error{Kind: kind, Code: code, Err: fmt.Errorf("request %d", n)})
			}
			w.buckets[0].Fail("put", -1, bucket.BeforeEffect, &bucket.Error{Kind: kind, Code: code})
			before := len(w.buckets[0].Calls())
			w.wait(30 * time.Minute)
			require.Greater(t, len(w.buckets[0].Calls()), before+1)
		}
		require.NoError(t, w.accept(1))
		words(bucket.Unreachable, "")
		words(bucket.Throttled, "SlowDown")
		words(bucket.Denied, "AccessDenied")
		w.buckets[0].Heal()
		w.wait(30 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, []string{"false unreachable", "false throttled", "false denied", "true unknown"}, told)
	})
}
