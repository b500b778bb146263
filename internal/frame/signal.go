package frame

import "fmt"

// Signal is a kind of telemetry. The zero value is Traces.
type Signal uint8

// The signals, in the order in which every report lists them.
const (
	Traces Signal = iota
	Metrics
	Logs
	Profiles
)

// NumSignals is the number of signals; arrays indexed by Signal have this length.
const NumSignals = 4

var signalNames = [NumSignals]string{"traces", "metrics", "logs", "profiles"}

// String returns the lower-case name used in headers, file names, metrics and docs.
func (s Signal) String() string {
	if int(s) < len(signalNames) {
		return signalNames[s]
	}
	return fmt.Sprintf("signal(%d)", uint8(s))
}

// ParseSignal is the inverse of Signal.String.
func ParseSignal(name string) (Signal, error) {
	for i, n := range signalNames {
		if n == name {
			return Signal(i), nil
		}
	}
	return 0, fmt.Errorf("unknown signal %q: must be traces, metrics, logs or profiles", name)
}

// HTTPPath returns the URL path of the signal's OTLP/HTTP service, as in the
// OTLP specification 1.x, "OTLP/HTTP Request".
func (s Signal) HTTPPath() string {
	if s == Profiles {
		return "/v1development/profiles"
	}
	return "/v1/" + s.String()
}
