package ackrules

import (
	"fmt"
	"runtime/debug"
)

const franzGo = "github.com/twmb/franz-go"

// minFranzGo is the first version that does not report success for a record
// which the broker took for another one's repetition.
var minFranzGo = [3]int{1, 22, 2}

// BuildFaults returns a line if the program was built with a Kafka client whose
// acks can be untrue. Of a version that is no release it knows nothing.
func BuildFaults(info *debug.BuildInfo) []string {
	for _, m := range info.Deps {
		if m.Path != franzGo {
			continue
		}
		for m.Replace != nil {
			m = m.Replace
		}
		var v [3]int
		if _, err := fmt.Sscanf(m.Version, "v%d.%d.%d", &v[0], &v[1], &v[2]); err != nil {
			continue
		}
		for i := range v {
			if v[i] > minFranzGo[i] {
				break
			}
			if v[i] < minFranzGo[i] {
				return []string{fmt.Sprintf("%s %s in this build can report a record as written that is not: build with v%d.%d.%d or later", franzGo, m.Version, minFranzGo[0], minFranzGo[1], minFranzGo[2])}
			}
		}
	}
	return nil
}
