package livecheck

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/extension/flarerecoveryextension"
	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

const day = 24 * time.Hour

// keep is how long a bucket must keep what lies below a prefix.
type keep struct {
	prefix string
	what   string
	least  time.Duration // 0: for ever
	read   bool          // it is read again, so an archive is no place for it
}

// keeping is what recovery needs of the lifecycle rules.
func keeping(cfg *flarerecoveryextension.Config) []keep {
	return []keep{
		{cfg.S3.Prefix, "flares that nobody recovered yet", max(90*day, 4*cfg.MaxAge), true},
		{cfg.StatePrefix + "quarantine/", "what only a person may give up", 0, false},
		{cfg.StatePrefix + "done/", "the marks that keep a flare from being taken twice", cfg.MaxAge + 2*day, true},
	}
}

// lifecycle holds the bucket's lifecycle rules against what must be kept, if the
// key may read them.
func (r *Report) lifecycle(ctx context.Context, at string, client *s3bucket.Client, all []keep) {
	rules, err := client.Rules(ctx)
	if err != nil {
		r.open(at, "lifecycle rules, which %s; see that %s", unreadable(err), wanted(all))
		return
	}
	good := true
	for _, k := range all {
		for _, rule := range rules {
			if k.broken(rule) {
				good = false
				r.warn(at, "the lifecycle rule %q %s: %s", rule.Name, k.breach(rule), wanted([]keep{k}))
			}
		}
	}
	if good {
		r.proven(at, "no lifecycle rule takes flares, quarantine or notes too soon")
	}
}

func unreadable(err error) string {
	if bucket.KindOf(err) == bucket.Denied {
		return "this key may not read (s3:GetLifecycleConfiguration)"
	}
	return fmt.Sprintf("could not be read (%v)", err)
}

func (k *keep) broken(rule s3bucket.Rule) bool {
	if !rule.Touches(k.prefix) || (rule.Archives && !k.read) {
		return false
	}
	return k.least == 0 || rule.After < k.least
}

// breach tells what a rule does to what must be kept.
func (k *keep) breach(rule s3bucket.Rule) string {
	does := "deletes"
	if rule.Archives {
		does = "moves where nothing reads"
	}
	if rule.After == 0 {
		return fmt.Sprintf("%s %s, whatever their age", does, k.what)
	}
	return fmt.Sprintf("%s %s, after %s", does, k.what, days(rule.After))
}

// wanted says which rules there should be.
func wanted(all []keep) string {
	var texts []string
	for _, k := range all {
		if k.least == 0 {
			texts = append(texts, fmt.Sprintf("there is none for %s", k.prefix))
		} else {
			texts = append(texts, fmt.Sprintf("%s is kept at least %s", k.prefix, days(k.least)))
		}
	}
	return strings.Join(texts, ", ")
}

func days(d time.Duration) string { return fmt.Sprintf("%d days", (d+day-1)/day) }
