package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// details is the result for a person, in lines.
func (r *result) details() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, value)
		}
	}
	row("flare", r.Name)
	row("state", strings.TrimSuffix(r.State+", "+r.Reason, ", "))
	row("error", r.Error)
	row("remedy", r.remedy())
	for _, what := range r.NotVerified {
		row("NOT VERIFIED", what)
	}
	row("principal", r.Principal)
	row("signed by key", r.Signer)
	r.manifestRows(row)
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

func (r *result) manifestRows(row func(name, value string)) {
	m := r.Manifest
	if m == nil {
		return
	}
	row("flare id", m.FlareID)
	row("agent", m.Agent+" (claimed)")
	row("audience", m.Audience)
	row("boot", m.BootID)
	row("seq", strconv.FormatUint(m.Seq, 10))
	row("reason", string(m.Reason))
	row("created", m.Created.Format(time.RFC3339))
	row("from", m.Oldest.Format(time.RFC3339))
	row("to", m.Newest.Format(time.RFC3339))
	row("holds", contents(m))
	for _, signal := range slices.Sorted(maps.Keys(m.Lost)) {
		row("lost since boot", fmt.Sprintf("%d items of %s", m.Lost[signal], signal))
	}
	if v := m.Report.Version; v != "" {
		row("version", fmt.Sprintf("%q", v))
	}
	for _, cause := range slices.Sorted(maps.Keys(m.Report.Causes)) {
		text := fmt.Sprintf("%s, %d attempts: %q", cause, m.Report.Causes[cause], m.Report.Sample[cause])
		row("cause", strings.TrimSuffix(text, `: ""`))
	}
	for _, rec := range m.Records {
		row("record", fmt.Sprintf("%s  %d bytes, %d raw, %d items", rec.Name, rec.Size, rec.RawSize, rec.Items))
	}
}
