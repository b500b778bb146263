// Package collectorconf reads the configuration of a Collector outside of one.
// It opens the files it is told to, and has no goroutines.
package collectorconf

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/confmap/provider/yamlprovider"
)

// Load merges sources, later ones over earlier ones, and resolves the references
// in them, as the distribution does with its --config flags: a source is a file,
// or a URI with file:, env: or yaml:.
func Load(ctx context.Context, sources []string) (conf *confmap.Conf, err error) {
	resolver, err := confmap.NewResolver(confmap.ResolverSettings{
		URIs: sources,
		ProviderFactories: []confmap.ProviderFactory{
			envprovider.NewFactory(), fileprovider.NewFactory(), yamlprovider.NewFactory(),
		},
		DefaultScheme: "env",
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resolver.Shutdown(ctx)) }()
	return resolver.Resolve(ctx)
}

// Each calls do for every component of one type in a section, in the order of
// their names. It stops at the first error, which it returns with the
// component's place in front.
func Each(conf *confmap.Conf, section string, of component.Type, do func(component.ID, *confmap.Conf) error) error {
	all, err := conf.Sub(section)
	if err != nil {
		return fmt.Errorf("%s: %w", section, err)
	}
	for _, name := range slices.Sorted(maps.Keys(all.ToStringMap())) {
		var id component.ID
		if err := id.UnmarshalText([]byte(name)); err != nil {
			return fmt.Errorf("%s: %w", section, err)
		}
		if id.Type() != of {
			continue
		}
		sub, err := all.Sub(name)
		if err == nil {
			err = do(id, sub)
		}
		if err != nil {
			return fmt.Errorf("%s::%s: %w", section, id, err)
		}
	}
	return nil
}
