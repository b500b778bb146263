package lifelineexporter

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Limits of what can be configured.
const (
	minCapacity = bytesize.MiB
	maxFlare    = 64 * bytesize.MiB // recovery opens no larger object
	maxSenders  = 256
	minDrills   = time.Second // for trying them out

	maxMetadataKeys = 64 // a flare's record holds no more
)

// faults collects what is wrong, so that a user sees all of it at once.
type faults []error

// check adds a fault unless ok.
func (f *faults) check(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

// Validate implements confmap.Validator. Sections check themselves; here stands
// what concerns several keys.
func (c *Config) Validate() error {
	var f faults
	server := c.server()
	f = append(f, server.Validate())
	f.check(c.Agent == "" || frame.ValidAgent(c.Agent), "agent: %q must be 1 to %d printable ASCII characters without quote or backslash", c.Agent, frame.MaxAgent)
	f.check(c.Audience == "" || frame.ValidAgent(c.Audience) && strings.TrimSpace(c.Audience) == c.Audience,
		"audience: %q must be 1 to %d printable ASCII characters without quote, backslash or outer spaces", c.Audience, frame.MaxAgent)
	f.check(c.Timeout > 0, "timeout: must be positive, such as 30s")
	f.check(c.Senders >= 1 && c.Senders <= maxSenders, "senders: must be from 1 to %d", maxSenders)
	f.check(c.Order == oldestFirst || c.Order == newestFirst, "order: %q must be %s or %s", c.Order, oldestFirst, newestFirst)
	f.check(c.ShutdownTimeout >= time.Second, "shutdown_timeout: must be at least 1s: what is in the ring is sent or flared in this time")
	f.check(len(c.MetadataKeys) <= maxMetadataKeys, "metadata_keys: %d keys are more than the %d a frame can carry; remove some", len(c.MetadataKeys), maxMetadataKeys)
	for i, key := range c.MetadataKeys {
		if err := validateMetadataKey(key, c.MetadataKeys[:i]); err != nil {
			f = append(f, fmt.Errorf("metadata_keys: %q %w", key, err))
		}
	}
	c.validateSizes(&f)
	return errors.Join(f...)
}

// validateSizes checks that a frame fits a flare and a flare fits the ring.
func (c *Config) validateSizes(f *faults) {
	if !c.Flare.HasValue() {
		f.check(c.Frame.MaxSize <= c.Ring.Capacity/8, "frame::max_size: %s must be at most an eighth of ring::capacity (%s)", c.Frame.MaxSize, c.Ring.Capacity)
		return
	}
	size, budget := c.flareSize(), c.Flare.Get().Budget
	if size <= 0 {
		return // the section says so itself
	}
	f.check(size <= c.Ring.Capacity/2, "flare::max_size: %s is set aside inside ring::capacity and must be at most half of it (%s)", size, c.Ring.Capacity)
	// A frame that does not compress must fit a flare with its padding.
	largest := min(size/2, size*3/4-48*bytesize.KiB)
	f.check(c.Frame.MaxSize <= largest, "frame::max_size: %s must be at most %s for flare::max_size %s (by default an eighth of ring::capacity, at most %s); lower it or raise ring::capacity", c.Frame.MaxSize, max(largest, 0), size, defaultFlareSize)
	f.check(budget <= 0 || budget >= size, "flare::budget: %s must be at least flare::max_size (%s)", budget, size)
}

// Validate implements confmap.Validator.
func (c *RetryConfig) Validate() error {
	var f faults
	f.check(c.MaxElapsedTime == nil, "max_elapsed_time: has no meaning here, remove it: ring::max_age decides when data stops waiting for the gateway")
	f.check(c.InitialInterval > 0, "initial_interval: must be positive, such as 1s")
	f.check(c.MaxInterval >= c.InitialInterval, "max_interval: %v must not be below initial_interval (%v)", c.MaxInterval, c.InitialInterval)
	return errors.Join(f...)
}

// Validate implements confmap.Validator.
func (c *FrameConfig) Validate() error {
	var f faults
	f.check(c.MaxSize >= 4*bytesize.KiB, "max_size: must be at least 4KiB, such as 256KiB")
	f.check(c.Linger >= 0, "linger: must not be negative; 0 sends every call as a frame of its own")
	return errors.Join(f...)
}

// Validate implements confmap.Validator.
func (c *RingConfig) Validate() error {
	var f faults
	f.check(c.Capacity >= minCapacity, "capacity: must be at least %s, such as 64MiB", minCapacity)
	f.check(c.MaxAge >= time.Second, "max_age: must be at least 1s, such as 5m")
	f.check(c.WhenFull == dropOldest || c.WhenFull == refuse, "when_full: %q must be %s or %s", c.WhenFull, dropOldest, refuse)
	return errors.Join(f...)
}

// Validate implements confmap.Validator. The buckets check themselves.
func (c *FlareConfig) Validate() error {
	var f faults
	f.check(len(c.Buckets) > 0, "buckets: missing; name at least one bucket, or remove flare to run without a fallback")
	f.check(c.RecipientsFile != "", "recipients_file: missing; make keys with `lifeline keygen recovery` and name the file that holds their public halves")
	f.check(c.SigningKeyFile != "", "signing_key_file: missing; make a key with `lifeline keygen agent`")
	f.check(c.MaxSize >= 0 && c.MaxSize <= maxFlare, "max_size: must be not negative and at most %s, the largest flare that recovery opens", maxFlare)
	f.check(c.Budget > 0, "budget: must be positive, such as 1GiB per day")
	f.check(c.DrillInterval == 0 || c.DrillInterval >= minDrills, "drill_interval: must be 0, for no drills, or at least %v, such as 24h", minDrills)
	return errors.Join(f...)
}

// CheckFiles says what is wrong with the files that a valid Config names, as the
// next start would find them. It uses no network.
func (c *Config) CheckFiles(ctx context.Context) error {
	server := c.server()
	errs := []error{server.CheckFiles(ctx)}
	if !c.Flare.HasValue() {
		return errors.Join(errs...)
	}
	cfg := c.Flare.Get()
	errs = append(errs, newKeys(cfg).Check())
	for i := range cfg.Buckets {
		if err := cfg.Buckets[i].CheckFiles(); err != nil {
			errs = append(errs, fmt.Errorf("flare::buckets::%d: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// metadataName is what fits a header, a flare and a Kafka header alike.
var metadataName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

func validateMetadataKey(key string, before []string) error {
	name := strings.ToLower(key)
	switch {
	case !metadataName.MatchString(key):
		return errors.New("is not a name: use 1 to 128 letters, digits, dots, underscores and hyphens")
	case flare.ReservedMeta(name), name == "forwarded":
		return errors.New("is reserved: it belongs to the exporter, to credentials or to a single hop; remove it")
	case strings.HasSuffix(name, "-bin"):
		return errors.New("is binary gRPC metadata, which HTTP cannot carry; remove it")
	case slices.ContainsFunc(before, func(other string) bool { return strings.EqualFold(other, key) }):
		return errors.New("stands twice; keys are compared without case")
	}
	return nil
}
