// Package s3bucket is bucket.Bucket on S3 and on servers that speak its language.
// It is plain net/http with AWS's request signer: a request carries what
// Signature Version 4 and the call need, a fixed User-Agent and nothing else, so
// that it tells nobody who sent it. One call is one attempt: nothing is
// retried and no redirect is followed.
//
// An answer counts only if it is the store's own: an error needs S3's XML with a
// code, a stored object needs an ETag. What a proxy or a stranger on the way says
// is bucket.Unknown.
//
// Nothing here logs. The only goroutine is the one that streams a body; it has
// ended when the call returns, and so the body is not read any more.
package s3bucket
