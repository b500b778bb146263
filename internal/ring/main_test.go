package ring

import (
	"flag"
	"os"
	"testing"
)

// TestMain makes the model's stories long enough to fill the ring and to end
// flares: 30 steps, rapid's default, rarely do.
func TestMain(m *testing.M) {
	flag.Parse()
	set := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { set[f.Name] = true })
	if !set["rapid.steps"] {
		if err := flag.Set("rapid.steps", "150"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
