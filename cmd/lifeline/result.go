package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/otel-lifeline/lifeline/extension/flarerecoveryextension"
	"github.com/otel-lifeline/lifeline/internal/flare"
)

// The states of a flare that was looked at.
const (
	stateGood       = "good"         // everything asked for was verified
	stateBad        = "bad"          // it will never be good
	stateNotNow     = "not_now"      // other keys, settings or a newer version may open it
	stateUnread     = "unread"       // it could not be fetched
	stateNotWritten = "not_written"  // good, but its files could not be written
	stateSalvaged   = "salvaged"     // damaged, and a part of it is sound
	stateUnverified = "not_verified" // intact as far as it says of itself
)

// result is what was found out about one item: the JSON of --json, one object
// per line.
type result struct {
	Name        string          `json:"name"`
	ID          string          `json:"id,omitempty"`
	Size        int64           `json:"size"`
	Stored      *flare.Time     `json:"last_modified,omitempty"`
	State       string          `json:"state,omitempty"`
	Reason      string          `json:"reason,omitempty"`
	Error       string          `json:"error,omitempty"`
	Rejected    int64           `json:"rejected_items,omitempty"` // by the server of a replay, of acked records
	Principal   string          `json:"principal,omitempty"`      // verified
	Signer      string          `json:"signer,omitempty"`         // fingerprint, claimed
	NotVerified []string        `json:"not_verified,omitempty"`
	Manifest    *flare.Manifest `json:"manifest,omitempty"`
}

func newResult(it item) result {
	r := result{Name: it.name, ID: it.id, Size: it.size}
	if !it.stored.IsZero() {
		r.Stored = new(flare.TimeOf(it.stored))
	}
	return r
}

// desk is where flares are looked at.
type desk struct {
	source  source
	opener  *flare.Opener
	salvage bool // a damaged flare is worth its sound records
	keys    keyFlags
	conf    *flarerecoveryextension.Config // nil without --config
}

// verify opens an item as recovery would. The flare is nil unless it is good.
func (d *desk) verify(ctx context.Context, it item) (result, *flare.Flare) {
	r := newResult(it)
	data, err := d.source.read(ctx, it)
	if err != nil {
		r.State, r.Error = stateUnread, err.Error()
		return r, nil
	}
	return d.open(it, data)
}

func (d *desk) open(it item, data []byte) (result, *flare.Flare) {
	r := newResult(it)
	if it.id == "" {
		r.State, r.Reason = stateBad, flare.IDMismatch
		r.Error = "the name is not a flare's: name the copy as the object was, 32 hex digits and .age"
		return r, nil
	}
	opener := *d.opener
	if it.stored.IsZero() {
		r.NotVerified = []string{"freshness: a file does not tell when the store got it"}
	} else {
		opener.MaxAge = d.keys.maxAge
	}
	f, damage, err := opener.Salvage(flare.Object{ID: it.id, LastModified: it.stored, Date: it.listed}, data)
	if err == nil && damage != nil && (!d.salvage || len(f.Frames) == 0) {
		err = damage
	}
	if err != nil {
		r.NotVerified = nil
		r.refuse(err)
		return r, nil
	}
	r.State, r.Principal, r.Manifest = stateGood, f.Principal, &f.Manifest
	if damage != nil {
		r.State, r.Error = stateSalvaged, fmt.Sprintf("%d of %d records, in front of the damage: %v", len(f.Frames), len(f.Manifest.Records), damage)
	}
	return r, f
}

// inspect reads what an item says of itself, and verifies it as far as there are
// keys for that.
func (d *desk) inspect(ctx context.Context, it item) result {
	r := newResult(it)
	data, err := d.source.read(ctx, it)
	if err != nil {
		r.State, r.Error = stateUnread, err.Error()
		return r
	}
	i, err := d.opener.Inspect(data)
	if err != nil {
		r.refuse(err)
		return r
	}
	if d.opener.Signers != nil {
		r, _ = d.open(it, data)
	} else if err := errors.Join(i.Signature, i.Content); err != nil {
		r.State, r.Error = stateBad, err.Error()
	} else {
		r.State = stateUnverified
		r.NotVerified = []string{
			"who signed it: there is no --allowed-signers",
			"revocation, audience, id and times: they mean nothing without a signer",
		}
	}
	r.Signer, r.Manifest = i.Fingerprint, &i.Manifest
	return r
}

func (r *result) refuse(err error) {
	r.State, r.Error = stateBad, err.Error()
	if e, ok := errors.AsType[*flare.Error](err); ok {
		r.Reason, r.Error = e.Reason, e.Err.Error()
		if !e.Bad {
			r.State = stateNotNow
		}
	}
}

// remedy says what to do about a flare that is not good.
func (r *result) remedy() string {
	switch {
	case r.State == stateRefused:
		return "the log of the server says why; put that right and start again, or keep the flare"
	case r.Rejected > 0:
		return fmt.Sprintf("the server took the records and rejected %d items in them: its log says why", r.Rejected)
	}
	switch r.Reason {
	case flare.NoIdentity:
		return "use the identity file whose public key was in the agent's recipients file"
	case flare.UnknownSigner:
		return "add the agent's line to the allowed signers file if the key is known to be its own"
	case flare.ExpiredCertificate:
		return "renew the certificate on the agent, or trust the key for that time with a line of its own"
	case flare.OtherAudience:
		return "use the --audience it was made for"
	case flare.Clock, flare.Stale:
		return "check the agent's clock; --max-age sets how old a flare may be"
	case flare.NeedsNewer:
		return "use a newer version of lifeline"
	case flare.Malformed, flare.Hash:
		return "keep the object: `lifeline flare open --salvage` takes out the records in front of the damage"
	}
	return ""
}

// line is the result in one line.
func (r *result) line() string {
	if r.Manifest == nil || r.Error != "" {
		reason := r.Reason
		if reason != "" {
			reason += ": "
		}
		return fmt.Sprintf("%-12s %s  %s%s", r.State, r.Name, reason, r.Error)
	}
	who := r.Principal
	if who == "" {
		who = r.Manifest.Agent + " (claimed)"
	}
	return fmt.Sprintf("%-12s %s  %s  %s  %s", r.State, r.Name, who, r.Manifest.Reason, contents(r.Manifest))
}
