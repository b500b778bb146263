package lifelineexporter

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/pdata/testdata"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/nettest"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

// lostAnswer takes a request and hangs up.
func lostAnswer(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func tooLarge(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusRequestEntityTooLarge)
}

// flapping takes every other request.
func flapping() http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%2 == 0 {
			unavailable(w, r)
			return
		}
		ack(w, r)
	}
}

// TestItemsAddUpInEveryScenario scrapes all the time, from the first call to
// behind the end of a shutdown, beside every pair of a gateway and a bucket.
func TestItemsAddUpInEveryScenario(t *testing.T) {
	for gateway, answer := range map[string]http.HandlerFunc{
		"healthy": ack, "parked": parked, "unavailable": unavailable, "silent": silent,
		"answers lost": lostAnswer, "too large": tooLarge, "flapping": flapping(),
	} {
		for bucket, prepare := range map[string]func(*store){
			"good": func(*store) {}, "refuses": func(s *store) { s.setRefuse(true) }, "silent": (*store).setHang,
		} {
			t.Run(gateway+", "+bucket, func(t *testing.T) {
				t.Parallel()
				s := newStore(t)
				prepare(s)
				a := newAgent(t, newGateway(t, answer).URL, withFlare(s, keyDir(t)), func(cfg *Config) {
					cfg.Ring.Capacity, cfg.Frame.MaxSize, cfg.Ring.MaxAge = bytesize.MiB, 16*bytesize.KiB, time.Second
					cfg.Timeout, cfg.ShutdownTimeout = 200*time.Millisecond, 8*time.Second
				}).start()
				a.scrapeBeside(func() { feed(a, 300) })
				a.scrapeBeside(a.shutdown)
				sc := a.scrape()
				for _, signal := range []string{"traces", "metrics", "logs"} {
					require.Positive(t, sc.conserves(t, signal))
					require.Zero(t, sc["lifeline_held_items{signal="+signal+"}"])
				}
				require.Equal(t, sc["lifeline_delivered_items{signal=logs}"], sc["exporter_sent_log_records"], "acks and nothing else")
				require.LessOrEqual(t, sc["exporter_queue_size"], sc["exporter_queue_capacity"])
				require.EqualValues(t, bytesize.MiB, sc["exporter_queue_capacity"])
			})
		}
	}
}

// feed hands in calls of all signals, a few at a time.
func feed(a *agent, calls int) {
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := range calls / 3 {
				_ = a.logs.ConsumeLogs(context.Background(), testdata.GenerateLogs(1+i%9))
				_ = a.traces.ConsumeTraces(context.Background(), testdata.GenerateTraces(3))
				_ = a.metrics.ConsumeMetrics(context.Background(), testdata.GenerateMetrics(2))
			}
		})
	}
	wg.Wait()
}

// scrapeBeside scrapes until do is done, at least once; in each scrape the items
// add up.
func (a *agent) scrapeBeside(do func()) {
	a.t.Helper()
	done := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer close(done)
		do()
	})
	often := time.NewTicker(5 * time.Millisecond) // and not all the time: others test beside us
	defer often.Stop()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		case <-often.C:
		}
		s := a.scrape()
		for _, signal := range []string{"traces", "metrics", "logs"} {
			s.conserves(a.t, signal)
		}
	}
}

// TestShutdownsInAnyOrder stops the signals of an agent whose gateway and bucket
// are silent: in any order, some twice, some never started, in bounded time.
func TestShutdownsInAnyOrder(t *testing.T) {
	const traces, metrics, logs = 0, 1, 2
	for _, test := range []struct{ started, stopped []int }{
		{[]int{traces, metrics, logs}, []int{traces, metrics, logs}},
		{[]int{traces, metrics, logs}, []int{traces, logs, metrics}},
		{[]int{traces, metrics, logs}, []int{metrics, traces, logs}},
		{[]int{traces, metrics, logs}, []int{metrics, logs, traces}},
		{[]int{traces, metrics, logs}, []int{logs, traces, metrics}},
		{[]int{logs, metrics, traces}, []int{logs, logs, metrics, metrics, traces, traces, logs}},
		{[]int{logs}, []int{traces, metrics, logs}},
		{[]int{logs}, []int{logs, metrics, traces, traces}},
		{nil, []int{logs, traces, metrics, logs}},
	} {
		t.Run(fmt.Sprint(test.started, test.stopped), func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			s.setHang()
			a := newAgent(t, newGateway(t, silent).URL, withFlare(s, keyDir(t)), func(cfg *Config) { cfg.ShutdownTimeout = time.Second })
			signals := []component.Component{a.traces, a.metrics, a.logs}
			for _, i := range test.started {
				require.NoError(t, signals[i].Start(t.Context(), a.host))
			}
			taken := int64(0)
			if a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(5)) == nil {
				taken = 5
			}
			require.Equal(t, test.started != nil, taken > 0)
			gone, cancel := context.WithCancel(context.Background())
			cancel() // shutdown_timeout is the bound
			begin := time.Now()
			for _, i := range test.stopped {
				require.NoError(t, signals[i].Shutdown(gone))
			}
			t.Log(time.Since(begin))
			require.Error(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(5)))
			if taken == 0 {
				return
			}
			sc := a.scrape()
			require.Equal(t, taken, sc.conserves(t, "logs"))
			require.Equal(t, taken, sc["lifeline_lost_items{reason=flare_unknown,signal=logs}"]+sc["lifeline_lost_items{reason=shutdown,signal=logs}"], "%v", sc)
			require.Len(t, a.log.FilterMessageSnippet("lost for good").All(), 1)
		})
	}
}

// TestReload ends an instance in the middle of an outage and starts the next, as
// a reload does: what the first took arrives, at the gateway or in the bucket.
func TestReload(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{"healthy": ack, "unavailable": unavailable, "silent": silent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, g, dir := newStore(t), newGateway(t, answer), keyDir(t)
			var delivered, flared int64
			for range 3 {
				a := newAgent(t, g.URL, withFlare(s, dir), func(cfg *Config) { cfg.Timeout, cfg.Audience = time.Second, "acme-prod" }).start()
				for range 10 {
					require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(3)))
				}
				a.shutdown()
				sc := a.scrape()
				require.EqualValues(t, 30, sc.conserves(t, "logs"))
				delivered += sc["lifeline_delivered_items{signal=logs}"]
				flared += sc["lifeline_flared_items{reason=shutdown,signal=logs}"]
			}
			require.EqualValues(t, 90, delivered+flared)
			items, flares := openAll(t, s)
			stored, boots := int64(0), map[string]bool{}
			for _, n := range items {
				stored += n
			}
			for _, f := range flares {
				boots[f.Manifest.BootID] = true
			}
			require.Equal(t, flared, stored)
			if name != "healthy" {
				require.Len(t, boots, 3, "every instance is a boot of its own")
			}
		})
	}
}

// TestStartWithNothingThere starts while neither gateway nor bucket exist.
func TestStartWithNothingThere(t *testing.T) {
	nowhere := &store{Server: &httptest.Server{URL: "http://" + nettest.Reserve(t)}}
	a := newAgent(t, "http://"+nettest.Reserve(t), withFlare(nowhere, keyDir(t)), func(cfg *Config) { cfg.ShutdownTimeout = time.Second }).start()
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(2)))
	a.hears("flare bucket would not take flares")
	sc := a.scrape()
	require.Zero(t, sc["lifeline_flare_ready"])
	require.EqualValues(t, 2, sc["lifeline_held_items{signal=logs}"])
	a.shutdown()
	require.EqualValues(t, 2, a.scrape()["lifeline_lost_items{reason=shutdown,signal=logs}"])
}

// TestNewCredentialsAreProven asks a bucket again when the file changed, and not
// otherwise.
func TestNewCredentialsAreProven(t *testing.T) {
	s, dir := newStore(t), keyDir(t)
	path := filepath.Join(dir, "s3")
	credentials := func(secret string) []byte {
		return []byte("[default]\naws_access_key_id = key\naws_secret_access_key = " + secret + "\n")
	}
	put(t, path, credentials("secret"))
	a := newAgent(t, newGateway(t, ack).URL, withFlare(s, dir), func(cfg *Config) {
		flareCfg := *cfg.Flare.Get()
		flareCfg.Buckets = []s3bucket.Config{{Bucket: "acme-flares", Prefix: "f/", Endpoint: s.URL, PathStyle: true, CredentialsFile: path}}
		cfg.Flare = configoptional.Some(flareCfg)
	}).start()
	f := a.core().running.fallback
	f.check(t.Context())
	before := s.probed()
	require.Positive(t, before)
	f.check(t.Context())
	require.Equal(t, before, s.probed(), "known to be good")
	put(t, path, credentials("another secret"))
	f.check(t.Context())
	require.Equal(t, before+1, s.probed())
	require.EqualValues(t, 1, a.scrape()["lifeline_flare_ready"])
}
