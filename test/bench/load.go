package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// Load says what the requests of one run are like.
type Load struct {
	Signal frame.Signal // traces, metrics or logs
	Items  int          // spans, data points or log records per request
	Noise  int          // random bytes added to each item: 2000 make it incompressible
}

// maker makes records out of random numbers. Those of one seed are always the same, but for the time of day.
type maker struct {
	*rand.Rand
	now    time.Time
	noise  int
	made   uint64
	tenant int // which process the next request comes from
}

func newMaker(seed uint64, noise int) *maker {
	return &maker{Rand: rand.New(rand.NewPCG(seed, seed)), now: time.Now(), noise: noise} //nolint:gosec // the same load in every run
}

// poolBytes is the least that a pool holds: more than any window, so that a
// request does not meet its own earlier copy.
const poolBytes = 4 << 20

// Pool returns export requests, all different, of at least 4 MiB in all.
func (l Load) Pool(seed uint64) ([][]byte, error) {
	m := newMaker(seed, l.Noise)
	var pool [][]byte
	for size := 0; size < poolBytes || len(pool) < 4; {
		raw, err := m.request(l.Signal, l.Items)
		if err != nil {
			return nil, err
		}
		pool = append(pool, raw)
		size += len(raw)
	}
	return pool, nil
}

// Stream returns a function that makes one new request at every call, for runs
// that must tell every item from every other. It must not be used concurrently.
func (l Load) Stream(seed uint64) func() ([]byte, error) {
	m := newMaker(seed, l.Noise)
	return func() ([]byte, error) { return m.request(l.Signal, l.Items) }
}

// Ratio returns how far zstd, fastest, compresses the requests when they are
// joined to frames of 256 KiB, and the mean size of an item.
func Ratio(s frame.Signal, pool [][]byte) (ratio, itemBytes float64, err error) {
	var joined []byte
	var raw, stored, items int64
	flush := func() error {
		var out bytes.Buffer
		if err := otlpcodec.Compress(&out, joined); err != nil {
			return err
		}
		raw, stored = raw+int64(len(joined)), stored+int64(out.Len())
		joined = joined[:0]
		return nil
	}
	for _, r := range pool {
		n, err := otlpcodec.Count(s, r)
		if err != nil {
			return 0, 0, err
		}
		items += n
		if joined = append(joined, r...); len(joined) >= 256<<10 {
			if err := flush(); err != nil {
				return 0, 0, err
			}
		}
	}
	if stored == 0 {
		if err := flush(); err != nil {
			return 0, 0, err
		}
	}
	return float64(raw) / float64(stored), float64(raw) / float64(items), nil
}

func (m *maker) request(s frame.Signal, items int) ([]byte, error) {
	m.tenant = m.IntN(len(services))
	m.now = m.now.Add(time.Duration(m.IntN(1e6)))
	switch s {
	case frame.Traces:
		r := ptraceotlp.NewExportRequest()
		m.traces(r.Traces(), items)
		return r.MarshalProto()
	case frame.Metrics:
		r := pmetricotlp.NewExportRequest()
		m.metrics(r.Metrics(), items)
		return r.MarshalProto()
	case frame.Logs:
		r := plogotlp.NewExportRequest()
		m.logs(r.Logs(), items)
		return r.MarshalProto()
	case frame.Profiles:
	}
	return nil, fmt.Errorf("no load of %s", s)
}

// traceID is random.
func (m *maker) traceID() (id pcommon.TraceID) {
	binary.LittleEndian.PutUint64(id[:], m.Uint64())
	binary.LittleEndian.PutUint64(id[8:], m.Uint64())
	return id
}

// spanID looks random and is different at every call: multiplication with an odd
// number permutes the numbers.
func (m *maker) spanID() (id pcommon.SpanID) {
	m.made++
	binary.LittleEndian.PutUint64(id[:], m.made*0x9e3779b97f4a7c15)
	return id
}

// jitter adds the noise of the load to an item.
func (m *maker) jitter(attrs pcommon.Map) {
	if m.noise == 0 {
		return
	}
	b := make([]byte, 0, m.noise+7)
	for len(b) < m.noise {
		b = binary.LittleEndian.AppendUint64(b, m.Uint64())
	}
	attrs.PutEmptyBytes("payload").FromRaw(b[:m.noise])
}

func (m *maker) resource(attrs pcommon.Map) {
	attrs.PutStr("service.name", services[m.tenant])
	attrs.PutStr("service.version", "2.14.3")
	attrs.PutStr("host.name", fmt.Sprintf("ip-10-0-%d-17", m.tenant))
	attrs.PutStr("telemetry.sdk.language", "go")
}

var services = []string{"checkout", "cart", "frontend", "payment", "inventory", "shipping", "search", "accounts"}
