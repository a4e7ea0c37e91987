package handlers

import (
	"slices"
	"strings"
	"sync"
	"time"

	"porchlight/db"
)

// This file remembers recently refused auth checks of signed-in users, for administrators. Clients that are not signed
// in leave no trace.

// Why an app cannot be reached.
const (
	refusedHost     = "host"     // Porchlight does not guard it
	refusedDisabled = "disabled" // the user cannot sign in
	refusedFactor   = "factor"   // the user must set up a second factor first
	refusedApproval = "approval" // the user waits for approval
	refusedRules    = "rules"    // the rules do not allow the user
)

// whyRefused returns why a user may not reach a host, or "".
func (h *handler) whyRefused(access *db.AppAccess, host string) string {
	switch {
	case !h.guards(host):
		return refusedHost
	case access.MustSetUpFactor:
		return refusedFactor
	case access.Allowed:
		return ""
	case !access.Approved:
		return refusedApproval
	}
	return refusedRules
}

// refusal is an auth check that was refused.
type refusal struct {
	Username string
	Host     string // the last one, if Why is refusedHost, because a client can make up such hosts
	Why      string
	At       time.Time // the last time
	Count    int
}

func (r refusal) repeats(other refusal) bool {
	return r.Username == other.Username && r.Why == other.Why && (r.Host == other.Host || r.Why == refusedHost)
}

const (
	maxRefusals     = 50
	refusalsPerUser = 10 // so that one user cannot displace the refusals of others
)

// refusals holds the most recent refusals, oldest first. The zero value is ready to use.
type refusals struct {
	mu  sync.Mutex
	all []refusal
}

// add adds a refusal. One that repeats another replaces it, with the count of both.
func (r *refusals) add(latest refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	latest.Count = 1
	ofUser := func(other refusal) bool { return other.Username == latest.Username }
	count := 0
	for _, other := range r.all {
		if ofUser(other) {
			count++
		}
	}
	if i := slices.IndexFunc(r.all, latest.repeats); i >= 0 {
		latest.Count += r.all[i].Count
		r.all = slices.Delete(r.all, i, i+1)
	} else if count >= refusalsPerUser {
		i := slices.IndexFunc(r.all, ofUser)
		r.all = slices.Delete(r.all, i, i+1)
	} else if len(r.all) >= maxRefusals {
		r.all = slices.Delete(r.all, 0, 1)
	}
	r.all = append(r.all, latest)
}

// latestFirst returns all of them.
func (r *refusals) latestFirst() []refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(r.all)
	slices.Reverse(all)
	return all
}

// noteRefusal records the refusal of an auth check of a signed-in user, if it is refused.
func (h *handler) noteRefusal(access *db.AppAccess, host string) {
	if why := h.whyRefused(access, host); why != "" {
		host = strings.Clone(host) // it may be a part of a whole request
		h.refusals.add(refusal{Username: access.Username, Host: host, Why: why, At: h.Store.Now()})
	}
}
