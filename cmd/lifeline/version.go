package main

import (
	"cmp"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

// built is what this program is: the JSON of --json.
type built struct {
	Version string `json:"version"`
	Go      string `json:"go,omitempty"`
	Reads   string `json:"reads"` // format of flares
}

func newVersion() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version, and the flare format it reads",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			b := version()
			if asJSON {
				return printJSON(c.OutOrStdout(), b)
			}
			return printLine(c.OutOrStdout(), fmt.Sprintf("lifeline %s %s\nreads %s", b.Version, b.Go, b.Reads))
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

// version returns what the Go toolchain wrote into the binary.
func version() built {
	b := built{Version: "(unknown)", Reads: flare.Type}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Version, b.Go = cmp.Or(info.Main.Version, b.Version), info.GoVersion
	}
	return b
}
