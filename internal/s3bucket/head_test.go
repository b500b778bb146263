package s3bucket

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
)

// TestTheRestIsNotFetched: a body of which the head is enough is cut off, whether
// its length is known or not, and the next call has a connection.
func TestTheRestIsNotFetched(t *testing.T) {
	const size, head = 256 << 20, 1000
	for _, length := range []string{strconv.Itoa(size), ""} {
		sent := make(chan int, 1)
		b := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"tag"`)
			if length != "" {
				w.Header().Set("Content-Length", length)
			}
			n, piece := 0, make([]byte, 32<<10)
			for n < size {
				m, err := w.Write(piece)
				if n += m; err != nil {
					break
				}
			}
			sent <- n
		})
		for range 2 {
			data, _, err := b.Get(t.Context(), "f/k", bucket.GetOptions{Limit: size, Need: func([]byte) int64 { return head }})
			require.NoError(t, err)
			require.Len(t, data, head)
			require.Less(t, <-sent, size/2, "what two sockets hold was on its way")
		}
	}
}

// The bytes of answers to a GET, behind the status and the ETag.

func ofLength(n, sent int) string {
	return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", n, strings.Repeat("x", sent))
}

func untilTheEnd(sent int) string { return "Connection: close\r\n\r\n" + strings.Repeat("x", sent) }

func chunked(sizes ...int) string {
	s := "Transfer-Encoding: chunked\r\n\r\n"
	for _, n := range sizes {
		s += fmt.Sprintf("%x\r\n%s\r\n", n, strings.Repeat("x", n))
	}
	return s
}

const lastChunk = "0\r\n\r\n"

// TestHowMuchIsRead: what is needed is read and no more, whatever an answer says
// of its length, and nothing larger than the limit is taken for whole.
func TestHowMuchIsRead(t *testing.T) {
	const limit = 30
	for _, c := range []struct {
		name   string
		answer string
		needs  []int64 // asked for one after the other; the last one again
		asked  int     // how often
		want   int     // bytes; less than 0: an error
		kind   bucket.Kind
	}{
		{"length, head", ofLength(20, 20), []int64{10}, 2, 10, 0},
		{"length, head and more", ofLength(20, 20), []int64{10, 15}, 3, 15, 0},
		{"length, whole behind the head", ofLength(20, 20), []int64{10, limit}, 2, 20, 0},
		{"length, as long as the head", ofLength(10, 10), []int64{10}, 2, 10, 0},
		{"length, ends in the head", ofLength(9, 9), []int64{10}, 1, 9, 0},
		{"length, empty", ofLength(0, 0), []int64{10}, 1, 0, 0},
		{"length, of the limit", ofLength(limit, limit), []int64{10, limit}, 2, limit, 0},
		{"length, above the limit", ofLength(limit+1, limit+1), []int64{10}, 0, -1, bucket.TooLarge},
		{"a length that is too short", ofLength(15, 20), []int64{10, limit}, 2, 15, 0},
		{"a length that is too short, of the head", ofLength(5, 20), []int64{10}, 1, 5, 0},
		{"a length that is too long", ofLength(20, 15), []int64{10, limit}, 2, -1, bucket.Unknown},
		{"a length that is too long, behind the head", ofLength(20, 15), []int64{10}, 2, 10, 0},
		{"a length that is too long, of the head", ofLength(20, 9), []int64{10}, 1, -1, bucket.Unknown},
		{"a length that is no number", "Content-Length: many\r\n\r\nx", []int64{10}, 0, -1, bucket.Unknown},

		{"chunks, head", chunked(3, 17) + lastChunk, []int64{10}, 2, 10, 0},
		{"chunks, head without the rest", chunked(10), []int64{10}, 2, 10, 0},
		{"chunks, head and more", chunked(3, 17) + lastChunk, []int64{10, 15}, 3, 15, 0},
		{"chunks, whole behind the head", chunked(3, 17) + lastChunk, []int64{10, limit}, 2, 20, 0},
		{"chunks, as long as the head", chunked(5, 5) + lastChunk, []int64{10}, 2, 10, 0},
		{"chunks, end in the head", chunked(5, 4) + lastChunk, []int64{10}, 1, 9, 0},
		{"chunks, none", chunked() + lastChunk, []int64{10}, 1, 0, 0},
		{"chunks, of the limit", chunked(15, 15) + lastChunk, []int64{10, limit}, 2, limit, 0},
		{"chunks, above the limit", chunked(15, 16) + lastChunk, []int64{10, limit}, 2, -1, bucket.TooLarge},
		{"chunks, above the limit, head", chunked(15, 1<<20) + lastChunk, []int64{10}, 2, 10, 0},
		{"chunks, cut off in the head", chunked(5), []int64{10}, 1, -1, bucket.Unknown},
		{"chunks, cut off behind the head", chunked(15), []int64{10, limit}, 2, -1, bucket.Unknown},

		{"no length, head", untilTheEnd(20), []int64{10}, 2, 10, 0},
		{"no length, whole behind the head", untilTheEnd(20), []int64{10, limit}, 2, 20, 0},
		{"no length, ends in the head", untilTheEnd(9), []int64{10}, 1, 9, 0},
		{"no length, above the limit", untilTheEnd(limit + 1), []int64{10, limit}, 2, -1, bucket.TooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					panic(err)
				}
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nETag: \"tag\"\r\n"+c.answer)
				_ = conn.Close()
			})
			asked := 0
			data, _, err := b.Get(t.Context(), "f/k", bucket.GetOptions{Limit: limit, Need: func([]byte) int64 {
				asked++
				return c.needs[min(asked, len(c.needs))-1]
			}})
			require.Equal(t, c.asked, asked)
			if c.want < 0 {
				requireError(t, err, c.kind, "")
				return
			}
			require.NoError(t, err)
			require.Equal(t, strings.Repeat("x", c.want), string(data))
		})
	}
}
