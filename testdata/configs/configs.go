// Package configs holds the shipped configurations, so that `lifeline init` writes
// the very text that tests run. It does no I/O.
package configs

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed agent.yaml gateway.yaml recovery.yaml
var files embed.FS

// Get returns a shipped configuration, agent, gateway or recovery, with other
// defaults: values has them by the name of their environment variable, and dir
// takes the place of /etc/lifeline.
func Get(name, dir string, values map[string]string) (string, error) {
	text, err := files.ReadFile(name + ".yaml")
	if err != nil {
		return "", err
	}
	var out strings.Builder
	rest := strings.ReplaceAll(string(text), "/etc/lifeline/", strings.TrimSuffix(dir, "/")+"/")
	for {
		before, after, found := strings.Cut(rest, "${env:")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		reference, behind, closed := strings.Cut(after, "}")
		variable, fallback, ok := strings.Cut(reference, ":-")
		if !closed {
			return "", fmt.Errorf("%s.yaml: an open reference to %.20q", name, after)
		}
		if value, set := values[variable]; ok && set {
			fallback = value
		}
		out.WriteString("${env:" + variable)
		if ok {
			out.WriteString(":-" + fallback)
		}
		out.WriteString("}")
		rest = behind
	}
}
