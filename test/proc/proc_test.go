package proc

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/test/env"
)

// TestMain lets the test binary be the child: CHILD names what it does.
func TestMain(m *testing.M) {
	switch os.Getenv("CHILD") {
	case "":
		os.Exit(m.Run())
	case "polite": // ends well on SIGTERM
		waitForSIGTERM("ready to go")
		fmt.Fprintln(os.Stderr, "bye")
	case "busy": // uses all the CPU time it gets
		fmt.Println("turning")
		for _, line := range []string{"turned", "turned again"} {
			for begin := cpuTime(); cpuTime()-begin < 60e6; {
			}
			fmt.Println(line)
		}
		select {} // until it is killed
	case "addrs": // takes ports, and uses none
		addrs, err := FreeAddrs(3 * blockSize)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		waitForSIGTERM("addresses " + strings.Join(addrs, " "))
	case "broken":
		fmt.Println("exporters::lifeline: no endpoint")
		os.Exit(3)
	}
}

// waitForSIGTERM says something once a signal would be heard.
func waitForSIGTERM(say string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println(say)
	<-c
}

// cpuTime returns the CPU time of this process, in nanoseconds.
func cpuTime() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

func child(t *testing.T, kind string) *Process {
	t.Helper()
	var log strings.Builder
	p, err := Start(Command{Name: kind, Path: os.Args[0], Env: []string{"CHILD=" + kind}, Log: &log})
	require.NoError(t, err)
	t.Cleanup(p.Kill)
	return p
}

func TestStopIsPolite(t *testing.T) {
	p := child(t, "polite")
	ctx := env.Within(t, 20*time.Second)
	line, err := p.WaitLine(ctx, "ready", "go")
	require.NoError(t, err)
	require.Equal(t, "ready to go", line)
	require.NoError(t, p.Stop(ctx))
	require.Equal(t, []string{"ready to go", "bye"}, p.Lines())
	line, err = p.WaitLine(ctx, "bye")
	require.NoError(t, err, "a line that was printed before the call counts")
	require.Equal(t, "bye", line)
}

func TestKillIsNot(t *testing.T) {
	p := child(t, "polite")
	ctx := env.Within(t, 20*time.Second)
	_, err := p.WaitLine(ctx, "ready")
	require.NoError(t, err)
	p.Kill()
	require.Equal(t, []string{"ready to go"}, p.Lines())
	require.ErrorContains(t, p.Wait(ctx), "signal: killed")
}

func TestFailureShowsTheOutput(t *testing.T) {
	p := child(t, "broken")
	ctx := env.Within(t, 20*time.Second)
	err := p.Wait(ctx)
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, "no endpoint")
	_, err = p.WaitLine(ctx, "never printed")
	require.ErrorContains(t, err, "no endpoint")
	require.ErrorContains(t, p.Healthy(ctx, "http://127.0.0.1:1"), "no endpoint")
}

func TestScrape(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "# TYPE held gauge\nheld{signal=\"logs\",exporter=\"lifeline\"} 3\nheld{signal=\"traces\"} 4.5\n"+
			"acked_total{signal=\"logs\"} 1e+06\nheld_other 100\nplain 7\n")
	}))
	defer srv.Close()
	s, err := Scrape(t.Context(), srv.URL)
	require.NoError(t, err)
	require.InDelta(t, 7.5, s.Sum("held"), 0)
	require.InDelta(t, 3, s.Sum("held", `signal="logs"`, `exporter="lifeline"`), 0)
	require.InDelta(t, 1e6, s.Sum("acked", `signal="logs"`), 0)
	require.InDelta(t, 7, s.Sum("plain"), 0)
	require.True(t, s.Has("acked"))
	require.False(t, s.Has("hel"))
}

func TestScrapeOfAnErrorIsNone(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	_, err := Scrape(t.Context(), srv.URL)
	require.ErrorContains(t, err, "404")
}

// Test binaries run side by side: what one was told is free must not be told to
// another one before the first listens there.
func TestFreeAddrsBelongToOneProcess(t *testing.T) {
	ctx := env.Within(t, 20*time.Second)
	const n = 3 * blockSize
	seen := map[string]bool{}
	add := func(addrs []string) {
		require.Len(t, addrs, n)
		for _, addr := range addrs {
			require.False(t, seen[addr], addr)
			seen[addr] = true
		}
	}
	for range 5 {
		p := child(t, "addrs")
		line, err := p.WaitLine(ctx, "addresses")
		require.NoError(t, err)
		add(strings.Fields(line)[1:])
	}
	own, err := FreeAddrs(n)
	require.NoError(t, err)
	add(own)
	for _, addr := range own {
		l, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
}
