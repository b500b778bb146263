package ackguardextension

import (
	"fmt"
	"strconv"
	"time"

	"github.com/otel-lifeline/lifeline/internal/ackrules"
)

// What a topic should have, so that an ack outlives a broker and the data is
// still there when somebody reads it.
const (
	wantReplicas  = 3
	wantInSync    = 2
	wantRetention = 24 * time.Hour
)

// topicInfo is what the brokers say about a topic.
type topicInfo struct {
	name        string
	err         error             // why nothing is known about it
	replicas    int               // of the partition that has the fewest
	settings    map[string]string // in force, the brokers' defaults included
	settingsErr error             // why settings is empty
}

// judge returns a line for everything that makes an ack say less than it should.
func (t *topicInfo) judge(to *ackrules.Target) []string {
	var lines []string
	warn := func(wrong bool, text string, args ...any) {
		if wrong {
			lines = append(lines, "topic "+t.name+": "+fmt.Sprintf(text, args...))
		}
	}
	if t.err != nil {
		warn(missing(t.err) && to.Topics[t.name], "it does not exist, so its data stays with the clients: create it")
		warn(!missing(t.err), "%v: give the gateway's user the right Describe", t.err)
		return lines
	}
	warn(t.replicas < wantReplicas, "replication factor %d: an ack means that many copies at most: use %d", t.replicas, wantReplicas)
	if t.settingsErr != nil {
		warn(true, "its settings cannot be read (%v): give the gateway's user the right DescribeConfigs", t.settingsErr)
		return lines
	}
	if n, ok := t.number("min.insync.replicas"); ok {
		warn(n < wantInSync, "min.insync.replicas %d: an ack may mean one copy: use %d", n, wantInSync)
		warn(n >= int64(t.replicas) && t.replicas > 1, "min.insync.replicas %d of %d replicas: one broker that is away stops every write: use one less", n, t.replicas)
	}
	warn(t.settings["unclean.leader.election.enable"] == "true",
		"unclean.leader.election.enable is true: a broker that missed acked data may become leader, and the data is gone: set it to false")
	if policy, ok := t.settings["cleanup.policy"]; ok {
		warn(policy != "delete", "cleanup.policy %s: parts and halves of a batch share one key, and compaction keeps only the last: set it to delete", policy)
	}
	if ms, ok := t.number("retention.ms"); ok {
		kept := time.Duration(ms) * time.Millisecond
		warn(ms >= 0 && kept < wantRetention, "retention.ms %d (%s): acked data is deleted that soon, read or not: use %s or more", ms, kept, wantRetention)
	}
	if n, ok := t.number("max.message.bytes"); ok {
		warn(n < int64(to.MaxMessageBytes), "max.message.bytes %d is below producer::max_message_bytes (%d): one large record makes the broker refuse all that travel with it: raise it to that", n, to.MaxMessageBytes)
	}
	return lines
}

func (t *topicInfo) number(key string) (int64, bool) {
	n, err := strconv.ParseInt(t.settings[key], 10, 64)
	return n, err == nil
}
