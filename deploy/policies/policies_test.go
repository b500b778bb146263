package policies

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTemplatesAreFilledIn(t *testing.T) {
	n := Names{BucketName: "flares", Writer: "arn:aws:iam::123456789012:role/w", Recovery: "arn:aws:iam::123456789012:role/r"}
	for _, text := range []string{Bucket(n), AWSOnly(n)} {
		require.True(t, json.Valid([]byte(text)))
		require.NotContains(t, text, "${")
		require.Contains(t, text, "arn:aws:s3:::flares/f/*")
	}
	require.Equal(t, 1, strings.Count(Bucket(n), n.Writer), "agents have one right")
	require.Contains(t, Bucket(n), n.Recovery)
}
