// Package lifelineexporter is the agent's side of Lifeline: an exporter that
// answers "taken" once telemetry is in its bounded memory ring, and from then on
// does not let go of it before its fate is known. It sends OTLP to a gateway;
// what no gateway takes in time goes, sealed, into a bucket.
//
// The component holds configuration, life cycle, key files, metrics, logs and
// status. Everything that decides about data is in internal/delivery; nothing
// here looks at a frame. The signals of one component id share one core.
//
//go:generate mdatagen metadata.yaml
package lifelineexporter
