package ackrules

// Components that return only when what is behind them has returned, and that
// hand its error on. A component that keeps data for later (batch, groupbytrace,
// tail_sampling, logdedup, interval) must never be listed: its ack is a promise.
var (
	// untouching processors look at a request as a whole and never into it.
	untouching = []string{"memory_limiter"}

	processors = []string{
		"attributes", "cumulativetodelta", "deltatorate", "filter", "geoip", "groupbyattrs",
		"k8sattributes", "k8s_attributes", "metricsgeneration", "metricstransform",
		"probabilistic_sampler", "redaction", "resource", "resourcedetection",
		"schema", "span", "transform", "unroll",
	}

	connectors = []string{"forward"}

	// exporters that may stand beside kafka: they keep nothing and do not fail.
	exporters = []string{"debug", "nop"}
)
