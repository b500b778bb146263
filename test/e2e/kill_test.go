package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/stack"
	"github.com/otel-lifeline/lifeline/test/trial"
)

var kills = flag.Int("kills", 3, "how often TestKill kills the gateway and the broker")

// The variables that make the test binary a broker: its directory and its address.
const brokerDir, brokerAddr = "E2E_BROKER_DIR", "E2E_BROKER_ADDR"

// runBroker is an embedded broker in a process of its own, until that is killed.
func runBroker() error {
	if _, err := kafka.StartAt(os.Getenv(brokerDir), os.Getenv(brokerAddr)); err != nil {
		return err
	}
	fmt.Println("the broker listens")
	select {}
}

// broker is runBroker as a child.
type broker struct {
	env []string
	p   *proc.Process
}

func (b *broker) start(ctx context.Context) (err error) {
	if b.p, err = proc.Start(proc.Command{Name: "broker", Path: os.Args[0], Env: b.env}); err != nil {
		return err
	}
	_, err = b.p.WaitLine(ctx, "the broker listens")
	return err
}

func (b *broker) kill(ctx context.Context) error {
	b.p.Kill()
	return b.p.Killed(ctx)
}

// TestKill kills the gateway and the broker with SIGKILL, in turn, under load from
// bare clients, a stock exporter and a Lifeline agent.
func TestKill(t *testing.T) {
	ctx := env.Within(t, 60*time.Second+time.Duration(*kills)*15*time.Second)
	addrs, err := proc.FreeAddrs(1)
	require.NoError(t, err)
	b := &broker{env: append(os.Environ(), brokerDir+"="+t.TempDir(), brokerAddr+"="+addrs[0])}
	require.NoError(t, b.start(ctx))
	t.Cleanup(func() { b.p.Kill() })

	s, err := stack.New(ctx, stack.Options{Otelcol: otelcol, Lifeline: lifeline, Configs: configs, Dir: t.TempDir(), Brokers: addrs[0]})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, err)
	tr := trial.Over(t, s)
	tr.StartAll(ctx)
	tr.Siege(ctx, *kills, tr.GatewayVictim(), trial.Victim{Name: "broker", Kill: b.kill, Revive: b.start})
}
