// Package alerts holds alert rules for Prometheus. Its test keeps them true to the
// metrics that the components have.
package alerts
