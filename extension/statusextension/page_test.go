package statusextension

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"

	"github.com/otel-lifeline/lifeline/internal/status"
)

func ask(h http.Handler, method, path string, accept ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, "http://localhost:55690"+path, http.NoBody)
	request.Header["Accept"] = accept
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, request)
	return answer
}

func pageOf(all ...status.Source) http.Handler {
	var s sources
	for _, one := range all {
		s.AddSource(one)
	}
	return newHandler(&s, component.BuildInfo{Command: "otelcol", Version: "1"})
}

func TestNothingButGet(t *testing.T) {
	h := pageOf()
	for _, path := range []string{pagePath, jsonPath, stylePath} {
		require.Equal(t, http.StatusOK, ask(h, http.MethodGet, path).Code)
		require.Equal(t, http.StatusOK, ask(h, http.MethodHead, path).Code)
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "BREW"} {
			require.Equal(t, http.StatusMethodNotAllowed, ask(h, method, path).Code, method)
		}
	}
	require.Equal(t, http.StatusNotFound, ask(h, http.MethodGet, "/other").Code)
	require.Equal(t, pagePath, ask(h, http.MethodGet, "/").Header().Get("Location"))
	require.Contains(t, ask(h, http.MethodGet, pagePath).Body.String(), "No component of Lifeline")
}

func TestHeaders(t *testing.T) {
	h := pageOf(says("some", "word"))
	for path, want := range map[string]string{pagePath: "text/html; charset=utf-8", jsonPath: "application/json", stylePath: "text/css; charset=utf-8"} {
		headers := ask(h, http.MethodGet, path).Header()
		require.Equal(t, want, headers.Get("Content-Type"))
		require.Equal(t, "no-store", headers.Get("Cache-Control"))
		require.Equal(t, "nosniff", headers.Get("X-Content-Type-Options"))
		require.Contains(t, headers.Get("Content-Security-Policy"), "default-src 'none'; style-src 'self';")
	}
	for accept, want := range map[string]string{
		"application/json": "application/json", "text/html,application/json;q=0.1": "text/html; charset=utf-8", "*/*": "text/html; charset=utf-8",
	} {
		require.Equal(t, want, ask(h, http.MethodGet, pagePath, accept).Header().Get("Content-Type"), accept)
	}
	require.NotContains(t, ask(h, http.MethodGet, pagePath).Body.String(), "://", "nothing of anybody else is loaded")
}

// TestHostileText: what agents call themselves cannot become a part of the page.
func TestHostileText(t *testing.T) {
	for _, text := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</td></table><style>*{display:none}</style>`, `{{.Sections}}`,
		"acme/\u202egnp.exe", "a\x00b\r\nSet-Cookie: x", "\xff\xfe<b>", strings.Repeat("<b>", 10_000), "]]>--></title>",
	} {
		h := pageOf(says("some", text), status.Source{
			Kind: component.KindExporter, ID: component.MustNewID("bad"), Tables: func() []*status.Table { panic(text) },
		})
		plain := ask(pageOf(says("some", "x"), status.Source{
			Kind: component.KindExporter, ID: component.MustNewID("bad"), Tables: func() []*status.Table { panic("x") },
		}), http.MethodGet, pagePath).Body.String()
		html := ask(h, http.MethodGet, pagePath).Body.String()
		require.Equal(t, strings.Count(plain, "<"), strings.Count(html, "<"), html)
		require.Less(t, len(html), len(plain)+20_000)
		for _, bad := range []string{"\x00", "\r", "\u202e", "\xff"} {
			require.NotContains(t, html, bad)
		}
		require.NotContains(t, ask(h, http.MethodGet, jsonPath).Body.String(), "<")
	}
}

func TestRowsAreBounded(t *testing.T) {
	h := pageOf(status.Source{Kind: component.KindReceiver, ID: component.MustNewID("big"), Tables: func() []*status.Table {
		table := status.NewTable("many", "n")
		for i := range status.MaxRows + 2_880 {
			table.Add(status.Count(i))
		}
		return []*status.Table{table}
	}})
	html := ask(h, http.MethodGet, pagePath).Body.String()
	require.Equal(t, status.MaxRows+1, strings.Count(html, "<td"))
	require.Contains(t, html, `<th class="number">n</th>`, "it stands above its numbers")
	require.Contains(t, html, "and 2880 more")
	require.Contains(t, ask(h, http.MethodGet, jsonPath).Body.String(), `"more": 2880`)
}

// TestComponentThatFails: one that panics and one that hangs cost the page their
// own lines and at most two seconds, and however often it is asked for, the one
// that hangs is waited for by one call.
func TestComponentThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		var calls atomic.Int32
		h := pageOf(says("good", "a good word"),
			status.Source{Kind: component.KindExporter, ID: component.MustNewID("bad"), Tables: func() []*status.Table { panic("out of luck") }},
			status.Source{Kind: component.KindExtension, ID: component.MustNewID("stuck"), Tables: func() []*status.Table {
				calls.Add(1)
				<-hang
				return nil
			}})
		for range 3 {
			before := time.Now()
			html := ask(h, http.MethodGet, pagePath).Body.String()
			require.Equal(t, patience, time.Since(before))
			require.Contains(t, html, "a good word")
			require.Contains(t, html, "panic: out of luck")
			require.Contains(t, html, "no answer within 2s")
			require.EqualValues(t, 1, calls.Load())
		}
		close(hang)
		synctest.Wait()
		html := ask(h, http.MethodGet, pagePath).Body.String()
		require.NotContains(t, html, "no answer")
		require.EqualValues(t, 2, calls.Load())
	})
}

// TestForeignNames: a web site that gives itself the address of this host cannot
// read the page with the browser of somebody who sits there.
func TestForeignNames(t *testing.T) {
	h := ownNamesOnly(pageOf())
	for host, want := range map[string]int{
		"localhost:55690": http.StatusOK, "localhost": http.StatusOK, "LOCALHOST:1": http.StatusOK,
		"127.0.0.1:55690": http.StatusOK, "127.0.0.1": http.StatusOK, "[::1]:55690": http.StatusOK, "[::1]": http.StatusOK, "10.0.0.7:80": http.StatusOK,
		"rebind.example.com:55690": http.StatusMisdirectedRequest, "rebind.example.com": http.StatusMisdirectedRequest,
		"localhost.example.com": http.StatusMisdirectedRequest, "127.0.0.1.example.com:1": http.StatusMisdirectedRequest, "": http.StatusMisdirectedRequest,
	} {
		request := httptest.NewRequest(http.MethodGet, pagePath, http.NoBody)
		request.Host = host
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, request)
		require.Equal(t, want, answer.Code, host)
	}
	for addr, want := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "0.0.0.0:1": false, "[::]:1": false, "10.0.0.7:1": false} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		require.NoError(t, err)
		require.Equal(t, want, loopback(tcp), addr)
	}
	require.True(t, loopback(&net.UnixAddr{}))
}

// TestWrongNumberOfValues: a mistake in a component is shown, and harms no other.
func TestWrongNumberOfValues(t *testing.T) {
	h := pageOf(status.Source{Kind: component.KindReceiver, ID: component.MustNewID("odd"), Tables: func() []*status.Table {
		return []*status.Table{status.NewTable("odd", "one", "two").Add(status.Count(1))}
	}})
	require.Contains(t, ask(h, http.MethodGet, pagePath).Body.String(), fmt.Sprintf("odd: %d values for %d columns", 1, 2))
}
