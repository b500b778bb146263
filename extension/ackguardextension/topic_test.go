package ackguardextension

import (
	"errors"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/otel-lifeline/lifeline/internal/ackrules"
)

func TestJudge(t *testing.T) {
	target := &ackrules.Target{MaxMessageBytes: 1000000, Topics: map[string]bool{"t": true, "rare": false}}
	good := map[string]string{
		"min.insync.replicas": "2", "unclean.leader.election.enable": "false", "cleanup.policy": "delete",
		"retention.ms": "604800000", "max.message.bytes": "1048588",
	}
	require.Empty(t, (&topicInfo{name: "t", replicas: 3, settings: good}).judge(target))
	for key, tc := range map[string]struct{ value, want string }{
		"min.insync.replicas":            {"1", "topic t: min.insync.replicas 1: "},
		"unclean.leader.election.enable": {"true", "topic t: unclean.leader.election.enable is true: "},
		"cleanup.policy":                 {"compact,delete", "topic t: cleanup.policy compact,delete: "},
		"retention.ms":                   {"3600000", "topic t: retention.ms 3600000 (1h0m0s): "},
		"max.message.bytes":              {"999999", "topic t: max.message.bytes 999999 is below producer::max_message_bytes (1000000): "},
	} {
		settings := maps.Clone(good)
		settings[key] = tc.value
		lines := (&topicInfo{name: "t", replicas: 3, settings: settings}).judge(target)
		require.Len(t, lines, 1, key)
		require.Contains(t, lines[0], tc.want)
	}
	for _, tc := range []struct {
		topic topicInfo
		want  string // "": nothing to say
	}{
		{topicInfo{name: "t", replicas: 2, settings: map[string]string{}}, "replication factor 2"},
		{topicInfo{name: "t", replicas: 3, settings: map[string]string{"min.insync.replicas": "3"}}, "min.insync.replicas 3 of 3 replicas"},
		{topicInfo{name: "t", replicas: 3, settings: map[string]string{"retention.ms": "-1"}}, ""},
		{topicInfo{name: "t", replicas: 3, settingsErr: kerr.TopicAuthorizationFailed}, "DescribeConfigs"},
		{topicInfo{name: "t", err: kerr.UnknownTopicOrPartition}, "does not exist"},
		{topicInfo{name: "rare", err: kerr.UnknownTopicOrPartition}, ""},
		{topicInfo{name: "rare", err: kerr.TopicAuthorizationFailed}, "the right Describe"},
	} {
		lines := tc.topic.judge(target)
		if tc.want == "" {
			require.Empty(t, lines)
			continue
		}
		require.Len(t, lines, 1)
		require.Contains(t, lines[0], tc.want)
	}
}

func TestTake(t *testing.T) {
	value := "2"
	configs := kadm.ResourceConfigs{
		{Name: "t", Configs: []kadm.Config{{Key: "min.insync.replicas", Value: &value}, {Key: "secret"}}},
		{Name: "u", Err: errors.New("no")},
	}
	topic := topicInfo{name: "t", settings: map[string]string{}}
	topic.take(configs)
	require.Equal(t, map[string]string{"min.insync.replicas": "2"}, topic.settings)
	for _, name := range []string{"u", "absent"} {
		topic = topicInfo{name: name, settings: map[string]string{}}
		topic.take(configs)
		require.Error(t, topic.settingsErr)
	}
	require.Equal(t, 1, replicas(kadm.PartitionDetails{0: {Replicas: []int32{1, 2}}, 1: {Replicas: []int32{1}}}))
	require.Zero(t, replicas(nil))
}
