package lifelineexporter

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/pdata/testdata"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/otel-lifeline/lifeline/exporter/lifelineexporter/internal/metadatatest"
	"github.com/otel-lifeline/lifeline/internal/certtest"
	"github.com/otel-lifeline/lifeline/internal/delivery"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Every counter of a reading stands under its own name and labels, and one
// scrape takes one reading.
func TestAReadingAsMetrics(t *testing.T) {
	tel := componenttest.NewTelemetry()
	m, err := newTelemetry(tel.NewTelemetrySettings(), component.MustNewIDWithName("lifeline", "7"))
	require.NoError(t, err)
	_, err = tel.GetMetric("otelcol_lifeline_held_items")
	require.Error(t, err, "nothing is shown before the start")

	r := reading{hasFlare: true, ready: true, gateway: time.Unix(100, 0), client: time.Unix(200, 0), signingAt: time.Unix(300, 0)}
	r.signals[frame.Logs] = true
	r.items = delivery.Snapshot{
		Used: 4096, Capacity: 8192, OldestAge: 1500 * time.Millisecond,
		Flares: map[delivery.FlareOutcome]int64{{Reason: flare.Drill, Outcome: "stored"}: 9}, DrillPut: time.Unix(400, 0),
	}
	r.items.Signals[frame.Logs] = delivery.Items{
		Accepted: 28, Delivered: 2, Rejected: 3, Held: 4, LateAcks: 5,
		Flared: map[flare.Reason]int64{flare.Expired: 6, flare.Shutdown: 7},
		Lost:   map[delivery.LossReason]int64{delivery.LostBudget: 8},
	}
	reads := 0
	m.observe(func() reading { reads++; return r })
	point := func(value int64, labels ...string) metricdata.DataPoint[int64] {
		set := []attribute.KeyValue{attribute.String("exporter", "lifeline/7")}
		for pair := range slices.Chunk(labels, 2) {
			set = append(set, attribute.String(pair[0], pair[1]))
		}
		return metricdata.DataPoint[int64]{Value: value, Attributes: attribute.NewSet(set...)}
	}
	points := func(p ...metricdata.DataPoint[int64]) []metricdata.DataPoint[int64] { return p }
	same := metricdatatest.IgnoreTimestamp()
	metadatatest.AssertEqualLifelineAcceptedItems(t, tel, points(point(28, "signal", "logs")), same)
	require.Equal(t, 1, reads)
	metadatatest.AssertEqualLifelineDeliveredItems(t, tel, points(point(2, "signal", "logs")), same)
	metadatatest.AssertEqualLifelineRejectedItems(t, tel, points(point(3, "signal", "logs")), same)
	metadatatest.AssertEqualLifelineHeldItems(t, tel, points(point(4, "signal", "logs")), same)
	metadatatest.AssertEqualLifelineLateAcks(t, tel, points(point(5, "signal", "logs")), same)
	metadatatest.AssertEqualLifelineFlaredItems(t, tel, points(
		point(6, "signal", "logs", "reason", "expired"), point(7, "signal", "logs", "reason", "shutdown"),
		point(0, "signal", "logs", "reason", "ring_full"), point(0, "signal", "logs", "reason", "manual")), same)
	metadatatest.AssertEqualLifelineLostItems(t, tel, points(
		point(8, "signal", "logs", "reason", "budget"), point(0, "signal", "logs", "reason", "ring_full"),
		point(0, "signal", "logs", "reason", "shutdown"), point(0, "signal", "logs", "reason", "flare_unknown"),
		point(0, "signal", "logs", "reason", "corrupt")), same)
	metadatatest.AssertEqualLifelineFlares(t, tel, flarePoints(point), same)
	metadatatest.AssertEqualLifelineDrillLastPut(t, tel, points(point(400)), same)
	metadatatest.AssertEqualExporterQueueSize(t, tel, points(point(4096)), same)
	metadatatest.AssertEqualExporterQueueCapacity(t, tel, points(point(8192)), same)
	metadatatest.AssertEqualLifelineFlareReady(t, tel, points(point(1)), same)
	metadatatest.AssertEqualLifelineGatewayNotAfter(t, tel, points(point(100)), same)
	metadatatest.AssertEqualLifelineClientNotAfter(t, tel, points(point(200)), same)
	metadatatest.AssertEqualLifelineSigningNotAfter(t, tel, points(point(300)), same)
	metadatatest.AssertEqualLifelineRingOldestAge(t, tel, []metricdata.DataPoint[float64]{
		{Value: 1.5, Attributes: attribute.NewSet(attribute.String("exporter", "lifeline/7"))},
	}, same)

	m.freeze()
	before := reads
	r.items.Used = 1
	metadatatest.AssertEqualExporterQueueSize(t, tel, points(point(4096)), same)
	require.Equal(t, before, reads, "a frozen reading is not taken again")
	require.NoError(t, tel.Shutdown(t.Context()))
}

// flarePoints are the points of nine drills stored and nothing else.
func flarePoints(point func(int64, ...string) metricdata.DataPoint[int64]) (points []metricdata.DataPoint[int64]) {
	for _, reason := range []string{"expired", "ring_full", "shutdown", "rejected", "drill", "manual"} {
		for outcome, n := range map[string]int64{"stored": 9, "given_up": 0, "failed": 0} {
			if reason != "drill" {
				n = 0
			}
			points = append(points, point(n, "reason", reason, "outcome", outcome))
		}
	}
	return points
}

// Without flare nothing claims that a fallback would be ready, or not.
func TestWhatIsNotThereIsNotShown(t *testing.T) {
	a := newAgent(t, "http://127.0.0.1:9").start()
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(1)))
	s := a.scrape()
	for _, name := range []string{"lifeline_flare_ready", "lifeline_flares{outcome=stored,reason=expired}", "lifeline_drill_last_put", "lifeline_gateway_not_after", "lifeline_client_not_after", "lifeline_signing_not_after"} {
		require.NotContains(t, s, name)
	}
	require.Contains(t, s, "lifeline_held_items{signal=logs}")
}

func TestTheEndOfTheClientCertificate(t *testing.T) {
	write := func(until time.Time) []byte {
		_, file := certtest.Self(t, "localhost", until)
		cert, err := os.ReadFile(file) //nolint:gosec // the test's own file
		require.NoError(t, err)
		return cert
	}
	first, second := time.Unix(2000000000, 0).UTC(), time.Unix(2100000000, 0).UTC()
	require.True(t, clientEnd(configtls.Config{})().IsZero())
	inline := clientEnd(configtls.Config{CertPem: configopaque.String(write(first))})
	require.Equal(t, first, inline())

	path := filepath.Join(t.TempDir(), "cert.pem")
	file := clientEnd(configtls.Config{CertFile: path})
	require.True(t, file().IsZero(), "missing")
	put(t, path, write(first))
	require.Equal(t, first, file())
	put(t, path, append(write(second), '\n'))
	require.Equal(t, second, file(), "a renewed certificate")
	put(t, path, []byte("garbage"))
	require.True(t, file().IsZero(), "broken")
}

func TestACallIsNeverMerged(t *testing.T) {
	c := &call{items: 3}
	require.Equal(t, 3, c.ItemsCount())
	require.Zero(t, c.BytesSize())
	_, err := c.MergeSplit(t.Context(), 0, exporterhelper.RequestSizerTypeItems, nil)
	require.ErrorIs(t, err, errNoQueue)
}
