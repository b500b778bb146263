// Package policies hands out the bucket policies of this folder, so that tests
// and tools apply the very text that operators deploy. It does no I/O.
package policies

import (
	_ "embed" // for the templates
	"strings"
)

//go:embed bucket.json
var bucketTemplate string

//go:embed aws-only.json
var awsOnlyTemplate string

// Names fill in the templates.
type Names struct {
	BucketName string
	Writer     string // principal of the agents
	Recovery   string // principal of recovery
}

// Bucket returns the policy that every store with bucket policies can enforce.
func Bucket(n Names) string { return n.fill(bucketTemplate) }

// AWSOnly returns the statements that only AWS enforces.
func AWSOnly(n Names) string { return n.fill(awsOnlyTemplate) }

func (n Names) fill(template string) string {
	return strings.NewReplacer("${bucket}", n.BucketName, "${writer}", n.Writer, "${recovery}", n.Recovery).Replace(template)
}
