package trouble

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"

	"github.com/otel-lifeline/lifeline/internal/status"
	"github.com/otel-lifeline/lifeline/internal/status/statustest"
)

// host keeps what it is told, as "status: error". List calls it one at a time.
type host struct {
	component.Host
	told []string
}

func (h *host) Report(e *componentstatus.Event) {
	h.told = append(h.told, fmt.Sprintf("%v: %v", e.Status(), e.Err()))
}

// next returns what the host was told since the last call.
func (h *host) next() []string {
	told := h.told
	h.told = nil
	return told
}

const ok = "StatusOK: <nil>"

func TestOnlyChangesAreTold(t *testing.T) {
	var l List
	var h host
	l.Attach(&h)
	require.False(t, l.Set("gateway", nil), "right from the start is no news")
	require.True(t, l.Set("gateway", errors.New("gone")))
	require.False(t, l.Set("gateway", errors.New("gone")), "the same text is no news")
	require.True(t, l.Wrong("gateway"))
	require.False(t, l.Wrong("bucket"))
	require.True(t, l.Set("gateway", errors.New("denied")), "another text is")
	require.True(t, l.Set("gateway", nil))
	require.False(t, l.Set("gateway", nil))
	require.False(t, l.Wrong("gateway"))
	require.Equal(t, []string{"StatusRecoverableError: gone", "StatusRecoverableError: denied", ok}, h.next())
}

// The status is OK when the last trouble is over, in whatever order they end, and
// names all that are left until then.
func TestSeveralTroubles(t *testing.T) {
	var l List
	var h, late host
	l.Attach(&h)
	for _, what := range []string{"c", "a", "b"} {
		l.Set(what, errors.New(what+" is bad"))
	}
	require.Equal(t, []string{
		"StatusRecoverableError: c is bad", "StatusRecoverableError: a is bad\nc is bad", "StatusRecoverableError: a is bad\nb is bad\nc is bad",
	}, h.next())
	l.Attach(&late)
	require.Equal(t, []string{"StatusRecoverableError: a is bad\nb is bad\nc is bad"}, late.next(), "who comes late is told the same")
	for _, what := range []string{"b", "c", "a"} {
		l.Set(what, nil)
	}
	ended := []string{"StatusRecoverableError: a is bad\nc is bad", "StatusRecoverableError: a is bad", ok}
	require.Equal(t, ended, h.next())
	require.Equal(t, ended, late.next())
}

func TestAHostThatComesInGoodTimesIsToldNothing(t *testing.T) {
	var l List
	var h host
	l.Set("gateway", errors.New("gone"))
	l.Set("gateway", nil)
	l.Attach(&h)
	require.Empty(t, h.next())
}

// What is wrong for good is told once, and nothing that comes later hides it.
func TestFail(t *testing.T) {
	var l List
	var h, late host
	l.Attach(&h)
	for range 2 {
		l.Fail("topic", errors.New("made again"))
	}
	require.True(t, l.Set("writes", errors.New("slow")))
	require.True(t, l.Set("writes", nil))
	l.Attach(&late)
	require.Equal(t, []string{"StatusPermanentError: made again"}, h.next())
	require.Empty(t, late.next())
	require.True(t, l.Wrong("topic"))
}

func TestAClosedListTellsNoHost(t *testing.T) {
	var l List
	var h, late host
	l.Attach(&h)
	l.Close()
	require.True(t, l.Set("gateway", errors.New("gone")))
	l.Attach(&late)
	l.Fail("topic", errors.New("made again"))
	require.Empty(t, h.next())
	require.Empty(t, late.next())
}

func TestTable(t *testing.T) {
	var most, rest List
	most.Set("b", errors.New("b is\nbad"))
	most.Set("a", errors.New("a is bad"))
	rest.Set("a", errors.New("unwell"))
	rest.Set("c", errors.New("unwell"))
	rest.Set("c", nil)
	require.Equal(t, []map[string]any{
		{"of": "a", "problem": "a is bad"}, {"of": "b", "problem": "b is bad"}, {"of": "a", "problem": "unwell"},
	}, statustest.Show(t, []*status.Table{Table(&most, &rest)})["problems"])
}

// Whoever speaks at the same time: every host hears the same, and last of all how
// it is.
func TestConcurrentUse(t *testing.T) {
	var l List
	hosts := []*host{{}, {}, {}}
	var all sync.WaitGroup
	for i, what := range []string{"a", "b", "c"} {
		all.Go(func() { l.Attach(hosts[i]) })
		all.Go(func() {
			for n := range 1000 {
				l.Set(what, fmt.Errorf("%s %d", what, n))
				l.Wrong(what)
				Table(&l)
				if what != "b" {
					l.Set(what, nil)
				}
			}
		})
	}
	all.Wait()
	for _, h := range hosts {
		require.Equal(t, "StatusRecoverableError: b 999", h.told[len(h.told)-1])
	}
}
