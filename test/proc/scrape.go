package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Until calls try at once and then every interval, until it returns true, an
// error that is not nil, or ctx ends. It is how a program waits for another one
// that has no better way to say that it is ready.
func Until(ctx context.Context, interval time.Duration, try func(context.Context) (bool, error)) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		ok, err := try(ctx)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Healthy waits until url answers 200, the process ends or ctx does.
func (p *Process) Healthy(ctx context.Context, url string) error {
	err := Until(ctx, 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		select {
		case <-p.done:
			return false, p.failf("ended before it was ready")
		default:
		}
		body, err := get(ctx, url)
		if err != nil {
			return false, nil //nolint:nilerr // not ready yet
		}
		return true, body.Close()
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.Join(p.failf("is not ready: %s", url), err)
	}
	return err
}

// Samples is one scrape: the values by full series name, labels included.
type Samples map[string]float64

// Scrape reads url in the text format of Prometheus.
func Scrape(ctx context.Context, url string) (Samples, error) {
	body, err := get(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("scrape: %w", err)
	}
	defer func() { _ = body.Close() }()
	samples := Samples{}
	for sc := bufio.NewScanner(body); ; {
		if !sc.Scan() {
			return samples, sc.Err()
		}
		line := sc.Text()
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			samples[line[:at]] = v
		}
	}
}

// Sum adds up the series of a metric whose labels hold every one of want, given
// as `name="value"`. A counter is found with or without _total behind its name.
func (s Samples) Sum(metric string, want ...string) float64 {
	var sum float64
	for series, v := range s {
		name, labels, _ := strings.Cut(series, "{")
		if name != metric && name != metric+"_total" {
			continue
		}
		if containsAll(labels, want) {
			sum += v
		}
	}
	return sum
}

// Has reports whether the scrape holds any series of a metric.
func (s Samples) Has(metric string) bool {
	for series := range s {
		name, _, _ := strings.Cut(series, "{")
		if name == metric || name == metric+"_total" {
			return true
		}
	}
	return false
}

func get(ctx context.Context, url string) (io.ReadCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // a machine that is busy, not one that hangs
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		cancel()
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		cancel()
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		cancel()
		return nil, errors.Join(fmt.Errorf("%s answered %s", url, resp.Status), resp.Body.Close())
	}
	return &cancelBody{resp.Body, cancel}, nil
}

// cancelBody ends the request's context when its body is closed.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *cancelBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
