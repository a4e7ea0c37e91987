package handlers

import (
	"time"

	"porchlight/db"
)

// usedApps are the apps of a device as its row shows them, last used first.
type usedApps []usedApp

type usedApp struct {
	Host     string
	LastUsed moment
	Ago      string
}

func newUsedApps(uses []db.AppUse, now time.Time) (apps usedApps) {
	for _, use := range uses {
		at := newMoment(use.LastUsedAt)
		apps = append(apps, usedApp{use.Host, at, at.ago(now)})
	}
	return apps
}

// appsShown is how many apps a row names; the details name all.
const appsShown = 4

// Shown are those that the row names, and More is how many others there are.
func (a usedApps) Shown() usedApps { return a[:min(len(a), appsShown)] }

func (a usedApps) More() int { return max(len(a)-appsShown, 0) }
