package livecheck

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/extension/flarerecoveryextension"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

// A rule that does housekeeping everywhere also deletes what nobody recovered yet.
func TestWhatALifecycleRuleBreaks(t *testing.T) {
	cfg := flarerecoveryextension.NewFactory().CreateDefaultConfig().(*flarerecoveryextension.Config)
	cfg.S3.Prefix, cfg.StatePrefix, cfg.MaxAge = "f/", "lifeline/", 14*day
	flares, quarantine, done := "f/ is kept at least 90 days", "there is none for lifeline/quarantine/", "lifeline/done/ is kept at least 16 days"
	for name, tc := range map[string]struct {
		rule s3bucket.Rule
		want []string
	}{
		"everything":        {s3bucket.Rule{After: 30 * day}, []string{flares, quarantine}},
		"everything, soon":  {s3bucket.Rule{After: 7 * day}, []string{flares, quarantine, done}},
		"everything, late":  {s3bucket.Rule{After: 400 * day}, []string{quarantine}},
		"on a day":          {s3bucket.Rule{Prefix: "f/"}, []string{flares}},
		"flares, long":      {s3bucket.Rule{Prefix: "f/", After: 90 * day}, nil},
		"flares, an hour":   {s3bucket.Rule{Prefix: "f/", After: 90*day - time.Hour}, []string{flares}},
		"one of quarantine": {s3bucket.Rule{Prefix: "lifeline/quarantine/hash/", After: 365 * day}, []string{quarantine}},
		"marks":             {s3bucket.Rule{Prefix: "lifeline/done/", After: 16 * day}, nil},
		"an archive":        {s3bucket.Rule{After: day, Archives: true}, []string{flares, done}},
		"somebody else's":   {s3bucket.Rule{Prefix: "logs/", After: day}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, k := range keeping(cfg) {
				if k.broken(tc.rule) {
					got = append(got, wanted([]keep{k}))
				}
			}
			require.Equal(t, tc.want, got)
		})
	}

	cfg.MaxAge = 60 * day
	require.Equal(t, "f/ is kept at least 240 days", wanted(keeping(cfg)[:1]))
}
