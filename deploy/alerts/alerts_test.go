package alerts

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
)

// group is a group of rules, as Prometheus reads it.
type group struct {
	Name  string `mapstructure:"name"`
	Rules []rule `mapstructure:"rules"`
}

type rule struct {
	Alert       string            `mapstructure:"alert"`
	Expr        string            `mapstructure:"expr"`
	For         string            `mapstructure:"for"`
	Labels      map[string]string `mapstructure:"labels"`
	Annotations map[string]string `mapstructure:"annotations"`
}

// rules returns all rules; a key that no rule has is an error.
func rules(t *testing.T) []rule {
	text, err := os.ReadFile("lifeline.rules.yaml")
	require.NoError(t, err)
	file, err := confmap.NewRetrievedFromYAML(text)
	require.NoError(t, err)
	conf, err := file.AsConf()
	require.NoError(t, err)
	var groups struct {
		Groups []group `mapstructure:"groups"`
	}
	require.NoError(t, conf.Unmarshal(&groups))
	var all []rule
	for _, g := range groups.Groups {
		all = append(all, g.Rules...)
	}
	require.NotEmpty(t, all)
	return all
}

// metric is what a component's documentation says of one.
type metric struct {
	counter    bool
	attributes []string
}

var (
	heading   = regexp.MustCompile(`(?m)^### (otelcol_\w+)$`)
	attribute = regexp.MustCompile(`(?m)^\| (\w+) \| [^|]+ \| (?:Any |Str|Int|Bool)`)
)

// metrics returns every metric of the components, by its name without a suffix.
func metrics(t *testing.T) map[string]metric {
	files, err := filepath.Glob("../../*/*/documentation.md")
	require.NoError(t, err)
	require.Len(t, files, 3)
	all := map[string]metric{}
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // a component's documentation
		require.NoError(t, err)
		at := heading.FindAllSubmatchIndex(text, -1)
		require.NotEmpty(t, at)
		for i, m := range at {
			end := len(text)
			if i+1 < len(at) {
				end = at[i+1][0]
			}
			section := string(text[m[1]:end])
			found := metric{counter: strings.Contains(section, "| Sum |") && strings.Contains(section, "| true |")}
			for _, a := range attribute.FindAllStringSubmatch(section, -1) {
				found.attributes = append(found.attributes, a[1])
			}
			all[string(text[m[2]:m[3]])] = found
		}
	}
	return all
}

var (
	name    = regexp.MustCompile(`otelcol_\w+`)
	by      = regexp.MustCompile(`by \(([^)]*)\)`)
	matcher = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"`)
	label   = regexp.MustCompile(`\$labels\.(\w+)`)
)

// A rule that asks for a metric or a label that no component has never fires.
func TestRulesAskForMetricsThatExist(t *testing.T) {
	known := metrics(t)
	for _, r := range rules(t) {
		t.Run(r.Alert, func(t *testing.T) {
			names := name.FindAllString(r.Expr, -1)
			require.NotEmpty(t, names)
			labels := []string{"instance"}
			for _, n := range names {
				bare := strings.TrimSuffix(n, "_total")
				m, ok := known[bare]
				require.True(t, ok, "%s is a metric of no component", n)
				require.Equal(t, m.counter, bare != n, "%s: Prometheus has _total behind the names of counters, and of nothing else", n)
				labels = append(labels, m.attributes...)
			}
			var kept []string
			for _, list := range by.FindAllStringSubmatch(r.Expr, -1) {
				kept = append(kept, strings.Split(strings.ReplaceAll(list[1], " ", ""), ",")...)
			}
			asked := slices.Clone(kept)
			for _, m := range matcher.FindAllStringSubmatch(r.Expr, -1) {
				asked = append(asked, m[1])
			}
			require.Subset(t, labels, asked)
			for _, l := range label.FindAllStringSubmatch(r.Annotations["summary"], -1) {
				require.Contains(t, kept, l[1], "the summary names what the expression adds up over")
			}
		})
	}
}

func TestRulesSayWhatToDo(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rules(t) {
		require.False(t, seen[r.Alert], "%s stands there twice", r.Alert)
		seen[r.Alert] = true
		require.True(t, strings.HasPrefix(r.Alert, "Lifeline"), r.Alert)
		require.Contains(t, []string{"warning", "critical"}, r.Labels["severity"], r.Alert)
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		require.NotEmpty(t, r.Annotations["remedy"], r.Alert)
		require.Equal(t, strings.Count(r.Expr, "("), strings.Count(r.Expr, ")"), r.Alert)
	}
}
