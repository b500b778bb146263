package lifelinereceiver

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pipeline"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otel-lifeline/lifeline/internal/nettest"
)

// sender is a client that does what OTLP asks: it sends again while the answer
// is 503, and throws away what was refused as bad.
type sender struct {
	ctx  context.Context
	addr net.Addr
	last atomic.Int64
}

func (*sender) Start() {}
func (*sender) Stop()  {}

func (s *sender) Generate() []receivertest.UniqueIDAttrVal {
	id := receivertest.UniqueIDAttrVal(strconv.FormatInt(s.last.Add(1), 10))
	raw, err := plogotlp.NewExportRequestFromLogs(receivertest.CreateOneLogWithID(id)).MarshalProto()
	must(err)
	code := http.StatusServiceUnavailable
	for code == http.StatusServiceUnavailable {
		code = post(s.ctx, &gateway{http: &httpServer{listener: listener{addr: s.addr}}}, "/v1/logs", raw, "Content-Type", typeProto).httpCode
	}
	return []receivertest.UniqueIDAttrVal{id}
}

func TestConsumeContract(t *testing.T) {
	addr, err := net.ResolveTCPAddr("tcp", nettest.Reserve(t))
	require.NoError(t, err)
	cfg := testConfig(func(c *Config) {
		c.Passthrough.Enabled = false
		c.Protocols.HTTP.Get().NetAddr.Endpoint = addr.String()
	})
	receivertest.CheckConsumeContract(receivertest.CheckConsumeContractParams{
		T: t, Factory: NewFactory(), Signal: pipeline.SignalLogs, Config: cfg, GenerateCount: 200,
		Generator: &sender{ctx: t.Context(), addr: addr},
	})
}
